//! Kept events on their way to the backend: leases what is due and has the courier deliver it, for as long as the
//! program runs. One lane an endpoint, so that none waits for another. It decides when to look and how much to take;
//! what becomes of an attempt is the courier's.
//!
//! A backend that cannot be reached pauses a lane: one event at a time shows whether it is back, and no event's attempts
//! are used up meanwhile. When the program drains, what was leased and not tried is handed back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::{BackendError, RequestHead};
use crate::courier::{Courier, Delivery, Undelivered};
use crate::crash;
use crate::endpoint::Endpoint;
use crate::ledger::{Lease, Ledger, LedgerError, Parcel, Way};
use crate::metrics::{Metrics, Mode};
use crate::stripe::event;

/// How often an idle lane looks, at the least: what another process left behind, or has put off, is found like this.
const LOOK: Duration = Duration::from_secs(1);
/// With many lanes each looks less often, so that all of them together ask the ledger for no more than this.
const LOOK_SHARE: Duration = Duration::from_millis(500);
/// How long a paused lane waits before it tries the backend again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the ledger is asked for endpoints that the configuration does not name and that still hold events.
const ROLL_CALL: Duration = Duration::from_secs(60);

/// Which endpoints there are now.
pub type Endpoints = dyn Fn() -> Vec<Arc<Endpoint>> + Send + Sync;

/// Delivers what is kept.
#[derive(Clone)]
pub struct Worker {
    ledger: Arc<dyn Ledger>,
    courier: Arc<Courier>,
    endpoints: Arc<Endpoints>,
    metrics: Arc<Metrics>,
    /// Rung when there is something to do.
    bell: Arc<Notify>,
    drain: CancellationToken,
}

/// What came of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How many events were leased.
    pub leased: usize,
    /// Whether the backend could not be reached.
    pub unreachable: bool,
}

impl Worker {
    /// A worker for the endpoints that `endpoints` names at any time, until `drain`. `bell` is rung by whoever has
    /// kept an event.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        courier: Arc<Courier>,
        endpoints: Arc<Endpoints>,
        metrics: Arc<Metrics>,
        bell: Arc<Notify>,
        drain: CancellationToken,
    ) -> Worker {
        Worker { ledger, courier, endpoints, metrics, bell, drain }
    }

    /// Works until the program drains, and then until what is under way is over.
    pub async fn run(self) {
        let mut lanes: HashMap<Arc<str>, Arc<Notify>> = HashMap::new();
        let mut working = JoinSet::new();
        let mut next_call = tokio::time::Instant::now();
        while !self.drain.is_cancelled() {
            let mut names: Vec<Arc<str>> =
                (self.endpoints)().into_iter().filter(|e| e.keeps()).map(|e| e.name.clone()).collect();
            if tokio::time::Instant::now() >= next_call
                && let Ok(backlog) = self.ledger.backlog().await
            {
                names.extend(backlog.into_iter().filter(|b| b.pending + b.running > 0).map(|b| b.endpoint));
                next_call += ROLL_CALL;
            }
            for name in names {
                if !lanes.contains_key(&name) {
                    let bell = Arc::new(Notify::new());
                    lanes.insert(name.clone(), bell.clone());
                    let lane = Lane::new(self.clone(), name, bell);
                    working.spawn(
                        lane.run(LOOK.max(LOOK_SHARE * u32::try_from(lanes.len()).unwrap_or(u32::MAX))),
                    );
                }
            }
            tokio::select! {
                () = self.bell.notified() => {}
                () = sleep(LOOK) => continue,
                () = self.drain.cancelled() => {}
            }
            lanes.values().for_each(|bell| bell.notify_one());
        }
        lanes.values().for_each(|bell| bell.notify_one());
        while working.join_next().await.is_some() {}
    }

    /// Leases what of an endpoint is due, up to its slots, and delivers all of it.
    ///
    /// # Errors
    /// The ledger is out of reach.
    pub async fn step(&self, name: &str) -> Result<Step, LedgerError> {
        let endpoint = self.endpoint(name);
        let due = self.ledger.due(name, endpoint.max_concurrent, self.courier.lease()).await?;
        let (leased, mut unreachable) = (due.len(), false);
        let mut under_way = JoinSet::new();
        for (lease, parcel) in due {
            under_way.spawn(self.clone().deliver(endpoint.clone(), lease, parcel, None));
        }
        while let Some(delivered) = under_way.join_next().await {
            unreachable |= delivered.unwrap_or_default();
        }
        Ok(Step { leased, unreachable })
    }

    /// The endpoint as it is configured now, or what is left of one that is not.
    fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        let configured = (self.endpoints)().into_iter().find(|endpoint| &*endpoint.name == name);
        configured.unwrap_or_else(|| Arc::new(Endpoint::gone(name, &self.metrics)))
    }

    /// One attempt. Whether the backend could not be reached.
    async fn deliver(
        self,
        endpoint: Arc<Endpoint>,
        lease: Lease,
        parcel: Parcel,
        slot: Option<OwnedSemaphorePermit>,
    ) -> bool {
        let Parcel { way, head, signature, body } = parcel;
        let Some(event) = event::kept(body) else {
            tracing::error!(
                endpoint = &*endpoint.name,
                event.id = &*lease.key().id,
                "a kept payload is no event"
            );
            return false;
        };
        let mode = match way {
            Way::Queued => Mode::Queued,
            Way::Hybrid => Mode::Hybrid,
            Way::Redelivery => Mode::Redelivery,
        };
        let (id, kind, attempt) = (event.id().to_owned(), event.kind().to_owned(), lease.attempt());
        let name = endpoint.name.clone();
        let delivery =
            Delivery { event, endpoint, head: RequestHead::begun(&head), signature, mode, fresh: false };
        let delivered = self.courier.deliver(delivery, Some(lease)).await;
        drop(slot);
        let (outcome, status) = match &delivered {
            Ok(answer) if answer.head.success() => ("delivered", Some(answer.head.status)),
            Ok(answer) => ("refused", Some(answer.head.status)),
            Err(Undelivered::Backend(BackendError::Unreachable(_))) => ("unreachable", None),
            Err(Undelivered::Backend(BackendError::Timeout)) => ("timeout", None),
            Err(Undelivered::Backend(BackendError::Invalid(_))) => ("invalid", None),
            Err(Undelivered::LeaseTooShort) => ("put_off", None),
        };
        let delivery = mode.label();
        if outcome != "unreachable" {
            tracing::info!(
                endpoint = &*name,
                event.id = id,
                event.r#type = kind,
                attempt,
                delivery,
                outcome,
                status,
                "delivery"
            );
        }
        outcome == "unreachable"
    }
}

