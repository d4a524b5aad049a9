//! What operators and metrics ask: the backlog, pages of records, one record with its parcel. Through a connection of
//! its own beside the writer, and never on a webhook's way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::LedgerError;
use super::fault::explain;
use super::kept;
use super::schema;
use crate::ledger::{Backlog, EventKey, Page, Record, RecordFilter, State, StoredRequest};

/// Rows looked at for one page: a filter that lets little through must not hold a reader for the whole of a file.
const LOOKED_AT: usize = 100_000;

const LOG: &str =
    "id, endpoint, query, type, created, livemode, account, state, attempts, status, seen, settled, due, seq";
const ARCHIVE: &str =
    "id, endpoint, query, type, created, livemode, account, state, attempts, status, seen, settled";

/// What is not settled. `now` is Unix milliseconds.
pub(super) fn backlog(path: &Path, now: i64) -> std::result::Result<Vec<Backlog>, LedgerError> {
    let count = |conn: &Connection| -> Result<Vec<Backlog>> {
        let mut backlogs: BTreeMap<String, Backlog> = BTreeMap::new();
        let mut counted = conn.prepare(
            "SELECT endpoint, state, count(*), min(seen) FROM events WHERE state IN (1, 4, 5) GROUP BY endpoint, state",
        )?;
        let mut rows = counted.query([])?;
        while let Some(row) = rows.next()? {
            let (endpoint, state, count): (String, State, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let count = count.unsigned_abs();
            let backlog = backlogs.entry(endpoint.clone()).or_insert_with(|| Backlog {
                endpoint: endpoint.into(),
                running: 0,
                pending: 0,
                dead: 0,
                kept: 0,
                oldest_pending: None,
                last_polled_ago: None,
            });
            match state {
                State::Running => backlog.running = count,
                State::Dead => backlog.dead = count,
                State::Pending => {
                    backlog.pending = count;
                    let age = now.saturating_sub(row.get(3)?);
                    backlog.oldest_pending =
                        Some(Duration::from_millis(u64::try_from(age).unwrap_or_default()));
                }
                State::Delivered | State::Failed => {}
            }
        }
        let mut kept = conn.prepare("SELECT endpoint, count(*) FROM queue GROUP BY endpoint")?;
        let mut rows = kept.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(backlog) = backlogs.get_mut(row.get_ref(0)?.as_str()?) {
                backlog.kept = row.get::<_, i64>(1)?.unsigned_abs();
            }
        }
        Ok(backlogs.into_values().collect())
    };
    through(path, count)
}

/// A page of records: the log's from the newest on, then the archive's by key.
pub(super) fn list(
    path: &Path,
    filter: &RecordFilter,
    after: Option<&str>,
    most: usize,
) -> std::result::Result<Page, LedgerError> {
    let place = match after.map(Place::parse) {
        None => Place::Log(i64::MAX),
        Some(Some(place)) => place,
        Some(None) => return Err(LedgerError::new("there is no page that begins there")),
    };
    through(path, |conn| {
        let mut pages = Pages { conn, filter, most, looked_at: 0, records: Vec::new() };
        let mut next = Some(place);
        if let Some(Place::Log(seq)) = next {
            next = pages.log(seq)?;
        }
        if let Some(Place::Archive(key)) = next {
            next = pages.archive(&key)?;
        }
        Ok(Page { records: pages.records, next: next.map(|place| place.to_string()) })
    })
}

/// One record, and its parcel.
pub(super) fn show(
    path: &Path,
    key: &EventKey,
) -> std::result::Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
    through(path, |conn| {
        let of_key = "WHERE id = ?1 AND endpoint = ?2 AND query = ?3";
        let key = (&key.id, &*key.endpoint, &key.query);
        let logged = conn
            .query_row(&format!("SELECT {LOG} FROM events {of_key}"), key, |row| {
                Ok((logged(row)?, row.get::<_, i64>(13)?))
            })
            .optional()?;
        if let Some((record, seq)) = logged {
            let parcel = "SELECT way, head, signature, body FROM parcels WHERE seq = ?1";
            return Ok(Some((record, conn.query_row(parcel, [seq], |row| kept::parcel(row, 0)).optional()?)));
        }
        let archived = format!("SELECT {ARCHIVE} FROM archive {of_key}");
        Ok(conn.query_row(&archived, key, record).optional()?.map(|record| (record, None)))
    })
}

fn through<T>(
    path: &Path,
    read: impl FnOnce(&Connection) -> Result<T>,
) -> std::result::Result<T, LedgerError> {
    read(&schema::open_beside(path)?).map_err(|e| explain(path, &e))
}

/// Where a page begins.
enum Place {
    /// Before this `seq` of the log.
    Log(i64),
    /// After this key of the archive.
    Archive(EventKey),
}

impl Place {
    fn parse(text: &str) -> Option<Place> {
        match text.split_at_checked(1)? {
            ("l", seq) => seq.parse().ok().map(Place::Log),
            ("a", key) => key.parse().ok().map(Place::Archive),
            _ => None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Log(seq) => write!(f, "l{seq}"),
            Place::Archive(key) => write!(f, "a{key}"),
        }
    }
}

/// A page being filled.
struct Pages<'p> {
    conn: &'p Connection,
    filter: &'p RecordFilter,
    most: usize,
    looked_at: usize,
    records: Vec<Record>,
}

impl Pages<'_> {
    /// Goes through the log from before a row on. Where the next page begins.
    fn log(&mut self, before: i64) -> Result<Option<Place>> {
        let sql = format!("SELECT {LOG} FROM events WHERE seq < ?1 ORDER BY seq DESC");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([before])?;
        while let Some(row) = rows.next()? {
            self.take(logged(row)?);
            if self.is_full() {
                return Ok(Some(Place::Log(row.get(13)?)));
            }
        }
        let archived =
            self.filter.state.is_none_or(|state| matches!(state, State::Delivered | State::Failed));
        let first = EventKey { endpoint: "".into(), query: "".into(), id: "".into() };
        Ok(archived.then_some(Place::Archive(first)))
    }

    fn archive(&mut self, after: &EventKey) -> Result<Option<Place>> {
        let from = "(id, endpoint, query) > (?1, ?2, ?3)";
        let sql = match self.filter.id {
            Some(_) => {
                format!("SELECT {ARCHIVE} FROM archive WHERE {from} AND id = ?4 ORDER BY id, endpoint, query")
            }
            None => format!(
                "SELECT {ARCHIVE} FROM archive WHERE {from} AND ?4 IS NULL ORDER BY id, endpoint, query"
            ),
        };
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query((&after.id, &*after.endpoint, &after.query, &self.filter.id))?;
        while let Some(row) = rows.next()? {
            let record = record(row)?;
            let key = record.key.clone();
            self.take(record);
            if self.is_full() {
                return Ok(Some(Place::Archive(key)));
            }
        }
        Ok(None)
    }

    fn take(&mut self, record: Record) {
        self.looked_at += 1;
        if self.filter.takes(&record) {
            self.records.push(record);
        }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.most || self.looked_at >= LOOKED_AT
    }
}

/// A row in the columns of [`LOG`].
fn logged(row: &Row<'_>) -> Result<Record> {
    Ok(Record { due: row.get(12)?, ..record(row)? })
}

/// A row in the columns of [`ARCHIVE`].
fn record(row: &Row<'_>) -> Result<Record> {
    let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let (id, endpoint, query) = (text(0)?.into(), Arc::from(text(1)?), text(2)?.into());
    Ok(Record {
        key: EventKey { endpoint, query, id },
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
