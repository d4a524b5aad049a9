//! The thread that keeps house beside the writer: when it sweeps, and that it tidies up when the writer tells it to.
//! What that is, is `house`'s.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use super::LedgerError;
use super::fault::refuse;
use super::house::House;
use super::index::KeyHasher;
use super::mess::Mess;
use super::queue::Queue;
use crate::clock;

/// What the keeper is asked for.
pub(super) enum Order {
    /// The file was opened, for the `epoch`th time.
    Opened { epoch: u64 },
    /// Let go of the file, and drop this when it is done: files opened anew must not meet the old ones' memory.
    Leave(mpsc::Sender<()>),
    /// Forget what has expired, now, and say how many events that were.
    Sweep(oneshot::Sender<Result<u64, LedgerError>>),
    /// See whether there is something to archive or to checkpoint.
    Tidy,
    /// Go.
    Stop,
}

/// What the keeper works with.
pub(super) struct Keeper {
    pub(super) path: PathBuf,
    pub(super) retention: Duration,
    pub(super) queue: Arc<Queue>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) hasher: KeyHasher,
    pub(super) mess: Arc<Mess>,
}

impl Keeper {
    /// Works until it is told to stop.
    pub(super) fn run(self) {
        let period = (self.retention / 16).clamp(Duration::from_secs(1), Duration::from_secs(60 * 60));
        let mut post = Post { keeper: &self, epoch: None, house: None };
        let mut due = clock::instant() + period;
        loop {
            let done = match self.orders.recv_timeout(due.saturating_duration_since(clock::instant())) {
                Ok(Order::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(Order::Opened { epoch }) => {
                    (post.epoch, due) = (Some(epoch), clock::instant());
                    Ok(())
                }
                Ok(Order::Leave(left)) => {
                    (post.epoch, post.house) = (None, None);
                    drop(left);
                    Ok(())
                }
                Ok(Order::Sweep(answer)) => {
                    let _ = answer.send(post.enter().and_then(House::sweep)); // whoever asked may have gone
                    Ok(())
                }
                Ok(Order::Tidy) => {
                    self.mess.seen_to();
                    post.enter().and_then(House::tidy)
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    due = clock::instant() + period;
                    post.enter().and_then(House::sweep).map(drop)
                }
            };
            if let Err(reason) = done {
                tracing::warn!(%reason, "ledger housekeeping put off");
            }
        }
    }
}

/// Where the keeper stands: in which opening of the file, and whether it is in already.
struct Post<'k> {
    keeper: &'k Keeper,
    epoch: Option<u64>,
    house: Option<House<'k>>,
}

impl<'k> Post<'k> {
    /// In it goes, if it is not in; what fails now is tried again with the next order.
    fn enter(&mut self) -> Result<&mut House<'k>, LedgerError> {
        let entered = match (self.house.take(), self.epoch) {
            (Some(house), _) => house,
            (None, Some(epoch)) => House::enter(self.keeper, epoch)?,
            (None, None) => return Err(refuse(&self.keeper.path, "it is not open")),
        };
        Ok(self.house.insert(entered))
    }
}
