//! From an attempt's result to the ledger's record of it. Owns what a failed attempt becomes, and the retries of a
//! settlement that the ledger did not take. It never makes an attempt.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::policy::DeliveryPolicy;
use super::retry_schedule::Next;
use crate::clock;
use crate::delivery_mode::DeliveryMode;
use crate::failpoint;
use crate::ledger::{Lease, Ledger, SettleError, Settled, Settlement};
use crate::metrics::Metrics;

/// The maximum time that a response waits for its settlement. After it, recording continues in the background.
pub(super) const SETTLE_WAIT: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(5);

impl Settlement {
    /// Returns the settlement of an attempt that does not count: a stored event is due again after `wait`.
    pub(super) fn postpone(mode: DeliveryMode, wait: Duration) -> Self {
        match mode {
            DeliveryMode::Inline => Self::Failed { status: None },
            DeliveryMode::Queued | DeliveryMode::Hybrid | DeliveryMode::Redelivery => {
                Self::Retry { status: None, wait, counts: false }
            }
        }
    }

    /// Returns the names of the failpoints before and after this settlement is recorded.
    fn failpoints(self) -> (&'static str, &'static str) {
        match self {
            Self::Delivered { .. } => ("delivered_before", "delivered_after"),
            Self::Failed { .. } => ("failed_before", "failed_after"),
            Self::Retry { .. } => ("retry_before", "retry_after"),
            Self::Dead { .. } => ("dead_before", "dead_after"),
        }
    }
}

impl DeliveryPolicy {
    /// Returns the settlement of a failed attempt that counts. `attempt` is its number (1 is the first), `status` the
    /// backend's, `retry_after` what the backend asked for, `random` is from 0 to 1.
    pub(super) fn failure_settlement(
        &self,
        mode: DeliveryMode,
        attempt: u32,
        status: Option<u16>,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Settlement {
        match mode {
            DeliveryMode::Inline => Settlement::Failed { status },
            DeliveryMode::Queued | DeliveryMode::Hybrid | DeliveryMode::Redelivery => {
                match self.schedule.after(attempt, random, retry_after) {
                    Next::Wait(wait) => Settlement::Retry { status, wait, counts: true },
                    Next::GiveUp => Settlement::Dead { status },
                }
            }
        }
    }
}

/// Records settlements in the ledger. Cheap to clone.
#[derive(Clone)]
pub(super) struct SettlementRecorder {
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    background: TaskTracker,
    /// The number of 2xx responses that the ledger has not recorded yet.
    unrecorded: Arc<AtomicUsize>,
}

impl SettlementRecorder {
    /// Builds a recorder whose slow settlements continue on `background`.
    pub(super) fn new(ledger: Arc<dyn Ledger>, metrics: Arc<Metrics>, background: TaskTracker) -> Self {
        Self { ledger, metrics, background, unrecorded: Arc::default() }
    }

    /// Returns whether a 2xx response is not recorded yet. Until it is, its event must not be leased again.
    pub(super) fn has_unrecorded(&self) -> bool {
        self.unrecorded.load(Ordering::Acquire) > 0
    }

    /// Records a settlement, for [`SETTLE_WAIT`] at most; then recording continues in the background.
    pub(super) async fn record(&self, lease: Lease, settlement: Settlement) {
        let mut recording = Box::pin(self.clone().record_with_retries(lease, settlement));
        if timeout(SETTLE_WAIT, &mut recording).await.is_err() {
            self.background.spawn(recording);
        }
    }

    /// Makes a stored event due again that was leased and not tried. Tries once: if that fails, the lease expires.
    pub(super) async fn hand_back(&self, lease: Lease) {
        let settlement = Settlement::postpone(DeliveryMode::Queued, Duration::ZERO);
        failpoint::hit("hand_back_before");
        let _ = timeout(SETTLE_WAIT, self.ledger.settle(lease, settlement)).await;
        failpoint::hit("hand_back_after");
    }

