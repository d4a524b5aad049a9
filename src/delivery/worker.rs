//! Kept events on their way to the backend: leases what is due and has the dispatcher deliver it, for as long as the
//! program runs. One lane an endpoint, so that none waits for another. It decides when to look and how much to take;
//! what becomes of an attempt is the dispatcher's.
//!
//! A backend that cannot be reached pauses a lane: one event at a time shows whether it is back, and no event's attempts
//! are used up meanwhile. When the program drains, what was leased and not tried is handed back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::{BackendError, RequestHeadBuilder};
use crate::clock;
use crate::delivery::dispatcher::{Delivery, DeliveryError, Dispatcher, Slot};
use crate::endpoint::Endpoint;
use crate::failpoint;
use crate::ledger::{Backlog, Lease, Ledger, LedgerError, StoredRequest};
use crate::metrics::Metrics;
use crate::stripe::event;

/// How often an idle lane looks, at the least: what another process left behind, or has put off, is found like this.
const LOOK: Duration = Duration::from_secs(1);
/// How long a paused lane waits before it tries the backend again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the ledger is asked for endpoints that the configuration does not name and that still hold events.
const ROLL_CALL: Duration = Duration::from_secs(15);
/// Nobody serves an endpoint that no process has asked for this long. Lanes ask every second; many, each every few
/// seconds.
const UNSERVED: Duration = Duration::from_secs(10);
/// How many times in a row a lane of an endpoint that keeps nothing any more finds nothing before it ends.
const LINGER: u32 = 3;
/// With deliveries that take longer than this, a lane leases no more than it can begin.
const SLOW: Duration = Duration::from_millis(300);

/// Which endpoints there are now.
pub type Endpoints = dyn Fn() -> Vec<Arc<Endpoint>> + Send + Sync;

/// Delivers what is kept.
#[derive(Clone)]
pub struct Worker {
    ledger: Arc<dyn Ledger>,
    dispatcher: Arc<Dispatcher>,
    endpoints: Arc<Endpoints>,
    metrics: Arc<Metrics>,
    /// Rung when there is something to do.
    bell: Arc<Notify>,
    /// Rung when there may be something for an endpoint that has no lane.
    roll: Arc<Notify>,
    drain: CancellationToken,
}

