//! An ordered set with ranks and weights: a treap (Seidel and Aragon, 1996) in a copy-on-write table. Besides insert and
//! remove it answers "the n-th key", "how many keys before this one" and "the first key of a range whose weight fits",
//! all in expected O(log n). Heap priorities come from a counter through a mixer, so equal histories give equal trees.

use std::ops::Bound;

use super::table::Table;

const NIL: u32 = u32::MAX;

/// What a key weighs in up to two dimensions; a query asks for the first key that weighs no more than what is free.
pub type Weight = [u64; 2];

#[derive(Debug, Clone)]
struct Node<K> {
    key: K,
    heap: u32,
    left: u32,
    right: u32,
    size: u32,
    weight: Weight,
    least: Weight,
}

/// The set; see the module.
#[derive(Debug, Clone)]
pub struct Order<K> {
    nodes: Table<Node<K>>,
    free: Vec<u32>,
    root: u32,
    count: u64,
}

impl<K> Default for Order<K> {
    fn default() -> Self {
        Self { nodes: Table::default(), free: Vec::new(), root: NIL, count: 0 }
    }
}

fn mix(mut x: u64) -> u32 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> 32) as u32
}

fn fits(weight: Weight, room: Weight) -> bool {
    weight[0] <= room[0] && weight[1] <= room[1]
}

