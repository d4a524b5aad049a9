//! Retries of calls to Stripe's API: whether a call is repeated, and after what delay. The rules are those of Stripe's own
//! SDKs (stripe-node 23.1, `RequestSender.ts`, `_shouldRetry`). It never sleeps; randomness is an argument.

use std::time::Duration;

/// The maximum number of retries after the first attempt.
pub(crate) const MAX_RETRIES: u32 = 2;
/// The longest delay before the first retry, in seconds. It doubles with each retry.
const INITIAL_DELAY: f64 = 0.5;
/// The longest delay before any retry, in seconds. A buyer is waiting: a longer `Retry-After` ends the call instead.
const MAX_DELAY: f64 = 5.0;

/// The outcome of one attempt, as far as it decides about a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptOutcome {
    /// No complete response arrived: the connection failed, timed out, or closed early.
    NoResponse,
    /// Stripe, or an intermediary, responded.
    Response {
        /// The HTTP status.
        status: u16,
        /// The value of `Stripe-Should-Retry`, which overrides the status.
        should_retry: Option<bool>,
        /// The value of `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
}

/// Returns how long to wait before the next attempt, or `None` if there is no next attempt. `attempts` counts those
/// already made; `random` is between 0 and 1.
pub(crate) fn retry_delay(outcome: AttemptOutcome, attempts: u32, random: f64) -> Option<Duration> {
    if attempts > MAX_RETRIES {
        return None;
    }
    let requested = match outcome {
        AttemptOutcome::NoResponse => 0.0,
        AttemptOutcome::Response { status, should_retry, retry_after } => {
            // A plain 429 is not retried: the account is over its limit, and a retry would add to it.
            should_retry.unwrap_or(status == 409 || status >= 500).then_some(())?;
            retry_after.unwrap_or(0) as f64
        }
    };
    // Jitter of up to half the delay spreads clients that failed together.
    let backoff =
        (INITIAL_DELAY * f64::from(1 << attempts.saturating_sub(1))).min(MAX_DELAY) * (0.5 + 0.5 * random);
    (requested <= MAX_DELAY).then(|| Duration::from_secs_f64(backoff.max(requested)))
}

/// Returns the longest time that one call can take, including its retries and their delays. `attempt_timeout` bounds each
/// attempt. A longer `Retry-After` than the backoff is not included.
pub(crate) fn max_call_duration(attempt_timeout: Duration) -> Duration {
    let delays: Duration =
        (1..=MAX_RETRIES).filter_map(|attempts| retry_delay(AttemptOutcome::NoResponse, attempts, 1.0)).sum();
    attempt_timeout.saturating_mul(MAX_RETRIES + 1) + delays
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, should_retry: Option<bool>) -> AttemptOutcome {
        AttemptOutcome::Response { status, should_retry, retry_after: None }
    }

    #[test]
    fn stripe_should_retry_overrides_the_status_and_a_plain_429_is_not_retried() {
        for (outcome, retried) in [
            (AttemptOutcome::NoResponse, true),
            (response(409, None), true),
            (response(500, None), true),
            (response(503, None), true),
            (response(400, None), false),
            (response(401, None), false),
            (response(402, None), false),
            (response(404, None), false),
            (response(429, None), false),
            (response(200, None), false),
            (response(429, Some(true)), true),
            (response(400, Some(true)), true),
            (response(500, Some(false)), false),
            (response(409, Some(false)), false),
        ] {
            assert_eq!(retry_delay(outcome, 1, 0.0).is_some(), retried, "{outcome:?}");
            assert_eq!(retry_delay(outcome, 2, 0.0).is_some(), retried, "{outcome:?}");
            assert_eq!(retry_delay(outcome, 3, 0.0), None, "{outcome:?}");
        }
    }

    #[test]
    fn each_delay_is_between_half_and_all_of_a_backoff_that_doubles() {
        for (attempts, random, millis) in [(1, 0.0, 250), (1, 1.0, 500), (2, 0.0, 500), (2, 1.0, 1000)] {
            assert_eq!(
                retry_delay(AttemptOutcome::NoResponse, attempts, random),
                Some(Duration::from_millis(millis)),
                "{attempts} {random}"
            );
        }
    }

    #[test]
    fn retry_after_is_respected_and_ends_the_call_above_the_maximum_delay() {
        let requested = |retry_after| AttemptOutcome::Response {
            status: 503,
            should_retry: None,
            retry_after: Some(retry_after),
        };
        for (seconds, expected) in [(0, Some(250)), (2, Some(2000)), (5, Some(5000)), (6, None), (3600, None)]
        {
            assert_eq!(
                retry_delay(requested(seconds), 1, 0.0),
                expected.map(Duration::from_millis),
                "{seconds}"
            );
        }
    }

    #[test]
    fn the_longest_call_is_three_attempts_and_two_delays() {
        assert_eq!(max_call_duration(Duration::from_secs(10)), Duration::from_millis(31_500));
    }
}
