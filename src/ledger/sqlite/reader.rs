//! The queries of operators: pages of records, one record with its stored request. They read through a connection of their
//! own beside the writer, and never serve a webhook.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::error::sqlite_error;
use super::payloads::stored_request;
use super::schema;
use crate::ledger::{EventKey, LedgerError, Page, Record, RecordFilter, State, StoredRequest};

/// The largest number of rows scanned for one page: a filter that matches few rows must not read a whole file.
const MAX_ROWS_SCANNED: usize = 100_000;

/// The columns of `events` in the order that [`event_record`] reads.
pub(super) const EVENT_COLUMNS: &str =
    "id, endpoint, query, type, created, livemode, account, state, attempts, status, seen, settled, due, seq";
/// The columns of `archive` in the order that [`record`] reads.
pub(super) const ARCHIVE_COLUMNS: &str =
    "id, endpoint, query, type, created, livemode, account, state, attempts, status, seen, settled";

/// Reads a page of records: those of `events` from the newest on, then those of `archive` by key.
pub(super) fn list(
    path: &Path,
    filter: &RecordFilter,
    after: Option<&str>,
    limit: usize,
) -> std::result::Result<Page, LedgerError> {
    let cursor = match after.map(PageCursor::parse) {
        None => PageCursor::Events { before: i64::MAX },
        Some(Some(cursor)) => cursor,
        Some(None) => {
            return Err(LedgerError::new("invalid page cursor: use the `next` of the previous page"));
        }
    };
    with_connection(path, |conn| {
        let mut page = PageBuilder { conn, filter, limit, scanned: 0, records: Vec::new() };
        let mut next = Some(cursor);
        if let Some(PageCursor::Events { before }) = next {
            next = page.scan_events(before)?;
        }
        if let Some(PageCursor::Archive { after }) = next {
            next = page.scan_archive(&after)?;
        }
        Ok(Page { records: page.records, next: next.map(|cursor| cursor.to_string()) })
    })
}

/// Reads every record that has the filter's id and matches the filter: the newest of `events` first, then those of
/// `archive`. `seqs` are the rows of `events` that may have the id. It reads a handful of rows by their keys.
pub(super) fn find(
    path: &Path,
    filter: &RecordFilter,
    mut seqs: Vec<i64>,
) -> std::result::Result<Page, LedgerError> {
    seqs.sort_unstable_by(|a, b| b.cmp(a));
    with_connection(path, |conn| {
        let mut records = Vec::new();
        let mut read = conn.prepare(&find_event_sql())?;
        for seq in seqs {
            records.extend(read.query_row((seq, &filter.id), event_record).optional()?);
        }
        let mut read = conn.prepare(&find_archived_sql())?;
        for archived in read.query_map([&filter.id], record)? {
            let archived = archived?;
            // Where both tables have an event, `events` is right.
            if !records.iter().any(|record| record.key == archived.key) {
                records.push(archived);
            }
        }
        records.retain(|record| filter.matches(record));
        Ok(Page { records, next: None })
    })
}

fn find_event_sql() -> String {
    format!("SELECT {EVENT_COLUMNS} FROM events WHERE seq = ?1 AND id = ?2")
}

fn find_archived_sql() -> String {
    format!("SELECT {ARCHIVE_COLUMNS} FROM archive WHERE id = ?1 ORDER BY endpoint, query")
}

/// Reads one record, with its stored request if that is retained. `seqs` are the rows of `events` that may have the id.
pub(super) fn get(
    path: &Path,
    key: &EventKey,
    seqs: &[i64],
) -> std::result::Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
    with_connection(path, |conn| {
        let mut read = conn.prepare(&find_event_sql())?;
        for seq in seqs {
            let event = read.query_row((seq, &key.id), event_record).optional()?;
            if let Some(event) = event.filter(|event| event.key == *key) {
                let payload = "SELECT mode, head, signature, body FROM payloads WHERE seq = ?1";
                let request = conn.query_row(payload, [seq], |row| stored_request(row, 0)).optional()?;
                return Ok(Some((event, request)));
            }
        }
        let mut read = conn.prepare(&find_archived_sql())?;
        for archived in read.query_map([&key.id], record)? {
            let archived = archived?;
            if archived.key == *key {
                return Ok(Some((archived, None)));
            }
        }
        Ok(None)
    })
}

/// Reads what is remembered of an endpoint's last webhook.
pub(super) fn last_arrival(path: &Path, endpoint: &str) -> std::result::Result<Option<String>, LedgerError> {
    with_connection(path, |conn| {
        let name = schema::arrival_name(endpoint);
        conn.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
    })
}

