//! What a ledger holds, counted by endpoint and state. Pure data.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::record::State;

/// The records of one endpoint in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateStats {
    /// The endpoint's name in the records.
    pub endpoint: String,
    /// The state of all of them.
    pub state: State,
    /// The number of records.
    pub records: u64,
    /// When the first and the last of these events were first received, in Unix milliseconds.
    pub seen: (i64, i64),
    /// The bytes of the stored heads and payloads.
    pub stored_bytes: u64,
}

/// The records of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerStats {
    states: BTreeMap<(String, &'static str), StateStats>,
}

impl LedgerStats {
    /// Adds records to those of the same endpoint and state.
    pub fn add(&mut self, more: StateStats) {
        match self.states.entry((more.endpoint.clone(), more.state.as_str())) {
            Entry::Vacant(entry) => {
                entry.insert(more);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.records += more.records;
                known.stored_bytes += more.stored_bytes;
                known.seen = (known.seen.0.min(more.seen.0), known.seen.1.max(more.seen.1));
            }
        }
    }

    /// The counts, by endpoint and state.
    pub fn states(&self) -> impl Iterator<Item = &StateStats> {
        self.states.values()
    }

    /// The number of records in these states.
    pub fn records(&self, states: &[State]) -> u64 {
        self.states().filter(|stats| states.contains(&stats.state)).map(|stats| stats.records).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_endpoint_and_state_are_added_up() {
        let of = |endpoint: &str, state, records, seen, stored_bytes| StateStats {
            endpoint: endpoint.to_owned(),
            state,
            records,
            seen,
            stored_bytes,
        };
        let mut stats = LedgerStats::default();
        stats.add(of("b", State::Dead, 1, (5, 5), 10));
        stats.add(of("a", State::Dead, 2, (7, 9), 20));
        stats.add(of("b", State::Dead, 3, (4, 4), 30));
        stats.add(of("b", State::Pending, 4, (1, 2), 0));
        let states: Vec<_> = stats.states().cloned().collect();
        let expected = [
            of("a", State::Dead, 2, (7, 9), 20),
            of("b", State::Dead, 4, (4, 5), 40),
            of("b", State::Pending, 4, (1, 2), 0),
        ];
        assert_eq!(states, expected);
        assert_eq!(stats.records(&[State::Dead, State::Pending]), 10);
    }
}
