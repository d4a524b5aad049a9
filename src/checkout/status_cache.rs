//! What Stripe told of sessions lately. Anybody may poll a status, so concurrent polls of one session share one call, and its
//! answer is used again for a second. The memory is bounded. An error is shared by those who waited for it, and no longer.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use super::disposition::{OrderDisposition, OrderResult};
use super::recent::Recent;
use crate::clock;

/// How long an answer of Stripe is used again.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How many sessions one generation of the memory holds. Two generations are remembered.
const GENERATION: usize = 1 << 12;

/// The last answer about each session that was polled lately.
pub(super) struct StatusCache(Recent<Arc<Mutex<Option<Answer>>>>);

/// What became of the last poll of a session.
struct Answer {
    disposition: OrderDisposition,
    /// The time at which Stripe answered.
    came: Instant,
}

impl StatusCache {
    pub(super) fn new() -> Self {
        Self(Recent::with_generation(GENERATION))
    }

    /// Returns the answer about the session `id`: one that came while this poll waited, one that is fresh, or else a new
    /// one, for which `ask` is polled.
    pub(super) async fn get_or_ask(&self, id: &str, ask: impl Future<Output = OrderResult>) -> OrderResult {
        let arrived = clock::instant();
        let answer = self.0.get_or_insert(id, Arc::default(), |_| true);
        // Held while Stripe is asked: whoever polls the same session waits here for the answer.
        let mut answer = answer.lock().await;
        if let Some(known) = answer.as_ref().filter(|known| known.serves(arrived, clock::instant())) {
            return OrderResult::without_call(known.disposition.clone());
        }
        let result = ask.await;
        *answer = Some(Answer { disposition: result.disposition.clone(), came: clock::instant() });
        result
    }
}

impl Answer {
    /// Returns whether this answers a poll that arrived at this time and looks at it `now`.
    fn serves(&self, arrived: Instant, now: Instant) -> bool {
        // Whoever waited while Stripe was asked shares the answer, be it an error: a call for each of them could only make
        // the trouble worse.
        if self.came >= arrived {
            return true;
        }
        match &self.disposition {
            OrderDisposition::Status(_) | OrderDisposition::SessionNotFound => {
                now.saturating_duration_since(self.came) < MAX_AGE
            }
            OrderDisposition::Failed(_) | OrderDisposition::Created(_) | OrderDisposition::Rejected(_) => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::session::SessionStatus;
    use crate::stripe_api::ApiError;

    fn status() -> OrderDisposition {
        OrderDisposition::Status(SessionStatus { status: Some("open".into()), payment_status: None })
    }

    #[test]
    fn an_answer_serves_those_who_waited_for_it_and_for_a_second_those_who_come() {
        let came = clock::instant();
        let later = |millis| came + Duration::from_millis(millis);
        let before = came.checked_sub(Duration::from_secs(9)).unwrap();
        let failed = || OrderDisposition::Failed(ApiError::Timeout);
        for (disposition, arrived, now, serves) in [
            (status(), before, later(5), true),
            (status(), later(1), later(999), true),
            (status(), later(1), later(1000), false),
            (OrderDisposition::SessionNotFound, later(1), later(999), true),
            (OrderDisposition::SessionNotFound, later(1), later(1000), false),
            (failed(), before, later(5), true),
            (failed(), later(1), later(2), false),
        ] {
            let text = format!("{disposition:?} {arrived:?} {now:?}");
            assert_eq!(Answer { disposition, came }.serves(arrived, now), serves, "{text}");
        }
    }

    #[tokio::test]
    async fn polls_of_one_session_share_a_call_and_others_make_their_own() {
        let cache = StatusCache::new();
        let calls = std::sync::atomic::AtomicU32::new(0);
        let ask = || async {
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
            OrderResult::without_call(status())
        };
        let (a, b, c) = tokio::join!(
            cache.get_or_ask("cs_1", ask()),
            cache.get_or_ask("cs_1", ask()),
            cache.get_or_ask("cs_2", ask())
        );
        for result in [a, b, c] {
            assert!(matches!(result.disposition, OrderDisposition::Status(_)), "{result:?}");
        }
        assert_eq!(calls.into_inner(), 2);
    }
}
