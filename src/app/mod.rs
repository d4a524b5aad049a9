//! The running program: configuration → `App::build` → announce → serve → drain. This module alone names every
//! concrete part; it holds no rule about webhooks, orders or events.
//!
//! - `build.rs`: builds every part from a configuration, and the routes from its endpoints
//! - `running.rs`: the `App` value and its shutdown
//! - `announce.rs`: what the program logs about itself at start and on reload
//! - `reload.rs`: what SIGHUP changes in the running program
//! - `entrance.rs`: how the listeners open and close
//! - `process_manager.rs`: what systemd is told of the program's state
//! - `take_over.rs`: when the program begins to accept connections: at once, or after the process before it
//! - `old_ledger.rs`: the search for a ledger that an empty one may replace
//! - `open_ledger.rs`: the configured ledger, open, as the concrete type that has to be closed
//! - `signals.rs`: which Unix signals ask for a reload or a shutdown

mod announce;
mod build;
mod entrance;
mod old_ledger;
mod open_ledger;
mod process_manager;
mod reload;
mod running;
mod signals;
mod take_over;

use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;

use crate::config::{Config, Source};
use crate::descriptors;
use crate::logging;
use crate::socket::inherited::InheritedSockets;
use build::Listeners;
use running::App;
use signals::{Signal, Signals};

/// The exit code for a configuration that cannot be used: `EX_CONFIG` of sysexits.h.
pub const EX_CONFIG: u8 = 78;
/// Serves until a signal ends the program, and returns its exit code. Start-up errors go to standard error.
/// `socket_names` is the value of `LISTEN_FDNAMES`, with which systemd names the sockets that it passes.
pub fn run(source: Source, socket_names: Option<&str>) -> ExitCode {
    let mut config = match source.load() {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    let inherited = match InheritedSockets::take(socket_names) {
        Ok(inherited) => inherited,
        Err(message) => return fail("cannot listen", &message),
    };
    let _flush = match logging::init(&config.log, std::io::stderr().is_terminal()) {
        Ok(flush) => flush,
        Err(error) => return fail("cannot start the thread that writes the log", &error),
    };
    fit_descriptors(&mut config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start", &error),
    };
    let code = runtime.block_on(serve(source, config, inherited));
    // Dropping the runtime would wait for blocking work: a name that does not resolve, a disk that hangs.
    runtime.shutdown_background();
    code
}

/// Raises the limit of open files as far as it goes, and lowers `max_connections` to what it allows.
fn fit_descriptors(config: &mut Config) {
    let Some(limit) = descriptors::raise_limit() else { return };
    let (configured, max) = (config.server.max_connections, descriptors::max_connections(limit));
    if config.server.lower_max_connections(max) {
        tracing::warn!(
            limit,
            configured,
            max_connections = max,
            "max_connections is lowered, because too few files may be open; raise the hard limit (LimitNOFILE of systemd, \
             --ulimit nofile of containers) to 2 x max_connections + 64"
        );
    }
}

fn fail(what: &str, error: &dyn Display) -> ExitCode {
    eprintln!("countersign: {what}: {error}");
    ExitCode::FAILURE
}

async fn serve(source: Source, config: Config, inherited: InheritedSockets) -> ExitCode {
    // The sockets come first: a second instance on the same port fails before it touches the ledger.
    let listeners = match Listeners::open(&config, inherited).await {
        Ok(listeners) => listeners,
        Err(message) => return fail("cannot listen", &message),
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail("cannot listen for signals", &error),
    };
    let mut app = match App::build(source, config, listeners).await {
        Ok(app) => app,
        Err(message) => return fail("cannot start", &message),
    };
    process_manager::start_watchdog();
    if app.take_over(&mut signals).await {
        while let Signal::Reload = signals.next().await {
            app.reload().await;
        }
    }
    app.shut_down(&mut signals).await
}
