//! The rows of the tables `events` and `archive`: how one is found, read and changed. Runs inside the writer's
//! transactions. It holds the index, the Bloom filter and the unsettled rows, and never decides whether a change is
//! allowed: that is `transitions`.

use rusqlite::{Connection, OptionalExtension, Result, Statement};

use super::bloom::BloomFilter;
use super::index::{Index, KeyHash, KeyHasher};
use super::maintenance::statements::{MaintenanceOp, MaintenanceStatements};
use super::row::{ArchivedRow, ExistingRow, NewRow};
use super::unsettled::UnsettledRows;
use crate::ledger::{Arrival, EventKey, State};

/// The statements on both tables, and what is known of them in memory.
pub(super) struct EventRows<'c> {
    index: Index,
    hasher: KeyHasher,
    /// The keys of the archive. `None` until the first sweep has read them all; every lookup reads the file until
    /// then.
    bloom: Option<BloomFilter>,
    unsettled: UnsettledRows,
    /// The latest time at which an event of the file was first received, as it was when the file was opened.
    latest_seen: Option<i64>,
    read: Statement<'c>,
    append: Statement<'c>,
    lease: Statement<'c>,
    deliver: Statement<'c>,
    fail: Statement<'c>,
    set_state: Statement<'c>,
    read_arrival: Statement<'c>,
    delete: Statement<'c>,
    read_archived: Statement<'c>,
    delete_archived: Statement<'c>,
    maintenance: MaintenanceStatements<'c>,
}

impl<'c> EventRows<'c> {
    /// Prepares the statements and reads the keys and states of `events` into memory.
    pub(super) fn new(conn: &'c Connection, hasher: KeyHasher) -> Result<Self> {
        let (index, unsettled, latest_seen) = read_rows(conn, &hasher)?;
        Ok(Self {
            index,
            hasher,
            bloom: None,
            unsettled,
            latest_seen,
            read: conn.prepare(
                "SELECT state, attempts, due, token, seen FROM events WHERE seq = ?1 AND id = ?2 AND endpoint = ?3 AND query = ?4",
            )?,
            append: conn.prepare(
                "INSERT INTO events (seq, id, endpoint, query, type, created, livemode, account, seen, state, attempts, \
                 status, token, due, settled) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?,
            lease: conn.prepare(
                "UPDATE events SET state = 1, attempts = ?2, token = ?3, due = ?4, settled = NULL WHERE seq = ?1",
            )?,
            set_state: conn.prepare(
                "UPDATE events SET state = ?2, status = coalesce(?3, status), attempts = ?4, token = NULL, due = ?5, \
                 settled = ?6 WHERE seq = ?1",
            )?,
            read_arrival: conn.prepare(
                "SELECT id, query, type, created, livemode, account, endpoint FROM events WHERE seq = ?1",
            )?,
            delete: conn.prepare("DELETE FROM events WHERE seq = ?1")?,
            deliver: conn.prepare(
                "UPDATE events SET state = 2, status = ?2, token = NULL, due = NULL, settled = ?3 \
                 WHERE seq = ?1 AND id = ?4 AND endpoint = ?5 AND query = ?6",
            )?,
            fail: conn.prepare(
                "UPDATE events SET state = 3, status = ?2, token = NULL, due = NULL, settled = ?3 \
                 WHERE seq = ?1 AND state = 1 AND token = ?4",
            )?,
            read_archived: conn.prepare(
                "SELECT state, attempts, seen FROM archive WHERE id = ?1 AND endpoint = ?2 AND query = ?3",
            )?,
            delete_archived: conn
                .prepare("DELETE FROM archive WHERE id = ?1 AND endpoint = ?2 AND query = ?3")?,
            maintenance: MaintenanceStatements::new(conn)?,
        })
    }

    /// The number of rows in `events`.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn hash(&self, key: &EventKey) -> KeyHash {
        self.hasher.hash(&key.id, &key.endpoint, &key.variant())
    }