impl Worker {
    /// A worker for the endpoints that `endpoints` names at any time, until `drain`. `bell` is rung by whoever has
    /// kept an event.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        dispatcher: Arc<Dispatcher>,
        endpoints: Arc<Endpoints>,
        metrics: Arc<Metrics>,
        bell: Arc<Notify>,
        drain: CancellationToken,
    ) -> Worker {
        Worker { ledger, dispatcher, endpoints, metrics, bell, roll: Arc::default(), drain }
    }

    /// Rung by whoever has put events of any endpoint to be delivered: an operator.
    pub fn roll_call(&self) -> Arc<Notify> {
        self.roll.clone()
    }

    /// Works until the program drains, and then until what is under way is over.
    pub async fn run(self) {
        let mut lanes: HashMap<Arc<str>, (Arc<Notify>, AbortHandle)> = HashMap::new();
        let count = Arc::new(AtomicU32::new(0));
        let mut working = JoinSet::new();
        let mut next_call = Instant::now();
        while !self.drain.is_cancelled() {
            let mut names: Vec<Arc<str>> =
                (self.endpoints)().into_iter().filter(|e| e.keeps()).map(|e| e.name.clone()).collect();
            if Instant::now() >= next_call {
                names.extend(self.orphans().await);
                next_call = Instant::now() + ROLL_CALL;
            }
            for name in names {
                lanes.entry(name).or_insert_with_key(|name| {
                    let bell = Arc::new(Notify::new());
                    count.fetch_add(1, Ordering::Relaxed);
                    let lane = Lane::new(self.clone(), name.clone(), bell.clone(), count.clone());
                    (bell, working.spawn(lane.run()))
                });
            }
            tokio::select! {
                () = self.bell.notified() => lanes.values().for_each(|(bell, _)| bell.notify_one()),
                () = self.roll.notified() => {
                    next_call = Instant::now();
                    lanes.values().for_each(|(bell, _)| bell.notify_one());
                }
                Some(_) = working.join_next() => {
                    // A lane whose endpoint is gone and has nothing left; or one that died, and is begun anew.
                    lanes.retain(|_, (_, lane)| !lane.is_finished());
                    count.store(u32::try_from(lanes.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
                }
                () = sleep(LOOK) => {}
                () = self.drain.cancelled() => {}
            }
        }
        lanes.values().for_each(|(bell, _)| bell.notify_one());
        while working.join_next().await.is_some() {}
    }

    /// Endpoints that hold events and that nobody serves: they left the configuration. On a shared ledger another
    /// program may serve what is unknown here.
    async fn orphans(&self) -> Vec<Arc<str>> {
        let asked = timeout(LOOK, self.ledger.backlog()).await;
        let Ok(Ok(backlog)) = asked else { return Vec::new() };
        let alone = |b: &Backlog| b.last_polled_ago.is_none_or(|since| since > UNSERVED);
        backlog.into_iter().filter(|b| b.queued > 0 && alone(b)).map(|b| b.endpoint).collect()
    }

    /// The endpoint as it is configured now.
    fn configured(&self, name: &str) -> Option<Arc<Endpoint>> {
        (self.endpoints)().into_iter().find(|endpoint| &*endpoint.name == name)
    }

    fn gone(&self, name: &str) -> Arc<Endpoint> {
        Arc::new(Endpoint::gone(name, &self.metrics))
    }

    /// One attempt. Whether the backend could be reached; `None` if nothing was sent.
    async fn deliver(
        self,
        endpoint: Arc<Endpoint>,
        lease: Lease,
        parcel: StoredRequest,
        slot: Option<Slot>,
    ) -> Option<bool> {
        let StoredRequest { mode, head, signature, body } = parcel;
        let Ok(event) = event::parse_trusted(body) else {
            tracing::error!(
                endpoint = &*endpoint.name,
                event.id = &*lease.key().id,
                "a kept payload is no event"
            );
            self.dispatcher.give_up(lease).await;
            return None;
        };
        let head = RequestHeadBuilder::from_bytes(&head);
        let delivery = Delivery { event, endpoint, head, signature, mode, fresh: false, slot };
        match self.dispatcher.deliver(delivery, Some(lease)).await {
            Err(DeliveryError::LeaseTooShort) => None,
            Err(DeliveryError::Backend(BackendError::Unreachable(_))) => Some(false),
            Err(DeliveryError::Backend(_)) | Ok(_) => Some(true),
        }
    }
}

/// What the ledger gave.
type Due = Result<Vec<(Lease, StoredRequest)>, LedgerError>;

/// One endpoint's deliveries.
struct Lane {
    worker: Worker,
    name: Arc<str>,
    bell: Arc<Notify>,
    /// How many lanes there are.
    lanes: Arc<AtomicU32>,
    /// What stands in for an endpoint that is not configured: made once, since it holds the slots.
    gone: Option<Arc<Endpoint>>,
    /// Leased and not begun.
    stock: VecDeque<(Lease, StoredRequest)>,
    /// The ledger is being asked for more.
    restocking: JoinSet<Due>,
    /// When it is to be asked next, at the earliest: it had nothing.
    ask_at: Instant,
    /// Begun and not settled: whether each reached the backend, and after how long.
    under_way: JoinSet<(Option<bool>, Duration)>,
    /// How long deliveries take, roughly.
    pace: Duration,
    paused: bool,
    /// Why the ledger gave nothing, when that was said last.
    said: Option<LedgerError>,
}

impl Lane {
    fn new(worker: Worker, name: Arc<str>, bell: Arc<Notify>, lanes: Arc<AtomicU32>) -> Lane {
        Lane {
            worker,
            name,
            bell,
            lanes,
            gone: None,
            stock: VecDeque::new(),
            restocking: JoinSet::new(),
            ask_at: Instant::now(),
            under_way: JoinSet::new(),
            pace: SLOW,
            paused: false,
            said: None,
        }
    }

    /// Works until the program drains, or until an endpoint that keeps nothing any more has nothing left.
    async fn run(mut self) {
        let mut empty = 0;
        while !self.worker.drain.is_cancelled() {
            self.begin();
            self.restock();
            tokio::select! {
                Some(delivered) = self.under_way.join_next() => {
                    if let Ok((Some(reached), took)) = delivered {
                        self.ended(reached, took).await;
                    }
                }
                Some(due) = self.restocking.join_next() => {
                    let nothing = !self.take(due.unwrap_or_else(|_| Ok(Vec::new())));
                    empty = if nothing && self.under_way.is_empty() { empty + 1 } else { 0 };
                    if empty > LINGER && self.worker.configured(&self.name).is_none_or(|e| !e.keeps()) {
                        break;
                    }
                }
                // Something was kept, or a slot is free. To a paused lane that says nothing of the backend.
                () = self.bell.notified() => {
                    if !self.paused {
                        self.ask_at = Instant::now();
                    }
                }
                () = sleep_until(self.ask_at), if self.wants() > 0 => {}
                () = self.worker.drain.cancelled() => break,
            }
        }
        while let Some(due) = self.restocking.join_next().await {
            self.take(due.unwrap_or_else(|_| Ok(Vec::new())));
        }
        self.hand_back().await;
        while self.under_way.join_next().await.is_some() {}
    }

    /// How long an idle lane waits. Up to five of them ask the ledger once a second together.
    fn look(&self) -> Duration {
        LOOK * self.lanes.load(Ordering::Relaxed).clamp(1, 5)
    }

    /// How many deliveries there may be at once.
    fn most(&self) -> usize {
        self.worker.configured(&self.name).map_or(1, |endpoint| endpoint.max_concurrent)
    }

    /// How many more are to be leased, so that no slot waits for the ledger: as long as deliveries are quick some more
    /// than there are slots, in one go and only when little is left, since each call is a commit. A paused lane takes
    /// one at a time.
    fn wants(&self) -> usize {
        let slots = self.most();
        let most = match self.paused {
            true => 1 - self.under_way.len().min(1),
            // Whatever waits here must still have the time for its attempt.
            false if self.pace < SLOW => 8 * slots,
            false => slots.saturating_sub(self.under_way.len()),
        };
        let little = self.stock.len() * 2 < most;
        if little && self.restocking.is_empty() { most - self.stock.len() } else { 0 }
    }

    /// Asks the ledger for what is due, beside everything else.
    fn restock(&mut self) {
        let wanted = self.wants();
        if wanted == 0 || Instant::now() < self.ask_at {
            return;
        }
        let (worker, name) = (self.worker.clone(), self.name.clone());
        self.restocking.spawn(async move {
            if worker.dispatcher.is_behind() {
                return Ok(Vec::new());
            }
            worker.ledger.claim_due(&name, wanted, worker.dispatcher.lease()).await
        });
    }

    /// Whether there was anything.
    fn take(&mut self, due: Due) -> bool {
        match due {
            Ok(due) => {
                let found = !due.is_empty();
                if found {
                    failpoint::hit("claim_due_after");
                }
                self.stock.extend(due);
                self.said = None;
                if !found {
                    self.ask_at = Instant::now() + if self.paused { PAUSE } else { self.look() };
                }
                found
            }
            Err(error) => {
                self.ask_at = Instant::now() + LOOK;
                if self.said.as_ref() != Some(&error) {
                    tracing::warn!(endpoint = &*self.name, %error, "nothing that is due can be leased");
                }
                self.said = Some(error);
                false
            }
        }
    }

    /// Begins deliveries as long as there are slots, and not too many that wait to be settled.
    fn begin(&mut self) {
        let most = if self.paused { 1 } else { 8 * self.most() };
        while !self.stock.is_empty() && self.under_way.len() < most {
            let endpoint = match self.worker.configured(&self.name) {
                Some(endpoint) => endpoint,
                None => self.gone.get_or_insert_with(|| self.worker.gone(&self.name)).clone(),
            };
            let Ok(slot) = endpoint.slots.clone().try_acquire_owned() else { return };
            let Some((lease, parcel)) = self.stock.pop_front() else { return };
            let slot = Slot::new(slot, self.bell.clone());
            let delivering = self.worker.clone().deliver(endpoint, lease, parcel, Some(slot));
            self.under_way.spawn(async move {
                let began = clock::instant();
                (delivering.await, began.elapsed())
            });
        }
    }

    async fn ended(&mut self, reached: bool, took: Duration) {
        self.pace = (self.pace * 7 + took) / 8;
        if !reached && !self.paused {
            tracing::warn!(
                endpoint = &*self.name,
                "the backend cannot be reached; its events wait until it can"
            );
            self.hand_back().await;
        } else if reached && self.paused {
            tracing::info!(endpoint = &*self.name, "the backend is back");
        }
        self.paused = !reached;
        if !reached {
            self.ask_at = Instant::now() + PAUSE;
        }
    }

    /// What was leased and not begun is for whoever comes next.
    async fn hand_back(&mut self) {
        let mut handing = JoinSet::new();
        for (lease, _) in self.stock.drain(..) {
            let dispatcher = self.worker.dispatcher.clone();
            handing.spawn(async move { dispatcher.hand_back(lease).await });
        }
        while handing.join_next().await.is_some() {}
    }
}
