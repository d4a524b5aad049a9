//! The payloads of queued events, and the queue that says when each is due: the tables `payloads` and `queue`. Runs
//! inside the writer's transactions. Which rows have a payload is also known in memory, so inline events cost nothing
//! here.

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row, Statement};

use crate::delivery_mode::DeliveryMode;
use crate::ledger::MAX_WAIT;
use crate::ledger::StoredRequest;
use crate::ledger::millis::millis;

/// The number that the file stores for a mode.
impl ToSql for DeliveryMode {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let number: i64 = match self {
            // Never written: an inline event has no payload, and reading refuses the number.
            Self::Inline => 0,
            Self::Queued => 1,
            Self::Hybrid => 2,
            Self::Redelivery => 3,
        };
        Ok(number.into())
    }
}

impl FromSql for DeliveryMode {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            1 => Ok(Self::Queued),
            2 => Ok(Self::Hybrid),
            3 => Ok(Self::Redelivery),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// The statements on both tables.
pub(super) struct Payloads<'c> {
    /// The `seq` of every row that has a payload.
    seqs: HashSet<i64>,
    insert: Statement<'c>,
    read: Statement<'c>,
    set_mode: Statement<'c>,
    delete: Statement<'c>,
    enqueue: Statement<'c>,
    dequeue: Statement<'c>,
    due: Statement<'c>,
    too_far: Statement<'c>,
}

impl<'c> Payloads<'c> {
    /// Prepares the statements and reads which rows have a payload.
    pub(super) fn new(conn: &'c Connection) -> Result<Self> {
        let seqs = conn
            .prepare("SELECT seq FROM payloads")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_>>()?;
        Ok(Self {
            seqs,
            insert: conn.prepare(
                "INSERT INTO payloads (seq, mode, head, signature, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            read: conn.prepare("SELECT mode, head, signature, body FROM payloads WHERE seq = ?1")?,
            set_mode: conn.prepare("UPDATE payloads SET mode = ?2 WHERE seq = ?1")?,
            delete: conn.prepare("DELETE FROM payloads WHERE seq = ?1")?,
            enqueue: conn.prepare("INSERT OR IGNORE INTO queue (endpoint, due, seq) VALUES (?1, ?2, ?3)")?,
            dequeue: conn.prepare("DELETE FROM queue WHERE endpoint = ?1 AND due = ?2 AND seq = ?3")?,
            due: conn.prepare(
                "SELECT due, seq FROM queue WHERE endpoint = ?1 AND due <= ?2 ORDER BY due LIMIT ?3",
            )?,
            too_far: conn.prepare(
                "SELECT due, seq FROM queue WHERE endpoint = ?1 AND due > ?2 ORDER BY due LIMIT ?3",
            )?,
        })
    }

    /// Whether a row has a payload.
    pub(super) fn contains(&self, seq: i64) -> bool {
        self.seqs.contains(&seq)
    }

    /// Stores a row's payload and queues the row. `due` is in Unix milliseconds.
    pub(super) fn insert(
        &mut self,
        seq: i64,
        endpoint: &str,
        due: i64,
        request: &StoredRequest,
    ) -> Result<()> {
        let StoredRequest { mode, head, signature, body } = request;
        self.insert.execute((seq, mode, &head[..], &signature[..], &body[..]))?;
        self.seqs.insert(seq);
        self.enqueue(seq, endpoint, due)
    }

    /// Reads a row's payload.
    pub(super) fn read(&mut self, seq: i64) -> Result<Option<StoredRequest>> {
        self.read.query_row([seq], |row| stored_request(row, 0)).optional()
    }

    /// Changes the delivery mode of a row's payload.
    pub(super) fn set_mode(&mut self, seq: i64, mode: DeliveryMode) -> Result<()> {
        self.set_mode.execute((seq, mode)).map(drop)
    }

    /// Moves a row in the queue from `old_due` to `new_due`. `None` means not in the queue.
    pub(super) fn reschedule(
        &mut self,
        seq: i64,
        endpoint: &str,
        old_due: Option<i64>,
        new_due: Option<i64>,
    ) -> Result<()> {
        if let Some(due) = old_due {
            self.dequeue.execute((endpoint, due, seq))?;
        }
        match new_due {
            Some(due) => self.enqueue(seq, endpoint, due),
            None => Ok(()),
        }
    }

    /// Deletes a row's payload and takes the row out of the queue. `due` is the row's place in it, if it has one.
    pub(super) fn delete(&mut self, seq: i64, endpoint: &str, due: Option<i64>) -> Result<()> {
        self.reschedule(seq, endpoint, due, None)?;
        self.delete.execute([seq])?;
        self.seqs.remove(&seq);
        Ok(())
    }

    /// The due time and `seq` of up to `limit` rows of an endpoint that are due, the most overdue first. Rows that are due
    /// further ahead than any wait come last: a wrong clock has written their time, so they are due now.
    pub(super) fn due(&mut self, endpoint: &str, now: i64, limit: usize) -> Result<Vec<(i64, i64)>> {
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let sql_limit = |limit| i64::try_from(limit).unwrap_or(i64::MAX);
        let due: Result<Vec<_>> = self.due.query_map((endpoint, now, sql_limit(limit)), row)?.collect();
        let mut due = due?;
        if due.len() < limit {
            let too_far = now.saturating_add(millis(MAX_WAIT));
            let limit = sql_limit(limit - due.len());
            for row in self.too_far.query_map((endpoint, too_far, limit), row)? {
                due.push(row?);
            }
        }
        Ok(due)
    }

    /// Makes every row of the queue that is not due yet due earlier by `step`, and returns their number. Times are Unix
    /// milliseconds.
    pub(super) fn make_due_earlier(&mut self, conn: &Connection, step: i64, now: i64) -> Result<usize> {
        conn.execute(
            "UPDATE events SET due = max(?1, due - ?2) WHERE seq IN (SELECT seq FROM queue WHERE due > ?1)",
            (now, step),
        )?;
        conn.execute("UPDATE queue SET due = max(?1, due - ?2) WHERE due > ?1", (now, step))
    }

    fn enqueue(&mut self, seq: i64, endpoint: &str, due: i64) -> Result<()> {
        self.enqueue.execute((endpoint, due, seq)).map(drop)
    }
}

/// Reads a stored request from four columns, the first of which is `column`: mode, head, signature, body.
pub(super) fn stored_request(row: &Row<'_>, column: usize) -> Result<StoredRequest> {
    let bytes =
        |column| row.get_ref(column)?.as_blob().map(Bytes::copy_from_slice).map_err(rusqlite::Error::from);
    Ok(StoredRequest {
        mode: row.get(column)?,
        head: bytes(column + 1)?,
        signature: bytes(column + 2)?,
        body: bytes(column + 3)?,
    })
}
