//! One endpoint's queue: leases due events, has the dispatcher deliver them, and hands back what it did not start. It never
//! decides what an attempt becomes; how much and how often it leases is decided by `pacing`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::attempt::{Delivery, DeliveryError};
use super::dispatcher::Dispatcher;
use super::import_head;
use super::pacing::{POLL_INTERVAL, PROBE_INTERVAL, PaceChange, Pacing};
use super::policy::{DeliveryPolicy, ORPHANED_MAX_CONCURRENT, Policies};
use super::slots::Slot;
use crate::backend::BackendError;
use crate::clock;
use crate::failpoint;
use crate::ledger::{Lease, Ledger, LedgerError, StoredRequest};
use crate::metrics::Metrics;
use crate::stripe::event;

/// The number of successive empty polls after which the queue of an endpoint that stores no events ends.
const MAX_EMPTY_POLLS: u32 = 3;

/// The parts that every queue of the worker uses.
#[derive(Clone)]
pub(super) struct QueueContext {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) policies: Arc<Policies>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: CancellationToken,
    /// The `Host` of imported events where nothing tells the public one.
    pub(super) backend_host: Arc<str>,
    /// The number of queues in this process; the worker changes it.
    pub(super) queue_count: Arc<AtomicU32>,
}

impl QueueContext {
    /// Returns the policy of the endpoint of this name as it is configured now.
    fn configured(&self, name: &str) -> Option<Arc<DeliveryPolicy>> {
        (self.policies)().into_iter().find(|policy| &*policy.endpoint == name)
    }

    /// Makes one attempt. Returns whether the backend could be reached; `None` if nothing was sent.
    async fn deliver(
        self,
        policy: Arc<DeliveryPolicy>,
        lease: Lease,
        request: StoredRequest,
        slot: Slot,
    ) -> Option<bool> {
        let StoredRequest { mode, head, signature, body } = request;
        let Ok(event) = event::parse_trusted(body) else {
            tracing::error!(
                endpoint = &*policy.endpoint,
                event.id = &*lease.key().id,
                "stored payload is not a valid event; it is dead and cannot be delivered"
            );
            self.dispatcher.give_up(lease).await;
            return None;
        };
        let head =
            import_head::from_stored(&head, &signature, &policy, &*self.ledger, &self.backend_host).await;
        let delivery = Delivery { event, policy, head, mode, signature_is_fresh: false, slot: Some(slot) };
        match self.dispatcher.deliver(delivery, Some(lease)).await {
            Err(DeliveryError::LeaseTooShort) => None,
            Err(DeliveryError::Backend(BackendError::Unreachable(_))) => Some(false),
            Err(DeliveryError::Backend(
                BackendError::Unanswered(_) | BackendError::Timeout | BackendError::Invalid(_),
            ))
            | Ok(_) => Some(true),
        }
    }
}

/// The ledger's reply to a prefetch.
type Due = Result<Vec<(Lease, StoredRequest)>, LedgerError>;

/// One endpoint's delivery loop.
pub(super) struct EndpointQueue {
    context: QueueContext,
    endpoint: Arc<str>,
    /// Notified when an event was queued or a slot became free.
    wake: Arc<Notify>,
    /// The policy while the endpoint is not configured. Made once, since it holds the slots.
    orphaned: Option<Arc<DeliveryPolicy>>,
    /// Events that are leased and not started.
    prefetched: VecDeque<(Lease, StoredRequest)>,
    /// The request for more events that is under way, if any.
    prefetching: JoinSet<Due>,
    /// The earliest time of the next prefetch.
    next_prefetch: Instant,
    /// Attempts that are not settled yet. Each returns whether it reached the backend, and its duration.
    in_flight: JoinSet<(Option<bool>, Duration)>,
    pacing: Pacing,
    /// The ledger's error that was logged last; `None` after a success.
    last_error: Option<LedgerError>,
}

impl EndpointQueue {
    /// Builds the queue of the endpoint of this name. `wake` makes it poll at once.
    pub(super) fn new(context: QueueContext, endpoint: Arc<str>, wake: Arc<Notify>) -> Self {
        Self {
            context,
            endpoint,
            wake,
            orphaned: None,
            prefetched: VecDeque::new(),
            prefetching: JoinSet::new(),
            next_prefetch: Instant::now(),
            in_flight: JoinSet::new(),
            pacing: Pacing::new(),
            last_error: None,
        }
    }

    /// Runs until the program drains, or until an endpoint that stores no events has none left.
    pub(super) async fn run(mut self) {
        let mut empty_polls = 0;
        while !self.context.drain.is_cancelled() {
            self.start_deliveries();
            self.prefetch();
            let wants_more = self.prefetch_count() > 0;
            tokio::select! {
                Some(finished) = self.in_flight.join_next() => {
                    if let Ok((Some(reached), latency)) = finished {
                        self.attempt_finished(reached, latency).await;
                    }
                }
                Some(due) = self.prefetching.join_next() => {
                    let found = self.add_prefetched(due.unwrap_or_else(|_| Ok(Vec::new())));
                    empty_polls = if found || !self.in_flight.is_empty() { 0 } else { empty_polls + 1 };
                    if empty_polls > MAX_EMPTY_POLLS && !self.endpoint_stores_events() {
                        break;
                    }
                }
                () = self.wake.notified() => {
                    // A queued event or a free slot does not show that an unreachable backend is back.
                    if !self.pacing.is_paused() {
                        self.next_prefetch = Instant::now();
                    }
                }
                () = sleep_until(self.next_prefetch), if wants_more => {}
                () = self.context.drain.cancelled() => break,
            }
        }
        self.finish().await;
    }

