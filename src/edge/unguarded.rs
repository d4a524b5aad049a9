//! Webhooks on a path that no `[[webhook]]` has: they pass through like any request, and nothing verifies them. The usual
//! cause is a path in the configuration that is not the one at Stripe, so it is counted and said in the log.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::clock;
use crate::metrics::Metrics;

/// How often the log says that such requests come.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// How many bytes of the path the log has.
const MAX_PATH_BYTES: usize = 200;

/// Counts and reports requests that carry a `Stripe-Signature` and pass through unverified.
#[derive(Default)]
pub(super) struct UnguardedWebhooks {
    warned: Mutex<Option<Instant>>,
}

impl UnguardedWebhooks {
    /// Counts one. At most once a minute a warning names its path.
    pub(super) fn record(&self, target: &[u8], metrics: &Metrics) {
        metrics.unguarded_webhook();
        if !self.may_warn(clock::instant()) {
            return;
        }
        // A query may hold a token.
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let path = String::from_utf8_lossy(&path[..path.len().min(MAX_PATH_BYTES)]);
        tracing::warn!(
            path = &*path,
            "a request with Stripe-Signature passed through unverified: no [[webhook]] has its path"
        );
    }

    fn may_warn(&self, now: Instant) -> bool {
        let Ok(mut warned) = self.warned.lock() else { return false };
        if warned.is_some_and(|at| now.saturating_duration_since(at) < WARNING_INTERVAL) {
            return false;
        }
        *warned = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_once_a_minute() {
        let (unguarded, start) = (UnguardedWebhooks::default(), clock::instant());
        let warns = [0, 1, 59, 60, 61, 119, 120].map(|s| unguarded.may_warn(start + Duration::from_secs(s)));
        assert_eq!(warns, [true, false, false, true, false, false, true]);
    }
}
