//! Pages of records for operators. They are read by SCAN, or from a set where one leads to every candidate. It changes
//! nothing, and a page costs the server a bounded amount of work.

use redis::Cmd;

use super::connection::RedisConnection;
use super::keys::Keys;
use super::record;
use super::reply::parse_reply;
use crate::ledger::{LedgerError, Page, Record, RecordFilter, State};

/// The most keys that are examined for one page. A filter with few matches must not occupy the server for long.
const MAX_EXAMINED: usize = 20_000;
/// The number of keys that one step of a scan examines.
const SCAN_COUNT: usize = 500;

/// One listing: a filter, and the connection and keys to answer it with.
pub(super) struct Listing<'a> {
    pub(super) connection: &'a RedisConnection,
    pub(super) keys: &'a Keys,
    pub(super) filter: &'a RecordFilter,
}

impl Listing<'_> {
    /// Returns at least `limit` matching records, or fewer after [`MAX_EXAMINED`] keys or at the end. `after` is the
    /// `next` of the previous page.
    ///
    /// # Errors
    /// The server could not be reached, or `after` is not a page's `next`.
    pub(super) async fn page(&self, after: Option<&str>, limit: usize) -> Result<Page, LedgerError> {
        let sources = self.sources().await?;
        let (mut source, mut cursor) = match after {
            None => (0, 0),
            Some(cursor) => parse_cursor(cursor).ok_or_else(|| {
                LedgerError::new("invalid page cursor: pass `next` of the previous page unchanged")
            })?,
        };
        let (mut records, mut examined) = (Vec::new(), 0);
        while let Some(set) = sources.get(source) {
            let (next, keys) = self.scan(set.as_deref(), cursor).await?;
            examined += keys.len();
            let found = self.read_records(&keys).await?;
            records.extend(found.into_iter().filter(|record| self.filter.matches(record)));
            // Redis reports the end of a scan by cursor 0. The next set follows.
            (source, cursor) = if next == 0 { (source + 1, 0) } else { (source, next) };
            if records.len() >= limit || examined >= MAX_EXAMINED {
                break;
            }
        }
        let next = (source < sources.len()).then(|| format!("{source}.{cursor}"));
        Ok(Page { records, next })
    }

    /// Returns the keys of the sets that lead to every candidate; `None` stands for all keys of the ledger.
    async fn sources(&self) -> Result<Vec<Option<String>>, LedgerError> {
        if self.filter.id.is_some() {
            return Ok(vec![Some(self.keys.variants.clone())]);
        }
        let key_of: fn(&Keys, &str) -> String = match self.filter.state {
            Some(State::Running) => return Ok(vec![Some(self.keys.running.clone())]),
            Some(State::Pending) => Keys::queued,
            Some(State::Dead) => Keys::dead,
            Some(State::Delivered | State::Failed) | None => return Ok(vec![None]),
        };
        let endpoints = match &self.filter.endpoint {
            Some(endpoint) => vec![endpoint.clone()],
            None => {
                let mut command = Cmd::new();
                command.arg("SMEMBERS").arg(&self.keys.queued_endpoints);
                let mut endpoints = parse_reply::<Vec<String>>(self.connection.send(&command).await?)?;
                // A page's cursor names its set by position, so the order must not change between pages.
                endpoints.sort_unstable();
                endpoints
            }
        };
        Ok(endpoints.iter().map(|endpoint| Some(key_of(self.keys, endpoint))).collect())
    }

    /// Runs one step of a scan. Returns the cursor of the next step, 0 after the last, and the keys found.
    async fn scan(&self, set: Option<&str>, cursor: u64) -> Result<(u64, Vec<String>), LedgerError> {
        let mut command = Cmd::new();
        let Some(set) = set else {
            command.arg("SCAN").arg(cursor).arg("MATCH").arg(format!("{}*", self.keys.key_prefix));
            command.arg("COUNT").arg(SCAN_COUNT).arg("TYPE").arg("string");
            return parse_reply(self.connection.send(&command).await?);
        };
        let is_variants = set == self.keys.variants;
        let scan = if is_variants { "SSCAN" } else { "ZSCAN" };
        command.arg(scan).arg(set).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
        let (next, mut keys) = parse_reply::<(u64, Vec<String>)>(self.connection.send(&command).await?)?;
        if let Some(id) = self.filter.id.as_ref().filter(|_| is_variants) {
            keys = keys.iter().map(|variant| self.keys.with_variant(id, variant)).collect();
        }
        // ZSCAN returns each member followed by its score. A score is not a record's key.
        keys.retain(|key| self.keys.event(key).is_some());
        Ok((next, keys))
    }

    /// Reads the records under these keys. Records that expired since the scan are left out.
    async fn read_records(&self, keys: &[String]) -> Result<Vec<Record>, LedgerError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Cmd::new();
        command.arg("MGET").arg(keys);
        let texts = parse_reply::<Vec<Option<String>>>(self.connection.send(&command).await?)?;
        let parse =
            |(key, text): (&String, Option<String>)| Some(record::parse(self.keys.event(key)?, &text?)?.0);
        Ok(keys.iter().zip(texts).filter_map(parse).collect())
    }
}

/// Parses a page's `next`: `SOURCE.CURSOR`, the position of the set and the cursor of its scan.
fn parse_cursor(text: &str) -> Option<(usize, u64)> {
    let (source, cursor) = text.split_once('.')?;
    Some((source.parse().ok()?, cursor.parse().ok()?))
}
