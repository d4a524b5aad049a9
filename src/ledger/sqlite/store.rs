//! The transitions, on an open file and inside a transaction of the writer's: claim and settle. It also holds what is
//! kept in memory of the file; when a transaction fails, the store is to be dropped, since its index may know what the
//! file does not.

use std::time::{Duration, Instant};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Statement};

use super::chores::Chores;
use super::filter::Filter;
use super::granted::Granted;
use super::index::{Index, KeyHash, KeyHasher};
use super::queue::Chore;
use crate::ledger::tokens::Tokens;
use crate::ledger::{Arrival, EventKey, Lease, Settled, Settlement};

/// A lease in the file that ends this much later than one granted now would was written while the clock was wrong.
const IMPLAUSIBLE: Duration = Duration::from_secs(60 * 60);

/// A state as the file knows it. 4 and 5 are kept for PENDING and DEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running = 1,
    Delivered = 2,
    Failed = 3,
}

impl ToSql for State {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            1 => Ok(State::Running),
            2 => Ok(State::Delivered),
            3 => Ok(State::Failed),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// What time it is, both ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Unix milliseconds: for what is kept in the file.
    pub(super) unix: i64,
    pub(super) instant: Instant,
}

/// A claim's outcome; it becomes a [`Claim`](crate::ledger::Claim) once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    Leased { attempt: u32, token: u64 },
    InFlight { retry_after: Duration },
    Duplicate,
}

pub(super) struct Store<'c> {
    conn: &'c Connection,
    index: Index,
    hasher: KeyHasher,
    tokens: Tokens,
    filter: Option<Filter>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    read: Statement<'c>,
    append: Statement<'c>,
    lease: Statement<'c>,
    deliver: Statement<'c>,
    fail: Statement<'c>,
    read_archive: Statement<'c>,
    unarchive: Statement<'c>,
    chores: Chores<'c>,
}

impl<'c> Store<'c> {
    /// Prepares the statements and reads the log's keys into the index.
    pub(super) fn new(conn: &'c Connection, hasher: KeyHasher) -> Result<Self> {
        let mut index = Index::default();
        let mut keys = conn.prepare("SELECT seq, id, endpoint, query FROM events")?;
        let mut rows = keys.query([])?;
        while let Some(row) = rows.next()? {
            let text = |column| -> Result<&str> { Ok(row.get_ref(column)?.as_str()?) };
            index.insert(hasher.hash(text(1)?, text(2)?, text(3)?), row.get(0)?);
        }
        Ok(Self {
            conn,
            index,
            hasher,
            tokens: Tokens::default(),
            filter: None,
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            read: conn.prepare(
                "SELECT state, attempts, due FROM events WHERE seq = ?1 AND id = ?2 AND endpoint = ?3 AND query = ?4",
            )?,
            append: conn.prepare(
                "INSERT INTO events (seq, id, endpoint, query, type, created, livemode, account, seen, state, attempts, \
                 status, token, due, settled) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?,
            lease: conn.prepare(
                "UPDATE events SET state = 1, attempts = ?2, token = ?3, due = ?4, settled = NULL WHERE seq = ?1",
            )?,
            deliver: conn.prepare(
                "UPDATE events SET state = 2, status = ?2, token = NULL, due = NULL, settled = ?3 \
                 WHERE seq = ?1 AND id = ?4 AND endpoint = ?5 AND query = ?6",
            )?,
            fail: conn.prepare(
                "UPDATE events SET state = 3, status = ?2, token = NULL, due = NULL, settled = ?3 \
                 WHERE seq = ?1 AND state = 1 AND token = ?4",
            )?,
            read_archive: conn.prepare(
                "SELECT state, attempts, seen FROM archive WHERE id = ?1 AND endpoint = ?2 AND query = ?3",
            )?,
            unarchive: conn.prepare("DELETE FROM archive WHERE id = ?1 AND endpoint = ?2 AND query = ?3")?,
            chores: Chores::new(conn)?,
        })
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        self.begin.execute([]).map(drop)
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        self.commit.execute([]).map(drop)
    }

    /// How many events the log holds.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn claim(
        &mut self,
        arrival: &Arrival,
        lease: Duration,
        now: Now,
        granted: &mut Granted,
    ) -> Result<Claimed> {
        let hash = self.hash(&arrival.key);
        if let Some(ends) = granted.ends(hash)
            && ends > now.instant
        {
            return Ok(Claimed::InFlight { retry_after: ends - now.instant });
        }
        if let Some(seq) = self.index.seq(hash) {
            if let Some(known) = self.read(seq, &arrival.key)? {
                let ours = granted.ends(hash).is_some();
                let claimed = self.claim_known(seq, known, lease, now, ours)?;
                if let Claimed::Leased { .. } = claimed {
                    granted.grant(hash, now.instant + lease);
                }
                return Ok(claimed);
            }
            self.index.remove(hash, seq); // an outsider deleted the row
        }
        let (attempt, seen) = match self.read_archive(&arrival.key, hash)? {
            None => (1, now.unix),
            Some((State::Delivered, ..)) => return Ok(Claimed::Duplicate),
            Some((State::Failed | State::Running, attempts, seen)) => {
                self.unarchive(&arrival.key)?;
                (attempts.saturating_add(1), seen)
            }
        };
        let token = self.token()?;
        let due = now.unix.saturating_add(millis(lease));
        let row = Row {
            seen,
            state: State::Running,
            attempt,
            status: None,
            token: Some(token),
            due: Some(due),
            settled: None,
        };
        self.append(arrival, hash, &row)?;
        granted.grant(hash, now.instant + lease);
        Ok(Claimed::Leased { attempt, token })
    }

