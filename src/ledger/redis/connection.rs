//! The call side of the one connection to Redis, shared by every call. While there is no connection, calls fail at once
//! with the reason; a command waits for a new one at most [`RECONNECT_WAIT`]. The supervisor opens and replaces the
//! connection; this file never does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, Value};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connect::RedisConnector;
use super::error;
use super::options::RedisOptions;
use crate::config::RedisUrl;
use crate::ledger::{Health, LedgerError};

/// How long a command whose connection broke waits for the next one. A server that only restarts is back by then.
const RECONNECT_WAIT: Duration = Duration::from_millis(500);

/// The connection, or the reason why there is none. The supervisor alone changes it, but for
/// [`RedisConnection::close`].
enum ConnectionState {
    Up {
        connection: MultiplexedConnection,
        /// The number of this connection, counted from 1.
        generation: u64,
        /// Why this server must not queue events; `None` if it may.
        durability_violation: Option<Arc<str>>,
        /// Why the server accepts no new events; `None` if it does. Stored events can still be delivered and settled.
        out_of_memory: Option<Arc<str>>,
    },
    Down(Arc<str>),
}

/// The connection as calls see it.
pub(super) struct RedisConnection {
    state: watch::Sender<ConnectionState>,
    /// Wakes the supervisor when a command failed.
    command_failed: Notify,
    shutdown: CancellationToken,
    /// Whether any endpoint queues events. A reload changes it.
    queueing_enabled: AtomicBool,
    /// Whether a call found the server less durable than its settings said.
    settings_suspected: AtomicBool,
    /// The highest write counter that a reply has shown. The server acknowledged all writes up to it.
    acknowledged_writes: AtomicU64,
    pub(super) connector: RedisConnector,
}

impl RedisConnection {
    /// Returns a connection that is down until a supervisor sets its state.
    pub(super) fn new(connector: RedisConnector) -> Self {
        let reason = format!("{}: connecting", connector.options.url);
        Self {
            state: watch::Sender::new(ConnectionState::Down(reason.into())),
            command_failed: Notify::new(),
            shutdown: CancellationToken::new(),
            queueing_enabled: AtomicBool::new(connector.options.queueing_enabled),
            settings_suspected: AtomicBool::new(false),
            acknowledged_writes: AtomicU64::new(0),
            connector,
        }
    }

    /// Returns the key of this process's write counter.
    pub(super) fn write_counter(&self) -> &str {
        &self.connector.write_counter
    }

    /// Notes the write counter of a reply; 0 stands for a call that wrote nothing.
    pub(super) fn note_write(&self, counter: u64) {
        self.acknowledged_writes.fetch_max(counter, Ordering::Relaxed);
    }

    /// Returns the highest write counter noted so far.
    pub(super) fn acknowledged_writes(&self) -> u64 {
        self.acknowledged_writes.load(Ordering::Relaxed)
    }

    /// Counts on from this write counter, after a server lost writes.
    pub(super) fn reset_writes(&self, counter: u64) {
        self.acknowledged_writes.store(counter, Ordering::Relaxed);
    }

    /// Wakes the supervisor, which probes the server.
    pub(super) fn notify_failure(&self) {
        self.command_failed.notify_one();
    }

    /// Makes the supervisor read the server's settings at once.
    pub(super) fn suspect_settings(&self) {
        self.settings_suspected.store(true, Ordering::Relaxed);
        self.notify_failure();
    }

    /// Returns whether the settings were suspected since the last call.
    pub(super) fn settings_suspected(&self) -> bool {
        self.settings_suspected.swap(false, Ordering::Relaxed)
    }

    /// Uses user and password of `url` from the next connection on. The one that is open stays: a server does not end it
    /// when a password changes. New credentials are tried at once, so that a wrong one is known before it is needed.
    pub(super) fn set_credentials(self: Arc<Self>, url: &RedisUrl) {
        if self.connector.replace_credentials(url) {
            tokio::spawn(async move { self.try_credentials().await });
        }
    }

    /// Opens one connection with the credentials in force, closes it, and logs whether the server took them.
    async fn try_credentials(&self) {
        let (options, connect) = (self.options(), self.connector.connect(self.options().command_timeout));
        let reason = match timeout(options.connect_timeout, connect).await {
            Ok(Ok(_)) => {
                return tracing::info!(ledger = %options.url, "the ledger accepts the new credentials");
            }
            Ok(Err(error)) => error::describe(&error),
            Err(_) => format!("no connection within {:?}", options.connect_timeout),
        };
        tracing::error!(
            ledger = %options.url,
            reason,
            "cannot connect to the ledger with the new credentials: the open connection stays, but the next one will \
             fail; correct user and password, and reload"
        );
    }

    /// Closes the connection for good and stops its supervisor.
    pub(super) fn close(&self) {
        self.shutdown.cancel();
        self.set_down("the connection is closed");
    }

    pub(super) fn health(&self) -> Health {
        let reason = match &*self.state.borrow() {
            ConnectionState::Up { out_of_memory: Some(reason), .. } => reason.clone(),
            ConnectionState::Up { durability_violation: Some(why), .. } if self.queueing_enabled() => {
                self.with_url(why).into()
            }
            ConnectionState::Up { .. } => return Health::Ready,
            ConnectionState::Down(reason) => reason.clone(),
        };
        Health::NotReady { reason }
    }

