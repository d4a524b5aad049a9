//! The ledger in Redis, for any number of replicas. Each transition is one Lua script by the server's own clock; what
//! the records look like stands in `claim.lua`. It owns the keys and what is sent; the connection is `link`'s, and
//! what a server is worth `server`'s.
//!
//! ```text
//!  PREFIX:{e}:ID?QUERY ENDPOINT   an event's record, a string; settled ones expire by retention
//!  PREFIX:{e}:running             the keys of RUNNING records, by the end of their lease
//!  PREFIX:{e}:marker              which server this is: gone when it has lost its data
//! ```
//!
//! The hash tag keeps all of it on one node of a Cluster, since a script's keys have to be together.

mod link;
mod server;
mod trouble;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, Script, Value};

use self::link::{Link, Options};
use super::tokens::Tokens;
use super::{Arrival, Claim, EventKey, Health, Lease, Ledger, LedgerError, Settled, Settlement, Unsettled};
use crate::clock;
use crate::config::{self, RedisUrl};
use crate::metrics::Metrics;

const CLAIM: &str = include_str!("claim.lua");
const SETTLE: &str = include_str!("settle.lua");

/// Where a Redis ledger is, and how it is used.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The server, or the sentinels that know it.
    pub url: RedisUrl,
    /// What every key begins with.
    pub prefix: String,
    /// For a connection, its first commands included.
    pub connect_timeout: Duration,
    /// For the answer to one command.
    pub command_timeout: Duration,
    /// Settled events are forgotten this much later.
    pub retention: Duration,
}

impl RedisOptions {
    /// The server at `url`, used as `[ledger]` says.
    pub fn new(url: &RedisUrl, ledger: &config::Ledger) -> RedisOptions {
        RedisOptions {
            url: url.clone(),
            prefix: ledger.prefix.clone(),
            connect_timeout: ledger.connect_timeout,
            command_timeout: ledger.command_timeout,
            retention: ledger.retention,
        }
    }
}

/// A ledger in Redis.
pub struct RedisLedger {
    link: Arc<Link>,
    keys: Keys,
    claim: Script,
    settle: Script,
    retention: Duration,
    tokens: Mutex<Tokens>,
}

impl RedisLedger {
    /// Connects in the background, and goes on trying for as long as it cannot; connections that break are made anew.
    /// What a server may forget is logged; one that came back empty is counted in `metrics` as well.
    ///
    /// While there is no connection, claims fail at once and [`health`](Ledger::health) has the reason.
    pub fn start(options: RedisOptions, metrics: Arc<Metrics>) -> RedisLedger {
        RedisLedger {
            keys: Keys::new(&options.prefix),
            claim: Script::new(CLAIM),
            settle: Script::new(SETTLE),
            retention: options.retention,
            tokens: Mutex::default(),
            link: Link::start(link_to(&options), metrics),
        }
    }

    /// Connects once, and says what the server is and what speaks against it.
    ///
    /// # Errors
    /// Why it cannot be a ledger, without its name.
    pub async fn look(options: &RedisOptions) -> Result<String, String> {
        let server = link::look(&link_to(options)).await?;
        let told = format!("version {}, persistence: {}", server.version(), server.persistence());
        Ok([vec![told], server.concerns()].concat().join("; "))
    }

    /// Lets go of the connection. Calls after this fail.
    pub fn close(&self) {
        self.link.close();
    }

    fn token(&self) -> Result<u64, LedgerError> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.next().map_err(|error| LedgerError::new(format!("the system gives no randomness: {error}")))
    }

    /// A script on an event's record and the running, before its arguments.
    fn on(&self, script: &Script, record: &str) -> Cmd {
        let mut command = Cmd::with_capacity(10, 256);
        command.arg("EVALSHA").arg(script.get_hash()).arg(2).arg(record).arg(&self.keys.running);
        command
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        let ends = clock::instant() + lease;
        let token = self.token()?;
        let mut command = self.on(&self.claim, &self.keys.record(&arrival.key));
        command.arg(hex(token)).arg(millis(lease)).arg(description(&arrival));
        match answer(self.link.send(&command).await?)? {
            (1, attempt) => Ok(Claim::Leased(Lease::new(arrival, attempt, token, ends))),
            (2, left) => Ok(Claim::InFlight { retry_after: Duration::from_millis(left.into()) }),
            (3, _) => Ok(Claim::Duplicate),
            other => Err(LedgerError::new(format!("a claim was answered {other:?}"))),
        }
    }

    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, Unsettled> {
        let (state, status) = match settlement {
            Settlement::Delivered { status } => ("D", status),
            Settlement::Failed { status } => ("F", status.unwrap_or_default()),
        };
        let mut command = self.on(&self.settle, &self.keys.record(lease.key()));
        command.arg(hex(lease.token)).arg(state).arg(status).arg(millis(self.retention));
        command.arg(lease.attempt).arg(description(&lease.arrival));
        let link = Arc::clone(&self.link);
        // A task of its own: it goes on when its caller leaves.
        let sent = tokio::spawn(async move { link.send(&command).await }).await;
        let sent = sent.unwrap_or_else(|_| Err(LedgerError::new("the settlement's task was stopped")));
        match sent.and_then(parsed::<u8>) {
            Ok(0) => Ok(Settled::Superseded),
            Ok(_) => Ok(Settled::Recorded),
            Err(error) => Err(Unsettled { lease, error }),
        }
    }

    fn health(&self) -> Health {
        self.link.health()
    }

    async fn running(&self) -> Result<Vec<(Arc<str>, u64)>, LedgerError> {
        let mut command = Cmd::new();
        command.arg("ZRANGE").arg(&self.keys.running).arg(0).arg(-1);
        let keys: Vec<String> = parsed(self.link.send(&command).await?)?;
        let mut counts = HashMap::new();
        for endpoint in keys.iter().filter_map(|key| self.keys.endpoint(key)) {
            *counts.entry(endpoint).or_default() += 1;
        }
        Ok(counts.into_iter().map(|(endpoint, count)| (endpoint.into(), count)).collect())
    }
}

