//! The verdict: every event is looked up in the ledger and in the backend's record, and every refusal is compared with
//! the faults of its moment.

use super::faults::TOKEN;
use super::load::{MODES, Sent};
use crate::backend::{RequestLog, overlaps};
use crate::harness::{Client, Program, Request};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How long before and after a step of the clock a signature may be too old or too new.
const STEP_MARGIN: Duration = Duration::from_secs(1);
/// How many refusals the table shows in full.
const MAX_SHOWN: usize = 20;

/// What happened during a run.
pub struct Run {
    pub sent: Vec<Sent>,
    /// When the program, its ledger or its backend could not serve.
    pub outages: Vec<(Instant, Instant)>,
    pub clock_steps: Vec<Instant>,
    /// What the backend got.
    pub log: RequestLog,
    /// The state of each acknowledged event in the ledger, by id.
    pub states: BTreeMap<String, String>,
}

/// The counts of a run.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: usize,
    pub pages: usize,
    pub acknowledged: usize,
    pub delivered: usize,
    /// Applied by the backend more than once, because its 2xx was not recorded.
    pub delivered_again: usize,
    pub dead: usize,
    pub lost: usize,
    /// Delivered, and unknown to the ledger.
    pub forgotten: usize,
    pub overlapping: usize,
    /// Refused during an outage.
    pub refused: usize,
    pub refused_while_healthy: usize,
    examples: Vec<String>,
}

impl Run {
    /// Counts.
    pub fn counts(&self) -> Counts {
        let mut counts =
            Counts { overlapping: overlaps(&self.log), acknowledged: self.states.len(), ..Counts::default() };
        for (id, state) in &self.states {
            let requests = self.log.get(id).map_or(&[][..], Vec::as_slice);
            match requests.iter().filter(|request| request.applied()).count() {
                0 if state == "dead" => counts.dead += 1,
                0 => {
                    counts.lost += 1;
                    counts.examples.push(format!("lost: {id} is {state:?} in the ledger, {requests:?}"));
                }
                n => {
                    counts.delivered += 1;
                    counts.delivered_again += usize::from(n > 1);
                    if state.is_empty() {
                        counts.forgotten += 1;
                        counts.examples.push(format!("forgotten: {id}"));
                    }
                }
            }
        }
        for sent in &self.sent {
            *if sent.kind == "page" { &mut counts.pages } else { &mut counts.sent } += 1;
            if sent.accepted() || self.is_expected(sent) {
                continue;
            }
            if self.outages.iter().any(|(from, to)| sent.start <= *to && *from <= sent.end) {
                counts.refused += 1;
                continue;
            }
            counts.refused_while_healthy += 1;
            counts.examples.push(format!("refused while healthy: {sent:?}"));
        }
        counts
    }

    /// Returns whether the program has to respond so: the backend failed, another delivery is open, or the clock has
    /// just been changed.
    fn is_expected(&self, sent: &Sent) -> bool {
        match sent.outcome() {
            "in_flight" => true,
            "timestamp_too_old" | "timestamp_in_future" => self
                .clock_steps
                .iter()
                .any(|step| sent.start <= *step + STEP_MARGIN && *step <= sent.end + STEP_MARGIN),
            "backend_refused" | "backend_timeout" => self.log.get(&sent.id).is_some_and(|requests| {
                let failed = |status: Option<u16>| status.is_none_or(|status| status >= 300);
                requests.iter().any(|r| (sent.start..sent.end).contains(&r.opened) && failed(r.status))
            }),
            _ => false,
        }
    }
}

impl Counts {
    /// Returns whether the promise was kept.
    pub fn kept(&self) -> bool {
        self.lost + self.forgotten + self.overlapping + self.refused_while_healthy == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("webhooks sent", self.sent),
            ("pages read", self.pages),
            ("refused during an outage", self.refused),
            ("acknowledged", self.acknowledged),
            ("delivered", self.delivered),
            ("  more than once", self.delivered_again),
            ("dead", self.dead),
            ("lost", self.lost),
            ("forgotten", self.forgotten),
            ("overlapping", self.overlapping),
            ("refused while healthy", self.refused_while_healthy),
        ] {
            writeln!(f, "{what:28}{count:>9}")?;
        }
        for example in self.examples.iter().take(MAX_SHOWN) {
            writeln!(f, "{example}")?;
        }
        Ok(())
    }
}

/// Looks each acknowledged event up in the ledger. An event without a record has an empty state.
pub async fn look_up(program: &Program, sent: &[Sent]) -> BTreeMap<String, String> {
    let mut states = BTreeMap::new();
    let mut client = Client::connect(program.admin()).await;
    for Sent { id, kind, .. } in sent.iter().filter(|sent| MODES.contains(&sent.kind) && sent.accepted()) {
        if states.contains_key(id) {
            continue;
        }
        let request = Request::get(&format!("/api/events/{id}%3F%20%2Fwebhooks%2F{kind}"));
        let response = client.send(&request.header("Authorization", &format!("Bearer {TOKEN}"))).await;
        let state = match response.status {
            200 => response.json()["state"].as_str().expect("a state").to_owned(),
            404 => String::new(),
            _ => panic!("{id}: {}", response.text()),
        };
        states.insert(id.clone(), state);
    }
    states
}