    /// Hands back what was not started and waits for the attempts in flight.
    async fn finish(mut self) {
        // Cancelling a prefetch could drop leases that the ledger has granted.
        while let Some(due) = self.prefetching.join_next().await {
            self.add_prefetched(due.unwrap_or_else(|_| Ok(Vec::new())));
        }
        self.hand_back().await;
        while self.in_flight.join_next().await.is_some() {}
    }

    fn endpoint_stores_events(&self) -> bool {
        self.context.configured(&self.endpoint).is_some_and(|policy| policy.stores_events)
    }

    /// Returns how many slots the queue may use.
    fn max_slots(&self) -> usize {
        let configured = self.context.configured(&self.endpoint);
        configured.map_or(ORPHANED_MAX_CONCURRENT, |policy| policy.slots.max_of_queue())
    }

    fn policy(&mut self) -> Arc<DeliveryPolicy> {
        match self.context.configured(&self.endpoint) {
            Some(policy) => policy,
            None => {
                let orphaned = || Arc::new(DeliveryPolicy::orphaned(&self.endpoint, &self.context.metrics));
                self.orphaned.get_or_insert_with(orphaned).clone()
            }
        }
    }

    /// Returns how many events to lease now; 0 while a prefetch is under way.
    fn prefetch_count(&self) -> usize {
        if !self.prefetching.is_empty() {
            return 0;
        }
        self.pacing.prefetch_count(self.max_slots(), self.in_flight.len(), self.prefetched.len())
    }

    /// Asks the ledger for due events in a task of its own, so that deliveries go on.
    fn prefetch(&mut self) {
        let count = self.prefetch_count();
        if count == 0 || Instant::now() < self.next_prefetch {
            return;
        }
        let (context, endpoint) = (self.context.clone(), self.endpoint.clone());
        self.prefetching.spawn(async move {
            // The event of an unrecorded 2xx looks due once its lease expires, and would be delivered twice.
            if context.dispatcher.has_unrecorded() {
                return Ok(Vec::new());
            }
            context.ledger.claim_due(&endpoint, count, context.dispatcher.lease()).await
        });
    }

    /// Takes in the ledger's reply. Returns whether any event was due.
    fn add_prefetched(&mut self, due: Due) -> bool {
        match due {
            Ok(due) => {
                let found = !due.is_empty();
                if found {
                    failpoint::hit("claim_due_after");
                } else {
                    let queues = self.context.queue_count.load(Ordering::Relaxed);
                    self.next_prefetch = Instant::now() + self.pacing.poll_interval(queues);
                }
                self.prefetched.extend(due);
                self.last_error = None;
                found
            }
            Err(error) => {
                self.next_prefetch = Instant::now() + POLL_INTERVAL;
                // An outage repeats the same error at every poll; one line is enough.
                if self.last_error.as_ref() != Some(&error) {
                    tracing::warn!(endpoint = &*self.endpoint, %error, "cannot lease due events");
                }
                self.last_error = Some(error);
                false
            }
        }
    }

    /// Starts deliveries while there are slots, unless too many wait for their settlement.
    fn start_deliveries(&mut self) {
        let max_in_flight = self.pacing.max_in_flight(self.max_slots());
        while !self.prefetched.is_empty() && self.in_flight.len() < max_in_flight {
            // Looked up for each event: a reload may have changed the endpoint.
            let policy = self.policy();
            let Some(slot) = policy.slots.try_acquire_for_queue(&self.wake) else { return };
            let Some((lease, request)) = self.prefetched.pop_front() else { return };
            let delivering = self.context.clone().deliver(policy, lease, request, slot);
            self.in_flight.spawn(async move {
                let started = clock::instant();
                (delivering.await, started.elapsed())
            });
        }
    }

    async fn attempt_finished(&mut self, reached: bool, latency: Duration) {
        match self.pacing.record(reached, latency) {
            PaceChange::None => {}
            PaceChange::Paused => {
                tracing::warn!(
                    endpoint = &*self.endpoint,
                    "delivery paused: the backend cannot be reached, stored events wait until it can"
                );
                self.hand_back().await;
            }
            PaceChange::Resumed => {
                tracing::info!(
                    endpoint = &*self.endpoint,
                    "delivery resumed: the backend can be reached again"
                );
            }
        }
        if !reached {
            self.next_prefetch = Instant::now() + PROBE_INTERVAL;
        }
    }

    /// Makes the events that were leased and not started due again, for this queue or another process.
    async fn hand_back(&mut self) {
        let mut handing_back = JoinSet::new();
        for (lease, _) in self.prefetched.drain(..) {
            let dispatcher = self.context.dispatcher.clone();
            handing_back.spawn(async move { dispatcher.hand_back(lease).await });
        }
        while handing_back.join_next().await.is_some() {}
    }
}
