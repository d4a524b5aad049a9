//! Whether a copy of an event needs no delivery, by a plain read. It changes nothing.

use redis::Cmd;

use super::RedisLedger;
use super::record;
use super::reply::{parse_reply, unexpected_reply};
use crate::ledger::{EventKey, LedgerError, State};

impl RedisLedger {
    /// Returns whether the event was delivered or is queued.
    pub(super) async fn is_duplicate(&self, key: &EventKey) -> Result<bool, LedgerError> {
        let record_key = self.keys.record(key);
        let mut get = Cmd::new();
        get.arg("GET").arg(&record_key);
        let Some(text) = parse_reply::<Option<String>>(self.connection.send(&get).await?)? else {
            return Ok(false);
        };
        let (record, mode) =
            record::parse(key.clone(), &text).ok_or_else(|| unexpected_reply(&record_key))?;
        Ok(mode.is_some() || record.state == State::Delivered)
    }
}
