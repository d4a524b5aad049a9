//! The public listener: connections, routes and THE table of responses. Verdicts on a webhook or an order are made below it,
//! and only `proxy` knows pingora.
//!
//! Request flow: `listener` accepts, `connection` reads the head within its `limits`, and `serve` routes it by `route`.
//! `exchange` reads the `body` and responds; `webhook` and `checkout` use it within the permits of `admission`. Everything
//! else goes to pingora through `proxy`. `headers` says who the client is and what no client may send, `client_addr` finds
//! its address, `cors` decides which page may send an order, `response` is the table, `unguarded` reports webhooks that pass
//! unverified, `refusals` counts what the limits refuse, `handover` lets webhooks wait for the ledger of an ending process,
//! and `drain` is the end of the program.

mod admission;
mod body;
mod checkout;
mod client_addr;
pub mod connection;
mod cors;
pub mod drain;
mod exchange;
pub mod handover;
mod headers;
pub mod limits;
pub mod listener;
mod proxy;
mod refusals;
pub mod response;
pub mod route;
mod serve;
mod unguarded;
mod webhook;

use admission::AdmissionLimiter;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::config::Config;
use crate::intake::Intake;
use crate::metrics::Metrics;
use drain::Drain;
use handover::Handover;
use proxy::PassThrough;
use refusals::Refusals;
use route::Routes;
use unguarded::UnguardedWebhooks;

/// How many orders may be read or taken to Stripe at once. Each waits for its turn at Stripe. A burst at the
/// start of a sale brings so many.
const MAX_ORDERS: usize = 1024;
/// How many status requests may wait for Stripe at once. They take no place from an order.
const MAX_STATUS_REQUESTS: usize = 1024;

/// What every connection is served with. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    context: Arc<Context>,
    pass_through: PassThrough,
}

/// What answers webhooks and orders.
struct Context {
    /// The routes of the moment; a reload replaces them.
    routes: Arc<ArcSwap<Routes>>,
    intake: Arc<Intake>,
    /// The permits for webhooks.
    webhooks: Arc<AdmissionLimiter>,
    /// The permits for orders.
    orders: Arc<AdmissionLimiter>,
    /// The permits for requests for a session's status.
    status_requests: Arc<AdmissionLimiter>,
    /// The permits for requests that pass through. The other connections are left to webhooks and orders.
    passing: Arc<AdmissionLimiter>,
    /// Counts and reports what the limits refuse.
    refusals: Arc<Refusals>,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    /// The handover of the ledger from an ending process, if the sockets are inherited.
    handover: Option<Arc<Handover>>,
    /// How long one delivery to the backend may take.
    attempt_timeout: Duration,
    /// Reports webhooks on a path that no endpoint has.
    unguarded: UnguardedWebhooks,
}

impl Server {
    /// Creates the server. `routes` may be replaced while it serves.
    pub fn new(
        config: &Config,
        routes: Arc<ArcSwap<Routes>>,
        intake: Arc<Intake>,
        backend: Backend,
        metrics: Arc<Metrics>,
        drain: Arc<Drain>,
        handover: Option<Arc<Handover>>,
    ) -> Self {
        let refusals = Arc::new(Refusals::new(metrics.clone()));
        let read_timeout = config.server.passthrough_read_timeout;
        let pass_through =
            PassThrough::new(backend, metrics.clone(), drain.watch(), read_timeout, refusals.clone());
        let webhooks = AdmissionLimiter::new(config.server.max_webhooks);
        let attempt_timeout = config.backend.connect_timeout + config.backend.response_timeout;
        let context = Context {
            routes,
            intake,
            webhooks,
            orders: AdmissionLimiter::new(MAX_ORDERS),
            status_requests: AdmissionLimiter::new(MAX_STATUS_REQUESTS),
            passing: AdmissionLimiter::new(config.server.max_passthrough),
            refusals,
            metrics,
            drain,
            handover,
            attempt_timeout,
            unguarded: UnguardedWebhooks::default(),
        };
        Self { context: Arc::new(context), pass_through }
    }
}
