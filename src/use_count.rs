//! Counts what is in use at once, up to a limit that each caller passes. The limit may change at any time, so a reload keeps
//! the count. It waits for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of something are in use. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct UseCount(Arc<AtomicUsize>);

/// One of what is in use. Dropping it counts down.
#[derive(Debug)]
pub struct InUse(UseCount);

impl UseCount {
    /// Counts one more, unless `max` are in use.
    pub fn try_acquire(&self, max: usize) -> Option<InUse> {
        // Relaxed ordering is enough: the count guards no other memory.
        let counted =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1));
        counted.ok().map(|_| InUse(self.clone()))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_are_in_use_even_if_it_shrinks() {
        let count = UseCount::default();
        let mut held: Vec<_> = (0..3).map(|_| count.try_acquire(3).unwrap()).collect();
        assert!(count.try_acquire(3).is_none());
        held.push(count.clone().try_acquire(4).unwrap());
        held.truncate(2);
        assert!(count.try_acquire(2).is_none());
        held.pop();
        assert!(count.try_acquire(2).is_some());
    }
}