/// Opens the file beside the writer, and reads from it.
/// Reads what is remembered of the last webhook of every endpoint.
pub(super) fn last_arrivals(path: &Path) -> std::result::Result<Vec<(String, String)>, LedgerError> {
    with_connection(path, |conn| {
        let prefix = schema::arrival_name("");
        let sql =
            "SELECT substr(name, length(?1) + 1), value FROM meta WHERE substr(name, 1, length(?1)) = ?1";
        let mut read = conn.prepare(sql)?;
        read.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })
}

pub(super) fn with_connection<T>(
    path: &Path,
    read: impl FnOnce(&Connection) -> Result<T>,
) -> std::result::Result<T, LedgerError> {
    read(&schema::open_beside(path)?).map_err(|e| sqlite_error(path, &e))
}

/// The place in the file from which a page of records is read.
enum PageCursor {
    /// In `events`, at the rows before this `seq`.
    Events { before: i64 },
    /// In `archive`, at the rows after this key.
    Archive { after: EventKey },
}

impl PageCursor {
    fn parse(text: &str) -> Option<Self> {
        match text.split_at_checked(1)? {
            ("l", seq) => Some(Self::Events { before: seq.parse().ok()? }),
            ("a", key) => Some(Self::Archive { after: key.parse().ok()? }),
            _ => None,
        }
    }
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events { before } => write!(f, "l{before}"),
            Self::Archive { after } => write!(f, "a{after}"),
        }
    }
}

/// A page while it is being filled.
struct PageBuilder<'p> {
    conn: &'p Connection,
    filter: &'p RecordFilter,
    limit: usize,
    scanned: usize,
    records: Vec<Record>,
}

impl PageBuilder<'_> {
    /// Scans `events` backwards from a row, and returns where the next page begins.
    fn scan_events(&mut self, before: i64) -> Result<Option<PageCursor>> {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE seq < ?1 ORDER BY seq DESC");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([before])?;
        while let Some(row) = rows.next()? {
            self.add(event_record(row)?);
            if self.is_full() {
                return Ok(Some(PageCursor::Events { before: row.get(13)? }));
            }
        }
        // The archive holds settled events only.
        let may_be_archived =
            self.filter.state.is_none_or(|state| matches!(state, State::Delivered | State::Failed));
        let after = EventKey::from_variant("".into(), "", "".into());
        Ok(may_be_archived.then_some(PageCursor::Archive { after }))
    }

    /// Scans `archive` forwards from a key, and returns where the next page begins.
    fn scan_archive(&mut self, after: &EventKey) -> Result<Option<PageCursor>> {
        // With an id the statement reads a few rows of the primary key instead of the whole table.
        let id = match self.filter.id {
            Some(_) => "id = ?4",
            None => "?4 IS NULL",
        };
        let sql = format!(
            "SELECT {ARCHIVE_COLUMNS} FROM archive WHERE (id, endpoint, query) > (?1, ?2, ?3) AND {id} \
             ORDER BY id, endpoint, query"
        );
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query((&after.id, &*after.endpoint, after.variant(), &self.filter.id))?;
        while let Some(row) = rows.next()? {
            let record = record(row)?;
            let key = record.key.clone();
            self.add(record);
            if self.is_full() {
                return Ok(Some(PageCursor::Archive { after: key }));
            }
        }
        Ok(None)
    }

    fn add(&mut self, record: Record) {
        self.scanned += 1;
        if self.filter.matches(&record) {
            self.records.push(record);
        }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.limit || self.scanned >= MAX_ROWS_SCANNED
    }
}

/// Reads a row in the columns of [`EVENT_COLUMNS`].
pub(super) fn event_record(row: &Row<'_>) -> Result<Record> {
    Ok(Record { due: row.get(12)?, ..record(row)? })
}

/// Reads a row in the columns of [`ARCHIVE_COLUMNS`].
pub(super) fn record(row: &Row<'_>) -> Result<Record> {
    let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let (id, endpoint, variant) = (text(0)?.into(), Arc::from(text(1)?), text(2)?);
    Ok(Record {
        key: EventKey::from_variant(endpoint, variant, id),
        event_type: text(3)?.into(),
        created: row.get(4)?,
        livemode: row.get(5)?,
        account: row.get::<_, Option<String>>(6)?.map(Into::into),
        state: row.get(7)?,
        attempts: row.get(8)?,
        status: row.get(9)?,
        seen: row.get(10)?,
        settled: row.get(11)?,
        due: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_by_id_searches_by_keys_and_scans_no_table() {
        let dir = tempfile::tempdir().unwrap();
        let conn = schema::open(&dir.path().join("l.db")).unwrap();
        for (sql, plan) in [
            (find_event_sql(), "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"),
            (find_archived_sql(), "SEARCH archive USING PRIMARY KEY (id=?)"),
        ] {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = vec![rusqlite::types::Null; explain.parameter_count()];
            let steps = explain
                .query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3))
                .unwrap();
            assert_eq!(steps.collect::<Result<Vec<_>>>().unwrap(), [plan]);
        }
    }
}