    /// Retries until the ledger has recorded the settlement. Gives up a failed attempt's record when its lease has
    /// expired: the ledger then admits the event again by itself.
    async fn record_with_retries(self, mut lease: Lease, settlement: Settlement) {
        let is_delivered = matches!(settlement, Settlement::Delivered { .. });
        let (before, after) = settlement.failpoints();
        let mut lateness = Lateness { recorder: &self, is_delivered, reported: false, unrecorded: None };
        let mut wait = FIRST_RETRY;
        let mut failures = 0_u32;
        loop {
            failpoint::hit(before);
            match self.settle(lease, settlement, &mut lateness).await {
                Ok(Settled::Recorded | Settled::Superseded) => {
                    failpoint::hit(after);
                    if lateness.reported {
                        tracing::info!(failures, "delivery result recorded late");
                    }
                    return;
                }
                Err(SettleError { lease: returned, error }) => {
                    lateness.report(&returned.key().id, &error);
                    failures = failures.saturating_add(1);
                    // A 2xx stays true for ever. Another result is of no use once the event can be leased again.
                    if !is_delivered && returned.remaining(clock::instant()).is_zero() {
                        return;
                    }
                    lease = returned;
                }
            }
            sleep(wait).await;
            // No back-off for a 2xx: it has to be recorded before the event can be leased again.
            wait = if lateness.unrecorded.is_some() { FIRST_RETRY } else { (wait * 2).min(MAX_RETRY) };
        }
    }

    /// Settles, and reports a ledger that does not answer within [`SETTLE_WAIT`]. A disk that hangs returns no error.
    async fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        lateness: &mut Lateness<'_>,
    ) -> Result<Settled, SettleError> {
        let id = lease.key().id.clone();
        let mut settling = self.ledger.settle(lease, settlement);
        if let Ok(result) = timeout(SETTLE_WAIT, &mut settling).await {
            return result;
        }
        lateness.report(&id, &"the ledger has not answered yet");
        settling.await
    }
}

/// What is known about a settlement that is not recorded in time. It is logged and counted once.
struct Lateness<'r> {
    recorder: &'r SettlementRecorder,
    is_delivered: bool,
    reported: bool,
    /// Some for a 2xx, from the report on.
    unrecorded: Option<UnrecordedGuard>,
}

impl Lateness<'_> {
    fn report(&mut self, id: &str, error: &dyn fmt::Display) {
        if self.reported {
            return;
        }
        self.reported = true;
        if self.is_delivered {
            self.recorder.metrics.settle_failed();
            self.unrecorded = Some(UnrecordedGuard::new(&self.recorder.unrecorded));
        }
        tracing::error!(event.id = id, %error, "failed to record delivery result, retrying");
    }
}

/// Counts one unrecorded 2xx response until it is dropped.
struct UnrecordedGuard(Arc<AtomicUsize>);

impl UnrecordedGuard {
    fn new(unrecorded: &Arc<AtomicUsize>) -> Self {
        unrecorded.fetch_add(1, Ordering::AcqRel);
        Self(unrecorded.clone())
    }
}

impl Drop for UnrecordedGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::retry_schedule::Schedule;

    const STORED: [DeliveryMode; 3] = [DeliveryMode::Queued, DeliveryMode::Hybrid, DeliveryMode::Redelivery];

    #[test]
    fn a_failed_attempt_is_retried_by_the_schedule_and_then_dead() {
        let schedule = Schedule::new(vec![Duration::from_secs(5), Duration::from_secs(30)], 0.2);
        let mut policy = DeliveryPolicy::orphaned("w", &Metrics::new());
        policy.schedule = schedule;
        let retry =
            |seconds, status| Settlement::Retry { status, wait: Duration::from_secs(seconds), counts: true };
        let minute = Some(Duration::from_secs(60));
        for (attempt, status, retry_after, random, expected) in [
            (1, Some(500), None, 0.5, retry(5, Some(500))),
            (1, None, None, 0.0, retry(4, None)),
            (1, None, None, 1.0, retry(6, None)),
            (2, Some(503), minute, 0.5, retry(60, Some(503))),
            (3, Some(500), None, 0.5, Settlement::Dead { status: Some(500) }),
            (3, None, minute, 0.5, Settlement::Dead { status: None }),
        ] {
            for mode in STORED {
                let found = policy.failure_settlement(mode, attempt, status, retry_after, random);
                assert_eq!(found, expected, "{mode:?} {attempt}");
            }
            let inline =
                policy.failure_settlement(DeliveryMode::Inline, attempt, status, retry_after, random);
            assert_eq!(inline, Settlement::Failed { status }, "{attempt}");
        }
    }

    #[test]
    fn a_postponed_attempt_does_not_count() {
        let wait = Duration::from_millis(500);
        for mode in STORED {
            let expected = Settlement::Retry { status: None, wait, counts: false };
            assert_eq!(Settlement::postpone(mode, wait), expected, "{mode:?}");
        }
        assert_eq!(Settlement::postpone(DeliveryMode::Inline, wait), Settlement::Failed { status: None });
    }
}
