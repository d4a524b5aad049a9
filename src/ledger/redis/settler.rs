//! Settlements of inline attempts and of delivered events, as many in one script as have gathered while the last was
//! under way: a script's own cost is several times that of one record in it.

use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use tokio::sync::{mpsc, oneshot};

use super::link::Link;
use super::{evalsha, millis, nonsense, parsed, told};
use crate::ledger::{LedgerError, Settled};

/// Settlements in one script at the most: it occupies the server meanwhile, and its stack has room for some thousands.
const AT_ONCE: usize = 256;

/// How one delivery ended, as `settle.lua` wants it.
pub(super) struct Ended {
    pub(super) record: String,
    pub(super) token: String,
    pub(super) state: &'static str,
    pub(super) status: String,
    pub(super) attempt: u32,
    pub(super) says: String,
}

type Answer = Result<Settled, LedgerError>;

/// Takes settlements to the server, in a task of its own.
pub(super) struct Settler {
    queue: mpsc::UnboundedSender<(Ended, oneshot::Sender<Answer>)>,
}

impl Settler {
    /// One that lives as long as it has work, or somebody who may bring some.
    pub(super) fn start(link: Arc<Link>, script: Script, running: String, retention: Duration) -> Settler {
        let (queue, mut waiting) = mpsc::unbounded_channel::<(Ended, oneshot::Sender<Answer>)>();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, AT_ONCE).await > 0 {
                let mut keys = vec![&running[..]];
                keys.extend(batch.iter().map(|(ended, _)| &ended.record[..]));
                let mut command = evalsha(&script, &keys);
                command.arg(millis(retention));
                for (ended, _) in &batch {
                    command.arg(&ended.token).arg(ended.state).arg(&ended.status).arg(ended.attempt);
                    command.arg(&ended.says);
                }
                let answers = match link.send(&command).await.and_then(parsed::<Vec<u8>>) {
                    Ok(answers) if answers.len() == batch.len() => {
                        answers.into_iter().map(told).map(Ok).collect()
                    }
                    Ok(answers) => vec![Err(nonsense(&answers)); batch.len()],
                    Err(error) => vec![Err(error); batch.len()],
                };
                for ((_, asked), answer) in batch.drain(..).zip(answers) {
                    // Who has stopped waiting does not want to know.
                    let _ = asked.send(answer);
                }
            }
        });
        Settler { queue }
    }

    /// Settles one; goes on when its caller leaves.
    pub(super) async fn settle(&self, ended: Ended) -> Answer {
        let (asked, answer) = oneshot::channel();
        let stopped = || LedgerError::new("its task was stopped");
        self.queue.send((ended, asked)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
