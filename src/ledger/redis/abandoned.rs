//! The task that makes abandoned inline events FAILED: those whose process died before it recorded a result. Every
//! process does this for all of them. It never touches an event whose lease is in force.

use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use tokio::time::sleep;

use super::command::{evalsha, millis};
use super::connection::RedisConnection;
use super::expiry::time_to_live;
use super::keys::Keys;
use super::reply::parse_reply;
use crate::ledger::EventKey;
use crate::ledger::abandoned::{SWEEP_INTERVAL, log_abandoned};
use crate::ledger::usual_lease::UsualLease;

/// The most records that one call examines: a larger script would block the server for long.
const MAX_EXAMINED: usize = 512;

/// What the task works with.
pub(super) struct AbandonedSweeper {
    pub(super) connection: Arc<RedisConnection>,
    pub(super) script: Script,
    pub(super) keys: Keys,
    pub(super) retention: Duration,
    pub(super) usual_lease: Arc<UsualLease>,
}

impl AbandonedSweeper {
    /// Runs until the connection is closed.
    pub(super) fn start(self) {
        let shutdown = self.connection.shutdown();
        tokio::spawn(shutdown.run_until_cancelled_owned(self.run()));
    }

    async fn run(self) {
        let mut skipped = 0;
        loop {
            sleep(SWEEP_INTERVAL).await;
            // An error is that of the connection, which its supervisor logs.
            let Some((skip, failed)) = self.sweep(skipped).await else { continue };
            skipped = skip;
            failed.iter().for_each(log_abandoned);
        }
    }

    /// Examines the next records after those to skip. Returns how many to skip next time, and the events that became
    /// FAILED.
    async fn sweep(&self, skip: u64) -> Option<(u64, Vec<EventKey>)> {
        let mut command = evalsha(&self.script, &[&self.keys.running, &self.keys.clock]);
        command.arg(millis(time_to_live(self.retention))).arg(MAX_EXAMINED).arg(skip);
        command.arg(millis(self.usual_lease.get()));
        let reply = self.connection.send(&command).await.ok()?;
        let reply = parse_reply::<Vec<String>>(reply).ok()?;
        let (skip, failed) = reply.split_first()?;
        Some((skip.parse().ok()?, failed.iter().filter_map(|key| self.keys.event(key)).collect()))
    }
}
