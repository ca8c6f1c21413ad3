//! A growable table in chunks that are shared until written (copy on write): cloning a table of n entries costs n / 256
//! reference counts, and a write to a shared chunk copies that chunk only. Knows nothing of what it holds.

use std::sync::Arc;

const CHUNK: usize = 256;

/// Entries by index, appended only; see the module.
#[derive(Debug, Clone)]
pub struct Table<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: PartialEq> PartialEq for Table<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T> Table<T> {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry at `index`. Panics beyond the end.
    pub fn at(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    /// The entry at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&T> {
        (index < self.len).then(|| self.at(index))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone> Table<T> {
    /// Appends; returns its index.
    pub fn push(&mut self, entry: T) -> usize {
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let last = self.chunks.last_mut().expect("a chunk was just made sure of");
        Arc::make_mut(last).push(entry);
        self.len += 1;
        self.len - 1
    }

    /// The entry at `index`, to be changed. Panics beyond the end.
    pub fn at_mut(&mut self, index: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.chunks[index / CHUNK])[index % CHUNK]
    }
}

impl<T: Clone> FromIterator<T> for Table<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut table = Self::default();
        for entry in entries {
            table.push(entry);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_its_entries_when_the_original_changes() {
        let mut table: Table<u32> = (0..1000).collect();
        let before = table.clone();
        *table.at_mut(700) = 7;
        assert_eq!((*before.at(700), *table.at(700), table.len()), (700, 7, 1000));
        assert_eq!(before.iter().copied().sum::<u32>(), 499_500);
    }
}
