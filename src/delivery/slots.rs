//! The concurrent deliveries of one endpoint's stored events. The endpoint's queue leaves a reserve to first attempts of
//! hybrid events, so a buyer's event does not wait behind a backlog. It waits for nothing.

use std::sync::Arc;
use tokio::sync::Notify;

use crate::use_count::{InUse, UseCount};

/// The part of the slots that the queue leaves to first attempts of hybrid events: a quarter.
const RESERVED_SHARE: usize = 4;

/// The slots of one endpoint.
#[derive(Clone)]
pub struct Slots {
    /// The most deliveries at once.
    max: usize,
    /// How many of them the queue leaves to first attempts.
    reserved: usize,
    /// The slots in use, by the queue and by first attempts.
    used: UseCount,
    /// The slots that the queue uses.
    used_by_queue: UseCount,
}

/// One of an endpoint's concurrent deliveries. Dropped when the request to the backend is over, settled or not.
pub struct Slot {
    /// The slot, and its place among those of the queue if the queue took it.
    in_use: Option<(InUse, Option<InUse>)>,
    notify: Arc<Notify>,
}

impl Slots {
    /// Builds `max` free slots. If `has_hybrid`, the queue leaves a quarter of them to first attempts of hybrid events, at
    /// least one; a single slot has no reserve.
    pub fn new(max: usize, has_hybrid: bool) -> Self {
        let reserved = if has_hybrid && max > 1 { (max / RESERVED_SHARE).max(1) } else { 0 };
        Self { max, reserved, used: UseCount::default(), used_by_queue: UseCount::default() }
    }

    /// Returns these slots with the counts of `old`, so that deliveries under way still count.
    pub fn sharing_counts(&self, old: &Self) -> Self {
        Self { used: old.used.clone(), used_by_queue: old.used_by_queue.clone(), ..*self }
    }

    /// Returns how many slots the queue may use.
    pub fn max_of_queue(&self) -> usize {
        self.max - self.reserved
    }

    /// Takes a slot for a first attempt, if one is free. `notify` is notified when it is free again.
    pub fn try_acquire(&self, notify: &Arc<Notify>) -> Option<Slot> {
        let used = self.used.try_acquire(self.max)?;
        Some(Slot { in_use: Some((used, None)), notify: notify.clone() })
    }

    /// Takes a slot for an event of the queue, if one is free and is not reserved. `notify` is notified when it is free
    /// again.
    pub fn try_acquire_for_queue(&self, notify: &Arc<Notify>) -> Option<Slot> {
        let of_queue = self.used_by_queue.try_acquire(self.max_of_queue())?;
        let used = self.used.try_acquire(self.max)?;
        Some(Slot { in_use: Some((used, Some(of_queue))), notify: notify.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The slot is freed first: a worker that wakes before it is free would find none.
        drop(self.in_use.take());
        self.notify.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_leaves_a_quarter_of_the_slots_to_hybrid_events() {
        for (max, has_hybrid, of_queue) in [
            (1, true, 1),
            (2, true, 1),
            (3, true, 2),
            (4, true, 3),
            (8, true, 6),
            (16, true, 12),
            (8, false, 8),
        ] {
            assert_eq!(Slots::new(max, has_hybrid).max_of_queue(), of_queue, "{max} {has_hybrid}");
        }
    }

    #[test]
    fn first_attempts_may_use_every_slot_and_the_queue_never_the_reserve() {
        let (slots, notify) = (Slots::new(4, true), Arc::new(Notify::new()));
        let queue: Vec<_> = (0..3).map(|_| slots.try_acquire_for_queue(&notify).unwrap()).collect();
        assert!(slots.try_acquire_for_queue(&notify).is_none());
        let first = slots.try_acquire(&notify).unwrap();
        assert!(slots.try_acquire(&notify).is_none(), "never more than max");
        drop(queue);
        let more: Vec<_> = (0..3).map(|_| slots.try_acquire(&notify).unwrap()).collect();
        assert!(slots.try_acquire_for_queue(&notify).is_none(), "first attempts have every slot");
        drop(first);
        let queued = slots.try_acquire_for_queue(&notify);
        assert!(queued.is_some(), "a failed attempt took nothing from the queue's share");
        drop(more);
    }

    #[test]
    fn a_slot_is_free_before_its_worker_wakes() {
        let (slots, notify) = (Slots::new(1, false), Arc::new(Notify::new()));
        let slot = slots.try_acquire_for_queue(&notify).unwrap();
        let same = Slots::new(2, true).sharing_counts(&slots);
        assert!(same.try_acquire_for_queue(&notify).is_none(), "a delivery from before the reload counts");
        drop(slot);
        assert!(same.try_acquire_for_queue(&notify).is_some());
    }
}
