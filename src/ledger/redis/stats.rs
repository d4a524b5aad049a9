//! What the ledger holds, counted by a scan of its keys, and what other ledgers are on the server. It changes nothing.

use redis::{Cmd, Pipeline};

use super::RedisLedger;
use super::record;
use super::reply::parse_reply;
use crate::ledger::stats::{LedgerStats, StateStats};
use crate::ledger::{LedgerError, Record};

/// The number of keys that one step of a scan examines.
const SCAN_COUNT: usize = 500;
/// The most steps of a search for other ledgers, each of [`SCAN_COUNT`] keys.
const MAX_SEARCH_STEPS: usize = 2_000;

impl RedisLedger {
    /// Counts the records. It reads every one, and scans all keys of the server.
    ///
    /// # Errors
    /// The ledger is unavailable.
    pub async fn stats(&self) -> Result<LedgerStats, LedgerError> {
        let (mut stats, mut cursor) = (LedgerStats::default(), 0);
        loop {
            let (next, keys) = self.scan_strings(&format!("{}*", self.keys.key_prefix), cursor).await?;
            self.count(keys, &mut stats).await?;
            if next == 0 {
                return Ok(stats);
            }
            cursor = next;
        }
    }

    /// Whether the ledger has ever held a record since the server was empty.
    ///
    /// # Errors
    /// The ledger is unavailable.
    pub async fn is_new(&self) -> Result<bool, LedgerError> {
        let mut exists = Cmd::new();
        exists.arg("EXISTS").arg(&self.keys.variants);
        Ok(parse_reply::<u64>(self.connection.send(&exists).await?)? == 0)
    }

    /// Searches the server for ledgers with other prefixes that have held records, and returns their prefixes. On a large
    /// server it gives up after a million keys.
    ///
    /// # Errors
    /// The ledger is unavailable, or may not run SCAN.
    pub async fn other_prefixes(&self) -> Result<Vec<String>, LedgerError> {
        let (mut prefixes, mut cursor) = (Vec::new(), 0);
        for _ in 0..MAX_SEARCH_STEPS {
            let mut scan = Cmd::new();
            scan.arg("SCAN").arg(cursor).arg("MATCH").arg("*:{e}:variants").arg("COUNT").arg(SCAN_COUNT);
            let (next, keys) = parse_reply::<(u64, Vec<String>)>(self.connection.send(&scan).await?)?;
            let others = keys.iter().filter(|key| **key != self.keys.variants);
            prefixes.extend(others.filter_map(|key| key.strip_suffix(":{e}:variants")).map(str::to_owned));
            if next == 0 {
                break;
            }
            cursor = next;
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(prefixes)
    }

    /// Runs one step of a scan. Returns the cursor of the next step, 0 after the last, and the keys of strings.
    async fn scan_strings(&self, pattern: &str, cursor: u64) -> Result<(u64, Vec<String>), LedgerError> {
        let mut scan = Cmd::new();
        scan.arg("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        scan.arg("TYPE").arg("string");
        parse_reply(self.connection.send(&scan).await?)
    }

    /// Adds the records under these keys.
    async fn count(&self, mut keys: Vec<String>, stats: &mut LedgerStats) -> Result<(), LedgerError> {
        keys.retain(|key| self.keys.event(key).is_some());
        if keys.is_empty() {
            return Ok(());
        }
        let mut get = Cmd::new();
        get.arg("MGET").arg(&keys);
        let texts = parse_reply::<Vec<Option<String>>>(self.connection.send(&get).await?)?;
        let (mut records, mut stored) = (Vec::new(), Pipeline::new());
        for (key, text) in keys.iter().zip(texts) {
            let parsed = self.keys.event(key).zip(text).and_then(|(event, text)| record::parse(event, &text));
            let Some((record, mode)) = parsed else { continue };
            if mode.is_some() {
                let payload = self.keys.payload(key);
                stored.cmd("HSTRLEN").arg(&payload).arg("head").cmd("HSTRLEN").arg(&payload).arg("body");
            }
            records.push((record, mode.is_some()));
        }
        let lengths = match stored.is_empty() {
            true => Vec::new(),
            false => self.connection.read::<Vec<u64>>(&stored).await?,
        };
        let mut lengths = lengths.chunks(2).map(|pair| pair.iter().sum::<u64>());
        for (Record { key, state, seen, .. }, has_payload) in records {
            let stored_bytes = if has_payload { lengths.next().unwrap_or_default() } else { 0 };
            let endpoint = key.endpoint.to_string();
            stats.add(StateStats { endpoint, state, records: 1, seen: (seen, seen), stored_bytes });
        }
        Ok(())
    }
}
