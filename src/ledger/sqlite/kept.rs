//! What is kept of events that are delivered later: their parcels, and the queue that says when each is due. Inside
//! the writer's transactions, like the store it belongs to. Which rows of the log are kept is known in memory, so that
//! events which are not cost nothing here.

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row, Statement};

use crate::delivery_mode::DeliveryMode;
use crate::ledger::StoredRequest;

impl ToSql for DeliveryMode {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let number: i64 = match self {
            // Never written: an inline event has no payload, and reading refuses the number.
            DeliveryMode::Inline => 0,
            DeliveryMode::Queued => 1,
            DeliveryMode::Hybrid => 2,
            DeliveryMode::Redelivery => 3,
        };
        Ok(number.into())
    }
}

impl FromSql for DeliveryMode {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            1 => Ok(DeliveryMode::Queued),
            2 => Ok(DeliveryMode::Hybrid),
            3 => Ok(DeliveryMode::Redelivery),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// The parcels and the queue.
pub(super) struct Payloads<'c> {
    /// The rows of the log that have a parcel.
    seqs: HashSet<i64>,
    put: Statement<'c>,
    read: Statement<'c>,
    set_way: Statement<'c>,
    remove: Statement<'c>,
    enqueue: Statement<'c>,
    dequeue: Statement<'c>,
    due: Statement<'c>,
}

impl<'c> Payloads<'c> {
    pub(super) fn new(conn: &'c Connection) -> Result<Self> {
        let seqs = conn
            .prepare("SELECT seq FROM parcels")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_>>()?;
        Ok(Self {
            seqs,
            put: conn.prepare(
                "INSERT INTO parcels (seq, way, head, signature, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            read: conn.prepare("SELECT way, head, signature, body FROM parcels WHERE seq = ?1")?,
            set_way: conn.prepare("UPDATE parcels SET way = ?2 WHERE seq = ?1")?,
            remove: conn.prepare("DELETE FROM parcels WHERE seq = ?1")?,
            enqueue: conn.prepare("INSERT OR IGNORE INTO queue (endpoint, due, seq) VALUES (?1, ?2, ?3)")?,
            dequeue: conn.prepare("DELETE FROM queue WHERE endpoint = ?1 AND due = ?2 AND seq = ?3")?,
            due: conn.prepare(
                "SELECT due, seq FROM queue WHERE endpoint = ?1 AND due <= ?2 ORDER BY due LIMIT ?3",
            )?,
        })
    }

    /// Whether a row of the log is kept.
    pub(super) fn holds(&self, seq: i64) -> bool {
        self.seqs.contains(&seq)
    }

    /// Keeps a parcel, which is due then.
    pub(super) fn put(&mut self, seq: i64, endpoint: &str, due: i64, parcel: &StoredRequest) -> Result<()> {
        self.put.execute((seq, parcel.mode, &parcel.head[..], &parcel.signature[..], &parcel.body[..]))?;
        self.seqs.insert(seq);
        self.enqueue(seq, endpoint, due)
    }

    /// The parcel of a row.
    pub(super) fn parcel(&mut self, seq: i64) -> Result<Option<StoredRequest>> {
        self.read.query_row([seq], |row| parcel(row, 0)).optional()
    }

    /// Which way a parcel goes from now on.
    pub(super) fn set_way(&mut self, seq: i64, mode: DeliveryMode) -> Result<()> {
        self.set_way.execute((seq, mode)).map(drop)
    }

    /// It is in the queue no more, or at another time. `was` is when it was due; `None` if it was not queued.
    pub(super) fn move_to(
        &mut self,
        seq: i64,
        endpoint: &str,
        was: Option<i64>,
        due: Option<i64>,
    ) -> Result<()> {
        if let Some(was) = was {
            self.dequeue.execute((endpoint, was, seq))?;
        }
        match due {
            Some(due) => self.enqueue(seq, endpoint, due),
            None => Ok(()),
        }
    }

    /// Lets go of a parcel.
    pub(super) fn remove(&mut self, seq: i64, endpoint: &str, was: Option<i64>) -> Result<()> {
        self.move_to(seq, endpoint, was, None)?;
        self.remove.execute([seq])?;
        self.seqs.remove(&seq);
        Ok(())
    }

    /// What of an endpoint is due, the most overdue first: when each was, and its row.
    pub(super) fn due(&mut self, endpoint: &str, now: i64, most: usize) -> Result<Vec<(i64, i64)>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.due.query_map((endpoint, now, most), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    fn enqueue(&mut self, seq: i64, endpoint: &str, due: i64) -> Result<()> {
        self.enqueue.execute((endpoint, due, seq)).map(drop)
    }
}

/// A parcel in these columns: way, head, signature, body.
pub(super) fn parcel(row: &Row<'_>, column: usize) -> Result<StoredRequest> {
    let bytes =
        |column| row.get_ref(column)?.as_blob().map(Bytes::copy_from_slice).map_err(rusqlite::Error::from);
    Ok(StoredRequest {
        mode: row.get(column)?,
        head: bytes(column + 1)?,
        signature: bytes(column + 2)?,
        body: bytes(column + 3)?,
    })
}
