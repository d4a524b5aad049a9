//! The one connection to Redis: made, watched and made anew by a task of its own, shared by every call. Calls wait for
//! no connection longer than a moment: while there is none, they fail at once with the reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Script, TlsMode,
    Value, cmd,
};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::server::{SETTINGS, Server};
use super::trouble;
use crate::config::{Durability, RedisTarget, RedisUrl, SentinelTarget};
use crate::ledger::{Health, LedgerError};
use crate::metrics::Metrics;

/// How often an idle connection is tried.
const PROBE: Duration = Duration::from_secs(3);
/// How often the server is asked for its settings: somebody may change them while it runs.
const LOOK: Duration = Duration::from_secs(20);
/// How soon after one probe a failed command may bring on the next.
const PROBE_AGAIN: Duration = Duration::from_millis(20);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// How long a command whose connection broke waits for the next one: a server that was restarted is back by then, or
/// is not.
const RESEND: Duration = Duration::from_millis(500);
/// Commands that may wait to be written. More than there are webhooks, so that a call's command is queued as soon as
/// the call begins.
const QUEUE: usize = 16_384;

/// What a link needs to know.
pub(super) struct Options {
    pub(super) url: RedisUrl,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
    pub(super) durability: Durability,
    /// Whether events are to be kept, to begin with.
    pub(super) keeps: bool,
    /// The key that shows whether a server is the one it was.
    pub(super) marker: String,
    /// Loaded whenever a connection is made.
    pub(super) scripts: Vec<Script>,
    pub(super) probe: Script,
}

/// The connection, or why there is none.
enum LinkState {
    Up {
        connection: MultiplexedConnection,
        /// Which connection of this link it is, from 1.
        number: u64,
        /// Why no events are to be kept on this server, if so.
        short: Option<Arc<str>>,
        /// Why it takes nothing new, if so; what it holds can be delivered and settled all the same.
        full: Option<Arc<str>>,
    },
    Down(Arc<str>),
}

/// The connection as calls know it.
pub(super) struct Link {
    state: watch::Sender<LinkState>,
    suspect: Notify,
    end: CancellationToken,
    /// Whether events are to be kept.
    keeping: AtomicBool,
    options: Options,
    metrics: Arc<Metrics>,
}

impl Link {
    /// Begins to connect, in the background, and goes on as long as the link lives.
    pub(super) fn start(options: Options, metrics: Arc<Metrics>) -> Arc<Link> {
        let reason = format!("{}: it is being connected to", options.url);
        let link = Arc::new(Link {
            state: watch::Sender::new(LinkState::Down(reason.into())),
            suspect: Notify::new(),
            end: CancellationToken::new(),
            keeping: AtomicBool::new(options.keeps),
            options,
            metrics,
        });
        let keeper = Keeper { link: Arc::clone(&link), made: 0, marker: None, short: None, said: Vec::new() };
        tokio::spawn(link.end.clone().run_until_cancelled_owned(keeper.keep()));
        link
    }

    /// Lets go of the connection for good.
    pub(super) fn close(&self) {
        self.end.cancel();
        self.down("it is closed");
    }

    pub(super) fn health(&self) -> Health {
        match &*self.state.borrow() {
            LinkState::Up { full: Some(reason), .. } => Health::NotReady { reason: reason.clone() },
            LinkState::Up { short: Some(why), .. } if self.keeping() => {
                Health::NotReady { reason: format!("{}: {why}", self.options.url).into() }
            }
            LinkState::Up { .. } => Health::Ready,
            LinkState::Down(reason) => Health::NotReady { reason: reason.clone() },
        }
    }

