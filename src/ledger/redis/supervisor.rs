//! The task behind the connection to Redis: it connects, probes the server, watches its settings and reconnects. It
//! sends no command of a call, and it delays none: calls see only the state that it publishes.
//!
//! ```text
//!  connecting ──ok──▶ up ──probe ok─────────────────▶ up
//!     ▲  │            │ ├──probe: out of memory──────▶ up, accepts no new events
//!     │  └─error─▶ down └──probe: other error────────▶ down, same connection probed again
//!     └───delay──────◀────probe: connection lost, time-out or read-only replica
//! ```

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use tokio::time::{Instant, sleep, timeout};

use super::connect::{RedisConnector, read_server_info};
use super::connection::RedisConnection;
use super::error;
use super::server_info::ServerInfo;
use crate::metrics::Metrics;

/// The time between two probes of a healthy connection.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// The shortest time between two probes. Failed commands request a probe at once, and many can fail together.
const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// The time between two reads of the server's settings, which an operator can change while the server runs.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(20);
/// The time between two reads of the server's settings while it must not queue events because of them.
const UNSUITABLE_INTERVAL: Duration = Duration::from_secs(1);
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The state of the task.
struct Supervisor {
    connection: Arc<RedisConnection>,
    metrics: Arc<Metrics>,
    /// The number of connections opened so far.
    generation: u64,
    /// The marker seen last, on any connection.
    marker: Option<String>,
    /// Why the connected server must not queue events; `None` if it may.
    durability_violation: Option<Arc<str>>,
    /// The concerns found last. Each is logged when it appears, not at every connection.
    logged_concerns: Vec<String>,
}

/// Starts to connect in the background. The task runs until the connection is closed.
pub(super) fn start(connector: RedisConnector, metrics: Arc<Metrics>) -> Arc<RedisConnection> {
    let connection = Arc::new(RedisConnection::new(connector));
    let supervisor = Supervisor {
        connection: Arc::clone(&connection),
        metrics,
        generation: 0,
        marker: None,
        durability_violation: None,
        logged_concerns: Vec::new(),
    };
    tokio::spawn(connection.shutdown().run_until_cancelled_owned(supervisor.run()));
    connection
}

impl Supervisor {
    async fn run(mut self) {
        let mut delay = MIN_RETRY_DELAY;
        let mut logged_reason = String::new();
        loop {
            let within = self.connection.options().connect_timeout;
            let reason = match timeout(within, self.connect()).await {
                Ok(Ok((redis, out_of_memory))) => {
                    delay = MIN_RETRY_DELAY;
                    logged_reason.clear();
                    self.watch(redis, out_of_memory).await
                }
                Ok(Err(error)) => error::describe(&error),
                Err(_) => format!("no connection within {within:?}"),
            };
            self.connection.set_down(&reason);
            // A long outage fails every second for the same reason. One line is enough.
            if logged_reason != reason {
                let url = &self.connection.options().url;
                tracing::error!(ledger = %url, reason, "cannot reach the ledger, retrying");
                logged_reason = reason;
            }
            sleep(delay).await;
            delay = (delay * 2).min(MAX_RETRY_DELAY);
        }
    }

    /// Opens a connection and logs what is wrong with its server. Returns the reason, too, if the server is out of
    /// memory: its stored events must be delivered all the same, because that frees memory.
    async fn connect(&mut self) -> RedisResult<(MultiplexedConnection, Option<String>)> {
        let (mut redis, server) =
            self.connection.connector.connect(self.connection.options().command_timeout).await?;
        let out_of_memory = match self.probe(&mut redis).await {
            Ok(()) => None,
            Err(error) if error::is_out_of_memory(&error) => Some(error::describe(&error)),
            Err(error) => return Err(error),
        };
        tracing::info!(
            ledger = %self.connection.options().url,
            version = server.version(),
            persistence = server.persistence(),
            "connected to Redis"
        );
        self.check_server(&server);
        Ok((redis, out_of_memory))
    }

