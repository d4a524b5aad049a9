//! Building blocks of commands: EVALSHA, and numbers in the form that the scripts take. It sends nothing.

use std::time::{Duration, Instant};

use redis::{Cmd, Script};

use crate::clock;

/// Returns the command that runs a script on these keys. The caller adds the arguments.
pub(super) fn evalsha(script: &Script, keys: &[&str]) -> Cmd {
    let mut command = Cmd::with_capacity(3 + keys.len() + 8, 512);
    command.arg("EVALSHA").arg(script.get_hash()).arg(keys.len()).arg(keys);
    command
}

/// Formats a status for the three columns that a record has for it; `000` stands for no status.
pub(super) fn format_status(status: Option<u16>) -> String {
    format!("{:03}", status.unwrap_or_default())
}

/// Formats a lease's token for the 16 columns that a record has for it.
pub(super) fn format_token(token: u64) -> String {
    format!("{token:016x}")
}

/// Returns the end of a lease that is requested now, by the local monotonic clock.
pub(super) fn lease_end(lease: Duration) -> Instant {
    // The server truncates its clock to whole milliseconds. By that clock the lease may end up to 1 ms earlier.
    clock::instant() + Duration::from_millis(millis(lease).saturating_sub(1))
}

/// Returns a duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
