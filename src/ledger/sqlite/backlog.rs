//! The backlog for metrics and the worker: how many unsettled events each endpoint has, and how old they are. It reads
//! through a connection of its own beside the writer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Result};

use super::reader::with_connection;
use crate::ledger::usual_lease;
use crate::ledger::{Backlog, LedgerError, State};

/// Counts the unsettled events by endpoint. `now` is in Unix milliseconds, `lease` is the usual length of a lease.
pub(super) fn backlog(
    path: &Path,
    now: i64,
    lease: Duration,
) -> std::result::Result<Vec<Backlog>, LedgerError> {
    with_connection(path, |conn| {
        let mut backlogs = count_states(conn, now, lease)?;
        let mut statement = conn.prepare("SELECT endpoint, count(*) FROM queue GROUP BY endpoint")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(backlog) = backlogs.get_mut(row.get_ref(0)?.as_str()?) {
                backlog.queued = row.get::<_, i64>(1)?.unsigned_abs();
            }
        }
        Ok(backlogs.into_values().collect())
    })
}

fn count_states(conn: &Connection, now: i64, lease: Duration) -> Result<BTreeMap<String, Backlog>> {
    let mut backlogs: BTreeMap<String, Backlog> = BTreeMap::new();
    let mut statement = conn.prepare(
        "SELECT endpoint, state, count(*), min(seen), min(due) FROM events WHERE state IN (1, 4, 5) GROUP BY endpoint, state",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (endpoint, state, count): (String, State, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let count = count.unsigned_abs();
        let backlog = backlogs.entry(endpoint.clone()).or_insert_with(|| Backlog {
            endpoint: endpoint.into(),
            running: 0,
            pending: 0,
            dead: 0,
            queued: 0,
            oldest_running: None,
            oldest_pending: None,
            last_polled_ago: None,
        });
        match state {
            State::Running => {
                backlog.running = count;
                let ends = row.get::<_, Option<i64>>(4)?.unwrap_or(now);
                backlog.oldest_running = Some(usual_lease::age(lease, ends.saturating_sub(now)));
            }
            State::Dead => backlog.dead = count,
            State::Pending => {
                backlog.pending = count;
                let age = now.saturating_sub(row.get(3)?);
                backlog.oldest_pending = Some(Duration::from_millis(u64::try_from(age).unwrap_or_default()));
            }
            // The statement does not select settled events.
            State::Delivered | State::Failed => {}
        }
    }
    Ok(backlogs)
}
