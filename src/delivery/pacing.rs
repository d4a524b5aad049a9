//! How fast one endpoint's queue works: how many events it leases, how often it polls an empty ledger, and when it pauses.
//! Pure: counts and durations in, counts and durations out.

use std::time::Duration;

/// The poll interval of a process with one queue. Polling finds events that another process queued or postponed.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The poll interval grows with the number of queues up to this factor, so that they poll about once a second together.
const MAX_POLL_FACTOR: u32 = 5;
/// The interval at which a paused queue probes its backend with one event.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// The mean latency from which on a queue leases no more events than it can start.
const SLOW_DELIVERY: Duration = Duration::from_millis(300);
/// The number of events that a fast queue holds for each slot, in flight or prefetched.
const EVENTS_PER_SLOT: usize = 8;

/// The pace of one endpoint's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pacing {
    /// The moving average of a delivery's duration, from its start to its settlement.
    mean_latency: Duration,
    /// Whether the backend could not be reached at the last attempt.
    paused: bool,
}

/// How a finished attempt changes a queue's pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaceChange {
    /// The queue goes on as before.
    None,
    /// The backend cannot be reached: the queue pauses.
    Paused,
    /// The backend can be reached again: the queue resumes.
    Resumed,
}

impl Pacing {
    /// Returns the pace of a new queue: not paused, and slow until attempts show that the backend is fast.
    pub(super) fn new() -> Self {
        Self { mean_latency: SLOW_DELIVERY, paused: false }
    }

    /// Returns whether the backend could not be reached at the last attempt.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// How many events to prefetch. Fast deliveries prefetch [`EVENTS_PER_SLOT`] per slot and refill below half, because
    /// every fetch is a commit; slow ones lease only what can start now, because a lease runs while its event waits. A
    /// paused queue takes one event at a time.
    pub(super) fn prefetch_count(&self, slots: usize, in_flight: usize, prefetched: usize) -> usize {
        let wanted = match self.paused {
            true => 1_usize.saturating_sub(in_flight),
            false if self.mean_latency < SLOW_DELIVERY => EVENTS_PER_SLOT * slots,
            false => slots.saturating_sub(in_flight),
        };
        if prefetched * 2 < wanted { wanted - prefetched } else { 0 }
    }

    /// Returns how many events may be in flight. That is more than there are slots, since a delivery that only waits for
    /// its settlement holds no slot; it is bounded, so that a slow ledger is not flooded.
    pub(super) fn max_in_flight(&self, slots: usize) -> usize {
        if self.paused { 1 } else { EVENTS_PER_SLOT * slots }
    }

    /// Returns how long a queue waits after it found no due event. `queues` is the number of queues in this process.
    pub(super) fn poll_interval(&self, queues: u32) -> Duration {
        if self.paused { PROBE_INTERVAL } else { POLL_INTERVAL * queues.clamp(1, MAX_POLL_FACTOR) }
    }

    /// Takes in a finished attempt: whether it reached the backend, and its duration.
    pub(super) fn record(&mut self, reached: bool, latency: Duration) -> PaceChange {
        self.mean_latency = (self.mean_latency * 7 + latency) / 8;
        let was_paused = std::mem::replace(&mut self.paused, !reached);
        match (was_paused, self.paused) {
            (false, true) => PaceChange::Paused,
            (true, false) => PaceChange::Resumed,
            (false, false) | (true, true) => PaceChange::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Pacing = Pacing { mean_latency: Duration::from_millis(299), paused: false };
    const SLOW: Pacing = Pacing { mean_latency: SLOW_DELIVERY, paused: false };
    const PAUSED: Pacing = Pacing { mean_latency: Duration::ZERO, paused: true };

    #[test]
    fn a_fast_queue_prefetches_below_half_and_a_slow_one_only_what_can_start() {
        for (pacing, slots, in_flight, prefetched, expected) in [
            (FAST, 8, 0, 0, 64),
            (FAST, 8, 8, 0, 64),
            (FAST, 8, 8, 31, 33),
            (FAST, 8, 8, 32, 0),
            (FAST, 1, 1, 3, 5),
            (FAST, 1, 1, 4, 0),
            (SLOW, 8, 0, 0, 8),
            (SLOW, 8, 5, 0, 3),
            (SLOW, 8, 5, 1, 2),
            (SLOW, 8, 5, 2, 0),
            (SLOW, 8, 8, 0, 0),
            (SLOW, 8, 20, 0, 0),
            (PAUSED, 8, 0, 0, 1),
            (PAUSED, 8, 0, 1, 0),
            (PAUSED, 8, 1, 0, 0),
            (PAUSED, 8, 3, 0, 0),
        ] {
            let found = pacing.prefetch_count(slots, in_flight, prefetched);
            assert_eq!(found, expected, "{pacing:?} {slots} {in_flight} {prefetched}");
        }
    }

    #[test]
    fn a_paused_queue_has_one_event_in_flight() {
        for (pacing, slots, expected) in
            [(FAST, 8, 64), (SLOW, 8, 64), (FAST, 1, 8), (PAUSED, 8, 1), (PAUSED, 1, 1)]
        {
            assert_eq!(pacing.max_in_flight(slots), expected, "{pacing:?} {slots}");
        }
    }

    #[test]
    fn many_queues_poll_less_often_and_a_paused_one_probes() {
        for (pacing, queues, millis) in [
            (SLOW, 0, 1000),
            (SLOW, 1, 1000),
            (FAST, 3, 3000),
            (FAST, 5, 5000),
            (FAST, 500, 5000),
            (PAUSED, 1, 500),
            (PAUSED, 500, 500),
        ] {
            assert_eq!(pacing.poll_interval(queues), Duration::from_millis(millis), "{pacing:?} {queues}");
        }
    }

    #[test]
    fn a_queue_pauses_when_the_backend_is_unreachable_and_resumes_when_it_is_reached() {
        let mut pacing = Pacing::new();
        for (reached, change, paused) in [
            (true, PaceChange::None, false),
            (false, PaceChange::Paused, true),
            (false, PaceChange::None, true),
            (true, PaceChange::Resumed, false),
            (true, PaceChange::None, false),
        ] {
            assert_eq!((pacing.record(reached, Duration::ZERO), pacing.is_paused()), (change, paused));
        }
    }

    #[test]
    fn a_new_queue_becomes_fast_with_its_first_fast_delivery_and_slow_with_slow_ones() {
        let mut pacing = Pacing::new();
        assert_eq!(pacing.prefetch_count(8, 0, 0), 8);
        pacing.record(true, Duration::from_millis(20));
        assert_eq!(pacing, Pacing { mean_latency: Duration::from_millis(265), paused: false });
        assert_eq!(pacing.prefetch_count(8, 0, 0), 64);
        pacing.record(true, Duration::from_millis(665));
        assert_eq!(pacing.prefetch_count(8, 0, 0), 8);
    }
}
