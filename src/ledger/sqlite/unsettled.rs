//! The unsettled rows of `events`, held in memory so that the gauges need no scan. The writer moves a row here with each
//! transition, and reads all of them when the file is opened. It never decides a transition.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Backlog, State, usual_lease};

/// The unsettled rows by endpoint.
#[derive(Debug, Default)]
pub(super) struct UnsettledRows {
    endpoints: HashMap<Arc<str>, EndpointRows>,
}

/// The unsettled rows of one endpoint, by `seq`.
#[derive(Debug, Default)]
struct EndpointRows {
    /// With the end of each lease, in Unix milliseconds.
    running: HashMap<i64, i64>,
    /// With the time when each event was first received, in Unix milliseconds. The first is the oldest.
    pending: BTreeSet<(i64, i64)>,
    dead: HashSet<i64>,
}

impl UnsettledRows {
    /// Adds a row in this state. `due` is the end of a RUNNING row's lease. A settled row is not held.
    pub(super) fn add(&mut self, endpoint: &str, seq: i64, seen: i64, state: State, due: Option<i64>) {
        if !self.endpoints.contains_key(endpoint) {
            self.endpoints.insert(endpoint.into(), EndpointRows::default());
        }
        let Some(rows) = self.endpoints.get_mut(endpoint) else { return };
        match state {
            State::Running => drop(rows.running.insert(seq, due.unwrap_or_default())),
            State::Pending => drop(rows.pending.insert((seen, seq))),
            State::Dead => drop(rows.dead.insert(seq)),
            State::Delivered | State::Failed => {}
        }
    }

    /// Removes a row that was in this state.
    pub(super) fn remove(&mut self, endpoint: &str, seq: i64, seen: i64, state: State) {
        let Some(rows) = self.endpoints.get_mut(endpoint) else { return };
        match state {
            State::Running => drop(rows.running.remove(&seq)),
            State::Pending => drop(rows.pending.remove(&(seen, seq))),
            State::Dead => drop(rows.dead.remove(&seq)),
            State::Delivered | State::Failed => {}
        }
    }

    /// Removes a row that someone deleted by hand, whatever its state was. Slow.
    pub(super) fn forget(&mut self, endpoint: &str, seq: i64) {
        let Some(rows) = self.endpoints.get_mut(endpoint) else { return };
        rows.running.remove(&seq);
        rows.dead.remove(&seq);
        rows.pending.retain(|(_, pending)| *pending != seq);
    }

    /// Counts the rows of each endpoint that has any. `now` is in Unix milliseconds, `lease` is the usual
    /// length of a lease, and `is_stored` says whether a row has a payload.
    pub(super) fn backlogs(
        &self,
        now: i64,
        lease: Duration,
        is_stored: impl Fn(i64) -> bool,
    ) -> Vec<Backlog> {
        let mut backlogs = Vec::new();
        for (endpoint, EndpointRows { running, pending, dead }) in &self.endpoints {
            if running.is_empty() && pending.is_empty() && dead.is_empty() {
                continue;
            }
            let stored = running.keys().filter(|seq| is_stored(**seq)).count();
            let age = |(seen, _): &(i64, i64)| {
                Duration::from_millis(u64::try_from(now.saturating_sub(*seen)).unwrap_or_default())
            };
            backlogs.push(Backlog {
                endpoint: endpoint.clone(),
                running: running.len() as u64,
                pending: pending.len() as u64,
                dead: dead.len() as u64,
                queued: (pending.len() + stored) as u64,
                oldest_running: running
                    .values()
                    .min()
                    .map(|ends| usual_lease::age(lease, ends.saturating_sub(now))),
                oldest_pending: pending.first().map(age),
                last_polled_ago: None,
            });
        }
        backlogs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_endpoint_and_state() {
        let mut rows = UnsettledRows::default();
        rows.add("a", 1, 500, State::Pending, None);
        rows.add("a", 2, 300, State::Pending, None);
        rows.add("a", 3, 100, State::Running, Some(31_000));
        rows.add("a", 4, 100, State::Running, Some(31_000));
        rows.add("a", 5, 100, State::Dead, None);
        rows.add("a", 6, 100, State::Delivered, None);
        rows.add("b", 7, 100, State::Dead, None);
        rows.remove("b", 7, 100, State::Dead);
        let backlog = |rows: &UnsettledRows| {
            let [backlog] = rows.backlogs(1_000, Duration::from_secs(37), |seq| seq == 3).try_into().unwrap();
            backlog
        };
        let expected = Backlog {
            endpoint: "a".into(),
            running: 2,
            pending: 2,
            dead: 1,
            queued: 3,
            oldest_running: Some(Duration::from_secs(7)),
            oldest_pending: Some(Duration::from_millis(700)),
            last_polled_ago: None,
        };
        assert_eq!(backlog(&rows), expected);
        rows.forget("a", 2);
        rows.remove("a", 3, 100, State::Running);
        let oldest_pending = Some(Duration::from_millis(500));
        assert_eq!(backlog(&rows), Backlog { running: 1, pending: 1, queued: 1, oldest_pending, ..expected });
    }
}