    pub(super) fn settle(
        &mut self,
        lease: &Lease,
        settlement: Settlement,
        now: Now,
        granted: &mut Granted,
    ) -> Result<Settled> {
        let hash = self.hash(lease.key());
        let seq = self.index.seq(hash);
        match settlement {
            Settlement::Failed { status } => {
                let Some(seq) = seq else { return Ok(Settled::Superseded) };
                if self.fail.execute((seq, status, now.unix, lease.token as i64))? == 0 {
                    return Ok(Settled::Superseded);
                }
            }
            Settlement::Delivered { status } => {
                let EventKey { endpoint, query, id } = lease.key();
                let known = match seq {
                    Some(seq) => self.deliver.execute((seq, status, now.unix, id, &**endpoint, query))? == 1,
                    None => false,
                };
                if !known {
                    self.deliver_unlogged(lease, hash, status, now)?;
                }
            }
        }
        granted.settle(hash);
        Ok(Settled::Recorded)
    }

    fn token(&mut self) -> Result<u64> {
        self.tokens.next().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }

    /// Does one chore and says how many rows it touched.
    pub(super) fn chore(&mut self, chore: &mut Chore) -> Result<u64> {
        self.chores.run(chore, &mut self.index, &mut self.filter)
    }

    /// What a checkpoint from this connection can do without waiting for anyone. Outside of a transaction.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// A claim for an event with a row in the log. Of a lease that is `ours`, [`Granted`] has said that it is over.
    fn claim_known(
        &mut self,
        seq: i64,
        known: Known,
        lease: Duration,
        now: Now,
        ours: bool,
    ) -> Result<Claimed> {
        match known.state {
            State::Delivered => return Ok(Claimed::Duplicate),
            State::Running if !ours => {
                // Another process granted it: the file's time is all there is.
                let left = known.due.unwrap_or_default().saturating_sub(now.unix);
                let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                if !left.is_zero() && left < lease + IMPLAUSIBLE {
                    return Ok(Claimed::InFlight { retry_after: left });
                }
            }
            State::Failed | State::Running => {}
        }
        let attempt = known.attempts.saturating_add(1);
        let token = self.token()?;
        let due = now.unix.saturating_add(millis(lease));
        self.lease.execute((seq, attempt, token as i64, due))?;
        Ok(Claimed::Leased { attempt, token })
    }

    /// A 2xx for an event that the log no longer holds: archived since, or the file is another.
    fn deliver_unlogged(&mut self, lease: &Lease, hash: KeyHash, status: u16, now: Now) -> Result<()> {
        let (attempt, seen) = match self.read_archive(lease.key(), hash)? {
            None => (lease.attempt, now.unix),
            Some((State::Delivered, ..)) => return Ok(()),
            Some((State::Failed | State::Running, attempts, seen)) => {
                self.unarchive(lease.key())?;
                (attempts, seen)
            }
        };
        let row = Row {
            seen,
            state: State::Delivered,
            attempt,
            status: Some(status),
            token: None,
            due: None,
            settled: Some(now.unix),
        };
        self.append(&lease.arrival, hash, &row)
    }

    fn append(&mut self, arrival: &Arrival, hash: KeyHash, row: &Row) -> Result<()> {
        let EventKey { endpoint, query, id } = &arrival.key;
        let seq = self.index.next_seq();
        self.append.execute(rusqlite::params![
            seq,
            id,
            endpoint.as_ref(),
            query,
            arrival.kind,
            arrival.created,
            arrival.livemode,
            arrival.account,
            row.seen,
            row.state,
            row.attempt,
            row.status,
            row.token.map(|token| token as i64),
            row.due,
            row.settled,
        ])?;
        self.index.insert(hash, seq);
        Ok(())
    }

    /// The row that the index has for an event. That it is this event's is the row's to say.
    fn read(&mut self, seq: i64, key: &EventKey) -> Result<Option<Known>> {
        self.read
            .query_row((seq, &key.id, &*key.endpoint, &key.query), |row| {
                Ok(Known { state: row.get(0)?, attempts: row.get(1)?, due: row.get(2)? })
            })
            .optional()
    }

    fn read_archive(&mut self, key: &EventKey, hash: KeyHash) -> Result<Option<(State, u32, i64)>> {
        if self.filter.as_ref().is_some_and(|filter| !filter.may_hold(hash)) {
            return Ok(None);
        }
        self.read_archive
            .query_row((&key.id, &*key.endpoint, &key.query), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
    }

    fn unarchive(&mut self, key: &EventKey) -> Result<()> {
        self.unarchive.execute((&key.id, &*key.endpoint, &key.query)).map(drop)
    }

    fn hash(&self, key: &EventKey) -> KeyHash {
        self.hasher.hash(&key.id, &key.endpoint, &key.query)
    }
}

/// What a claim needs of a row in the log.
struct Known {
    state: State,
    attempts: u32,
    due: Option<i64>,
}

/// What a row in the log has beside its arrival.
struct Row {
    seen: i64,
    state: State,
    attempt: u32,
    status: Option<u16>,
    token: Option<u64>,
    due: Option<i64>,
    settled: Option<i64>,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
