//! Commands that count only once a replica has them (`durability = "replicated"`): one task sends those that wait, then
//! WAIT, over a connection of its own. It never decides what a command means.
//!
//! WAIT blocks its whole connection and vouches only for what that connection wrote before. So it cannot share the
//! connection of the other calls. All commands that arrive during one WAIT share the next.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::command::millis;
use super::connection::RedisConnection;
use super::error;
use super::reply::{parse_reply, unexpected_reply};
use crate::ledger::LedgerError;

/// The most commands that wait for a replica together. It bounds how long the server works for one of them.
const MAX_GROUP: usize = 256;

/// The number of replicas that must have a write.
const REPLICAS: u8 = 1;

type Item = (Cmd, oneshot::Sender<Result<Value, LedgerError>>);

/// The handle to the task.
pub(super) struct ReplicatedSender {
    jobs: mpsc::UnboundedSender<Item>,
}

impl ReplicatedSender {
    /// Starts the task. It ends once this handle is dropped and every command is answered.
    pub(super) fn start(connection: Arc<RedisConnection>) -> Self {
        let (jobs, waiting) = mpsc::unbounded_channel();
        tokio::spawn(Task { connection, redis: None }.run(waiting));
        Self { jobs }
    }

    /// Sends a command, and returns its reply once a replica has everything that the server had written by then. A
    /// command that writes nothing waits too: what it read may not be replicated yet. The server may run the command
    /// twice, so it must be safe to repeat.
    ///
    /// # Errors
    /// The server refused or could not be reached, or no replica confirmed in time. The command may have run.
    pub(super) async fn send(&self, command: Cmd) -> Result<Value, LedgerError> {
        let (reply_tx, reply_rx) = oneshot::channel();
        let stopped = || LedgerError::new("the replicating task has stopped");
        self.jobs.send((command, reply_tx)).map_err(|_| stopped())?;
        reply_rx.await.map_err(|_| stopped())?
    }
}

struct Task {
    connection: Arc<RedisConnection>,
    /// The task's own connection; `None` until it is needed, and after a failure.
    redis: Option<MultiplexedConnection>,
}

impl Task {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Item>) {
        let mut group = Vec::new();
        while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
            let replies = self.send_group(&group).await;
            let mut replies = match replies {
                Ok(replies) => replies.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error); group.len()],
            };
            for ((_, reply_tx), reply) in group.drain(..).zip(replies.drain(..)) {
                // The send fails if the caller stopped waiting. The command has run all the same.
                let _ = reply_tx.send(reply);
            }
        }
    }

    /// Sends a group, and WAIT after it. Returns one reply for each command.
    async fn send_group(&mut self, group: &[Item]) -> Result<Vec<Value>, LedgerError> {
        // While the supervisor has no connection, an attempt of our own would only take longer to fail.
        self.connection.check_queueing()?;
        let mut pipeline = Pipeline::with_capacity(group.len() + 2);
        for (command, _) in group {
            pipeline.add_command(command.clone());
        }
        // WAIT vouches for this connection's last write. Duplicates write nothing, so the group ends with a write.
        pipeline.cmd("INCR").arg(self.connection.write_counter());
        let patience = millis(self.connection.options().command_timeout);
        pipeline.cmd("WAIT").arg(REPLICAS).arg(patience);
        let mut sent = self.send_pipeline(&pipeline).await;
        if sent.as_ref().is_err_and(|error| !error.is_timeout()) {
            // The server restarted, lost the scripts or is no longer the primary. A new connection finds the new one.
            sent = self.send_pipeline(&pipeline).await;
        }
        let mut replies = sent.map_err(|error| {
            self.connection.notify_failure();
            self.connection.error(&error::describe(&error))
        })?;
        let (confirmed, writes) = (replies.pop(), replies.pop());
        let (Some(confirmed), Some(writes)) = (confirmed, writes) else {
            return Err(unexpected_reply(&replies));
        };
        if parse_reply::<u64>(confirmed)? < REPLICAS.into() {
            self.connection.suspect_settings();
            return Err(LedgerError::unsuitable(self.connection.with_url(&format!(
                "no replica confirmed the event within {patience} ms (ledger.durability = \"replicated\"); check the \
                 replica and its link to the primary"
            ))));
        }
        // Noted only now: writes that no replica confirmed were not acknowledged, and may be lost without an alarm.
        self.connection.note_write(parse_reply(writes)?);
        Ok(replies)
    }

    /// Sends a pipeline over the task's connection, which is opened if there is none and dropped if it fails.
    async fn send_pipeline(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let mut redis = match self.redis.take() {
            Some(redis) => redis,
            None => self.connect().await?,
        };
        let replies = pipeline.query_async(&mut redis).await?;
        self.redis = Some(redis);
        Ok(replies)
    }

    /// Opens a connection. A server that lost acknowledged writes is left alone until the supervisor has counted that:
    /// writes of this task would hide it.
    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let options = self.connection.options();
        // WAIT takes up to one command's time, and the commands before it another.
        let connecting = self.connection.connector.connect(2 * options.command_timeout);
        let Ok(connected) = timeout(options.connect_timeout, connecting).await else {
            return Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)));
        };
        let (mut redis, _) = connected?;
        // Read before the server is asked: a later write may be acknowledged before its reply is read.
        let acknowledged = self.connection.acknowledged_writes();
        let counter = Cmd::get(self.connection.write_counter());
        let writes: Option<u64> = counter.query_async(&mut redis).await?;
        if writes.unwrap_or(0) < acknowledged {
            return Err((ErrorKind::Client, "the server lost writes that it had acknowledged").into());
        }
        Ok(redis)
    }
}