    /// Sends a command and waits for its reply. The server may run the command twice: if the connection breaks before
    /// the reply, the command is sent once more over the next connection. The scripts are safe to repeat.
    ///
    /// # Errors
    /// There is no connection, or the server refused or did not reply in time.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, LedgerError> {
        let (mut connection, generation) = self.current()?;
        let mut sent = command.query_async(&mut connection).await;
        if let Err(error) = &sent {
            self.command_failed.notify_one();
            if error::is_unknown_script(error) {
                sent = self.load_and_send(connection, command).await;
            } else if error::is_connection_lost(error) {
                let (mut connection, _) = self.current_after(generation).await?;
                sent = command.query_async(&mut connection).await;
            }
        }
        sent.map_err(|error| self.error(&error::describe(&error)))
    }

    /// Sends commands that only read, in one pipeline, and waits for all replies. After any error the pipeline is sent
    /// once more over the next connection.
    ///
    /// # Errors
    /// There is no connection, or the server refused or did not reply in time.
    pub(super) async fn read<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, LedgerError> {
        let (mut connection, generation) = self.current()?;
        let mut read = commands.query_async(&mut connection).await;
        if let Err(error) = &read {
            self.command_failed.notify_one();
            tracing::debug!(%error, "reading from Redis failed, retrying once");
            let (mut connection, _) = self.current_after(generation).await?;
            read = commands.query_async(&mut connection).await;
        }
        read.map_err(|error| self.error(&error::describe(&error)))
    }

    /// Sends a command again after loading the scripts: the server lost them by SCRIPT FLUSH or a failover.
    async fn load_and_send(
        &self,
        mut connection: MultiplexedConnection,
        command: &Cmd,
    ) -> RedisResult<Value> {
        self.connector.load_scripts(&mut connection).await?;
        command.query_async(&mut connection).await
    }

    fn current(&self) -> Result<(MultiplexedConnection, u64), LedgerError> {
        match &*self.state.borrow() {
            ConnectionState::Up { connection, generation, .. } => Ok((connection.clone(), *generation)),
            ConnectionState::Down(reason) => Err(LedgerError::new(reason.clone())),
        }
    }

    /// Waits for the connection after the one of generation `broken`. The supervisor, already notified, opens it.
    async fn current_after(&self, broken: u64) -> Result<(MultiplexedConnection, u64), LedgerError> {
        let mut states = self.state.subscribe();
        let is_newer = |state: &ConnectionState| match state {
            ConnectionState::Up { generation, .. } => *generation > broken,
            ConnectionState::Down(_) => false,
        };
        let _ = timeout(RECONNECT_WAIT, states.wait_for(is_newer)).await;
        self.current()
    }

    /// Checks that the server has memory for another event.
    ///
    /// # Errors
    /// The server is out of memory. A missing connection is no error here: the command itself reports it.
    pub(super) fn check_capacity(&self) -> Result<(), LedgerError> {
        match &*self.state.borrow() {
            ConnectionState::Up { out_of_memory: Some(reason), .. } => Err(LedgerError::new(reason.clone())),
            ConnectionState::Up { .. } | ConnectionState::Down(_) => Ok(()),
        }
    }

    /// Checks that the server promises enough durability for events to be queued on it.
    ///
    /// # Errors
    /// The server promises too little, or there is no connection.
    pub(super) fn check_queueing(&self) -> Result<(), LedgerError> {
        match &*self.state.borrow() {
            ConnectionState::Up { durability_violation: Some(why), .. } => {
                Err(LedgerError::unsuitable(self.with_url(why)))
            }
            ConnectionState::Up { .. } => Ok(()),
            ConnectionState::Down(reason) => Err(LedgerError::new(reason.clone())),
        }
    }

    /// Sets whether any endpoint queues events from now on.
    pub(super) fn set_queueing_enabled(&self, enabled: bool) {
        self.queueing_enabled.store(enabled, Ordering::Relaxed);
        // The supervisor logs a violation when it changes. A reload can make an old one matter, so it is logged here.
        if enabled && let Err(error) = self.check_queueing() {
            tracing::error!("cannot queue events: {error}");
        }
    }

    pub(super) fn queueing_enabled(&self) -> bool {
        self.queueing_enabled.load(Ordering::Relaxed)
    }

    pub(super) fn options(&self) -> &RedisOptions {
        &self.connector.options
    }

    pub(super) fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits until a command has failed since the last call, at most `limit`.
    pub(super) async fn wait_for_failure(&self, limit: Duration) {
        let _ = timeout(limit, self.command_failed.notified()).await;
    }

    /// Hands the connection out to calls. The supervisor calls it.
    pub(super) fn set_up(
        &self,
        connection: MultiplexedConnection,
        generation: u64,
        durability_violation: Option<Arc<str>>,
        out_of_memory: Option<&str>,
    ) {
        let out_of_memory = out_of_memory.map(|why| self.with_url(why).into());
        let state = ConnectionState::Up { connection, generation, durability_violation, out_of_memory };
        self.state.send_replace(state);
    }

    /// Makes calls fail with this reason. The supervisor calls it.
    pub(super) fn set_down(&self, why: &str) {
        self.state.send_replace(ConnectionState::Down(self.with_url(why).into()));
    }

    pub(super) fn error(&self, why: &str) -> LedgerError {
        LedgerError::new(self.with_url(why))
    }

    pub(super) fn with_url(&self, why: &str) -> String {
        format!("{}: {why}", self.options().url)
    }
}
