//! Starts one queue for each endpoint that has stored events, so that no endpoint waits for another, and restarts a queue
//! that died. It never leases an event itself: that is the queue's task.
//!
//! A backend that cannot be reached pauses a queue: one event at a time shows whether it is back, and no event's attempts
//! are used up. When the program drains, events that were leased and not tried are handed back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dispatcher::Dispatcher;
use super::endpoint_queue::{EndpointQueue, QueueContext};
use super::pacing::POLL_INTERVAL;
use super::policy::Policies;
use super::wakeup::Wakeup;
use crate::ledger::{Backlog, Ledger};
use crate::metrics::Metrics;

/// The interval at which the worker looks for orphaned endpoints: those that the configuration does not name and that
/// still have events.
const ORPHAN_SCAN_INTERVAL: Duration = Duration::from_secs(15);
/// An endpoint that no process has polled for this long is orphaned. (Active endpoints poll at least every 5 s.)
const ORPHANED_AFTER: Duration = Duration::from_secs(10);

/// Delivers stored events.
pub struct Worker {
    context: QueueContext,
    wakeup: Wakeup,
}

/// A queue that was started.
struct RunningQueue {
    wake: Arc<Notify>,
    task: AbortHandle,
}

impl Worker {
    /// Builds a worker that runs until `drain`. `policies` returns the policies of the configuration in force;
    /// `wakeup` is notified by those who queue events. Imported events are delivered to `backend_host` where nothing tells
    /// the public host.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        dispatcher: Arc<Dispatcher>,
        policies: Arc<Policies>,
        metrics: Arc<Metrics>,
        wakeup: Wakeup,
        drain: CancellationToken,
        backend_host: &str,
    ) -> Self {
        let queue_count = Arc::default();
        let backend_host = backend_host.into();
        let context =
            QueueContext { ledger, dispatcher, policies, metrics, drain, backend_host, queue_count };
        Self { context, wakeup }
    }

    /// Runs until the program drains, and then until the attempts in flight are settled.
    pub async fn run(self) {
        let mut queues: HashMap<Arc<str>, RunningQueue> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut next_scan = Instant::now();
        while !self.context.drain.is_cancelled() {
            let mut names = self.queued_endpoints();
            if Instant::now() >= next_scan {
                names.extend(self.orphaned_endpoints().await);
                next_scan = Instant::now() + ORPHAN_SCAN_INTERVAL;
            }
            for name in names {
                queues.entry(name).or_insert_with_key(|name| self.start_queue(name, &mut tasks));
            }
            tokio::select! {
                () = self.wakeup.wake.notified() => wake_all(&queues),
                () = self.wakeup.rescan.notified() => {
                    next_scan = Instant::now();
                    wake_all(&queues);
                }
                Some(_) = tasks.join_next() => {
                    // Either an orphaned endpoint has no events left, or a queue panicked and is started again.
                    queues.retain(|_, queue| !queue.task.is_finished());
                    let count = u32::try_from(queues.len()).unwrap_or(u32::MAX);
                    self.context.queue_count.store(count, Ordering::Relaxed);
                }
                // A reload does not notify: new endpoints are found by polling.
                () = sleep(POLL_INTERVAL) => {}
                () = self.context.drain.cancelled() => {}
            }
        }
        wake_all(&queues);
        while tasks.join_next().await.is_some() {}
    }

    /// Returns the names of the configured endpoints that store events.
    fn queued_endpoints(&self) -> Vec<Arc<str>> {
        let policies = (self.context.policies)().into_iter();
        policies.filter(|policy| policy.stores_events).map(|policy| policy.endpoint.clone()).collect()
    }

    /// Returns the names of the endpoints that have stored events and that no process polls. On a shared ledger another
    /// process may poll an endpoint that is unknown here.
    async fn orphaned_endpoints(&self) -> Vec<Arc<str>> {
        let backlog = timeout(POLL_INTERVAL, self.context.ledger.backlog()).await;
        let Ok(Ok(backlog)) = backlog else { return Vec::new() };
        let orphaned = |endpoint: &Backlog| {
            endpoint.queued > 0 && endpoint.last_polled_ago.is_none_or(|ago| ago > ORPHANED_AFTER)
        };
        backlog.into_iter().filter(orphaned).map(|endpoint| endpoint.endpoint).collect()
    }

    fn start_queue(&self, endpoint: &Arc<str>, tasks: &mut JoinSet<()>) -> RunningQueue {
        let wake = Arc::new(Notify::new());
        self.context.queue_count.fetch_add(1, Ordering::Relaxed);
        let queue = EndpointQueue::new(self.context.clone(), endpoint.clone(), wake.clone());
        RunningQueue { wake, task: tasks.spawn(queue.run()) }
    }
}

fn wake_all(queues: &HashMap<Arc<str>, RunningQueue>) {
    for queue in queues.values() {
        queue.wake.notify_one();
    }
}
