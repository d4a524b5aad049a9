//! Builds every part of the program from a configuration and connects them. Order matters: the sockets are open
//! before, and the ledger and the resolver start next. [`App::take_over`] accepts connections last.

use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::announce;
use super::entrance::Entrance;
use super::open_ledger::{OpenLedger, ledger_ready};
use super::running::App;
use crate::admin::events::{CurrentToken, EventsApi};
use crate::admin::{self, AdminState, Readiness};
use crate::backend::{Backend, Resolver};
use crate::checkout::CheckoutResources;
use crate::clock;
use crate::config::{BackendUrl, Config, Listen, Source};
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::policy::Policies;
use crate::delivery::wakeup::Wakeup;
use crate::delivery::worker::Worker;
use crate::edge::drain::Drain;
use crate::edge::limits::Limits;
use crate::edge::route::Routes;
use crate::edge::{Server, listener};
use crate::endpoint::{Endpoint, Endpoints, InlineLimit};
use crate::guard::Reason;
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::socket::Listener;
use crate::socket::inherited::{InheritedSocket, InheritedSockets};
use crate::use_count::UseCount;

/// The longest wait for the backend's name to resolve at start. After it the program serves without an address.
const MAX_FIRST_RESOLVE: Duration = Duration::from_secs(2);
/// How many idle connections to the backend are pooled for pass-through, beside one for each webhook.
const PASS_THROUGH_IDLE: usize = 512;

/// The two sockets, open and not yet accepting.
pub(super) struct Listeners {
    proxy: Listener,
    admin: Listener,
}

impl Listeners {
    /// Uses the inherited sockets, and binds `[server] listen` and `[admin] listen` for those that are missing.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what the system says.
    pub(super) async fn open(config: &Config, inherited: InheritedSockets) -> Result<Self, String> {
        let proxy = open_listener("server", &config.server.listen, inherited.server).await?;
        // Connections work without it.
        let _ = proxy.set_keepalive(config.server.tcp_keepalive);
        let admin = open_listener("admin", &config.admin.listen, inherited.admin).await?;
        Ok(Self { proxy, admin })
    }
}

async fn open_listener(
    section: &str,
    listen: &Listen,
    inherited: Option<InheritedSocket>,
) -> Result<Listener, String> {
    match inherited {
        Some(socket) => {
            Listener::from_inherited(socket).map_err(|e| format!("inherited socket \"{section}\": {e}"))
        }
        None => Listener::bind(listen).await.map_err(|e| format!("[{section}] listen = \"{listen}\": {e}")),
    }
}

impl App {
    /// Builds the program and starts all of it but the listeners.
    ///
    /// # Errors
    /// The system has no certificates to verify the backend's with, or Stripe's.
    pub(super) async fn build(source: Source, config: Config, listeners: Listeners) -> Result<Self, String> {
        let metrics = start_metrics();
        let open_ledger = OpenLedger::start(&config, &metrics);
        let ledger = open_ledger.handle(&metrics);
        let entrance = Entrance::new(&config, &listeners.proxy, &listeners.admin);
        let backend = start_backend(&config, &*ledger, entrance.max_ledger_wait()).await?;
        let drain = Arc::new(Drain::new(config.server.shutdown_grace));
        let (connections, background) = (TaskTracker::new(), TaskTracker::new());
        let mut checkout = CheckoutResources::new(metrics.clone());
        let max_webhooks = config.server.max_webhooks;
        let routes = routes(&config, max_webhooks, &metrics, &mut checkout, &[])?;
        routes.resolve_prices().await;
        let routes = Arc::new(ArcSwap::from_pointee(routes));

        let delivery =
            DeliveryParts { backend: &backend, ledger: &ledger, metrics: &metrics, routes: &routes };
        let wakeup = Wakeup::default();
        let intake = delivery.start(&config, &wakeup, &background, drain.token().clone());

        let readiness = Arc::new(Readiness::new(ledger.clone()));
        let admin_shutdown = CancellationToken::new();
        let admin_token: CurrentToken = Arc::new(ArcSwapOption::from_pointee(config.admin.token.clone()));
        let events = Some(events_api(&admin_token, &intake, &routes, wakeup));
        let state = AdminState { metrics: metrics.clone(), ledger, readiness: readiness.clone(), events };
        announce::start(&config, &source);
        let serving = admin::serve(listeners.admin, state, admin_shutdown.clone());
        let admin = tokio::spawn(entrance.after_opening(entrance.admin_inherited, serving));

        let server = Server::new(
            &config,
            routes.clone(),
            intake,
            backend,
            metrics.clone(),
            drain.clone(),
            entrance.handover.clone(),
        );
        let (limits, max_connections) = (connection_limits(&config, &drain), config.server.max_connections);
        let accept = listener::accept(listeners.proxy, server, limits, max_connections, connections.clone());
        let accepting = connections.spawn(entrance.after_opening(true, accept));
        Ok(Self {
            source,
            config,
            metrics,
            ledger: open_ledger,
            routes,
            checkout,
            readiness,
            drain,
            entrance,
            accepting,
            connections,
            background,
            admin,
            admin_token,
            admin_shutdown,
        })
    }
}

