//! CallLimits concurrent Stripe calls; excess callers queue. Pure bookkeeping: callers pass the time, and it knows no call.
//!
//! A burst of orders must open few connections and stay below Stripe's own limits. Over HTTP/1.1 each call occupies one
//! connection, which returns to the pool shortly after the response. A call that starts before that opens another
//! connection. Eight calls and as many connections that are being returned make sixteen. Over HTTP/2 all calls
//! share one connection, so the limit rises once Stripe has used it.
//!
//! Status polls have a limit of their own, so that an order never waits for them: see [`POLLS`].
//!
//! A plain semaphore of 16 is not enough: it releases a permit before the connection is back in the pool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// The limit of orders and of calls by the program itself. Stripe takes about 0.4 s to respond: 32 calls make 80 orders a
/// second, below the 100 calls that Stripe allows (<https://docs.stripe.com/rate-limits>).
pub(super) const CALLS: CallLimits = CallLimits { http1: 8, http2: 32, wait: Duration::from_secs(30) };
/// The limit of status polls: what [`CALLS`] leaves of the calls that Stripe allows. A poll is repeated soon, so it does not
/// wait long.
pub(super) const POLLS: CallLimits = CallLimits { http1: 2, http2: 4, wait: Duration::from_secs(5) };
/// How long after its last response Stripe's HTTP/2 connection counts as closed.
const CONNECTION_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a permit is held after the response. By then the connection is back in the pool.
const RELEASE_DELAY: Duration = Duration::from_millis(2);

/// How many calls of one kind may run at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLimits {
    /// The limit over HTTP/1.1, and before the protocol is known.
    http1: usize,
    /// The limit over HTTP/2.
    http2: usize,
    /// How long a call waits for a permit.
    wait: Duration,
}

/// The limit on concurrent calls of one kind.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    limits: CallLimits,
    semaphore: Arc<Semaphore>,
    /// The time of the last HTTP/2 response. `Some` while the limit is that of HTTP/2.
    last_http2: Mutex<Option<Instant>>,
}

/// The right to make one call. It is released when dropped.
#[derive(Debug)]
pub(super) struct CallPermit(Option<OwnedSemaphorePermit>);

impl ConcurrencyLimit {
    pub(super) fn new(limits: CallLimits) -> Self {
        Self { limits, semaphore: Arc::new(Semaphore::new(limits.http1)), last_http2: Mutex::new(None) }
    }

    /// Waits for a permit. Returns `None` if none becomes free in time.
    pub(super) async fn acquire(&self, now: Instant) -> Option<CallPermit> {
        self.acquire_within(self.limits.wait, now).await
    }

    async fn acquire_within(&self, limit: Duration, now: Instant) -> Option<CallPermit> {
        self.lower_limit_if_idle(now);
        let permit = timeout(limit, self.semaphore.clone().acquire_owned()).await.ok()?.ok()?;
        Some(CallPermit(Some(permit)))
    }

    /// Raises the limit, because Stripe responded over HTTP/2.
    pub(super) fn raise_limit(&self, now: Instant) {
        let mut last_http2 = self.last_http2.lock().unwrap_or_else(PoisonError::into_inner);
        if last_http2.replace(now).is_none() {
            self.semaphore.add_permits(self.limits.http2 - self.limits.http1);
        }
    }

    /// Lowers the limit if the HTTP/2 connection may be closed: the next response tells again what Stripe speaks.
    fn lower_limit_if_idle(&self, now: Instant) {
        let mut last_http2 = self.last_http2.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle =
            last_http2.is_some_and(|last| now.saturating_duration_since(last) > CONNECTION_IDLE_TIMEOUT);
        // A permit in use means that a call is running, so a connection exists or is being opened.
        if is_idle && self.semaphore.available_permits() == self.limits.http2 {
            self.semaphore.forget_permits(self.limits.http2 - self.limits.http1);
            *last_http2 = None;
        }
    }
}

impl CallPermit {
    /// Releases the permit after [`RELEASE_DELAY`], so that the next call finds the connection in the pool.
    pub(super) fn release_later(mut self) {
        let permit = self.0.take();
        tokio::spawn(async move {
            sleep(RELEASE_DELAY).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn available(limit: &ConcurrencyLimit) -> usize {
        limit.semaphore.available_permits()
    }

    #[tokio::test]
    async fn the_limit_is_higher_while_http2_is_in_use() {
        let (limit, start) = (ConcurrencyLimit::new(CALLS), clock::instant());
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = limit.acquire(start).await.unwrap();
        assert_eq!(available(&limit), CALLS.http1 - 1);
        limit.raise_limit(start);
        limit.raise_limit(after(1));
        assert_eq!(available(&limit), CALLS.http2 - 1);
        drop(first);

        let second = limit.acquire(after(31)).await.unwrap();
        assert_eq!(available(&limit), CALLS.http2 - 1, "the idle timeout has not quite passed");
        let third = limit.acquire(after(99)).await.unwrap();
        assert_eq!(available(&limit), CALLS.http2 - 2, "a call is running");
        drop((second, third));
        let fourth = limit.acquire(after(99)).await.unwrap();
        assert_eq!(available(&limit), CALLS.http1 - 1, "no call was running");
        limit.raise_limit(after(100));
        drop(fourth);
        assert_eq!(available(&limit), CALLS.http2);
    }

    #[tokio::test]
    async fn a_permit_is_released_shortly_after_the_response_and_no_caller_waits_forever() {
        let (limit, now, soon) = (ConcurrencyLimit::new(CALLS), clock::instant(), Duration::from_millis(1));
        let mut permits = Vec::new();
        for _ in 0..CALLS.http1 {
            permits.push(limit.acquire(now).await.unwrap());
        }
        assert!(limit.acquire_within(soon, now).await.is_none());
        permits.pop().unwrap().release_later();
        assert_eq!(available(&limit), 0);
        assert!(limit.acquire(now).await.is_some());
    }
}
