//! One connection from start to first use: address, TLS and sentinels, scripts, the server's settings, the marker. It
//! keeps no state and never retries; that is the supervisor's part.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, TlsMode, cmd};
use tokio::time::timeout;

use super::command::{format_token, millis};
use super::error;
use super::keys::Keys;
use super::options::RedisOptions;
use super::scripts::Scripts;
use super::server_info::{SETTINGS, ServerInfo};
use crate::config::{RedisTarget, RedisUrl, SentinelTarget};
use crate::random::random_u64;

/// Commands that may wait to be written. The number exceeds the limit of concurrent webhooks, so that a call queues
/// its command as soon as the call begins.
const PIPELINE_BUFFER: usize = 16_384;

/// How long the server stores the write counter of a process that sends no more probes. A process that is cut off for
/// longer finds its counter gone, which looks like lost writes.
const COUNTER_EXPIRY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Everything needed to open a connection.
pub(super) struct RedisConnector {
    pub(super) options: RedisOptions,
    /// The URL of the next connection. A reload replaces it by one with another user or password.
    url: ArcSwap<RedisUrl>,
    /// The key of the marker, which identifies the server's data set.
    marker: String,
    /// The key of this process's write counter. No other process changes it, so that it goes back only if the server
    /// loses writes.
    pub(super) write_counter: String,
    /// The key of the hash with the times of probes and jumps of the clock.
    clock: String,
    scripts: Scripts,
}

impl RedisConnector {
    pub(super) fn new(options: RedisOptions) -> Self {
        let keys = Keys::new(&options.prefix);
        let process = random_u64().unwrap_or_else(|| std::process::id().into());
        let write_counter = keys.write_counter(&format_token(process));
        let url = ArcSwap::from_pointee(options.url.clone());
        let (marker, clock) = (keys.marker, keys.clock);
        Self { options, url, marker, write_counter, clock, scripts: Scripts::new() }
    }

    /// Uses the user and the password of this URL from the next connection on. Returns false if they are in use already.
    pub(super) fn replace_credentials(&self, url: &RedisUrl) -> bool {
        let changed = **self.url.load() != *url;
        self.url.store(Arc::new(url.clone()));
        changed
    }

    /// Opens a connection whose replies take at most `reply_timeout`, loads the scripts, and reads what the server reports
    /// about itself.
    pub(super) async fn connect(
        &self,
        reply_timeout: Duration,
    ) -> RedisResult<(MultiplexedConnection, ServerInfo)> {
        let options = &self.options;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(reply_timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        let url = self.url.load_full();
        let client = match url.target() {
            RedisTarget::Server(info) => Client::open(info.clone())?,
            RedisTarget::Sentinel(target) => sentinel_client(target)?.async_get_client().await?,
        };
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        self.load_scripts(&mut connection).await?;
        let server = read_server_info(&mut connection).await?;
        Ok((connection, server))
    }

    /// Loads every script into the server's script cache.
    pub(super) async fn load_scripts(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        for script in self.scripts.all() {
            script.load_async(connection).await?;
        }
        Ok(())
    }

    /// Writes the server's marker, and returns it with this process's write counter. A server that has no marker gets a
    /// random one. The write shows whether the server accepts writes.
    pub(super) async fn probe(&self, connection: &mut MultiplexedConnection) -> RedisResult<(String, u64)> {
        let fresh = format_token(getrandom::u64().map_err(std::io::Error::other)?);
        let mut probe = self.scripts.probe.key(&self.marker);
        probe.key(&self.write_counter).key(&self.clock).arg(&fresh).arg(millis(COUNTER_EXPIRY));
        probe.invoke_async(connection).await
    }

    /// Connects once and returns what the server reports about itself.
    ///
    /// # Errors
    /// Why the server cannot be a ledger, without the server's name.
    pub(super) async fn inspect(&self) -> Result<ServerInfo, String> {
        let within = self.options.connect_timeout;
        let inspected = timeout(within, async {
            let (mut connection, server) = self.connect(self.options.command_timeout).await?;
            self.probe(&mut connection).await?;
            Ok(server)
        });
        match inspected.await {
            Ok(inspected) => inspected.map_err(|error| error::describe(&error)),
            Err(_) => Err(format!("no connection within {within:?}")),
        }
    }
}

/// Reads INFO and the settings that a ledger depends on, as far as the server permits.
pub(super) async fn read_server_info(connection: &mut MultiplexedConnection) -> RedisResult<ServerInfo> {
    let info: String = if_permitted(cmd("INFO").query_async(connection).await)?.unwrap_or_default();
    let mut settings = HashMap::new();
    for name in SETTINGS {
        // One command for each setting: CONFIG GET takes several names only since Redis 7.
        let value: RedisResult<HashMap<String, String>> =
            cmd("CONFIG").arg("GET").arg(name).query_async(connection).await;
        settings.extend(if_permitted(value)?.unwrap_or_default());
    }
    Ok(ServerInfo::parse(&info, &settings))
}

/// Returns `None` for a command that the server refuses. Managed servers often forbid CONFIG, and a ledger works
/// without it. A broken connection stays an error.
fn if_permitted<T>(result: RedisResult<T>) -> Result<Option<T>, RedisError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error::is_connection_lost(&error) || error.is_timeout() => Err(error),
        Err(_) => Ok(None),
    }
}

fn sentinel_client(target: &SentinelTarget) -> RedisResult<SentinelClient> {
    let server_type = SentinelServerType::Master;
    let mut builder =
        SentinelClientBuilder::new(target.sentinels.iter().cloned(), &target.name, server_type)?
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
