//! The transition `settle`: how a delivery ended. Builds the commands; the scripts decide whether a settlement counts.

use std::time::Duration;

use super::RedisLedger;
use super::command::{evalsha, format_status, format_token, millis};
use super::record;
use super::reply::{self, parse_reply};
use super::settlement_batch::PendingSettlement;
use crate::ledger::{Lease, LedgerError, Settled};

impl RedisLedger {
    /// Records the end of an inline attempt, or a 2xx, in the next batch.
    pub(super) async fn settle_batched(
        &self,
        lease: &Lease,
        state: &'static str,
        status: Option<u16>,
    ) -> Result<Settled, LedgerError> {
        let settlement = PendingSettlement {
            record: self.keys.record(lease.key()),
            token: format_token(lease.token),
            state,
            status: format_status(status),
            attempt: lease.attempt,
            metadata: record::metadata(&lease.arrival),
        };
        self.batcher.settle(settlement).await
    }

    /// Records a failed attempt at a queued event.
    pub(super) async fn reschedule(
        &self,
        lease: &Lease,
        state: &'static str,
        status: Option<u16>,
        wait: Duration,
        counts: bool,
    ) -> Result<Settled, LedgerError> {
        let keys = self.keys.event_keys(lease.key());
        let mut command = evalsha(&self.scripts.reschedule, &keys.each_ref().map(String::as_str));
        command.arg(format_token(lease.token)).arg(state).arg(format_status(status));
        command.arg(millis(wait)).arg(u8::from(counts));
        self.send_detached(command).await.and_then(parse_reply::<u64>).map(reply::settled)
    }
}
