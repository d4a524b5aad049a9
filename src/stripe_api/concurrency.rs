//! How many calls talk to Stripe at once, so that a burst of orders opens few connections and does not run into Stripe's
//! own limits; whoever finds every lane taken waits for his turn. It knows no call; the time is an argument.
//!
//! Over HTTP/1.1 each call has a connection to itself, and a connection is back in the pool a moment after its answer:
//! [`NARROW`] lanes and as many connections on their way back are the sixteen that a burst opens at most. Over HTTP/2 all
//! share one, so there are [`WIDE`] lanes once Stripe has spoken it, until nothing has been heard for so long that the
//! connection may be gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Lanes over HTTP/1.1, and before anything is known.
const NARROW: usize = 8;
/// Lanes over HTTP/2. An answer takes Stripe some 0.4 s: that is 80 orders a second, of the 100 calls that it allows
/// (<https://docs.stripe.com/rate-limits>).
const WIDE: usize = 32;
/// How long Stripe may be silent before its connection counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a call may wait for a lane.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a lane stays taken after its answer: by then its connection is back in the pool.
const CLEARING: Duration = Duration::from_millis(2);

/// The lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    free: Arc<Semaphore>,
    /// When HTTP/2 was spoken last, while there are [`WIDE`] lanes.
    wide: Mutex<Option<Instant>>,
}

/// A lane, given back when dropped.
#[derive(Debug)]
pub(super) struct Lane(Option<OwnedSemaphorePermit>);

impl Lanes {
    pub(super) fn new() -> Lanes {
        Lanes { free: Arc::new(Semaphore::new(NARROW)), wide: Mutex::new(None) }
    }

    /// A lane, once one is free; `None` if that takes too long.
    pub(super) async fn take(&self, now: Instant) -> Option<Lane> {
        self.take_within(PATIENCE, now).await
    }

    async fn take_within(&self, patience: Duration, now: Instant) -> Option<Lane> {
        self.forget(now);
        let permit = timeout(patience, self.free.clone().acquire_owned()).await.ok()?.ok()?;
        Some(Lane(Some(permit)))
    }

    /// Stripe has answered over HTTP/2.
    pub(super) fn widen(&self, now: Instant) {
        let mut wide = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        if wide.replace(now).is_none() {
            self.free.add_permits(WIDE - NARROW);
        }
    }

    /// After a long silence whoever comes first finds out anew what Stripe speaks.
    fn forget(&self, now: Instant) {
        let mut wide = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = wide.is_some_and(|last| now.saturating_duration_since(last) > SILENCE);
        // Where a lane is taken, something is under way, and there is a connection or will be one.
        if silent && self.free.available_permits() == WIDE {
            self.free.forget_permits(WIDE - NARROW);
            *wide = None;
        }
    }
}

impl Lane {
    /// Gives it back when its connection can have been put away.
    pub(super) fn clear(mut self) {
        let permit = self.0.take();
        tokio::spawn(async move {
            sleep(CLEARING).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn free(lanes: &Lanes) -> usize {
        lanes.free.available_permits()
    }

    #[tokio::test]
    async fn there_are_more_lanes_while_http2_is_spoken() {
        let (lanes, start) = (Lanes::new(), clock::instant());
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = lanes.take(start).await.unwrap();
        assert_eq!(free(&lanes), NARROW - 1);
        lanes.widen(start);
        lanes.widen(after(1));
        assert_eq!(free(&lanes), WIDE - 1);
        drop(first);

        let second = lanes.take(after(31)).await.unwrap();
        assert_eq!(free(&lanes), WIDE - 1, "a second is missing to the silence");
        let third = lanes.take(after(99)).await.unwrap();
        assert_eq!(free(&lanes), WIDE - 2, "something is under way");
        drop((second, third));
        let fourth = lanes.take(after(99)).await.unwrap();
        assert_eq!(free(&lanes), NARROW - 1, "all was silent");
        lanes.widen(after(100));
        drop(fourth);
        assert_eq!(free(&lanes), WIDE);
    }

    #[tokio::test]
    async fn a_lane_is_free_again_a_moment_after_its_answer_and_nobody_waits_for_ever() {
        let (lanes, now, soon) = (Lanes::new(), clock::instant(), Duration::from_millis(1));
        let mut taken = Vec::new();
        for _ in 0..NARROW {
            taken.push(lanes.take(now).await.unwrap());
        }
        assert!(lanes.take_within(soon, now).await.is_none());
        taken.pop().unwrap().clear();
        assert_eq!(free(&lanes), 0);
        assert!(lanes.take(now).await.is_some());
    }
}
