//! Causes: which refusal, second delivery or missing record is explained by what happened at that moment. What no
//! cause explains breaks the promise.

use super::episode::Episode;
use super::fault::Part;
use super::load::Sent;
use super::verdict::Run;
use super::world::LEASE;
use crate::backend::RecordedRequest;
use std::time::Duration;
use tokio::time::Instant;

/// How long before and after a step of the clock a signature may be too old or too new.
const STEP_MARGIN: Duration = Duration::from_secs(1);
/// How long the backend's response may be on its way and its record in the making, while network and ledger serve.
const RECORD_TIME: Duration = Duration::from_secs(3);
/// How long after a wrong clock an event may be held.
const CLOCK_RECOVERY: Duration = Duration::from_secs(15);

impl Run {
    /// Returns whether the program had to refuse this request, because of a fault or of the backend's own response.
    pub fn is_excused(&self, sent: &Sent) -> bool {
        let during = |part| self.hit(part, sent.start, sent.end);
        let Ok((_, outcome)) = &sent.answer else {
            // Only a response that streams can break off because of the backend.
            return during(Part::Program) || sent.is_page() && during(Part::Network);
        };
        match outcome.as_str() {
            "backend_refused" => self.backend_failed(sent),
            "backend_timeout" => self.backend_failed(sent) || during(Part::Network),
            "backend_unreachable" | "backend_invalid" => during(Part::Network),
            "in_flight" => self.is_held(sent),
            "ledger_unavailable" => during(Part::Ledger),
            "timestamp_too_old" | "timestamp_in_future" => self.clock_stepped(sent),
            _ => false,
        }
    }

    /// Returns whether the ledger may lack the backend's 2xx to this request: the response was lost on its way, the
    /// program was killed before it recorded it, or a failover lost the record.
    pub fn may_be_unrecorded(&self, request: &RecordedRequest) -> bool {
        let closed = request.closed.expect("it was applied");
        let recorded = self.later_end(closed + RECORD_TIME, |episode| {
            episode.hit(Part::Ledger, request.opened, closed + RECORD_TIME)
        });
        self.hit(Part::Network, request.opened, closed + RECORD_TIME)
            || self.hit(Part::Program, request.opened, recorded)
            || self.was_reset(request.opened, closed + RECORD_TIME)
    }

    /// Returns whether a failover may have lost this event although it was acknowledged.
    pub fn may_be_lost(&self, id: &str) -> bool {
        let mut acknowledged = self.sent.iter().filter(|sent| sent.id == id && sent.accepted());
        self.may_lose && acknowledged.any(|sent| self.was_reset(sent.start, sent.end))
    }

    /// Returns whether the ledger lost writes at some moment of this time, and the program counted it. If the program
    /// was killed meanwhile, nobody could.
    fn was_reset(&self, from: Instant, to: Instant) -> bool {
        let counted = |episode: &Episode| episode.resets > 0 || episode.has(Part::Program);
        self.episodes.iter().any(|e| e.lost_writes() && e.hit(Part::Ledger, from, to) && counted(e))
    }

    fn hit(&self, part: Part, from: Instant, to: Instant) -> bool {
        self.episodes.iter().any(|episode| episode.hit(part, from, to))
    }

    /// Returns the end of the last of these episodes, if it is later than `than`.
    fn later_end(&self, than: Instant, of: impl Fn(&Episode) -> bool) -> Instant {
        self.episodes.iter().filter(|episode| of(episode)).map(|episode| episode.end).fold(than, Instant::max)
    }

    /// Returns whether the backend failed a request for this event meanwhile.
    fn backend_failed(&self, sent: &Sent) -> bool {
        let failed = |status: Option<u16>| status.is_none_or(|status| status >= 300);
        self.log.get(&sent.id).is_some_and(|requests| {
            requests.iter().any(|r| (sent.start..sent.end).contains(&r.opened) && failed(r.status))
        })
    }

    fn clock_stepped(&self, sent: &Sent) -> bool {
        let near = |step: &Instant| sent.start <= *step + STEP_MARGIN && *step <= sent.end + STEP_MARGIN;
        self.clock_steps.iter().any(near)
    }

    /// Returns whether an earlier request for this event left it in flight, at most for its lease.
    fn is_held(&self, sent: &Sent) -> bool {
        let of_event = self.sent.iter().filter(|other| other.id == sent.id && other.end <= sent.start);
        let Some(holder) = of_event.filter(|other| other.outcome() != "in_flight").max_by_key(|s| s.end)
        else {
            return false;
        };
        // A kill can come after the response to a failed attempt and before its record.
        let cut = holder.answer.is_err()
            || holder.outcome() == "ledger_unavailable"
            || self.hit(Part::Ledger, holder.start, holder.end)
            || self.hit(Part::Program, holder.start, holder.end + RECORD_TIME);
        let lease = if cut { LEASE } else { Duration::ZERO };
        let ledger_back = self.later_end(holder.end, |episode| {
            episode.hit(Part::Ledger, holder.start, holder.end + RECORD_TIME)
        });
        let clock_right =
            self.later_end(holder.end, |episode| episode.hit(Part::Clock, holder.start, holder.end + LEASE));
        let limit = ledger_back + lease + RECORD_TIME;
        let clock_limit = if clock_right > holder.end { clock_right + CLOCK_RECOVERY } else { holder.end };
        sent.start <= limit.max(clock_limit)
    }
}

impl Episode {
    /// Returns whether the ledger may have lost what it acknowledged.
    pub fn lost_writes(&self) -> bool {
        self.faults.iter().any(|fault| fault.loses_writes())
    }
}
