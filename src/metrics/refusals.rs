//! The counter of connections and requests that are refused because a limit of `[server]` is reached.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::families;

/// The limit that refused a client: the label `reason` of `connections_refused_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// All of `max_connections` are open.
    MaxConnections,
    /// All of `max_passthrough` requests pass through.
    MaxPassthrough,
}

impl RefusalReason {
    /// All reasons, in the order of the enum.
    pub const ALL: [Self; 2] = [Self::MaxConnections, Self::MaxPassthrough];

    /// Returns the label's value, which is the key of the limit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::MaxPassthrough => "max_passthrough",
        }
    }
}

/// One counter for each [`RefusalReason`], in the order of the enum.
pub(super) struct RefusalCounters([IntCounter; RefusalReason::ALL.len()]);

impl RefusalCounters {
    /// Registers the family and creates its series, so that they count from 0.
    pub(super) fn new(registry: &Registry) -> Self {
        let opts = Opts::new(
            "countersign_connections_refused_total",
            "Connections and requests that got 503, or were closed, because a limit of [server] is reached.",
        );
        let counters = families::register(registry, IntCounterVec::new(opts, &["reason"]));
        Self(RefusalReason::ALL.map(|reason| counters.with_label_values(&[reason.as_str()])))
    }

    /// Counts one.
    pub(super) fn record(&self, reason: RefusalReason) {
        self.0[reason as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reasons_are_in_the_order_of_the_enum() {
        assert!(RefusalReason::ALL.iter().enumerate().all(|(i, reason)| *reason as usize == i));
    }
}
