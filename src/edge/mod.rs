//! The only floor that knows pingora: connections, routes, the guard, and THE table of answers. What a webhook's disposition
//! is, is decided below.
//!
//! A request's way: [`listener`] accepts, `serve` reads the head and routes it by [`route`] and [`path`]; a webhook
//! goes through `gate`, `body` and `webhook`, an order through `asked`, `gate`, `body` and `checkout`, all else
//! to pingora through `proxy`.

mod asked;
mod body;
mod checkout;
mod client;
pub mod connection;
pub mod drain;
mod forwarded;
mod gate;
pub mod listener;
mod page;
mod proxy;
pub mod reply;
pub mod route;
mod serve;
mod tunnel;
mod upstream;
mod webhook;

use arc_swap::ArcSwap;
use pingora::proxy::HttpProxy;
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
use upstream::Upstream;

/// Orders being read or taken to Stripe at once. Each waits for its turn there; so many are a sale's first seconds.
const ORDERS: usize = 1024;

/// What every connection is served with. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    edge: Arc<Edge>,
    pingora: Arc<HttpProxy<PassThrough>>,
}

/// What answers webhooks and orders.
struct Edge {
    routes: Arc<ArcSwap<Routes>>,
    intake: Arc<Intake>,
    gate: Arc<Gate>,
    orders: Arc<Gate>,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    attempt_timeout: Duration,
}

impl Server {
    /// `routes` may be replaced while it serves.
    pub fn new(
        config: &Config,
        routes: Arc<ArcSwap<Routes>>,
        intake: Arc<Intake>,
        backend: Backend,
        metrics: Arc<Metrics>,
        drain: Arc<Drain>,
    ) -> Server {
        let upstream = Upstream::new(backend);
        let pass_through = PassThrough { upstream, metrics: metrics.clone() };
        let (gate, orders) = (Gate::new(config.server.max_webhooks), Gate::new(ORDERS));
        let attempt_timeout = config.backend.connect_timeout + config.backend.response_timeout;
        Server {
            edge: Arc::new(Edge { routes, intake, gate, orders, metrics, drain, attempt_timeout }),
            pingora: Arc::new(pingora::proxy::http_proxy(&Arc::default(), pass_through)),
        }
    }
}
