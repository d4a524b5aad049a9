//! The table of a run: what was counted, and examples of what broke the promise.

use std::collections::BTreeMap;
use std::fmt;

/// How many examples the table shows.
const MAX_SHOWN: usize = 20;

/// The counts of a run.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: usize,
    pub pages: usize,
    /// Refused requests by outcome, whatever the cause.
    pub refused: BTreeMap<String, usize>,
    pub acknowledged: usize,
    pub delivered: usize,
    /// Applied by the backend more than once.
    pub delivered_again: usize,
    /// Delivered, and not so in the ledger.
    pub unrecorded: usize,
    /// Resets of the ledger that the program counted.
    pub resets: u64,
    /// Acknowledged, and lost in a reset that was counted.
    pub lost_in_resets: usize,
    /// Given up, although the backend accepts nearly everything.
    pub dead: usize,
    pub lost: usize,
    /// Unrecorded without a cause.
    pub forgotten: usize,
    pub delivered_again_without_cause: usize,
    pub resets_without_cause: u64,
    pub overlapping: usize,
    pub refused_while_healthy: usize,
    pub examples: Vec<String>,
}

impl Counts {
    /// Keeps an example of what broke the promise.
    pub fn note(&mut self, example: String) {
        self.examples.push(example);
    }

    /// Returns whether the promise was kept.
    pub fn kept(&self) -> bool {
        let events = self.dead + self.lost + self.forgotten + self.delivered_again_without_cause;
        events + self.overlapping + self.refused_while_healthy == 0 && self.resets_without_cause == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resets = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let refused = self.refused.iter().map(|(outcome, count)| (format!("  {outcome}"), *count));
        let rows = [("webhooks sent", self.sent), ("pages read", self.pages)].into_iter();
        let rows = rows.chain([(
            "refused for a cause",
            self.refused.values().sum::<usize>() - self.refused_while_healthy,
        )]);
        let outcomes = [
            ("acknowledged", self.acknowledged),
            ("delivered", self.delivered),
            ("  more than once", self.delivered_again),
            ("  unrecorded", self.unrecorded),
            ("resets of the ledger", resets(self.resets)),
            ("  lost in them", self.lost_in_resets),
            ("dead", self.dead),
            ("lost", self.lost),
            ("forgotten", self.forgotten),
            ("delivered again, no cause", self.delivered_again_without_cause),
            ("resets, no cause", resets(self.resets_without_cause)),
            ("overlapping", self.overlapping),
            ("refused while healthy", self.refused_while_healthy),
        ];
        let named = |(what, count): (&str, usize)| (what.to_owned(), count);
        for (what, count) in rows.map(named).chain(refused).chain(outcomes.map(named)) {
            writeln!(f, "{what:28}{count:>9}")?;
        }
        for example in self.examples.iter().take(MAX_SHOWN) {
            writeln!(f, "{example}")?;
        }
        Ok(())
    }
}
