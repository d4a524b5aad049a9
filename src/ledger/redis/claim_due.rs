//! Leases queued events that are due, and reads what is needed to deliver them.

use std::time::Duration;

use redis::Pipeline;

use super::RedisLedger;
use super::command::{evalsha, lease_end, millis};
use super::record::{PAYLOAD_FIELDS, PayloadFields};
use super::reply::{self, LeasedEvent, parse_reply};
use crate::ledger::{Lease, LedgerError, MAX_WAIT, StoredRequest};

/// The most events that one script leases. A larger script would block the server for long, and Lua's stack has room for
/// a few thousand values only.
const MAX_LEASED_AT_ONCE: usize = 512;

impl RedisLedger {
    /// Leases events of an endpoint that are due, at most `limit`. An event whose delivery this process has under way is left
    /// out.
    pub(super) async fn lease_due(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        let ends = lease_end(lease);
        let (due, queued) = (self.keys.due(endpoint), self.keys.queued(endpoint));
        let keys = [&due, &queued, &self.keys.running, &self.keys.polled, &self.keys.clock];
        let mut command = evalsha(&self.scripts.claim_due, &keys.map(String::as_str));
        command.arg(millis(lease)).arg(&self.keys.key_prefix).arg(endpoint).arg(millis(MAX_WAIT));
        for _ in 0..limit.min(MAX_LEASED_AT_ONCE) {
            command.arg(self.new_token()?);
        }
        let leased = parse_reply::<Vec<LeasedEvent>>(self.send_detached(command).await?)?;
        if leased.is_empty() {
            return Ok(Vec::new());
        }
        let mut read_payloads = Pipeline::with_capacity(leased.len());
        for (key, ..) in &leased {
            read_payloads.hmget(self.keys.payload(key), &PAYLOAD_FIELDS);
        }
        let payloads = self.connection.read::<Vec<PayloadFields>>(&read_payloads).await?;
        let claimed = leased.into_iter().zip(payloads);
        Ok(claimed
            .filter_map(|(leased, payload)| reply::claimed(&self.keys, leased, payload, ends))
            .filter_map(|(lease, request)| Some((self.held.note(lease)?, request)))
            .collect())
    }
}
