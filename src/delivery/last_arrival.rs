//! What is remembered of an endpoint's last webhook: an import's head is made of it where the configuration has no `url`. The
//! ledger keeps it over restarts. Comparing a webhook with it allocates nothing. It builds no head and writes no ledger.

use arc_swap::ArcSwapOption;
use std::str;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::RequestHeadBuilder;
use crate::ledger::{Ledger, LedgerError};

/// The headers that are remembered, each line as it went to the backend.
const REMEMBERED: [&str; 4] = ["Host", "X-Forwarded-Proto", "X-Forwarded-Host", "User-Agent"];

/// The shortest time between two writes of one endpoint's arrival to the ledger.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// The longest text that is remembered, in bytes. Stripe's requests have a few hundred.
const MAX_LENGTH: usize = 8 * 1024;

/// The part of a webhook's head that is remembered: its request line, unless the path varies, and the lines of
/// `REMEMBERED`, each with its CRLF.
#[derive(Debug)]
pub struct ArrivalHead {
    text: Box<str>,
    /// Whether the ledger has this text.
    is_saved: AtomicBool,
}

impl ArrivalHead {
    /// Reads the text that a ledger has remembered. Returns `None` if it cannot be part of a head.
    fn from_ledger(text: String) -> Option<Self> {
        let is_line = |line: &str| line.len() > 2 && line.ends_with("\r\n") && line.contains([':', ' ']);
        let is_head = !text.is_empty() && text.split_inclusive('\n').all(is_line);
        is_head.then(|| Self { text: text.into(), is_saved: AtomicBool::new(true) })
    }

    /// Copies what is remembered of a head. Returns `None` if it is no text or too long: Stripe sends no such request.
    fn from_head(head: &RequestHeadBuilder, with_target: bool) -> Option<Self> {
        let text = remembered_lines(head.as_bytes(), with_target).collect::<Vec<_>>().concat();
        let text = String::from_utf8(text).ok().filter(|text| text.len() <= MAX_LENGTH)?;
        Some(Self { text: text.into(), is_saved: AtomicBool::new(false) })
    }

    fn is_of(&self, head: &RequestHeadBuilder, with_target: bool) -> bool {
        let mut rest = self.text.as_bytes();
        remembered_lines(head.as_bytes(), with_target)
            .all(|line| rest.strip_prefix(line).map(|left| rest = left).is_some())
            && rest.is_empty()
    }

    /// Returns the text that the ledger remembers.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Records that the ledger has the text.
    pub fn mark_saved(&self) {
        self.is_saved.store(true, Ordering::Release);
    }

    /// Returns the path and the raw query, blank if there is none. `None` if the endpoint's path varies.
    pub fn target(&self) -> Option<(&str, &str)> {
        let target = self.text.lines().next()?.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?;
        Some(target.split_once('?').unwrap_or((target, "")))
    }

    /// Returns the header lines, each with its CRLF.
    pub(super) fn header_lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.text.split_inclusive('\n').map(str::as_bytes);
        lines.skip_while(|line| line.starts_with(b"POST "))
    }
}

/// Returns the lines of a head that are remembered, in their order.
fn remembered_lines(head: &[u8], with_target: bool) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let mut lines = memchr::memchr_iter(b'\n', head).map(move |end| {
        let line = &head[start..=end];
        start = end + 1;
        line
    });
    let request_line = lines.next();
    request_line.filter(|_| with_target).into_iter().chain(lines.filter(|line| is_remembered(line)))
}

fn is_remembered(line: &[u8]) -> bool {
    REMEMBERED.iter().any(|name| {
        line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    })
}

/// The last webhook of one endpoint. A reload keeps it.
#[derive(Debug, Default)]
pub struct LastArrival {
    /// The last one that this process has seen.
    latest: ArcSwapOption<ArrivalHead>,
    /// When the ledger was last asked to remember one.
    last_write: Mutex<Option<Instant>>,
}

