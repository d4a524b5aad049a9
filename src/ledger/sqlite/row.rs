//! One row of `events` or `archive` as a value, and the number that stands for a state. It runs no statement.

use std::sync::Arc;

use rusqlite::Result;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::ledger::State;

/// The number that the file stores for a state.
impl ToSql for State {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let number: i64 = match self {
            Self::Running => 1,
            Self::Delivered => 2,
            Self::Failed => 3,
            Self::Pending => 4,
            Self::Dead => 5,
        };
        Ok(number.into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            1 => Ok(Self::Running),
            2 => Ok(Self::Delivered),
            3 => Ok(Self::Failed),
            4 => Ok(Self::Pending),
            5 => Ok(Self::Dead),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// A row in `events`, with the columns that decide a transition.
pub(super) struct ExistingRow {
    pub(super) seq: i64,
    pub(super) endpoint: Arc<str>,
    /// When the event was first received, in Unix milliseconds.
    pub(super) seen: i64,
    pub(super) state: State,
    pub(super) attempts: u32,
    /// PENDING: when it is due. RUNNING: when its lease expires. Unix milliseconds.
    pub(super) due: Option<i64>,
    /// RUNNING: the fencing token of the lease.
    pub(super) token: Option<i64>,
}

/// The columns of a new row in `events`, besides those of its arrival. Times are Unix milliseconds.
pub(super) struct NewRow {
    pub(super) seen: i64,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) status: Option<u16>,
    pub(super) token: Option<u64>,
    pub(super) due: Option<i64>,
    pub(super) settled: Option<i64>,
}

/// The columns of a row in `archive` that decide a transition.
pub(super) struct ArchivedRow {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) seen: i64,
}