    /// Publishes the connection and probes it. Returns the reason once another connection is needed.
    async fn watch(&mut self, mut redis: MultiplexedConnection, out_of_memory: Option<String>) -> String {
        // Why the server refuses writes, if it does. Each new reason is logged once.
        let mut last_error = out_of_memory;
        if let Some(reason) = &last_error {
            self.log_unsuitable(reason);
        }
        self.generation += 1;
        self.publish(&redis, last_error.as_deref());
        let mut settings_due = Instant::now() + self.settings_interval();
        loop {
            let pause = if last_error.is_some() { MAX_RETRY_DELAY } else { PROBE_INTERVAL };
            let pause = pause.min(self.settings_interval());
            self.connection.wait_for_failure(pause).await;
            if self.connection.settings_suspected() || Instant::now() >= settings_due {
                match read_server_info(&mut redis).await {
                    Ok(server) if self.check_server(&server) => self.publish(&redis, last_error.as_deref()),
                    Ok(_) => {}
                    Err(error) => return error::describe(&error),
                }
                settings_due = Instant::now() + self.settings_interval();
            }
            match self.probe(&mut redis).await {
                Ok(()) if last_error.take().is_some() => {
                    let url = &self.connection.options().url;
                    tracing::info!(ledger = %url, "the ledger accepts writes again");
                    self.publish(&redis, None);
                }
                Ok(()) => {}
                Err(error) if error::needs_another_connection(&error) => return error::describe(&error),
                Err(error) => self.reject_connection(&redis, &error, &mut last_error),
            }
            sleep(MIN_PROBE_INTERVAL).await;
        }
    }

    /// Returns the time until the server's settings are read again.
    fn settings_interval(&self) -> Duration {
        if self.durability_violation.is_some() { UNSUITABLE_INTERVAL } else { SETTINGS_INTERVAL }
    }

    /// Publishes that the server refuses writes on this connection, which stays open and is probed again.
    fn reject_connection(
        &self,
        redis: &MultiplexedConnection,
        error: &RedisError,
        last_error: &mut Option<String>,
    ) {
        let reason = error::describe(error);
        if error::is_out_of_memory(error) {
            self.publish(redis, Some(&reason));
        } else {
            self.connection.set_down(&reason);
        }
        if last_error.as_ref() != Some(&reason) {
            self.log_unsuitable(&reason);
            *last_error = Some(reason);
        }
    }

    fn log_unsuitable(&self, reason: &str) {
        tracing::error!(ledger = %self.connection.options().url, reason, "the ledger accepts no writes");
    }

    fn publish(&self, redis: &MultiplexedConnection, out_of_memory: Option<&str>) {
        let violation = self.durability_violation.clone();
        self.connection.set_up(redis.clone(), self.generation, violation, out_of_memory);
    }

    /// Logs the concerns about a server that are new. Returns whether the permission to queue events on it changed.
    fn check_server(&mut self, server: &ServerInfo) -> bool {
        let options = self.connection.options();
        let concerns = server.concerns();
        for concern in concerns.iter().filter(|concern| !self.logged_concerns.contains(concern)) {
            tracing::warn!(ledger = %options.url, "{concern}");
        }
        self.logged_concerns = concerns;
        let violation: Option<Arc<str>> = server.check_durability(options.durability).err().map(Into::into);
        let changed = violation != self.durability_violation;
        if let Some(why) = violation.as_ref().filter(|_| changed && self.connection.queueing_enabled()) {
            tracing::error!(ledger = %options.url, "cannot queue events: {why}");
        }
        self.durability_violation = violation;
        changed
    }

    /// Writes the marker, and compares it and this process's write counter with those seen before.
    async fn probe(&mut self, redis: &mut MultiplexedConnection) -> RedisResult<()> {
        // Read before the probe is sent: a later write may be acknowledged before the probe's reply is read.
        let acknowledged = self.connection.acknowledged_writes();
        let (marker, writes) = self.connection.connector.probe(redis).await?;
        let url = &self.connection.options().url;
        if self.marker.as_ref().is_some_and(|known| *known != marker) {
            self.metrics.ledger_reset();
            tracing::error!(
                ledger = %url,
                "the Redis server came back empty or was replaced: its events are forgotten, and Stripe's copies of \
                 them would be delivered again; find the events that are missing: countersign reconcile --all"
            );
        } else if writes < acknowledged {
            self.metrics.ledger_reset();
            tracing::error!(
                ledger = %url,
                writes_lost = acknowledged - writes,
                "the Redis server lost writes that it had acknowledged, as after a failover to a replica that lagged \
                 behind: find the events that are missing: countersign reconcile --all"
            );
        }
        if writes < acknowledged {
            self.connection.reset_writes(writes);
        }
        if self.marker.as_ref() != Some(&marker) {
            self.metrics.set_ledger(&marker);
        }
        self.marker = Some(marker);
        Ok(())
    }
}