    /// Sends a command and waits for its answer. A command may be carried out twice: if its connection broke before the
    /// answer came, it is sent once more over the next one.
    ///
    /// # Errors
    /// There is no connection, or the server refused, or did not answer in time.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, LedgerError> {
        let (mut connection, number) = self.connection()?;
        let mut sent = command.query_async(&mut connection).await;
        if let Err(error) = &sent {
            self.suspect.notify_one();
            if trouble::is_unknown_script(error) {
                sent = self.load(connection, command).await;
            } else if trouble::is_gone(error) {
                let (mut connection, _) = self.connection_after(number).await?;
                sent = command.query_async(&mut connection).await;
            }
        }
        sent.map_err(|error| self.error(&trouble::explain(&error)))
    }

    /// Sends commands that only read, in one go, and waits for all their answers; for a second time where the first
    /// brought none.
    ///
    /// # Errors
    /// As [`Link::send`] does.
    pub(super) async fn read<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, LedgerError> {
        let (mut connection, number) = self.connection()?;
        let mut read = commands.query_async(&mut connection).await;
        if let Err(error) = &read {
            self.suspect.notify_one();
            tracing::debug!(%error, "reading once more");
            let (mut connection, _) = self.connection_after(number).await?;
            read = commands.query_async(&mut connection).await;
        }
        read.map_err(|error| self.error(&trouble::explain(&error)))
    }

    async fn load(&self, mut connection: MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
        load_scripts(&mut connection, &self.options).await?;
        command.query_async(&mut connection).await
    }

    fn connection(&self) -> Result<(MultiplexedConnection, u64), LedgerError> {
        match &*self.state.borrow() {
            LinkState::Up { connection, number, .. } => Ok((connection.clone(), *number)),
            LinkState::Down(reason) => Err(LedgerError::new(reason.clone())),
        }
    }

    /// The connection after one that broke. The keeper makes it; it has been told.
    async fn connection_after(&self, broken: u64) -> Result<(MultiplexedConnection, u64), LedgerError> {
        let mut states = self.state.subscribe();
        let newer = |state: &LinkState| matches!(state, LinkState::Up { number, .. } if *number > broken);
        let _ = timeout(RESEND, states.wait_for(newer)).await;
        self.connection()
    }

    /// Whether the server has room for another event.
    pub(super) fn takes_more(&self) -> Result<(), LedgerError> {
        match &*self.state.borrow() {
            LinkState::Up { full: Some(reason), .. } => Err(LedgerError::new(reason.clone())),
            LinkState::Up { .. } | LinkState::Down(_) => Ok(()),
        }
    }

    /// Whether events are to be kept from now on.
    pub(super) fn set_keeping(&self, keeping: bool) {
        self.keeping.store(keeping, Ordering::Relaxed);
        if keeping && let Err(error) = self.keeps() {
            tracing::error!("{error}");
        }
    }

    fn keeping(&self) -> bool {
        self.keeping.load(Ordering::Relaxed)
    }

    /// Whether the server promises enough for events to be kept on it.
    pub(super) fn keeps(&self) -> Result<(), LedgerError> {
        match &*self.state.borrow() {
            LinkState::Up { short: Some(why), .. } => {
                Err(LedgerError::unsuitable(format!("{}: {why}", self.options.url)))
            }
            LinkState::Up { .. } => Ok(()),
            LinkState::Down(reason) => Err(LedgerError::new(reason.clone())),
        }
    }

    fn down(&self, why: &str) {
        self.state.send_replace(LinkState::Down(format!("{}: {why}", self.options.url).into()));
    }

    fn error(&self, why: &str) -> LedgerError {
        LedgerError::new(format!("{}: {why}", self.options.url))
    }
}

