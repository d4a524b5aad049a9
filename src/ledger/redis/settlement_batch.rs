//! The batcher of settlements: it sends all settlements that arrived during one `settle.lua` call in the next call. The
//! fixed cost of a script is several times the cost of one record. It handles inline attempts and delivered events;
//! failed attempts at queued events go through `reschedule.lua`.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Script};
use tokio::sync::{mpsc, oneshot};

use super::command::{evalsha, millis};
use super::connection::RedisConnection;
use super::expiry::time_to_live;
use super::reply::{self, parse_reply, unexpected_reply};
use crate::ledger::{LedgerError, Settled};

/// The most settlements in one script. A larger script would block the server for long, and Lua's stack has room for a
/// few thousand arguments only.
const MAX_BATCH: usize = 256;

/// One delivery's result, with the values in the form that `settle.lua` takes.
pub(super) struct PendingSettlement {
    /// The key of the event's record.
    pub(super) record: String,
    /// The lease's token, 16 hex digits.
    pub(super) token: String,
    /// `D` for delivered, `F` for failed.
    pub(super) state: &'static str,
    /// The backend's status, 3 digits.
    pub(super) status: String,
    /// The number of the attempt, counted from 1.
    pub(super) attempt: u32,
    /// The event's metadata, for a record that no longer exists.
    pub(super) metadata: String,
}

type SettleResult = Result<Settled, LedgerError>;
type BatchItem = (PendingSettlement, oneshot::Sender<SettleResult>);

/// The handle to the batching task. Settlements are sent even if their caller stops waiting.
pub(super) struct SettlementBatcher {
    jobs: mpsc::UnboundedSender<BatchItem>,
}

impl SettlementBatcher {
    /// Starts the task. It ends once this handle is dropped and every job is done.
    pub(super) fn start(
        connection: Arc<RedisConnection>,
        script: Script,
        running: String,
        retention: Duration,
    ) -> Self {
        let (jobs, mut waiting) = mpsc::unbounded_channel::<BatchItem>();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
                let command =
                    settle_command(&script, [&running, connection.write_counter()], retention, &batch);
                let sent = connection.send(&command).await.and_then(parse_reply::<Vec<u64>>);
                let results = match sent {
                    Ok(mut replies) if replies.len() == batch.len() + 1 => {
                        connection.note_write(replies.pop().unwrap_or_default());
                        replies.into_iter().map(reply::settled).map(Ok).collect()
                    }
                    Ok(replies) => vec![Err(unexpected_reply(&replies)); batch.len()],
                    Err(error) => vec![Err(error); batch.len()],
                };
                for ((_, reply_tx), result) in batch.drain(..).zip(results) {
                    // The send fails if the caller stopped waiting. The settlement is recorded all the same.
                    let _ = reply_tx.send(result);
                }
            }
        });
        Self { jobs }
    }

    /// Settles one event and waits for the result.
    ///
    /// # Errors
    /// The server could not be reached or refused, or the runtime is shutting down.
    pub(super) async fn settle(&self, settlement: PendingSettlement) -> SettleResult {
        let (reply_tx, reply_rx) = oneshot::channel();
        let stopped = || LedgerError::new("the settling task has stopped");
        self.jobs.send((settlement, reply_tx)).map_err(|_| stopped())?;
        reply_rx.await.map_err(|_| stopped())?
    }
}

fn settle_command(script: &Script, own_keys: [&str; 2], retention: Duration, batch: &[BatchItem]) -> Cmd {
    let mut keys = Vec::from(own_keys);
    keys.extend(batch.iter().map(|(settlement, _)| &settlement.record[..]));
    let mut command = evalsha(script, &keys);
    command.arg(millis(time_to_live(retention)));
    for (settlement, _) in batch {
        let PendingSettlement { record: _, token, state, status, attempt, metadata } = settlement;
        command.arg(token).arg(*state).arg(status).arg(*attempt).arg(metadata);
    }
    command
}
