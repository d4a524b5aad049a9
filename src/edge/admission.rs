//! Limits concurrent webhooks, orders, requests that pass through, and connections. When full, it evicts the one that has
//! waited longest for its client, so slow uploads and idle connections cannot starve anyone. It never evicts one that waits
//! for nothing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a request waits for the permit of an evicted one.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(500);
/// The most requests that are evicted for one, if those before are slow to leave.
const MAX_EVICTIONS: usize = 4;

/// A concurrency limit from which requests that wait for their client can be evicted.
#[derive(Debug)]
pub(super) struct AdmissionLimiter {
    permits: Arc<Semaphore>,
    waits: Mutex<Waits>,
}

/// The requests that wait for their client.
#[derive(Debug, Default)]
struct Waits {
    /// The number of the next wait.
    next: u64,
    /// Wakes the request of each wait. Waits have ascending numbers, so the first is the longest.
    wakers: BTreeMap<u64, Waker>,
}

/// A permit for one request, returned to the limiter when dropped.
#[derive(Debug)]
pub(super) struct AdmissionPermit {
    limiter: Arc<AdmissionLimiter>,
    /// The number of this request's wait, set while it waits for its client.
    wait: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl AdmissionLimiter {
    /// Creates a limiter that admits up to `max` requests at once.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(max)), waits: Mutex::default() })
    }

    /// Acquires a permit if one is free.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<AdmissionPermit> {
        self.permits.clone().try_acquire_owned().ok().map(|permit| self.permit(permit))
    }

    /// Acquires a permit, if need be that of the request that has waited longest for its client.
    ///
    /// Returns `None` if all permits belong to requests that wait for nothing, or the evicted ones are slow to leave.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<AdmissionPermit> {
        if let Some(permit) = self.try_acquire() {
            return Some(permit);
        }
        for _ in 0..MAX_EVICTIONS {
            let (_, longest) = self.waits().wakers.pop_first()?;
            longest.wake();
            if let Ok(permit) = timeout(EVICTION_TIMEOUT, self.permits.clone().acquire_owned()).await {
                return permit.ok().map(|permit| self.permit(permit));
            }
        }
        None
    }

    fn permit(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> AdmissionPermit {
        AdmissionPermit { limiter: self.clone(), wait: None, _permit: permit }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        // No code panics while it holds the lock, so a poisoned one cannot occur.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdmissionPermit {
    /// Waits until this request is evicted, as [`AdmissionPermit::poll_evicted`] does.
    pub(super) async fn evicted(&mut self) {
        poll_fn(|cx| self.poll_evicted(cx)).await;
    }

    /// Is ready once this request is evicted.
    ///
    /// The request is evictable from the first poll until [`AdmissionPermit::pin`]. Poll it only while the client is awaited.
    pub(super) fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waits = self.limiter.waits();
        match self.wait {
            Some(wait) => match waits.wakers.get_mut(&wait) {
                Some(waker) => waker.clone_from(cx.waker()),
                None => return Poll::Ready(()),
            },
            None => {
                let wait = waits.next;
                waits.next += 1;
                waits.wakers.insert(wait, cx.waker().clone());
                self.wait = Some(wait);
            }
        }
        Poll::Pending
    }

    /// Makes this request safe from eviction, because what it waited for has arrived. Returns false if it was evicted before.
    pub(super) fn pin(&mut self) -> bool {
        self.wait.take().is_none_or(|wait| self.limiter.waits().wakers.remove(&wait).is_some())
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        // A request that ended must not stay among the evictable ones.
        self.pin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;

    #[tokio::test]
    async fn a_pinned_request_is_not_evicted() {
        let limiter = AdmissionLimiter::new(1);
        let mut permit = limiter.acquire().await.unwrap();
        permit.pin();
        assert!(limiter.acquire().await.is_none());
        drop(permit);
        assert!(limiter.acquire().await.is_some());
    }

    #[tokio::test]
    async fn the_request_that_has_waited_longest_is_evicted() {
        let limiter = AdmissionLimiter::new(2);
        let (mut first, mut second) = (limiter.acquire().await.unwrap(), limiter.acquire().await.unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(first.evicted()).poll(&mut cx).is_pending());
        assert!(pin!(second.evicted()).poll(&mut cx).is_pending());
        let (third, ()) = tokio::join!(limiter.acquire(), async {
            first.evicted().await;
            drop(first);
        });
        assert!(third.is_some());
        assert!(pin!(second.evicted()).poll(&mut cx).is_pending(), "the second was not evicted");
    }

    #[tokio::test]
    async fn a_request_whose_body_arrived_is_no_longer_evictable() {
        let limiter = AdmissionLimiter::new(1);
        let mut permit = limiter.acquire().await.unwrap();
        assert!(pin!(permit.evicted()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        permit.pin();
        assert!(limiter.acquire().await.is_none());
    }

    #[tokio::test]
    async fn what_arrives_begins_a_new_wait_behind_all_others() {
        let limiter = AdmissionLimiter::new(2);
        let (mut first, mut second) = (limiter.acquire().await.unwrap(), limiter.acquire().await.unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        for permit in [&mut first, &mut second] {
            assert!(permit.poll_evicted(&mut cx).is_pending());
        }
        assert!(first.pin());
        assert!(first.poll_evicted(&mut cx).is_pending());
        let (third, evicted) = tokio::join!(limiter.acquire(), async {
            second.evicted().await;
            let pinned = second.pin();
            drop(second);
            !pinned
        });
        assert!(third.is_some() && evicted, "the second was evicted");
        assert!(first.poll_evicted(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn the_next_one_is_evicted_if_the_first_is_slow_to_leave() {
        let limiter = AdmissionLimiter::new(2);
        let (mut slow, mut next) = (limiter.acquire().await.unwrap(), limiter.acquire().await.unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        for permit in [&mut slow, &mut next] {
            assert!(permit.poll_evicted(&mut cx).is_pending());
        }
        let (third, ()) = tokio::join!(limiter.acquire(), async {
            next.evicted().await;
            drop(next);
        });
        assert!(third.is_some() && slow.poll_evicted(&mut cx).is_ready());
    }
}