    /// The row that the index has for a key. [`read`](EventRows::read) checks that it belongs to the event.
    pub(super) fn seq(&self, hash: KeyHash) -> Option<i64> {
        self.index.seq(hash)
    }

    /// The rows of `events` that the index has for an id.
    pub(super) fn seqs_with_id(&self, id: &str) -> Vec<i64> {
        self.index.seqs_with_id(id, &self.hasher)
    }

    /// The latest time at which an event was first received, in Unix milliseconds, as it was when the file was opened.
    pub(super) fn latest_seen(&self) -> Option<i64> {
        self.latest_seen
    }

    /// The unsettled rows.
    pub(super) fn unsettled(&self) -> &UnsettledRows {
        &self.unsettled
    }

    /// Forgets a row that the table no longer has, because someone deleted it by hand.
    pub(super) fn forget(&mut self, endpoint: &str, hash: Option<KeyHash>, seq: i64) {
        if let Some(hash) = hash {
            self.index.remove(hash, seq);
        }
        self.unsettled.forget(endpoint, seq);
    }

    /// Reads a row of `events`, if it exists and belongs to this event.
    pub(super) fn read(&mut self, seq: i64, key: &EventKey) -> Result<Option<ExistingRow>> {
        self.read
            .query_row((seq, &key.id, &*key.endpoint, key.variant()), |row| {
                Ok(ExistingRow {
                    seq,
                    endpoint: key.endpoint.clone(),
                    seen: row.get(4)?,
                    state: row.get(0)?,
                    attempts: row.get(1)?,
                    due: row.get(2)?,
                    token: row.get(3)?,
                })
            })
            .optional()
    }

