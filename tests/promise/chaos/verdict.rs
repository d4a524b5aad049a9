//! The verdict: every event is looked up in the ledger and in the backend's record, and what went wrong is compared
//! with the faults of its moment.

use super::episode::Episode;
use super::load::{MODES, Sent};
use super::report::Counts;
use super::world::TOKEN;
use crate::backend::{RecordedRequest, RequestLog, overlaps};
use crate::harness::{Client, Program, Request};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// What happened during a run.
pub struct Run {
    pub start: Instant,
    pub sent: Vec<Sent>,
    pub episodes: Vec<Episode>,
    /// Whether a failover may lose events that were acknowledged, if it is counted.
    pub may_lose: bool,
    pub clock_steps: Vec<Instant>,
    /// What the backend got.
    pub log: RequestLog,
    /// The state of each acknowledged event in the ledger, by id.
    pub states: BTreeMap<String, String>,
}

impl Run {
    /// Counts.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            acknowledged: self.states.len(),
            overlapping: self.log.values().map(|requests| overlaps(requests)).sum(),
            resets: self.episodes.iter().map(|episode| episode.resets).sum(),
            ..Counts::default()
        };
        let no_cause = self.episodes.iter().filter(|episode| !episode.lost_writes());
        counts.resets_without_cause = no_cause.map(|episode| episode.resets).sum();
        for (id, state) in &self.states {
            let requests = self.log.get(id).map_or(&[][..], Vec::as_slice);
            self.count_event(&mut counts, id, state, requests);
        }
        let overlapping = self.log.iter().filter(|(_, requests)| overlaps(requests) > 0);
        for (id, requests) in overlapping {
            counts.note(format!("overlapping: {id}, {}", self.times(requests)));
        }
        for sent in &self.sent {
            *if sent.is_page() { &mut counts.pages } else { &mut counts.sent } += 1;
            if !sent.accepted() {
                self.count_refusal(&mut counts, sent);
            }
        }
        counts
    }

    fn count_event(&self, counts: &mut Counts, id: &str, state: &str, requests: &[RecordedRequest]) {
        let applied: Vec<_> = requests.iter().filter(|request| request.applied()).collect();
        let Some((last, earlier)) = applied.split_last() else {
            if state == "dead" {
                counts.dead += 1;
            } else if self.may_be_lost(id) {
                return counts.lost_in_resets += 1;
            } else {
                counts.lost += 1;
            }
            return counts
                .note(format!("not delivered: {id} is {state:?} in the ledger, {}", self.times(requests)));
        };
        counts.delivered += 1;
        if !earlier.is_empty() {
            counts.delivered_again += 1;
            if !earlier.iter().all(|request| self.may_be_unrecorded(request)) {
                counts.delivered_again_without_cause += 1;
                counts.note(format!("delivered again without a cause: {id}, {}", self.times(requests)));
            }
        }
        if state != "delivered" {
            counts.unrecorded += 1;
            if !self.may_be_unrecorded(last) {
                counts.forgotten += 1;
                counts
                    .note(format!("delivered, and {state:?} in the ledger: {id}, {}", self.times(requests)));
            }
        }
    }

    fn count_refusal(&self, counts: &mut Counts, sent: &Sent) {
        let outcome = if sent.outcome().is_empty() { "connection_lost" } else { sent.outcome() };
        *counts.refused.entry(outcome.to_owned()).or_default() += 1;
        if !self.is_excused(sent) {
            counts.refused_while_healthy += 1;
            let Sent { id, kind, answer, .. } = sent;
            let (from, to) = (self.at(sent.start), self.at(sent.end));
            let requests = self.times(self.log.get(id).map_or(&[][..], Vec::as_slice));
            let earlier = self.sent.iter().filter(|other| other.id == *id && other.end <= sent.start);
            let earlier: Vec<_> = earlier.map(|s| format!("{} {:?}", self.at(s.end), s.answer)).collect();
            counts.note(format!(
                "refused while healthy: {kind} {id} from {from} to {to}: {answer:?}; before: {}; backend: {requests}",
                earlier.join(", ")
            ));
        }
    }

    /// Returns a line for each episode.
    pub fn timeline(&self) -> String {
        let line = |episode: &Episode| {
            let names: Vec<_> = episode.faults.iter().map(|fault| fault.as_str()).collect();
            let (start, end, resets) = (self.at(episode.start), self.at(episode.end), episode.resets);
            format!("{start} to {end}: {}, {resets} resets counted\n", names.join(", "))
        };
        self.episodes.iter().map(line).collect()
    }

    /// Returns the backend's requests in words.
    fn times(&self, requests: &[RecordedRequest]) -> String {
        let words = |request: &RecordedRequest| {
            let closed = request.closed.map_or_else(|| "never".to_owned(), |closed| self.at(closed));
            format!("{:?} from {} to {closed}", request.status, self.at(request.opened))
        };
        requests.iter().map(words).collect::<Vec<_>>().join(", ")
    }

    /// Returns the seconds from the start of the run.
    fn at(&self, time: Instant) -> String {
        format!("{:.3}s", time.duration_since(self.start).as_secs_f64())
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