impl<K: Ord + Clone> Order<K> {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.size(self.root)
    }

    /// No key.
    pub fn is_empty(&self) -> bool {
        self.root == NIL
    }

    fn size(&self, at: u32) -> usize {
        if at == NIL { 0 } else { self.node(at).size as usize }
    }

    fn node(&self, at: u32) -> &Node<K> {
        self.nodes.at(at as usize)
    }

    fn update(&mut self, at: u32) {
        let node = self.node(at);
        let (left, right) = (node.left, node.right);
        let mut least = node.weight;
        let mut size = 1;
        for child in [left, right] {
            if child != NIL {
                let child = self.node(child);
                size += child.size;
                least = [least[0].min(child.least[0]), least[1].min(child.least[1])];
            }
        }
        let node = self.nodes.at_mut(at as usize);
        node.size = size;
        node.least = least;
    }

    /// Adds a key that weighs nothing. False if it was there.
    pub fn insert(&mut self, key: K) -> bool {
        self.insert_weighing(key, [0, 0])
    }

    /// Adds a key. False (and unchanged) if it was there.
    pub fn insert_weighing(&mut self, key: K, weight: Weight) -> bool {
        if self.contains(&key) {
            return false;
        }
        self.count = self.count.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let node = Node { key, heap: mix(self.count), left: NIL, right: NIL, size: 1, weight, least: weight };
        let new = match self.free.pop() {
            Some(at) => {
                *self.nodes.at_mut(at as usize) = node;
                at
            }
            None => self.nodes.push(node) as u32,
        };
        self.root = self.insert_at(self.root, new);
        true
    }

    fn insert_at(&mut self, at: u32, new: u32) -> u32 {
        if at == NIL {
            return new;
        }
        if self.node(new).heap > self.node(at).heap {
            let (left, right) = self.split(at, new);
            let node = self.nodes.at_mut(new as usize);
            node.left = left;
            node.right = right;
            self.update(new);
            return new;
        }
        if self.node(new).key < self.node(at).key {
            let left = self.insert_at(self.node(at).left, new);
            self.nodes.at_mut(at as usize).left = left;
        } else {
            let right = self.insert_at(self.node(at).right, new);
            self.nodes.at_mut(at as usize).right = right;
        }
        self.update(at);
        at
    }

    /// Splits the tree at `at` into keys before and after `pivot`'s.
    fn split(&mut self, at: u32, pivot: u32) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        if self.node(at).key < self.node(pivot).key {
            let (left, right) = self.split(self.node(at).right, pivot);
            self.nodes.at_mut(at as usize).right = left;
            self.update(at);
            (at, right)
        } else {
            let (left, right) = self.split(self.node(at).left, pivot);
            self.nodes.at_mut(at as usize).left = right;
            self.update(at);
            (left, at)
        }
    }

    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL {
            return right;
        }
        if right == NIL {
            return left;
        }
        if self.node(left).heap > self.node(right).heap {
            let merged = self.merge(self.node(left).right, right);
            self.nodes.at_mut(left as usize).right = merged;
            self.update(left);
            left
        } else {
            let merged = self.merge(left, self.node(right).left);
            self.nodes.at_mut(right as usize).left = merged;
            self.update(right);
            right
        }
    }

    /// Takes a key out. False if it was not there.
    pub fn remove(&mut self, key: &K) -> bool {
        if !self.contains(key) {
            return false;
        }
        self.root = self.remove_at(self.root, key);
        true
    }

    /// Takes one key out and puts another in, unless they are the same.
    pub fn exchange(&mut self, out: Option<K>, into: Option<K>) {
        if out == into {
            return;
        }
        if let Some(key) = out {
            self.remove(&key);
        }
        if let Some(key) = into {
            self.insert(key);
        }
    }

    fn remove_at(&mut self, at: u32, key: &K) -> u32 {
        match key.cmp(&self.node(at).key) {
            std::cmp::Ordering::Equal => {
                let (left, right) = (self.node(at).left, self.node(at).right);
                self.free.push(at);
                return self.merge(left, right);
            }
            std::cmp::Ordering::Less => {
                let left = self.remove_at(self.node(at).left, key);
                self.nodes.at_mut(at as usize).left = left;
            }
            std::cmp::Ordering::Greater => {
                let right = self.remove_at(self.node(at).right, key);
                self.nodes.at_mut(at as usize).right = right;
            }
        }
        self.update(at);
        at
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &K) -> bool {
        let mut at = self.root;
        while at != NIL {
            let node = self.node(at);
            at = match key.cmp(&node.key) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => node.left,
                std::cmp::Ordering::Greater => node.right,
            };
        }
        false
    }

    /// The first key.
    pub fn first(&self) -> Option<&K> {
        self.nth(0)
    }

    /// The n-th key, from 0.
    pub fn nth(&self, mut n: usize) -> Option<&K> {
        let mut at = self.root;
        while at != NIL {
            let node = self.node(at);
            let before = self.size(node.left);
            if n == before {
                return Some(&node.key);
            }
            if n < before {
                at = node.left;
            } else {
                n -= before + 1;
                at = node.right;
            }
        }
        None
    }

    /// How many keys come before `key`, whether it is there or not.
    pub fn position(&self, key: &K) -> usize {
        let (mut at, mut before) = (self.root, 0);
        while at != NIL {
            let node = self.node(at);
            if node.key < *key {
                before += self.size(node.left) + 1;
                at = node.right;
            } else {
                at = node.left;
            }
        }
        before
    }

    /// The first key from `from` on.
    pub fn first_from(&self, from: &K) -> Option<&K> {
        self.nth(self.position(from))
    }

    /// The first key after `after` (or from the start bound given) whose weight fits into `room`.
    pub fn first_fitting(&self, from: Bound<&K>, room: Weight) -> Option<&K> {
        self.fitting_at(self.root, from, room)
    }

    fn fitting_at(&self, at: u32, from: Bound<&K>, room: Weight) -> Option<&K> {
        if at == NIL || !fits(self.node(at).least, room) {
            return None;
        }
        let node = self.node(at);
        let inside = match from {
            Bound::Unbounded => true,
            Bound::Included(key) => node.key >= *key,
            Bound::Excluded(key) => node.key > *key,
        };
        if !inside {
            return self.fitting_at(node.right, from, room);
        }
        if let Some(found) = self.fitting_at(node.left, from, room) {
            return Some(found);
        }
        if fits(node.weight, room) {
            return Some(&node.key);
        }
        self.fitting_at(node.right, Bound::Unbounded, room)
    }

    /// Keys from `from` on, in order. Each step costs O(log n).
    pub fn iter_from<'a>(&'a self, from: &K) -> impl Iterator<Item = &'a K> + use<'a, K> {
        self.iter_at(self.position(from))
    }

    /// Keys from the n-th on, in order. Each step costs O(log n).
    pub fn iter_at(&self, n: usize) -> impl Iterator<Item = &K> {
        (n..self.len()).map(|n| self.nth(n).expect("within the length"))
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.iter_at(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_plain_sorted_map_does(steps in prop::collection::vec((any::<bool>(), 0u8..60, 0u64..9), 1..200)) {
            let mut order = Order::default();
            let mut plain = BTreeMap::new();
            for (add, key, weight) in steps {
                if add {
                    prop_assert_eq!(order.insert_weighing(key, [weight, 9 - weight]), !plain.contains_key(&key));
                    plain.entry(key).or_insert(weight);
                } else {
                    prop_assert_eq!(order.remove(&key), plain.remove(&key).is_some());
                }
                prop_assert_eq!(order.len(), plain.len());
                prop_assert!(order.iter().eq(plain.keys()));
                prop_assert_eq!(order.position(&key), plain.range(..key).count());
                for room in [[3, 9], [9, 3], [5, 5], [0, 8]] {
                    let want = plain.range(key..).find(|(_, w)| fits([**w, 9 - **w], room)).map(|(k, _)| k);
                    prop_assert_eq!(order.first_fitting(Bound::Included(&key), room), want);
                }
            }
        }
    }
}
