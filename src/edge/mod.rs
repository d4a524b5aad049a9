//! The public listener: connections, routes and THE table of responses. Verdicts on a webhook or an order are made below it,
//! and only `proxy` knows pingora.
//!
//! A request's way: `listener` accepts, `connection` reads the head, and `serve` routes it by `route`. `exchange` reads
//! the `body` and responds; `webhook` and `checkout` use it within the places of a `gate`. Everything else goes to
//! pingora through `proxy`. `headers` says who the client is and what no client may send, `client` finds its address, `page`
//! judges which page sent an order, `reply` is the table, and `drain` is the end of the program.

mod body;
mod checkout;
mod client;
pub mod connection;
pub mod drain;
mod exchange;
mod gate;
mod headers;
pub mod listener;
mod page;
mod proxy;
pub mod reply;
pub mod route;
mod serve;
mod webhook;

use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::config::Config;
use crate::intake::Intake;
use crate::metrics::Metrics;
use drain::Drain;
use gate::Gate;
use proxy::PassThrough;
use route::Routes;

/// How many orders may be read or taken to Stripe at once. Each waits for its turn at Stripe; a sale's first seconds bring
/// so many.
const MAX_ORDERS: usize = 1024;

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
    /// The places of webhooks.
    gate: Arc<Gate>,
    /// The places of orders.
    orders: Arc<Gate>,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    /// How long one delivery to the backend may take.
    attempt_timeout: Duration,
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
    ) -> Server {
        let pass_through = PassThrough::new(backend, metrics.clone(), drain.watch());
        let (gate, orders) = (Gate::new(config.server.max_webhooks), Gate::new(MAX_ORDERS));
        let attempt_timeout = config.backend.connect_timeout + config.backend.response_timeout;
        let context = Context { routes, intake, gate, orders, metrics, drain, attempt_timeout };
        Server { context: Arc::new(context), pass_through }
    }
}
