//! The only file that names every concrete part: config → build → announce → serve → drain.

use arc_swap::ArcSwap;
use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::events::{Events, Importer, Place};
use crate::admin::{self, AdminState, Readiness};
use crate::backend::{Backend, Resolver};
use crate::checkout::CheckoutResources;
use crate::config::{BackendUrl, CheckoutState, Config, LedgerUrl, Source};
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::worker::Worker;
use crate::edge::connection::Limits;
use crate::edge::drain::Drain;
use crate::edge::route::Routes;
use crate::edge::{Server, listener};
use crate::endpoint::Endpoint;
use crate::guard::Reason;
use crate::intake::Intake;
use crate::ledger::redis::{RedisLedger, RedisOptions};
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Health, Ledger, Metered, NoLedger};
use crate::logging;
use crate::metrics::Metrics;
use crate::socket::Listener;

/// A configuration that cannot be used (sysexits.h, EX_CONFIG).
pub const EX_CONFIG: u8 = 78;
/// How long the backend's name may take to resolve before the program serves without.
const FIRST_RESOLVE: Duration = Duration::from_secs(2);
/// Idle connections to the backend that are kept for what passes through, beside one for each webhook.
const PASSING: usize = 512;
/// How long the ledger may take to open before the program serves without, unready.
const FIRST_OPEN: Duration = Duration::from_secs(1);
/// How long the ledger may take to close once everything else has.
const CLOSE_LEDGER: Duration = Duration::from_secs(5);

/// Serves until a signal ends it. Says on standard error why it cannot.
pub fn run(source: Source) -> ExitCode {
    let config = match source.load() {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    logging::init(&config.log, std::io::stderr().is_terminal());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start", &error),
    };
    let code = runtime.block_on(serve(source, config));
    // Dropping it would wait for blocking work: a name that does not resolve, a disk that hangs.
    runtime.shutdown_background();
    code
}

fn fail(what: &str, error: &dyn Display) -> ExitCode {
    eprintln!("countersign: {what}: {error}");
    ExitCode::FAILURE
}

async fn serve(source: Source, config: Config) -> ExitCode {
    let (proxy_listener, admin_listener) = match bind(&config).await {
        Ok(bound) => bound,
        Err(message) => return fail("cannot listen", &message),
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail("cannot listen for signals", &error),
    };

    let metrics = Arc::new(Metrics::new());
    metrics.guard_reasons(&Reason::ALL.map(Reason::as_str));
    let store = Store::open(&config, &metrics);
    let ledger = store.ledger(&metrics);
    let resolver = Resolver::new(&config.backend.url);
    let _ = timeout(FIRST_RESOLVE, resolver.resolve()).await;
    let _ = timeout(FIRST_OPEN, opened(&*ledger)).await;
    let backend = Backend::new(&config.backend, resolver.clone(), config.server.max_webhooks + PASSING);
    let drain = Arc::new(Drain::new(config.server.shutdown_grace));
    let (connections, settlements) = (TaskTracker::new(), TaskTracker::new());

    tokio::spawn(resolver.keep_resolving());
    tokio::spawn(backend.clone().reap());

    let dispatcher =
        Arc::new(Dispatcher::new(backend.clone(), ledger.clone(), metrics.clone(), settlements.clone()));
    let bell = Arc::new(Notify::new());
    let (on_outage, background) = (config.ledger.on_outage, settlements.clone());
    let intake = Intake::new(ledger.clone(), dispatcher.clone(), on_outage, bell.clone(), background);
    let mut counter = CheckoutResources::new(metrics.clone());
    let routes = match routes(&config, &metrics, &mut counter, &[]) {
        Ok(routes) => Arc::new(ArcSwap::from_pointee(routes)),
        Err(message) => return fail("cannot open the checkout", &message),
    };
    let endpoints = {
        let routes = routes.clone();
        Arc::new(move || routes.load().endpoints())
    };
    let worker =
        Worker::new(ledger.clone(), dispatcher, endpoints, metrics.clone(), bell, drain.token().clone());
    let roll_call = worker.roll_call();
    settlements.spawn(worker.run());
    let front = Server::new(&config, routes.clone(), intake, backend, metrics.clone(), drain.clone());
    let limits = Arc::new(Limits {
        header_timeout: config.server.header_timeout,
        idle_timeout: config.server.idle_timeout,
        drain: drain.token().clone(),
    });

    let readiness = Arc::new(Readiness::new(ledger.clone()));
    let admin_end = CancellationToken::new();
    let admin_address = admin_listener.address();
    let events = events(&config, &ledger, &routes, roll_call);
    let state = AdminState { metrics: metrics.clone(), ledger, readiness: readiness.clone(), events };
    let admin = tokio::spawn(admin::serve(admin_listener, state, admin_end.clone()));
    announce(&config, &source, &proxy_listener.address(), &admin_address);
    let max = config.server.max_connections;
    let accepting =
        connections.spawn(listener::accept(proxy_listener, front, limits, max, connections.clone()));
    readiness.set_listening();

    while let Wake::Reload = signals.next().await {
        reload(&source, &config, &routes, &store, &metrics, &mut counter);
    }

    tracing::info!(grace = ?config.server.shutdown_grace, "draining");
    readiness.set_draining();
    drain.begin();
    let _ = accepting.await;
    let finished = tokio::select! {
        finished = finish(&drain, &connections, &settlements) => finished,
        () = signals.end() => false,
    };
    store.close().await;
    admin_end.cancel();
    let _ = admin.await;
    if finished {
        tracing::info!("drained");
        ExitCode::SUCCESS
    } else {
        tracing::warn!(
            connections = connections.len(),
            settlements = settlements.len(),
            "the grace is over; what was still open is cut off"
        );
        ExitCode::FAILURE
    }
}