impl Drop for RedisLedger {
    fn drop(&mut self) {
        self.close();
    }
}

fn link_to(options: &RedisOptions) -> Options {
    Options {
        url: options.url.clone(),
        connect_timeout: options.connect_timeout,
        command_timeout: options.command_timeout,
        marker: Keys::new(&options.prefix).marker,
        scripts: [CLAIM, SETTLE].map(Script::new).into(),
        probe: Script::new(include_str!("probe.lua")),
    }
}

/// How keys are spelled.
struct Keys {
    stem: String,
    running: String,
    marker: String,
}

impl Keys {
    fn new(prefix: &str) -> Keys {
        let stem = format!("{prefix}:{{e}}:");
        Keys { running: format!("{stem}running"), marker: format!("{stem}marker"), stem }
    }

    /// An id has no `?` in it and a query no space, so no two events share a key.
    fn record(&self, key: &EventKey) -> String {
        let EventKey { endpoint, query, id } = key;
        [&self.stem, &**id, "?", query, " ", endpoint].concat()
    }

    /// The endpoint in a record's key.
    fn endpoint<'k>(&self, record: &'k str) -> Option<&'k str> {
        let (_, endpoint) = record.strip_prefix(&self.stem)?.split_once(' ')?;
        Some(endpoint)
    }
}

/// What a record says of its event: `type created livemode account`. The account is last, since it may be anything.
fn description(arrival: &Arrival) -> String {
    let created = arrival.created.map_or_else(|| "-".to_owned(), |created| created.to_string());
    let livemode = match arrival.livemode {
        Some(true) => "live",
        Some(false) => "test",
        None => "-",
    };
    [&arrival.kind, " ", &created, " ", livemode, " ", arrival.account.as_deref().unwrap_or("-")].concat()
}

fn hex(token: u64) -> String {
    format!("{token:016x}")
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// A claim's answer.
fn answer(value: Value) -> Result<(u8, u32), LedgerError> {
    parsed(value)
}

fn parsed<T: FromRedisValue>(value: Value) -> Result<T, LedgerError> {
    T::from_redis_value(value)
        .map_err(|error| LedgerError::new(format!("an answer that makes no sense: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(endpoint: &str, query: &str, id: &str) -> EventKey {
        EventKey { endpoint: endpoint.into(), query: query.into(), id: id.into() }
    }

    #[test]
    fn a_records_key_begins_with_the_prefix_and_tells_its_endpoint() {
        let keys = Keys::new("staging");
        let record = keys.record(&key("my shop", "version=2", "evt_1"));
        assert_eq!(record, "staging:{e}:evt_1?version=2 my shop");
        assert_eq!(keys.endpoint(&record), Some("my shop"));
        assert_eq!(keys.endpoint("production:{e}:evt_1? my shop"), None);
        for fixed in [&keys.running, &keys.marker] {
            assert!(fixed.starts_with("staging:{e}:") && keys.endpoint(fixed).is_none());
        }
    }

    #[test]
    fn no_two_events_share_a_key() {
        let keys = Keys::new("c");
        let others = [
            key("a", "", "evt_1"),
            key("a", "b", "evt_1"),
            key("a b", "", "evt_1"),
            key("a?b", "", "evt_1"),
            key("b", "?a", "evt_1"),
            key("", "", "evt_1"),
        ];
        let spelled: std::collections::HashSet<_> = others.iter().map(|key| keys.record(key)).collect();
        assert_eq!(spelled.len(), others.len());
    }

    #[test]
    fn a_description_has_four_words_and_then_whatever_the_account_is() {
        let mut arrival = Arrival {
            key: key("a", "", "evt_1"),
            kind: "charge.succeeded".into(),
            created: Some(1_760_000_000),
            livemode: Some(true),
            account: Some("acct_1".into()),
        };
        assert_eq!(description(&arrival), "charge.succeeded 1760000000 live acct_1");
        arrival = Arrival { created: None, livemode: None, account: None, ..arrival };
        assert_eq!(description(&arrival), "charge.succeeded - - -");
    }
}
