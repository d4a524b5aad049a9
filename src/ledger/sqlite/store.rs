//! The transitions, on an open file and inside a transaction of the writer's: claim, keep, lease what is due, settle,
//! act. It also holds what is kept in memory of the file; when a transaction fails, the store is to be dropped, since its
//! index may know what the file does not.

use std::time::{Duration, Instant};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Statement};

use super::chores::Chores;
use super::filter::BloomFilter;
use super::granted::Granted;
use super::index::{Index, KeyHash, KeyHasher};
use super::kept::Payloads;
use super::queue::Chore;
use crate::delivery_mode::DeliveryMode;
use crate::ledger::tokens::Tokens;
use crate::ledger::{
    ActionResult, Arrival, EventKey, Lease, OperatorAction, Settled, Settlement, State, StoredRequest,
};

/// A lease in the file that ends this much later than one granted now would was written while the clock was wrong.
const IMPLAUSIBLE: Duration = Duration::from_secs(60 * 60);

/// A state as the file knows it.
impl ToSql for State {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let number: i64 = match self {
            State::Running => 1,
            State::Delivered => 2,
            State::Failed => 3,
            State::Pending => 4,
            State::Dead => 5,
        };
        Ok(number.into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            1 => Ok(State::Running),
            2 => Ok(State::Delivered),
            3 => Ok(State::Failed),
            4 => Ok(State::Pending),
            5 => Ok(State::Dead),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// Payloads leased at once, in bytes: they are in memory until they are delivered.
const MOST_DUE: usize = 4 << 20;

/// What time it is, both ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Unix milliseconds: for what is kept in the file.
    pub(super) unix: i64,
    pub(super) instant: Instant,
}

/// What came of a claim, or of an event that was to be kept; callers are told once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    Leased { attempt: u32, token: u64 },
    Queued,
    InFlight { retry_after: Duration },
    Duplicate,
}

/// A kept event that was leased because it was due.
pub(super) struct Due {
    pub(super) arrival: Arrival,
    pub(super) attempt: u32,
    pub(super) token: u64,
    pub(super) parcel: StoredRequest,
}

/// How an event is taken in.
enum Intake<'p> {
    /// To be delivered at once, and not kept.
    Lease(Duration),
    /// Payloads; due at once, or delivered at once.
    Keep(&'p StoredRequest, Option<Duration>),
}

impl Intake<'_> {
    fn lease(&self) -> Option<Duration> {
        match self {
            Intake::Lease(lease) => Some(*lease),
            Intake::Keep(_, lease) => *lease,
        }
    }
}