/// Webhooks that come right after the start should not meet a ledger that is a moment away from being open.
async fn opened(ledger: &dyn Ledger) {
    while let Health::NotReady { .. } = ledger.health() {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn bind(config: &Config) -> Result<(Listener, Listener), String> {
    let proxy = Listener::bind(&config.server.listen);
    let proxy = proxy.await.map_err(|e| format!("[server] listen = \"{}\": {e}", config.server.listen))?;
    let admin = Listener::bind(&config.admin.listen);
    let admin = admin.await.map_err(|e| format!("[admin] listen = \"{}\": {e}", config.admin.listen))?;
    Ok((proxy, admin))
}

/// The routes that a configuration says, their endpoints and the checkout ready.
fn routes(
    config: &Config,
    metrics: &Metrics,
    counter: &mut CheckoutResources,
    before: &[Arc<Endpoint>],
) -> Result<Routes, String> {
    let checkout = counter.open(&config.checkout)?;
    let endpoints = config.webhooks.iter().map(|webhook| {
        let endpoint = Endpoint::new(webhook, metrics);
        let endpoint = match before.iter().find(|old| *old.name == *webhook.name) {
            Some(old) => endpoint.replacing(old),
            None => endpoint,
        };
        (webhook.path.clone(), Arc::new(endpoint))
    });
    Ok(Routes::new(endpoints.collect(), config.server.trusted_proxies.clone()).selling(checkout))
}

/// Says whether orders are taken here, and why.
fn announce_checkout(checkout: &crate::config::CheckoutConfig) {
    let paths = checkout.paths.join(" ");
    let off = |why: &str| tracing::info!(paths, why, "checkout is off: its paths pass through");
    match checkout.state() {
        CheckoutState::On => {
            let (prices, live) = (checkout.prices.len(), checkout.live());
            tracing::info!(paths, prices, live, api_version = %checkout.api_version, "checkout is on");
        }
        CheckoutState::NoKey => off("there are prices but no secret_key"),
        CheckoutState::NoPrice => off("there is a secret_key but no [[checkout.price]]"),
        CheckoutState::Neither => off("there is neither a secret_key nor a [[checkout.price]]"),
    }
}

/// What the events API needs; `None` without a token.
fn events(
    config: &Config,
    ledger: &Arc<dyn Ledger>,
    routes: &Arc<ArcSwap<Routes>>,
    bell: Arc<Notify>,
) -> Option<Events> {
    let token = config.admin.token.clone()?;
    // What is taken in came with no request that would name a host.
    let host = match &config.backend.url {
        BackendUrl::Http { .. } => config.backend.url.to_string().replacen("http://", "", 1),
        BackendUrl::Unix(_) => "localhost".to_owned(),
    };
    let routes = routes.clone();
    let find = move |name: &str| {
        let routes = routes.load();
        routes.named(name).map(|(path, endpoint)| Place { path: path.into(), endpoint: endpoint.clone() })
    };
    Some(Events { token, take_in: Arc::new(Importer::new(ledger.clone(), host, find)), bell })
}

/// Says what this is and what it guards; loudly, what it only watches.
fn announce(config: &Config, source: &Source, proxy: &str, admin: &str) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %source.name(),
        backend = %config.backend.url,
        ledger = %config.ledger.url,
        "countersign"
    );
    for webhook in &config.webhooks {
        tracing::info!(endpoint = %webhook.name, path = %webhook.path, secrets = webhook.secrets.len(), "guarding");
    }
    announce_checkout(&config.checkout);
    warn(config);
    tracing::info!(listener = "proxy", address = %proxy, "listening");
    let events_api = config.admin.token.is_some();
    tracing::info!(listener = "admin", address = %admin, events_api, "listening");
}

