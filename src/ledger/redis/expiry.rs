//! The task that deletes settled records after their retention. Every process does this for all of them; the hash `clock`
//! keeps them to one pace.

use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use tokio::time::sleep;

use super::command::{evalsha, millis};
use super::connection::RedisConnection;
use super::keys::Keys;
use super::reply::parse_reply;
use crate::ledger::retention::{MAX_ADVANCE_PERIODS, sweep_period};

/// The time between two looks for expired records.
const INTERVAL: Duration = Duration::from_secs(10);
/// The most entries that one call examines: a larger script would block the server for long.
const MAX_EXAMINED: usize = 512;
/// The most calls in a row.
const MAX_CALLS: usize = 20;
/// How much later than its retention Redis itself expires a record, if no process has deleted it. It is more than a year,
/// so that a clock which is a year ahead for a moment deletes nothing.
const SPARE_TIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Returns after how long Redis itself expires a settled record.
pub(super) fn time_to_live(retention: Duration) -> Duration {
    retention + SPARE_TIME
}

/// What the task works with.
pub(super) struct ExpirySweeper {
    connection: Arc<RedisConnection>,
    script: Script,
    /// The keys of the list `settled` and of the hash `clock`.
    keys: [String; 2],
    retention: Duration,
}

impl ExpirySweeper {
    /// Starts the task. It runs until the connection is closed.
    pub(super) fn start(
        connection: &Arc<RedisConnection>,
        script: &Script,
        keys: &Keys,
        retention: Duration,
    ) {
        let keys = [keys.settled.clone(), keys.clock.clone()];
        let (connection, script) = (Arc::clone(connection), script.clone());
        let sweeper = Self { connection, script, keys, retention };
        let shutdown = sweeper.connection.shutdown();
        tokio::spawn(shutdown.run_until_cancelled_owned(sweeper.run()));
    }

    async fn run(self) {
        loop {
            sleep(INTERVAL).await;
            for _ in 0..MAX_CALLS {
                // An error is that of the connection, which its supervisor logs.
                if self.sweep().await.unwrap_or_default() < MAX_EXAMINED {
                    break;
                }
            }
        }
    }

    /// Returns how many entries were examined.
    async fn sweep(&self) -> Option<usize> {
        let period = sweep_period(self.retention);
        let mut command = evalsha(&self.script, &self.keys.each_ref().map(String::as_str));
        command.arg(millis(self.retention)).arg(millis(period)).arg(millis(period * MAX_ADVANCE_PERIODS));
        command.arg(millis(time_to_live(self.retention))).arg(MAX_EXAMINED);
        parse_reply(self.connection.send(&command).await.ok()?).ok()
    }
}