/// Returns the events API with the token in force.
fn events_api(
    token: &CurrentToken,
    intake: &Arc<Intake>,
    routes: &Arc<ArcSwap<Routes>>,
    wakeup: Wakeup,
) -> EventsApi {
    EventsApi {
        token: token.clone(),
        intake: intake.clone(),
        endpoints: endpoints(routes),
        rescan: wakeup.rescan,
    }
}

fn connection_limits(config: &Config, drain: &Drain) -> Arc<Limits> {
    Arc::new(Limits {
        max_head: config.server.max_head,
        header_timeout: config.server.header_timeout,
        idle_timeout: config.server.idle_timeout,
        drain: drain.token().clone(),
    })
}

/// The parts that delivering events needs.
struct DeliveryParts<'a> {
    backend: &'a Backend,
    ledger: &'a Arc<dyn Ledger>,
    metrics: &'a Arc<Metrics>,
    routes: &'a Arc<ArcSwap<Routes>>,
}

impl DeliveryParts<'_> {
    /// Starts the worker on `background`, and returns the intake that hands it events.
    fn start(
        &self,
        config: &Config,
        wakeup: &Wakeup,
        background: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Arc<Intake> {
        let (ledger, metrics) = (self.ledger.clone(), self.metrics.clone());
        let dispatcher =
            Dispatcher::new(self.backend.clone(), ledger.clone(), metrics.clone(), background.clone());
        let dispatcher = Arc::new(dispatcher);
        let on_outage = config.ledger.on_outage;
        let intake =
            Intake::new(ledger.clone(), dispatcher.clone(), on_outage, wakeup.clone(), background.clone());
        let endpoints = endpoints(self.routes);
        let policies: Arc<Policies> =
            Arc::new(move || endpoints().iter().map(|endpoint| endpoint.policy.clone()).collect());
        let host = backend_host(&config.backend.urls[0]);
        let worker = Worker::new(ledger, dispatcher, policies, metrics, wakeup.clone(), shutdown, &host);
        background.spawn(worker.run());
        Arc::new(intake)
    }
}

/// Returns a function that returns the endpoints of the routes in force.
fn endpoints(routes: &Arc<ArcSwap<Routes>>) -> Arc<Endpoints> {
    let routes = routes.clone();
    Arc::new(move || routes.load().endpoints())
}

/// Returns the metrics with every series that needs no configuration. The start counts as the first reload.
fn start_metrics() -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new());
    metrics.guard_reasons(&Reason::ALL.map(Reason::as_str));
    metrics.record_reload(true, clock::unix());
    metrics
}

/// Starts the backend's client. Gives its name and the ledger a moment each, so that the first webhooks meet both.
///
/// # Errors
/// The system has no certificates to verify the backend's with.
async fn start_backend(
    config: &Config,
    ledger: &dyn Ledger,
    max_ledger_wait: Duration,
) -> Result<Backend, String> {
    let resolver = Resolver::new(&config.backend.urls);
    let max_idle = config.server.max_webhooks + PASS_THROUGH_IDLE;
    let keepalive = config.server.tcp_keepalive;
    let backend = Backend::new(&config.backend, resolver.clone(), max_idle, keepalive)?;
    let _ = timeout(MAX_FIRST_RESOLVE, resolver.resolve()).await;
    let _ = timeout(max_ledger_wait, ledger_ready(ledger)).await;
    tokio::spawn(resolver.keep_resolving());
    tokio::spawn(backend.clone().evict_idle());
    Ok(backend)
}

/// Builds the routes of a configuration with their endpoints and the checkout. An endpoint that was there `before`
/// hands its delivery slots to its successor, so that deliveries under way still count. `max_webhooks` is the one in force.
///
/// # Errors
/// The checkout cannot be opened.
pub(super) fn routes(
    config: &Config,
    max_webhooks: usize,
    metrics: &Metrics,
    checkout: &mut CheckoutResources,
    before: &[Arc<Endpoint>],
) -> Result<Routes, String> {
    let checkout = checkout.open(config)?;
    let total_inline = before.first().map_or_else(UseCount::default, |old| old.inline_limit.total());
    let count = config.webhooks.len();
    let endpoints = config.webhooks.iter().map(|webhook| {
        let inline_limit = InlineLimit::new(webhook.max_inline, max_webhooks, count, total_inline.clone());
        let endpoint = Endpoint::new(webhook, inline_limit, metrics);
        let endpoint = match before.iter().find(|old| *old.name == *webhook.name) {
            Some(old) => endpoint.replacing(old),
            None => endpoint,
        };
        Arc::new(endpoint)
    });
    Ok(Routes::new(endpoints.collect(), config.server.trusted_proxies.clone()).with_checkout(checkout))
}

/// Returns the host of the backend's first address: the `Host` of imported events where nothing tells the public one.
fn backend_host(backend: &BackendUrl) -> String {
    match backend {
        BackendUrl::Http { .. } => backend.to_string().replacen("http://", "", 1),
        BackendUrl::Https { .. } => backend.to_string().replacen("https://", "", 1),
        BackendUrl::Unix(_) => "localhost".to_owned(),
    }
}
