//! A bounded memory of recent orders: the newest entries by a text key. It forgets the oldest and reads no clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The entries of one generation. At most two generations are remembered.
const GENERATION: usize = 1 << 15;

/// The newest entries by key.
pub(super) struct Recent<V>(Mutex<Generations<V>>);

struct Generations<V> {
    /// The entries since the last change of generations.
    current: HashMap<Box<str>, V>,
    /// The entries of the generation before.
    previous: HashMap<Box<str>, V>,
    max_entries: usize,
}

impl<V: Clone> Recent<V> {
    pub(super) fn new() -> Self {
        Self::with_generation(GENERATION)
    }

    /// Creates a memory of at most two generations of `max_entries`.
    pub(super) fn with_generation(max_entries: usize) -> Self {
        Self(Mutex::new(Generations { current: HashMap::new(), previous: HashMap::new(), max_entries }))
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<V> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(key)
    }

    /// Stores the value of a key.
    pub(super) fn insert(&self, key: &str, value: V) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    /// Returns the value of a key if it `is_valid`, and otherwise stores and returns `new`.
    pub(super) fn get_or_insert(&self, key: &str, new: V, is_valid: impl Fn(&V) -> bool) -> V {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match memory.get(key).filter(is_valid) {
            Some(value) => value,
            None => {
                memory.insert(key, new.clone());
                new
            }
        }
    }
}

impl<V: Clone> Generations<V> {
    fn get(&self, key: &str) -> Option<V> {
        self.current.get(key).or_else(|| self.previous.get(key)).cloned()
    }

    fn insert(&mut self, key: &str, value: V) {
        if self.current.len() >= self.max_entries {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(key.into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_remembered_and_the_oldest_forgotten() {
        let recent = Recent::with_generation(2);
        for (key, value) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)] {
            recent.insert(key, value);
        }
        let found = ["a", "b", "c", "d", "e"].map(|key| recent.get(key));
        assert_eq!(found, [None, None, Some(3), Some(4), Some(5)]);
    }

    #[test]
    fn a_value_stays_until_it_is_no_longer_valid() {
        let recent = Recent::new();
        assert_eq!(recent.get_or_insert("a", 1, |_| true), 1);
        assert_eq!(recent.get_or_insert("a", 2, |_| true), 1);
        assert_eq!(recent.get_or_insert("a", 3, |_| false), 3);
    }
}