fn warn(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

/// Takes in force what can change without a new socket. A faulty file changes nothing.
fn reload(
    source: &Source,
    running: &Config,
    current: &ArcSwap<Routes>,
    store: &Store,
    metrics: &Metrics,
    counter: &mut CheckoutResources,
) {
    let config = match source.load() {
        Ok(config) => config,
        Err(faults) => {
            tracing::error!(%faults, "not reloaded: the configuration is faulty, the old one stays in force");
            return;
        }
    };
    let fixed = [
        (
            "server",
            config.server
                != crate::config::ServerConfig {
                    trusted_proxies: config.server.trusted_proxies.clone(),
                    ..running.server.clone()
                },
        ),
        ("admin", config.admin != running.admin),
        ("log", config.log != running.log),
        ("backend", config.backend != running.backend),
        ("ledger", config.ledger != running.ledger),
    ];
    for (section, _) in fixed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!(section, "changed, but only a restart takes it in force");
    }
    match routes(&config, metrics, counter, &current.load().endpoints()) {
        Ok(routes) => current.store(Arc::new(routes)),
        Err(message) => {
            tracing::error!(
                message,
                "not reloaded: the checkout cannot be opened, the old one stays in force"
            );
            return;
        }
    }
    store.set_keeping(config.keeps());
    announce_checkout(&config.checkout);
    metrics.retain(&config.webhooks.iter().map(|w| w.name.as_str()).collect::<Vec<_>>());
    warn(&config);
    tracing::info!(endpoints = config.webhooks.len(), "reloaded");
}

/// Waits for what is under way; whether all of it came to its end within the grace.
async fn finish(drain: &Drain, connections: &TaskTracker, settlements: &TaskTracker) -> bool {
    let Some(until) = drain.until() else { return true };
    connections.close();
    settlements.close();
    timeout_at(until, async {
        connections.wait().await;
        settlements.wait().await;
    })
    .await
    .is_ok()
}

/// The ledger that the configuration names, as the concrete thing that has to be closed.
enum Store {
    None,
    Sqlite(Arc<SqliteLedger>),
    Redis(Arc<RedisLedger>),
}

impl Store {
    fn open(config: &Config, metrics: &Arc<Metrics>) -> Store {
        match &config.ledger.url {
            LedgerUrl::None => Store::None,
            LedgerUrl::Sqlite(path) => {
                Store::Sqlite(Arc::new(SqliteLedger::start(path.clone(), config.ledger.retention)))
            }
            LedgerUrl::Redis(url) => {
                let options = RedisOptions::new(url, &config.ledger, config.keeps());
                Store::Redis(Arc::new(RedisLedger::start(options, metrics.clone())))
            }
        }
    }

    /// The ledger as the others know it. Where none is, there is nothing to time.
    fn ledger(&self, metrics: &Arc<Metrics>) -> Arc<dyn Ledger> {
        match self {
            Store::None => Arc::new(NoLedger),
            Store::Sqlite(ledger) => Arc::new(Metered::new(ledger.clone(), metrics.clone())),
            Store::Redis(ledger) => Arc::new(Metered::new(ledger.clone(), metrics.clone())),
        }
    }

    /// Whether events are to be kept from now on, which not every Redis is fit for.
    fn set_keeping(&self, keeping: bool) {
        match self {
            Store::None | Store::Sqlite(_) => {}
            Store::Redis(ledger) => ledger.set_keeping(keeping),
        }
    }

    /// Blocking work, bounded: a disk that hangs must not keep the program from ending.
    async fn close(self) {
        match self {
            Store::None => {}
            Store::Redis(ledger) => ledger.close(),
            Store::Sqlite(ledger) => {
                let closing = tokio::task::spawn_blocking(move || ledger.close());
                let _ = timeout(CLOSE_LEDGER, closing).await;
            }
        }
    }
}

/// What a signal asks for.
enum Wake {
    Reload,
    End,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Until someone is in earnest.
    async fn end(&mut self) {
        while let Wake::Reload = self.next().await {}
    }

    async fn next(&mut self) -> Wake {
        tokio::select! {
            _ = self.hangup.recv() => Wake::Reload,
            _ = self.terminate.recv() => Wake::End,
            _ = self.interrupt.recv() => Wake::End,
        }
    }
}
