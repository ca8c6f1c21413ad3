//! An ordered set with ranks and weights: a B+ tree of shared nodes (copy on write). Besides insert and remove it answers
//! "the n-th key", "how many keys before this one" and "the first key of a range whose weight fits", all in O(log n); a
//! clone costs nothing, and a write after it copies one path. Knows nothing of what its keys mean.

use std::ops::Bound;
use std::sync::Arc;

/// Keys in a leaf at most.
const LEAF: usize = 64;
/// Children of a node at most.
const FAN: usize = 32;

/// What a key weighs in up to two dimensions; a query asks for the first key that weighs no more than what is free.
pub type Weight = [u64; 2];

/// The set; see the module.
#[derive(Debug, Clone)]
pub struct Order<K> {
    root: Arc<Node<K>>,
    len: usize,
    /// Some key was added with a weight: before that, least weights need no care.
    weighs: bool,
}

#[derive(Debug, Clone)]
enum Node<K> {
    /// Keys in order with their weights (none are kept while all are zero).
    Leaf(Vec<K>, Vec<Weight>),
    Inner(Vec<Child<K>>),
}

#[derive(Debug, Clone)]
struct Child<K> {
    /// Not after its first key, and after every key of the child before.
    first: K,
    size: usize,
    /// The least of its weights, in each dimension by itself.
    least: Weight,
    node: Arc<Node<K>>,
}

enum Inserted<K> {
    No,
    Yes,
    /// The node was full: this stands to its right.
    Split(Child<K>),
}

impl<K> Default for Order<K> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new(), Vec::new())), len: 0, weighs: false }
    }
}

fn fits(weight: Weight, room: Weight) -> bool {
    weight[0] <= room[0] && weight[1] <= room[1]
}

fn least(a: Weight, b: Weight) -> Weight {
    [a[0].min(b[0]), a[1].min(b[1])]
}

impl<K: Ord + Clone> Order<K> {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a key that weighs nothing. False if it was there.
    pub fn insert(&mut self, key: K) -> bool {
        self.insert_weighing(key, [0, 0])
    }

    /// Adds a key. False (and unchanged) if it was there.
    pub fn insert_weighing(&mut self, key: K, weight: Weight) -> bool {
        self.weighs |= weight != [0, 0];
        match insert(&mut self.root, key, weight) {
            Inserted::No => return false,
            Inserted::Yes => {}
            Inserted::Split(right) => {
                let empty = Arc::new(Node::Inner(Vec::new()));
                let left = Child::of(std::mem::replace(&mut self.root, empty));
                self.root = Arc::new(Node::Inner(vec![left, right]));
            }
        }
        self.len += 1;
        true
    }