/// One endpoint's deliveries.
struct Lane {
    worker: Worker,
    name: Arc<str>,
    bell: Arc<Notify>,
    /// Leased and not begun.
    stock: VecDeque<(Lease, Parcel)>,
    under_way: JoinSet<bool>,
    paused: bool,
}

impl Lane {
    fn new(worker: Worker, name: Arc<str>, bell: Arc<Notify>) -> Lane {
        Lane { worker, name, bell, stock: VecDeque::new(), under_way: JoinSet::new(), paused: false }
    }

    async fn run(mut self, look: Duration) {
        while !self.worker.drain.is_cancelled() {
            let endpoint = self.worker.endpoint(&self.name);
            self.begin(&endpoint);
            self.restock(&endpoint).await;
            self.begin(&endpoint);
            if self.under_way.is_empty() {
                let _ = timeout(if self.paused { PAUSE } else { look }, self.bell.notified()).await;
                continue;
            }
            // A delivery that is over frees a slot; a bell may mean that another one's is.
            tokio::select! {
                Some(delivered) = self.under_way.join_next() => self.ended(delivered.unwrap_or_default()).await,
                () = self.bell.notified() => {}
                () = self.worker.drain.cancelled() => {}
            }
        }
        for (lease, _) in self.stock.drain(..) {
            self.worker.courier.hand_back(lease).await;
        }
        while self.under_way.join_next().await.is_some() {}
    }

    /// Leases ahead, so that no slot waits for the ledger; in one go and only when little is left, since each call is a
    /// commit. A paused lane takes one at a time.
    async fn restock(&mut self, endpoint: &Endpoint) {
        let most = if self.paused { 1 - self.under_way.len().min(1) } else { 4 * endpoint.max_concurrent };
        if self.stock.len() * 2 >= most {
            return;
        }
        // A ledger that is out of reach is told of elsewhere.
        let wanted = most - self.stock.len();
        if let Ok(due) = self.worker.ledger.due(&self.name, wanted, self.worker.courier.lease()).await {
            if !due.is_empty() {
                crash::point("due_after");
            }
            self.stock.extend(due);
        }
    }

    /// Begins deliveries as long as there are slots.
    fn begin(&mut self, endpoint: &Arc<Endpoint>) {
        while !self.stock.is_empty() && (!self.paused || self.under_way.is_empty()) {
            let Ok(slot) = endpoint.slots.clone().try_acquire_owned() else { return };
            let Some((lease, parcel)) = self.stock.pop_front() else { return };
            self.under_way.spawn(self.worker.clone().deliver(endpoint.clone(), lease, parcel, Some(slot)));
        }
    }

    async fn ended(&mut self, unreachable: bool) {
        if unreachable && !self.paused {
            tracing::warn!(
                endpoint = &*self.name,
                "the backend cannot be reached; its events wait until it can"
            );
            for (lease, _) in self.stock.drain(..) {
                self.worker.courier.hand_back(lease).await;
            }
        } else if !unreachable && self.paused {
            tracing::info!(endpoint = &*self.name, "the backend is back");
        }
        self.paused = unreachable;
        if unreachable && self.under_way.is_empty() {
            sleep(PAUSE).await;
        }
    }
}
