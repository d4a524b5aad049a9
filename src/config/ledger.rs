//! `[ledger]`: what remembers which events were seen and applied.

use std::path::PathBuf;
use std::time::Duration;

/// Where the ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerUrl {
    /// `none`: no ledger, no dedup.
    None,
    /// `sqlite:PATH`, relative to the working directory.
    Sqlite(PathBuf),
}

/// What a webhook gets while the ledger is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOutage {
    /// 503, nothing delivered (default).
    Refuse,
    /// Delivered without dedup, and counted.
    Deliver,
}

/// `[ledger]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    /// Where it is. Default `sqlite:data/ledger.db`.
    pub url: LedgerUrl,
    /// How long settled events are remembered; Stripe resends for 30 days. Default 35 d.
    pub retention: Duration,
    /// Default `refuse`.
    pub on_outage: OnOutage,
}
