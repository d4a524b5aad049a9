//! Whether a call to Stripe is made again, and after how long: the rules of Stripe's own SDKs
//! (stripe-node 23.1, `RequestSender.ts`, `_shouldRetry`). Pure: randomness is an argument.

use std::time::Duration;

/// A call is made again so often at most.
pub(crate) const RETRIES: u32 = 2;
/// Before the first retry.
const FIRST: f64 = 0.5;
/// Before any retry. A buyer is waiting: whoever is asked to wait longer than this is told so instead.
const LONGEST: f64 = 5.0;

/// What came of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No whole answer: no connection, a time-out, an answer that broke off.
    Lost,
    /// An answer.
    Answer {
        /// Its status.
        status: u16,
        /// `Stripe-Should-Retry`: Stripe knows whether it would do any good.
        should_retry: Option<bool>,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
}

/// How long to wait before the next attempt, `made` having been made; `None`: there is none. `random` is from 0 to 1.
pub(crate) fn again(seen: Seen, made: u32, random: f64) -> Option<Duration> {
    if made > RETRIES {
        return None;
    }
    let asked = match seen {
        Seen::Lost => 0.0,
        Seen::Answer { status, should_retry, retry_after } => {
            // A plain 429 is not among them: it says that there are too many already.
            should_retry.unwrap_or(status == 409 || status >= 500).then_some(())?;
            retry_after.unwrap_or(0) as f64
        }
    };
    let backoff = (FIRST * f64::from(1 << made.saturating_sub(1))).min(LONGEST) * (0.5 + 0.5 * random);
    (asked <= LONGEST).then(|| Duration::from_secs_f64(backoff.max(asked)))
}

/// Returns the longest time that one call can take, with every retry and the delays between them.
pub(crate) fn max_call_duration(attempt_timeout: Duration) -> Duration {
    let waits: Duration = (1..=RETRIES).filter_map(|n| again(Seen::Lost, n, 1.0)).sum();
    attempt_timeout.saturating_mul(RETRIES + 1) + waits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, should_retry: Option<bool>) -> Seen {
        Seen::Answer { status, should_retry, retry_after: None }
    }

    #[test]
    fn stripes_word_decides_first_and_a_plain_429_never() {
        for (seen, retried) in [
            (Seen::Lost, true),
            (answer(409, None), true),
            (answer(500, None), true),
            (answer(503, None), true),
            (answer(400, None), false),
            (answer(401, None), false),
            (answer(402, None), false),
            (answer(404, None), false),
            (answer(429, None), false),
            (answer(200, None), false),
            (answer(429, Some(true)), true),
            (answer(400, Some(true)), true),
            (answer(500, Some(false)), false),
            (answer(409, Some(false)), false),
        ] {
            assert_eq!(again(seen, 1, 0.0).is_some(), retried, "{seen:?}");
            assert_eq!(again(seen, 2, 0.0).is_some(), retried, "{seen:?}");
            assert_eq!(again(seen, 3, 0.0), None, "{seen:?}");
        }
    }

    #[test]
    fn each_wait_is_half_to_all_of_twice_the_one_before() {
        for (made, random, millis) in [(1, 0.0, 250), (1, 1.0, 500), (2, 0.0, 500), (2, 1.0, 1000)] {
            assert_eq!(
                again(Seen::Lost, made, random),
                Some(Duration::from_millis(millis)),
                "{made} {random}"
            );
        }
    }

    #[test]
    fn a_wait_that_stripe_asks_for_is_kept_unless_no_buyer_would_wait_so_long() {
        let asked =
            |retry_after| Seen::Answer { status: 503, should_retry: None, retry_after: Some(retry_after) };
        for (seconds, expected) in [(0, Some(250)), (2, Some(2000)), (5, Some(5000)), (6, None), (3600, None)]
        {
            assert_eq!(again(asked(seconds), 1, 0.0), expected.map(Duration::from_millis), "{seconds}");
        }
    }
}
