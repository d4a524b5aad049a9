//! Limits concurrent webhooks, and concurrent orders. When full, it evicts the request that has waited longest for its body,
//! so slow uploads cannot starve Stripe. It never evicts a request whose body has arrived.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a request waits for the permit of an evicted one.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(500);

/// A concurrency limit from which requests that wait for their body can be evicted.
#[derive(Debug)]
pub(super) struct AdmissionLimiter {
    permits: Arc<Semaphore>,
    /// One entry for each request that waits for its body, the oldest first.
    evictable: Mutex<VecDeque<Arc<Notify>>>,
}

/// A permit for one request, returned to the limiter when dropped.
#[derive(Debug)]
pub(super) struct AdmissionPermit {
    limiter: Arc<AdmissionLimiter>,
    /// This request's entry in the limiter's `evictable`, set while it waits for its body.
    eviction: Option<Arc<Notify>>,
    _permit: OwnedSemaphorePermit,
}

impl AdmissionLimiter {
    /// Creates a limiter that admits up to `max` requests at once.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(max)), evictable: Mutex::default() })
    }

    /// Acquires a permit, if need be that of the request that has waited longest for its body.
    ///
    /// Returns `None` if all permits belong to requests whose bodies have arrived, or the evicted one is slow to leave.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<AdmissionPermit> {
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let oldest = self.evictable().pop_front()?;
                oldest.notify_one();
                timeout(EVICTION_TIMEOUT, self.permits.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        Some(AdmissionPermit { limiter: self.clone(), eviction: None, _permit: permit })
    }

    fn evictable(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        // No code panics while it holds the lock, so a poisoned one cannot occur.
        self.evictable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdmissionPermit {
    /// Waits until this request is evicted.
    ///
    /// The request is evictable from the first poll until [`AdmissionPermit::pin`]. Poll it only while the body arrives.
    pub(super) async fn evicted(&mut self) {
        let notify = self.eviction.get_or_insert_with(|| {
            let notify = Arc::new(Notify::new());
            self.limiter.evictable().push_back(notify.clone());
            notify
        });
        notify.notified().await;
    }

    /// Makes this request safe from eviction until it ends, because its body has arrived.
    pub(super) fn pin(&mut self) {
        if let Some(own) = self.eviction.take() {
            self.limiter.evictable().retain(|other| !Arc::ptr_eq(other, &own));
        }
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        // A request that ended must not stay in the queue of evictable ones.
        self.pin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

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
}