pub(super) struct Store<'c> {
    conn: &'c Connection,
    index: Index,
    hasher: KeyHasher,
    tokens: Tokens,
    filter: Option<BloomFilter>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    read: Statement<'c>,
    append: Statement<'c>,
    lease: Statement<'c>,
    deliver: Statement<'c>,
    fail: Statement<'c>,
    read_archive: Statement<'c>,
    unarchive: Statement<'c>,
    open: Statement<'c>,
    describe: Statement<'c>,
    forget: Statement<'c>,
    kept: Payloads<'c>,
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
                "SELECT state, attempts, due, token FROM events WHERE seq = ?1 AND id = ?2 AND endpoint = ?3 AND query = ?4",
            )?,
            append: conn.prepare(
                "INSERT INTO events (seq, id, endpoint, query, type, created, livemode, account, seen, state, attempts, \
                 status, token, due, settled) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?,
            lease: conn.prepare(
                "UPDATE events SET state = 1, attempts = ?2, token = ?3, due = ?4, settled = NULL WHERE seq = ?1",
            )?,
            open: conn.prepare(
                "UPDATE events SET state = ?2, status = coalesce(?3, status), attempts = ?4, token = NULL, due = ?5, \
                 settled = ?6 WHERE seq = ?1",
            )?,
            describe: conn.prepare(
                "SELECT id, query, type, created, livemode, account, endpoint FROM events WHERE seq = ?1",
            )?,
            forget: conn.prepare("DELETE FROM events WHERE seq = ?1")?,
            kept: Payloads::new(conn)?,
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
        self.take_in(arrival, &Intake::Lease(lease), now, granted)
    }

    pub(super) fn enqueue(
        &mut self,
        arrival: &Arrival,
        parcel: &StoredRequest,
        lease: Option<Duration>,
        now: Now,
        granted: &mut Granted,
    ) -> Result<Claimed> {
        self.take_in(arrival, &Intake::Keep(parcel, lease), now, granted)
    }

    fn take_in(
        &mut self,
        arrival: &Arrival,
        intake: &Intake<'_>,
        now: Now,
        granted: &mut Granted,
    ) -> Result<Claimed> {
        let hash = self.hash(&arrival.key);
        let ours = granted.ends(hash);
        if let Some(seq) = self.index.seq(hash) {
            if let Some(known) = self.read(seq, &arrival.key)? {
                if self.kept.holds(seq) {
                    return Ok(Claimed::Duplicate);
                }
                if let Some(ends) = ours.filter(|ends| *ends > now.instant) {
                    return Ok(Claimed::InFlight { retry_after: ends - now.instant });
                }
                let claimed = self.take_known(seq, known, arrival, intake, now, ours.is_some())?;
                if let Claimed::Leased { .. } = claimed {
                    granted.grant(hash, now.instant + intake.lease().unwrap_or_default());
                }
                return Ok(claimed);
            }
            self.index.remove(hash, seq); // an outsider deleted the row
        }
        if let Some(ends) = ours.filter(|ends| *ends > now.instant) {
            return Ok(Claimed::InFlight { retry_after: ends - now.instant });
        }
        let (attempts, seen) = match self.read_archive(&arrival.key, hash)? {
            None => (0, now.unix),
            Some((State::Failed | State::Running, attempts, seen)) => {
                self.unarchive(&arrival.key)?;
                (attempts, seen)
            }
            Some((State::Delivered | State::Pending | State::Dead, ..)) => return Ok(Claimed::Duplicate),
        };
        let (claimed, due) = self.admit(attempts, intake.lease(), now)?;
        let (state, attempt, token) = match claimed {
            Claimed::Leased { attempt, token } => (State::Running, attempt, Some(token)),
            Claimed::Queued | Claimed::InFlight { .. } | Claimed::Duplicate => {
                (State::Pending, attempts, None)
            }
        };
        let row = Row { seen, state, attempt, status: None, token, due: Some(due), settled: None };
        let seq = self.append(arrival, hash, &row)?;
        if let Intake::Keep(parcel, _) = intake {
            self.kept.put(seq, &arrival.key.endpoint, due, parcel)?;
        }
        if let Some(lease) = intake.lease() {
            granted.grant(hash, now.instant + lease);
        }
        Ok(claimed)
    }

    /// An event that has a row in the log and no parcel. Of a lease that is `ours`, [`Granted`] has said that it is over.
    fn take_known(
        &mut self,
        seq: i64,
        known: Known,
        arrival: &Arrival,
        intake: &Intake<'_>,
        now: Now,
        ours: bool,
    ) -> Result<Claimed> {
        match known.state {
            State::Delivered | State::Pending | State::Dead => return Ok(Claimed::Duplicate),
            State::Running if !ours => {
                // Another process granted it: the file's time is all there is.
                let left = known.due.unwrap_or_default().saturating_sub(now.unix);
                let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                let asked = intake.lease().unwrap_or_default();
                if !left.is_zero() && left < asked + IMPLAUSIBLE {
                    return Ok(Claimed::InFlight { retry_after: left });
                }
            }
            State::Failed | State::Running => {}
        }
        let (claimed, due) = self.admit(known.attempts, intake.lease(), now)?;
        match claimed {
            Claimed::Leased { attempt, token } => {
                self.lease.execute((seq, attempt, token as i64, due))?;
            }
            Claimed::Queued | Claimed::InFlight { .. } | Claimed::Duplicate => {
                self.reopen(seq, State::Pending, None, known.attempts, Some(due), None)?;
            }
        }
        if let Intake::Keep(parcel, _) = intake {
            self.kept.put(seq, &arrival.key.endpoint, due, parcel)?;
        }
        Ok(claimed)
    }

    /// A lease, and when it ends; or a place in the queue, from now.
    fn admit(&mut self, attempts: u32, lease: Option<Duration>, now: Now) -> Result<(Claimed, i64)> {
        let Some(lease) = lease else { return Ok((Claimed::Queued, now.unix)) };
        let (attempt, token) = (attempts.saturating_add(1), self.token()?);
        Ok((Claimed::Leased { attempt, token }, now.unix.saturating_add(millis(lease))))
    }

    /// Leases kept events of an endpoint that are due.
    pub(super) fn due(
        &mut self,
        endpoint: &str,
        most: usize,
        lease: Duration,
        now: Now,
        granted: &mut Granted,
    ) -> Result<Vec<Due>> {
        let (mut leased, mut bytes) = (Vec::new(), 0);
        for (was, seq) in self.kept.due(endpoint, now.unix, most)? {
            let described = self.describe(seq)?.zip(self.kept.parcel(seq)?);
            let Some((arrival, parcel)) = described else {
                // An outsider deleted the row.
                self.kept.remove(seq, endpoint, Some(was))?;
                continue;
            };
            let hash = self.hash(&arrival.key);
            let known = self.read(seq, &arrival.key)?;
            let due = now.unix.saturating_add(millis(lease));
            match (known, granted.ends(hash).filter(|ends| *ends > now.instant)) {
                // The file's clock says that our own lease is over, the one that counts says that it is not.
                (Some(known), Some(ends)) => {
                    let due = now.unix.saturating_add(millis(ends - now.instant));
                    self.reopen(seq, known.state, None, known.attempts, Some(due), None)?;
                    self.kept.move_to(seq, endpoint, Some(was), Some(due))?;
                }
                (Some(known), None) => {
                    let (attempt, token) = (known.attempts.saturating_add(1), self.token()?);
                    self.lease.execute((seq, attempt, token as i64, due))?;
                    self.kept.move_to(seq, endpoint, Some(was), Some(due))?;
                    granted.grant(hash, now.instant + lease);
                    bytes += parcel.body.len();
                    leased.push(Due { arrival, attempt, token, parcel });
                    if bytes > MOST_DUE {
                        break;
                    }
                }
                (None, _) => self.kept.remove(seq, endpoint, Some(was))?,
            }
        }
        Ok(leased)
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
            // Of a kept event nothing is failed: it is tried again.
            Settlement::Failed { status } if seq.is_some_and(|seq| self.kept.holds(seq)) => {
                let retry = Settlement::Retry { status, wait: Duration::ZERO, counts: true };
                return self.settle(lease, retry, now, granted);
            }
            Settlement::Failed { status } => {
                let Some(seq) = seq else { return Ok(Settled::Superseded) };
                if self.fail.execute((seq, status, now.unix, lease.token as i64))? == 0 {
                    return Ok(Settled::Superseded);
                }
            }
            Settlement::Delivered { status } => {
                let EventKey { endpoint, query, id } = lease.key();
                if let Some(seq) = seq.filter(|seq| self.kept.holds(*seq)) {
                    let was = self.read(seq, lease.key())?.and_then(|known| known.due);
                    self.kept.remove(seq, endpoint, was)?;
                }
                let known = match seq {
                    Some(seq) => self.deliver.execute((seq, status, now.unix, id, &**endpoint, query))? == 1,
                    None => false,
                };
                if !known {
                    self.deliver_unlogged(lease, hash, status, now)?;
                }
            }
            Settlement::Retry { status, wait, counts } => {
                let Some((seq, known)) = self.held(seq, lease)? else { return Ok(Settled::Superseded) };
                let due = now.unix.saturating_add(millis(wait));
                let attempts = known.attempts.saturating_sub(u32::from(!counts));
                self.reopen(seq, State::Pending, status, attempts, Some(due), None)?;
                self.kept.move_to(seq, &lease.key().endpoint, known.due, Some(due))?;
            }
            Settlement::Dead { status } => {
                let Some((seq, known)) = self.held(seq, lease)? else { return Ok(Settled::Superseded) };
                self.reopen(seq, State::Dead, status, known.attempts, None, Some(now.unix))?;
                self.kept.move_to(seq, &lease.key().endpoint, known.due, None)?;
            }
        }
        granted.settle(hash);
        Ok(Settled::Recorded)
    }

    /// The row of a kept event that this lease still holds.
    fn held(&mut self, seq: Option<i64>, lease: &Lease) -> Result<Option<(i64, Known)>> {
        let Some(seq) = seq.filter(|seq| self.kept.holds(*seq)) else { return Ok(None) };
        let known = self.read(seq, lease.key())?;
        let holds = |known: &Known| known.state == State::Running && known.token == Some(lease.token as i64);
        Ok(known.filter(holds).map(|known| (seq, known)))
    }

    /// Does what an operator asks for.
    pub(super) fn act(
        &mut self,
        key: &EventKey,
        action: OperatorAction,
        now: Now,
        granted: &Granted,
    ) -> Result<ActionResult> {
        let hash = self.hash(key);
        let seq = self.index.seq(hash);
        let known = match seq {
            Some(seq) => self.read(seq, key)?,
            None => None,
        };
        let (Some(seq), Some(known)) = (seq, known) else {
            return Ok(match (self.read_archive(key, hash)?, action) {
                (None, _) => ActionResult::Unknown,
                (Some(_), OperatorAction::Redeliver) => ActionResult::PayloadGone,
                (Some(_), OperatorAction::Forget) => {
                    self.unarchive(key)?;
                    ActionResult::Done
                }
            });
        };
        let held = granted.ends(hash).is_some_and(|ends| ends > now.instant)
            || known.due.is_some_and(|due| due > now.unix);
        if known.state == State::Running && held {
            return Ok(ActionResult::Running);
        }
        match action {
            OperatorAction::Redeliver if !self.kept.holds(seq) => return Ok(ActionResult::PayloadGone),
            OperatorAction::Redeliver => {
                self.reopen(seq, State::Pending, None, 0, Some(now.unix), None)?;
                self.kept.set_way(seq, DeliveryMode::Redelivery)?;
                self.kept.move_to(seq, &key.endpoint, known.due, Some(now.unix))?;
            }
            OperatorAction::Forget => {
                if self.kept.holds(seq) {
                    self.kept.remove(seq, &key.endpoint, known.due)?;
                }
                self.forget.execute([seq])?;
                self.index.remove(hash, seq);
                // It may have been copied there on its way out of the log.
                self.unarchive(key)?;
            }
        }
        Ok(ActionResult::Done)
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

    /// A 2xx for an event that the log no longer holds: archived since, or the file is another.
    fn deliver_unlogged(&mut self, lease: &Lease, hash: KeyHash, status: u16, now: Now) -> Result<()> {
        let (attempt, seen) = match self.read_archive(lease.key(), hash)? {
            None => (lease.attempt, now.unix),
            Some((State::Delivered, ..)) => return Ok(()),
            Some((_, attempts, seen)) => {
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
        self.append(&lease.arrival, hash, &row).map(drop)
    }

    /// Puts a row's event back to where it is not being delivered.
    fn reopen(
        &mut self,
        seq: i64,
        state: State,
        status: Option<u16>,
        attempts: u32,
        due: Option<i64>,
        settled: Option<i64>,
    ) -> Result<()> {
        self.open.execute((seq, state, status, attempts, due, settled)).map(drop)
    }

    /// The arrival that a row is of.
    fn describe(&mut self, seq: i64) -> Result<Option<Arrival>> {
        let describe = |row: &rusqlite::Row<'_>| {
            let (id, query, endpoint): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(6)?);
            let (event_type, account): (String, Option<String>) = (row.get(2)?, row.get(5)?);
            Ok(Arrival {
                key: EventKey { endpoint: endpoint.into(), query: query.into(), id: id.into() },
                event_type: event_type.into(),
                created: row.get(3)?,
                livemode: row.get(4)?,
                account: account.map(Into::into),
            })
        };
        self.describe.query_row([seq], describe).optional()
    }

    fn append(&mut self, arrival: &Arrival, hash: KeyHash, row: &Row) -> Result<i64> {
        let EventKey { endpoint, query, id } = &arrival.key;
        let seq = self.index.next_seq();
        self.append.execute(rusqlite::params![
            seq,
            id,
            endpoint.as_ref(),
            query,
            arrival.event_type,
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
        Ok(seq)
    }

    /// The row that the index has for an event. That it is this event's is the row's to say.
    fn read(&mut self, seq: i64, key: &EventKey) -> Result<Option<Known>> {
        self.read
            .query_row((seq, &key.id, &*key.endpoint, &key.query), |row| {
                Ok(Known { state: row.get(0)?, attempts: row.get(1)?, due: row.get(2)?, token: row.get(3)? })
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
    token: Option<i64>,
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
