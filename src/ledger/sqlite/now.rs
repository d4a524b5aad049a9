//! The time of a transaction. Pure data.

use std::time::Instant;

/// The time of a transaction, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Unix milliseconds, for the times in the file.
    pub(super) unix: i64,
    /// The monotonic clock, for the leases of this process.
    pub(super) instant: Instant,
}
