//! The replies of the server and of the scripts, as the ledger's types. Pure: values in, values out.

use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};

use super::keys::Keys;
use super::record::{self, PayloadFields};
use crate::ledger::usual_lease;
use crate::ledger::{Backlog, Lease, LedgerError, Settled, StoredRequest};

/// The reply of `claim_due.lua` for one event: its record's key, attempt, token, mode, metadata.
pub(super) type LeasedEvent = (String, u32, String, String, String);

/// The reply of `backlog.lua` for one endpoint: name, running, pending, dead, queued, two ages and the time left of a lease
/// in milliseconds.
pub(super) type BacklogRow = (String, u64, u64, u64, u64, i64, i64, i64);

/// Converts a reply to a typed value.
///
/// # Errors
/// The reply has another type.
pub(super) fn parse_reply<T: FromRedisValue>(value: Value) -> Result<T, LedgerError> {
    T::from_redis_value(value).map_err(|error| LedgerError::new(format!("unexpected reply: {error}")))
}

/// Returns the error for a reply of the right type that no script gives.
pub(super) fn unexpected_reply(reply: &impl std::fmt::Debug) -> LedgerError {
    LedgerError::new(format!("unexpected reply: {reply:?}"))
}

/// Converts the reply of `settle.lua` or `reschedule.lua` for one event.
pub(super) fn settled(reply: u64) -> Settled {
    if reply == 1 { Settled::Recorded } else { Settled::Superseded }
}

/// Parses a token that [`format_token`](super::command::format_token) wrote.
pub(super) fn parse_token(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap_or_default()
}

/// Converts one event that `claim_due.lua` leased until `ends`. Returns `None` if it cannot be delivered now.
pub(super) fn claimed(
    keys: &Keys,
    leased: LeasedEvent,
    payload: PayloadFields,
    ends: Instant,
) -> Option<(Lease, StoredRequest)> {
    let (key, attempt, token, mode, metadata) = leased;
    let arrival = keys.event(&key).and_then(|key| record::arrival(key, &metadata));
    let Some((arrival, mode)) = arrival.zip(record::parse_mode(&mode)) else {
        tracing::error!(key, "skipping an unreadable record in Redis");
        return None;
    };
    // The payload is missing if an earlier holder settled the event after this lease was granted.
    let request = record::stored_request(mode, payload)?;
    Some((Lease::new(arrival, attempt, parse_token(&token), ends), request))
}

/// Converts one endpoint's row. `lease` is the usual length of a lease.
pub(super) fn backlog(row: BacklogRow, lease: Duration) -> Backlog {
    let (endpoint, running, pending, dead, queued, oldest, polled_ago, lease_left) = row;
    // The script gives -1 for an age that does not exist.
    let age = |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis);
    Backlog {
        endpoint: endpoint.into(),
        running,
        pending,
        dead,
        queued,
        oldest_running: (running > 0).then(|| usual_lease::age(lease, lease_left)),
        oldest_pending: age(oldest).filter(|_| pending > 0),
        last_polled_ago: age(polled_ago),
    }
}
