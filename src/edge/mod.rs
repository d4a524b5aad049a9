//! The only floor that knows pingora: connections, routes, the guard, and THE table of answers. What a webhook's fate
//! is, is decided below.

mod body;
pub mod connection;
pub mod drain;
pub mod forwarded;
mod gate;
pub mod listener;
pub mod path;
mod proxy;
pub mod reply;
pub mod route;
mod upstream;
mod webhook;

use arc_swap::ArcSwap;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Resolver;
use crate::config;
use crate::intake::Intake;
use crate::metrics::Metrics;
use drain::Drain;
use gate::Gate;
use route::Routes;
use upstream::Upstream;

/// Idle connections to the backend that pingora keeps.
const KEPT_UPSTREAM: usize = 512;

/// The proxy: what pingora's hooks work on.
pub struct Edge {
    routes: Arc<ArcSwap<Routes>>,
    intake: Intake,
    gate: Arc<Gate>,
    upstream: Upstream,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    attempt_timeout: Duration,
}

impl Edge {
    /// The proxy as pingora serves it. `routes` may be replaced while it runs.
    pub fn new(
        config: &config::Config,
        routes: Arc<ArcSwap<Routes>>,
        intake: Intake,
        resolver: Resolver,
        metrics: Arc<Metrics>,
        drain: Arc<Drain>,
    ) -> Arc<HttpProxy<Edge>> {
        let edge = Edge {
            routes,
            intake,
            gate: Gate::new(config.server.max_webhooks),
            upstream: Upstream::new(resolver, &config.backend),
            metrics,
            drain,
            attempt_timeout: config.backend.connect_timeout + config.backend.response_timeout,
        };
        let conf = ServerConf { upstream_keepalive_pool_size: KEPT_UPSTREAM, ..ServerConf::default() };
        Arc::new(pingora::proxy::http_proxy(&Arc::new(conf), edge))
    }
}
