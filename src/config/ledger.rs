//! `[ledger]`: what remembers which events were seen and applied.

use super::section::Section;
use super::units;
use std::fmt;
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

impl Ledger {
    pub(super) fn read(section: &mut Section) -> Option<Ledger> {
        let url = section.text("url", "{$LEDGER_URL:sqlite:data/ledger.db}", units::ledger_url);
        let retention = section.text("retention", "35d", units::retention);
        let on_outage = section.text("on_outage", "refuse", |text| {
            units::word(text, &[("refuse", OnOutage::Refuse), ("deliver", OnOutage::Deliver)])
        });
        Some(Ledger { url: url?, retention: retention?, on_outage: on_outage? })
    }
}

/// As it is written in the file.
impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerUrl::None => f.write_str("none"),
            LedgerUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}