/// The task that makes and watches the connection.
struct Keeper {
    link: Arc<Link>,
    /// Connections made so far.
    made: u64,
    /// The marker that was seen last, on whatever connection.
    marker: Option<String>,
    /// Why no events are to be kept on the server it is connected to, if so.
    short: Option<Arc<str>>,
    /// The concerns that were logged last: each is said once, not at every connection.
    said: Vec<String>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut wait = FIRST_RETRY;
        let mut announced = String::new();
        loop {
            let within = self.link.options.connect_timeout;
            let why = match timeout(within, self.connect()).await {
                Ok(Ok((connection, full))) => {
                    wait = FIRST_RETRY;
                    announced.clear();
                    self.watch(connection, full).await
                }
                Ok(Err(error)) => trouble::explain(&error),
                Err(_) => format!("no connection within {within:?}"),
            };
            self.link.down(&why);
            if announced != why {
                tracing::error!(ledger = %self.link.options.url, reason = why, "the ledger is out of reach; trying on");
                announced = why;
            }
            sleep(wait).await;
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    /// A connection that is ready for use, to a server whose concerns were said; and why that takes nothing new, if its
    /// memory is full. What it holds has to be delivered all the same, which makes room.
    async fn connect(&mut self) -> RedisResult<(MultiplexedConnection, Option<String>)> {
        let link = Arc::clone(&self.link);
        let options = &link.options;
        let (mut connection, server) = connect(options).await?;
        let full = match self.probe(&mut connection).await {
            Ok(()) => None,
            Err(error) if trouble::is_full(&error) => Some(trouble::explain(&error)),
            Err(error) => return Err(error),
        };
        tracing::info!(
            ledger = %options.url,
            version = server.version(),
            persistence = server.persistence(),
            "connected to Redis"
        );
        self.judge(&server);
        Ok((connection, full))
    }

    /// Hands the connection out for as long as it is good. Why it no longer is.
    async fn watch(&mut self, mut connection: MultiplexedConnection, full: Option<String>) -> String {
        let mut refused = full;
        if let Some(why) = &refused {
            self.takes_no_writes(why);
        }
        self.made += 1;
        self.up(&connection, refused.as_deref());
        let mut look = tokio::time::Instant::now() + LOOK;
        loop {
            let wait = if refused.is_some() { LAST_RETRY } else { PROBE };
            let _ = timeout(wait, self.link.suspect.notified()).await;
            if tokio::time::Instant::now() >= look {
                look = tokio::time::Instant::now() + LOOK;
                match look_at(&mut connection).await {
                    Ok(server) if self.judge(&server) => self.up(&connection, refused.as_deref()),
                    Ok(_) => {}
                    Err(error) => return trouble::explain(&error),
                }
            }
            match self.probe(&mut connection).await {
                Ok(()) if refused.take().is_some() => {
                    tracing::info!(ledger = %self.link.options.url, "the ledger takes writes again");
                    self.up(&connection, None);
                }
                Ok(()) => {}
                Err(error) if trouble::needs_another_connection(&error) => return trouble::explain(&error),
                Err(error) => {
                    let why = trouble::explain(&error);
                    if trouble::is_full(&error) {
                        self.up(&connection, Some(&why));
                    } else {
                        self.link.down(&why);
                    }
                    if refused.as_ref() != Some(&why) {
                        self.takes_no_writes(&why);
                        refused = Some(why);
                    }
                }
            }
            sleep(PROBE_AGAIN).await;
        }
    }

    fn takes_no_writes(&self, why: &str) {
        tracing::error!(ledger = %self.link.options.url, reason = why, "the ledger takes no writes");
    }

    fn up(&self, connection: &MultiplexedConnection, full: Option<&str>) {
        let full = full.map(|why| format!("{}: {why}", self.link.options.url).into());
        let (connection, short) = (connection.clone(), self.short.clone());
        self.link.state.send_replace(LinkState::Up { connection, number: self.made, short, full });
    }

    /// Says what of a server is a concern and was not one before. Whether events may be kept on it has changed.
    fn judge(&mut self, server: &Server) -> bool {
        let options = &self.link.options;
        let concerns = server.concerns();
        for concern in concerns.iter().filter(|concern| !self.said.contains(concern)) {
            tracing::warn!(ledger = %options.url, "{concern}");
        }
        self.said = concerns;
        let short: Option<Arc<str>> = server.falls_short_of(options.durability).map(Into::into);
        let changed = short != self.short;
        if let Some(short) = short.as_ref().filter(|_| changed && self.link.keeping()) {
            tracing::error!(ledger = %options.url, "{short}");
        }
        self.short = short;
        changed
    }

    /// Writes the marker, and sees whether it is the one that was written before.
    async fn probe(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let options = &self.link.options;
        let marker = mark(connection, options).await?;
        if self.marker.as_ref().is_some_and(|known| *known != marker) {
            self.link.metrics.ledger_reset();
            tracing::error!(
                ledger = %options.url,
                "the server came back empty or as another one: it has forgotten events, and copies of them would be \
                 delivered again"
            );
        }
        self.marker = Some(marker);
        Ok(())
    }
}

/// Connects once and says what the server is; or why it cannot be a ledger.
pub(super) async fn look(options: &Options) -> Result<Server, String> {
    let looking = async {
        let (mut connection, server) = connect(options).await?;
        mark(&mut connection, options).await?;
        Ok(server)
    };
    match timeout(options.connect_timeout, looking).await {
        Ok(looked) => looked.map_err(|error| trouble::explain(&error)),
        Err(_) => Err(format!("no connection within {:?}", options.connect_timeout)),
    }
}

/// A connection with the scripts loaded, and what the server says of itself.
async fn connect(options: &Options) -> RedisResult<(MultiplexedConnection, Server)> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.command_timeout))
        .set_pipeline_buffer_size(QUEUE);
    let client = match options.url.target() {
        RedisTarget::Server(info) => Client::open(info.clone())?,
        RedisTarget::Sentinel(target) => sentinels(target)?.async_get_client().await?,
    };
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    load_scripts(&mut connection, options).await?;
    let server = look_at(&mut connection).await?;
    Ok((connection, server))
}