    /// Takes a key out. False if it was not there.
    pub fn remove(&mut self, key: &K) -> bool {
        if remove(&mut self.root, key, self.weighs).is_none() {
            return false;
        }
        self.len -= 1;
        while let Node::Inner(children) = &*self.root
            && let [only] = children.as_slice()
        {
            self.root = only.node.clone();
        }
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

    /// Whether the key is there.
    pub fn contains(&self, key: &K) -> bool {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(keys, _) => return keys.binary_search(key).is_ok(),
                Node::Inner(children) => node = &children[towards(children, key)].node,
            }
        }
    }

    /// The first key.
    pub fn first(&self) -> Option<&K> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(keys, _) => return keys.first(),
                Node::Inner(children) => node = &children.first()?.node,
            }
        }
    }

    /// The n-th key, from 0.
    pub fn nth(&self, n: usize) -> Option<&K> {
        self.leaf_from(n).first()
    }

    /// The keys of one leaf from the n-th of all on; none beyond the end.
    fn leaf_from(&self, mut n: usize) -> &[K] {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(keys, _) => return keys.get(n..).unwrap_or_default(),
                Node::Inner(children) => {
                    let mut children = children.iter();
                    node = loop {
                        let Some(child) = children.next() else { return &[] };
                        if n < child.size {
                            break &child.node;
                        }
                        n -= child.size;
                    };
                }
            }
        }
    }

    /// How many keys come before `key`, whether it is there or not.
    pub fn position(&self, key: &K) -> usize {
        let (mut node, mut before) = (&self.root, 0);
        loop {
            match &**node {
                Node::Leaf(keys, _) => return before + keys.partition_point(|other| other < key),
                Node::Inner(children) => {
                    let at = towards(children, key);
                    before += children[..at].iter().map(|child| child.size).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The first key from `from` on.
    pub fn first_from(&self, from: &K) -> Option<&K> {
        self.nth(self.position(from))
    }

    /// The first key after `from` (or from it on) whose weight fits into `room`.
    pub fn first_fitting(&self, from: Bound<&K>, room: Weight) -> Option<&K> {
        first_fitting(&self.root, from, room)
    }

    /// Keys from `from` on, in order.
    pub fn iter_from<'a>(&'a self, from: &K) -> impl Iterator<Item = &'a K> + use<'a, K> {
        self.iter_at(self.position(from))
    }

    /// Keys from the n-th on, in order.
    pub fn iter_at<'a>(&'a self, n: usize) -> impl Iterator<Item = &'a K> + use<'a, K> {
        let (mut next, mut leaf): (usize, &[K]) = (n, &[]);
        std::iter::from_fn(move || {
            if leaf.is_empty() {
                leaf = self.leaf_from(next);
            }
            let (key, rest) = leaf.split_first()?;
            leaf = rest;
            next += 1;
            Some(key)
        })
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.iter_at(0)
    }
}

impl<K: Ord + Clone> Child<K> {
    /// A node, not empty, with what its parent knows of it.
    fn of(node: Arc<Node<K>>) -> Self {
        let (first, size) = match &*node {
            Node::Leaf(keys, _) => (keys[0].clone(), keys.len()),
            Node::Inner(children) => (children[0].first.clone(), children.iter().map(|child| child.size).sum()),
        };
        Self { first, size, least: least_of(&node), node }
    }
}

fn least_of<K>(node: &Node<K>) -> Weight {
    let all = match node {
        Node::Leaf(_, weights) => weights.iter().copied().reduce(least),
        Node::Inner(children) => children.iter().map(|child| child.least).reduce(least),
    };
    all.unwrap_or_default()
}

/// Which child a key belongs to.
fn towards<K: Ord>(children: &[Child<K>], key: &K) -> usize {
    children.partition_point(|child| child.first <= *key).saturating_sub(1)
}

/// Where to cut a list that grew over its bound: in the middle, or, if it grew at its end, before what came last, so that
/// keys that come in order leave full nodes behind.
fn cut(len: usize, grew_at: usize) -> usize {
    if grew_at + 1 == len { len - 1 } else { len / 2 }
}

fn insert<K: Ord + Clone>(node: &mut Arc<Node<K>>, key: K, weight: Weight) -> Inserted<K> {
    match Arc::make_mut(node) {
        Node::Leaf(keys, weights) => {
            let Err(at) = keys.binary_search(&key) else { return Inserted::No };
            if weights.is_empty() && weight != [0, 0] {
                weights.resize(keys.len(), [0, 0]);
            }
            let weighs = weights.len() == keys.len() && (weight != [0, 0] || !keys.is_empty());
            keys.insert(at, key);
            if weighs {
                weights.insert(at, weight);
            }
            if keys.len() <= LEAF {
                return Inserted::Yes;
            }
            let middle = cut(keys.len(), at);
            let right = Node::Leaf(keys.split_off(middle), weights.split_off(middle.min(weights.len())));
            Inserted::Split(Child::of(Arc::new(right)))
        }
        Node::Inner(children) => {
            let at = towards(children, &key);
            let child = &mut children[at];
            if key < child.first {
                child.first = key.clone();
            }
            match insert(&mut child.node, key, weight) {
                Inserted::No => return Inserted::No,
                Inserted::Yes => {
                    child.size += 1;
                    child.least = least(child.least, weight);
                    return Inserted::Yes;
                }
                Inserted::Split(right) => {
                    child.size = child.size + 1 - right.size;
                    child.least = least_of(&child.node);
                    children.insert(at + 1, right);
                }
            }
            if children.len() <= FAN {
                return Inserted::Yes;
            }
            let right = children.split_off(cut(children.len(), at + 1));
            Inserted::Split(Child::of(Arc::new(Node::Inner(right))))
        }
    }
}

/// Returns what the key weighed, if it was there.
fn remove<K: Ord + Clone>(node: &mut Arc<Node<K>>, key: &K, weighs: bool) -> Option<Weight> {
    match Arc::make_mut(node) {
        Node::Leaf(keys, weights) => {
            let at = keys.binary_search(key).ok()?;
            keys.remove(at);
            Some(if weights.is_empty() { [0, 0] } else { weights.remove(at) })
        }
        Node::Inner(children) => {
            let at = towards(children, key);
            let child = children.get_mut(at)?;
            let weight = remove(&mut child.node, key, weighs)?;
            child.size -= 1;
            if weighs && (weight[0] == child.least[0] || weight[1] == child.least[1]) {
                child.least = least_of(&child.node);
            }
            if child.size == 0 {
                children.remove(at);
            } else if is_small(&child.node) {
                merge(children, at);
            }
            Some(weight)
        }
    }
}

fn is_small<K>(node: &Node<K>) -> bool {
    match node {
        Node::Leaf(keys, _) => keys.len() < LEAF / 4,
        Node::Inner(children) => children.len() < FAN / 4,
    }
}

/// Joins a small child with a neighbour, if they fit into one node with room to spare.
fn merge<K: Ord + Clone>(children: &mut Vec<Child<K>>, at: usize) {
    let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
    if left + 1 >= children.len() {
        return;
    }
    let fit = match (&*children[left].node, &*children[left + 1].node) {
        (Node::Leaf(a, _), Node::Leaf(b, _)) => a.len() + b.len() <= LEAF * 3 / 4,
        (Node::Inner(a), Node::Inner(b)) => a.len() + b.len() <= FAN * 3 / 4,
        _ => false,
    };
    if !fit {
        return;
    }
    let right = children.remove(left + 1);
    let child = &mut children[left];
    child.size += right.size;
    child.least = least(child.least, right.least);
    match (Arc::make_mut(&mut child.node), &*right.node) {
        (Node::Leaf(keys, weights), Node::Leaf(more, more_weights)) => {
            if weights.len() + more_weights.len() > 0 {
                weights.resize(keys.len(), [0, 0]);
                weights.extend_from_slice(more_weights);
                weights.resize(keys.len() + more.len(), [0, 0]);
            }
            keys.extend_from_slice(more);
        }
        (Node::Inner(into), Node::Inner(more)) => into.extend_from_slice(more),
        _ => unreachable!("children of one node are of one kind"),
    }
}

fn first_fitting<'a, K: Ord>(node: &'a Node<K>, from: Bound<&K>, room: Weight) -> Option<&'a K> {
    match node {
        Node::Leaf(keys, weights) => {
            let start = match from {
                Bound::Unbounded => 0,
                Bound::Included(key) => keys.partition_point(|other| other < key),
                Bound::Excluded(key) => keys.partition_point(|other| other <= key),
            };
            let fitting = |at: &usize| weights.get(*at).is_none_or(|weight| fits(*weight, room));
            (start..keys.len()).find(fitting).map(|at| &keys[at])
        }
        Node::Inner(children) => {
            let start = match from {
                Bound::Unbounded => 0,
                Bound::Included(key) | Bound::Excluded(key) => towards(children, key),
            };
            let hopeful = children[start..].iter().filter(|child| fits(child.least, room));
            hopeful.map(|child| first_fitting(&child.node, from, room)).find_map(|found| found)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn it_stays_right_when_it_is_large_and_shared(
            steps in prop::collection::vec((any::<bool>(), 0u16..40, 0u16..4000), 1..60)
        ) {
            let mut order = Order::default();
            let mut plain = BTreeMap::new();
            let weight = |key: u16| [u64::from(key % 97), u64::from(key % 13)];
            let mut before = None;
            for (add, run, from) in steps {
                // Runs of keys, so that nodes split and merge at every level.
                for key in (0..run * 37).map(|n| from.wrapping_add(n) % 5000) {
                    if add {
                        prop_assert_eq!(order.insert_weighing(key, weight(key)), plain.insert(key, ()).is_none());
                    } else {
                        prop_assert_eq!(order.remove(&key), plain.remove(&key).is_some());
                    }
                }
                prop_assert_eq!(order.len(), plain.len());
                prop_assert!(order.iter().eq(plain.keys()));
                prop_assert_eq!(order.first(), plain.keys().next());
                prop_assert_eq!(order.position(&from), plain.range(..from).count());
                prop_assert_eq!(order.first_from(&from), plain.range(from..).next().map(|(key, ())| key));
                prop_assert_eq!(order.nth(usize::from(run)), plain.keys().nth(usize::from(run)));
                for room in [[3, 9], [90, 0], [0, 12], [50, 5]] {
                    let want = plain.keys().copied().find(|key| *key > from && fits(weight(*key), room));
                    prop_assert_eq!(order.first_fitting(Bound::Excluded(&from), room).copied(), want);
                }
                if let Some((copy, keys)) = before.replace((order.clone(), plain.keys().copied().collect::<Vec<_>>())) {
                    let copy: Order<u16> = copy;
                    prop_assert!(copy.iter().eq(keys.iter()), "a clone changed with the original");
                }
            }
        }

    }

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