    /// Reads the arrival that a row of `events` was made from.
    pub(super) fn read_arrival(&mut self, seq: i64) -> Result<Option<Arrival>> {
        let arrival = |row: &rusqlite::Row<'_>| {
            let (id, variant, endpoint): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(6)?);
            let (event_type, account): (String, Option<String>) = (row.get(2)?, row.get(5)?);
            Ok(Arrival {
                key: EventKey::from_variant(endpoint.into(), &variant, id.into()),
                event_type: event_type.into(),
                created: row.get(3)?,
                livemode: row.get(4)?,
                account: account.map(Into::into),
            })
        };
        self.read_arrival.query_row([seq], arrival).optional()
    }

    /// Appends a row to `events` and returns its `seq`.
    pub(super) fn append(&mut self, arrival: &Arrival, hash: KeyHash, row: &NewRow) -> Result<i64> {
        let EventKey { endpoint, id, .. } = &arrival.key;
        let seq = self.index.next_seq();
        self.append.execute(rusqlite::params![
            seq,
            id,
            endpoint.as_ref(),
            arrival.key.variant(),
            arrival.event_type,
            arrival.created,
            arrival.livemode,
            arrival.account,
            row.seen,
            row.state,
            row.attempts,
            row.status,
            row.token.map(|token| token as i64),
            row.due,
            row.settled,
        ])?;
        self.index.insert(hash, seq);
        self.unsettled.add(endpoint, seq, row.seen, row.state, row.due);
        Ok(seq)
    }

    /// Makes a row RUNNING with a new lease that expires at `due`, in Unix milliseconds.
    pub(super) fn lease(&mut self, row: &ExistingRow, attempts: u32, token: u64, due: i64) -> Result<()> {
        self.lease.execute((row.seq, attempts, token as i64, due))?;
        self.move_to(row, State::Running, Some(due));
        Ok(())
    }

    /// Moves a row to a state without a lease. A `status` of `None` leaves the last one in place.
    pub(super) fn set_state(
        &mut self,
        row: &ExistingRow,
        state: State,
        status: Option<u16>,
        attempts: u32,
        due: Option<i64>,
        settled: Option<i64>,
    ) -> Result<()> {
        self.set_state.execute((row.seq, state, status, attempts, due, settled))?;
        self.move_to(row, state, due);
        Ok(())
    }

    fn move_to(&mut self, row: &ExistingRow, state: State, due: Option<i64>) {
        self.unsettled.remove(&row.endpoint, row.seq, row.seen, row.state);
        self.unsettled.add(&row.endpoint, row.seq, row.seen, state, due);
    }

    /// Makes a row DELIVERED, whatever its state. `before` is the row of an event with a payload. False if it no longer
    /// belongs to this event.
    pub(super) fn deliver(
        &mut self,
        seq: i64,
        key: &EventKey,
        before: Option<&ExistingRow>,
        status: u16,
        now: i64,
    ) -> Result<bool> {
        let EventKey { endpoint, id, .. } = key;
        match before {
            Some(row) => self.unsettled.remove(endpoint, seq, row.seen, row.state),
            // Without a payload the event was RUNNING, or it is settled already.
            None => self.unsettled.remove(endpoint, seq, 0, State::Running),
        }
        Ok(self.deliver.execute((seq, status, now, id, &**endpoint, key.variant()))? == 1)
    }

    /// Makes a row FAILED. False if it is not RUNNING with this token.
    pub(super) fn fail(
        &mut self,
        seq: i64,
        endpoint: &str,
        status: Option<u16>,
        now: i64,
        token: u64,
    ) -> Result<bool> {
        let failed = self.fail.execute((seq, status, now, token as i64))? != 0;
        if failed {
            self.unsettled.remove(endpoint, seq, 0, State::Running);
        }
        Ok(failed)
    }

    /// Deletes a row of `events`.
    pub(super) fn delete(&mut self, row: &ExistingRow, hash: KeyHash) -> Result<()> {
        self.delete.execute([row.seq])?;
        self.index.remove(hash, row.seq);
        self.unsettled.remove(&row.endpoint, row.seq, row.seen, row.state);
        Ok(())
    }

    /// Reads a row of `archive`. The Bloom filter answers for most keys that are not there.
    pub(super) fn read_archived(&mut self, key: &EventKey, hash: KeyHash) -> Result<Option<ArchivedRow>> {
        if self.bloom.as_ref().is_some_and(|bloom| !bloom.may_contain(hash)) {
            return Ok(None);
        }
        self.read_archived
            .query_row((&key.id, &*key.endpoint, key.variant()), |row| {
                Ok(ArchivedRow { state: row.get(0)?, attempts: row.get(1)?, seen: row.get(2)? })
            })
            .optional()
    }

    /// Deletes a row of `archive`, if there is one.
    pub(super) fn delete_archived(&mut self, key: &EventKey) -> Result<()> {
        self.delete_archived.execute((&key.id, &*key.endpoint, key.variant())).map(drop)
    }

    /// Runs a maintenance operation and returns the number of rows it changed.
    pub(super) fn run_maintenance(&mut self, op: &mut MaintenanceOp) -> Result<u64> {
        self.maintenance.run(op, &mut self.index, &mut self.bloom)
    }
}

fn read_rows(conn: &Connection, hasher: &KeyHasher) -> Result<(Index, UnsettledRows, Option<i64>)> {
    let (mut index, mut unsettled, mut latest_seen) = (Index::default(), UnsettledRows::default(), None);
    let mut read = conn.prepare("SELECT seq, id, endpoint, query, state, seen, due FROM events")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let text = |column| -> Result<&str> { Ok(row.get_ref(column)?.as_str()?) };
        index.insert(hasher.hash(text(1)?, text(2)?, text(3)?), row.get(0)?);
        let seen = row.get(5)?;
        latest_seen = latest_seen.max(Some(seen));
        unsettled.add(text(2)?, row.get(0)?, seen, row.get(4)?, row.get(6)?);
    }
    Ok((index, unsettled, latest_seen))
}