/// The server's marker: the one it has, written anew, which shows whether it takes writes; or a fresh one.
async fn mark(connection: &mut MultiplexedConnection, options: &Options) -> RedisResult<String> {
    let fresh = format!("{:016x}", getrandom::u64().map_err(std::io::Error::other)?);
    let found: String = options.probe.key(&options.marker).arg(&fresh).invoke_async(connection).await?;
    Ok(if found.is_empty() { fresh } else { found })
}

async fn load_scripts(connection: &mut MultiplexedConnection, options: &Options) -> RedisResult<()> {
    for script in options.scripts.iter().chain([&options.probe]) {
        script.load_async(connection).await?;
    }
    Ok(())
}

/// What the server lets us know of it.
async fn look_at(connection: &mut MultiplexedConnection) -> RedisResult<Server> {
    let info: String = allowed(cmd("INFO").query_async(connection).await)?.unwrap_or_default();
    let mut settings = HashMap::new();
    for name in SETTINGS {
        let told: RedisResult<HashMap<String, String>> =
            cmd("CONFIG").arg("GET").arg(name).query_async(connection).await;
        settings.extend(allowed(told)?.unwrap_or_default());
    }
    Ok(Server::read(&info, &settings))
}

/// `None` for what the server refuses to tell.
fn allowed<T>(told: RedisResult<T>) -> Result<Option<T>, RedisError> {
    match told {
        Ok(told) => Ok(Some(told)),
        Err(error) if trouble::is_gone(&error) || error.is_timeout() => Err(error),
        Err(_) => Ok(None),
    }
}

fn sentinels(target: &SentinelTarget) -> RedisResult<SentinelClient> {
    let event_type = SentinelServerType::Master;
    let mut builder = SentinelClientBuilder::new(target.sentinels.iter().cloned(), &target.name, event_type)?
        .set_client_to_redis_db(target.server.db());
    if target.tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(user) = target.server.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = target.server.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = target.sentinel.username() {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = target.sentinel.password() {
        builder = builder.set_client_to_sentinel_password(password);
    }
    builder.build()
}