impl LastArrival {
    /// Notes a verified webhook, by its head for the backend. `with_target` says whether the request line is remembered.
    /// Returns what the caller has to write to the ledger now: nothing if the ledger has it, or if the last write is less
    /// than `WRITE_INTERVAL` ago.
    pub fn note(
        &self,
        head: &RequestHeadBuilder,
        with_target: bool,
        now: Instant,
    ) -> Option<Arc<ArrivalHead>> {
        let known = self.latest.load();
        let known = known.as_ref().filter(|known| known.is_of(head, with_target));
        if known.is_some_and(|known| known.is_saved.load(Ordering::Acquire)) {
            return None;
        }
        let arrival = match known {
            Some(known) => known.clone(),
            None => {
                let arrival = Arc::new(ArrivalHead::from_head(head, with_target)?);
                self.latest.store(Some(arrival.clone()));
                arrival
            }
        };
        let mut last_write = self.last_write.lock().unwrap_or_else(PoisonError::into_inner);
        if last_write.is_some_and(|at| now.duration_since(at) < WRITE_INTERVAL) {
            return None;
        }
        *last_write = Some(now);
        Some(arrival)
    }

    /// Returns the last webhook of the endpoint of this name: that of this process if the ledger does not have it yet, else
    /// that which the ledger remembers. It may have come to another process.
    ///
    /// # Errors
    /// The ledger is unavailable.
    pub async fn get(
        &self,
        ledger: &dyn Ledger,
        endpoint: &str,
    ) -> Result<Option<Arc<ArrivalHead>>, LedgerError> {
        let latest = self.latest.load_full();
        if latest.as_ref().is_some_and(|latest| !latest.is_saved.load(Ordering::Acquire)) {
            return Ok(latest);
        }
        let remembered = ledger.last_arrival(endpoint).await?;
        Ok(remembered.and_then(ArrivalHead::from_ledger).map(Arc::new).or(latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, lines: &str) -> RequestHeadBuilder {
        let mut head = RequestHeadBuilder::post(target.as_bytes(), 0);
        head.add_line(lines.as_bytes());
        head
    }

    const LINES: &str = "hOST: shop.example\r\nContent-Type: a\r\nUser-Agent: Stripe/1.0\r\nHosts: x\r\n\
        X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n";

    const REMEMBERED_LINES: &str = "hOST: shop.example\r\nUser-Agent: Stripe/1.0\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: shop.example\r\n";

    #[test]
    fn target_host_scheme_and_user_agent_are_remembered_as_they_came() {
        let arrival = ArrivalHead::from_head(&head("/w?v=2", LINES), true).unwrap();
        assert_eq!(arrival.as_str(), format!("POST /w?v=2 HTTP/1.1\r\n{REMEMBERED_LINES}"));
        assert_eq!(arrival.target(), Some(("/w", "v=2")));
        assert_eq!(arrival.header_lines().collect::<Vec<_>>().concat(), REMEMBERED_LINES.as_bytes());
        let varying = ArrivalHead::from_head(&head("/w?v=2", LINES), false).unwrap();
        assert_eq!((varying.as_str(), varying.target()), (REMEMBERED_LINES, None));
        assert!(
            ArrivalHead::from_head(&head("/w", &format!("User-Agent: {}\r\n", "x".repeat(9000))), true)
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_part_of_a_head_is_not_read_from_the_ledger() {
        for text in ["", "Host: a", "Host: a\r\n\r\n", "Host: a\n", "nothing\r\n"] {
            assert!(ArrivalHead::from_ledger(text.to_owned()).is_none(), "{text:?}");
        }
        assert!(ArrivalHead::from_ledger(REMEMBERED_LINES.to_owned()).is_some());
    }

    #[test]
    fn a_change_is_written_once_and_at_most_once_a_minute() {
        let (last, start) = (LastArrival::default(), crate::clock::instant());
        let other = LINES.replace("shop", "other");
        let note = |lines: &str, after_s| {
            let arrival = last.note(&head("/w", lines), true, start + Duration::from_secs(after_s));
            arrival.inspect(|arrival| arrival.mark_saved()).is_some()
        };
        assert!(note(LINES, 0));
        assert!(!note(LINES, 61), "the ledger has it");
        assert!(note(&other, 61));
        assert!(!note(LINES, 100), "the last write is less than a minute ago");
        assert!(note(LINES, 121));
    }

    #[test]
    fn a_write_that_failed_is_tried_again_after_a_minute() {
        let (last, start) = (LastArrival::default(), crate::clock::instant());
        let note =
            |after_s| last.note(&head("/w", LINES), true, start + Duration::from_secs(after_s)).is_some();
        assert_eq!([note(0), note(59), note(60), note(61)], [true, false, true, false]);
    }
}
