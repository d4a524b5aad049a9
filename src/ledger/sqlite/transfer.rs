//! The copy of events out of a file and into it. Reading is done beside the writer, and changes nothing. Events are
//! written by the writer, many in one transaction.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Result};
use tokio::sync::oneshot;

use super::SqliteLedger;
use super::payloads::stored_request;
use super::queue::Job;
use super::reader::{ARCHIVE_COLUMNS, EVENT_COLUMNS, event_record, last_arrivals, record, with_connection};
use crate::ledger::transfer::{EventSink, EventSource, TransferPage, TransferredEvent};
use crate::ledger::{EventKey, LedgerError};

/// The number of rows of `events` in one page. Each may have a payload.
const PAGE_ROWS: i64 = 200;
/// The number of rows of `archive` in one page.
const ARCHIVE_PAGE_ROWS: i64 = 1000;

#[async_trait]
impl EventSource for SqliteLedger {
    async fn export(&self, after: Option<&str>) -> std::result::Result<TransferPage, LedgerError> {
        let cursor = match after {
            None => Some(ExportCursor::Events { after: i64::MIN }),
            Some(text) => ExportCursor::parse(text),
        };
        let cursor = cursor.ok_or_else(|| LedgerError::new("invalid cursor"))?;
        self.read(move |path| match cursor {
            ExportCursor::Events { after } => export_events(path, after),
            ExportCursor::Archive { after } => export_archive(path, &after),
        })
        .await
    }

    async fn last_arrivals(&self) -> std::result::Result<Vec<(String, String)>, LedgerError> {
        self.read(last_arrivals).await
    }
}

#[async_trait]
impl EventSink for SqliteLedger {
    async fn import(&self, events: Vec<TransferredEvent>) -> std::result::Result<u64, LedgerError> {
        let (reply_tx, reply) = oneshot::channel();
        self.call(Job::Import { events, reply_tx }, reply).await
    }
}

/// The place in the file from which a page is read. `events` comes first: an event that is archived between two pages is
/// then read twice, and never missed.
enum ExportCursor {
    /// In `events`, at the rows after this `seq`.
    Events { after: i64 },
    /// In `archive`, at the rows after this key.
    Archive { after: EventKey },
}

impl ExportCursor {
    fn parse(text: &str) -> Option<Self> {
        match text.split_at_checked(1)? {
            ("l", seq) => Some(Self::Events { after: seq.parse().ok()? }),
            ("a", key) => Some(Self::Archive { after: key.parse().ok()? }),
            _ => None,
        }
    }
}

/// Reads the rows of `events` after a `seq`, with their payloads.
fn export_events(path: &Path, after: i64) -> std::result::Result<TransferPage, LedgerError> {
    with_connection(path, |conn| {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE seq > ?1 ORDER BY seq LIMIT {PAGE_ROWS}");
        let mut read = conn.prepare(&sql)?;
        let rows = read.query_map([after], |row| Ok((row.get::<_, i64>(13)?, event_record(row)?)))?;
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let next = match rows.last() {
            Some((seq, _)) => format!("l{seq}"),
            None => format!("a{}", EventKey::from_variant("".into(), "", "".into())),
        };
        let mut payload = conn.prepare("SELECT mode, head, signature, body FROM payloads WHERE seq = ?1")?;
        let mut events = Vec::with_capacity(rows.len());
        for (seq, record) in rows {
            let request = payload.query_row([seq], |row| stored_request(row, 0)).optional()?;
            events.push(TransferredEvent { record, request });
        }
        Ok(TransferPage { events, next: Some(next) })
    })
}

/// Reads the rows of `archive` after a key. Archived events have no payload.
fn export_archive(path: &Path, after: &EventKey) -> std::result::Result<TransferPage, LedgerError> {
    with_connection(path, |conn| {
        let sql = format!(
            "SELECT {ARCHIVE_COLUMNS} FROM archive WHERE (id, endpoint, query) > (?1, ?2, ?3) \
             ORDER BY id, endpoint, query LIMIT {ARCHIVE_PAGE_ROWS}"
        );
        let mut read = conn.prepare(&sql)?;
        let rows = read.query_map((&after.id, &*after.endpoint, after.variant()), record)?;
        let records = rows.collect::<Result<Vec<_>>>()?;
        let next = records.last().map(|last| format!("a{}", last.key));
        let events = records.into_iter().map(|record| TransferredEvent { record, request: None }).collect();
        Ok(TransferPage { events, next })
    })
}
