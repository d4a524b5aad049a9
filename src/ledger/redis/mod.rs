//! The ledger in Redis, for any number of replicas. Each transition is one Lua script by the server's own clock; what
//! the records look like stands in `claim.lua`. It owns the keys and what is sent; the connection is `link`'s, and
//! what a server is worth `server`'s.
//!
//! ```text
//!  PREFIX:{e}:ID?QUERY ENDPOINT   an event's record, a string; settled ones expire by retention
//!  PREFIX:{e}:/ID?QUERY ENDPOINT  its parcel, a hash, while it may still be needed
//!  PREFIX:{e}:running             the keys of RUNNING records
//!  PREFIX:{e}:due ENDPOINT        of kept events: PENDING by when they are due, RUNNING by the end of their lease
//!  PREFIX:{e}:kept ENDPOINT       the same by when they came
//!  PREFIX:{e}:dead ENDPOINT       DEAD ones, by when they were given up
//!  PREFIX:{e}:endpoints           the endpoints that have had kept events
//!  PREFIX:{e}:served              endpoints by when somebody last asked what of them is due
//!  PREFIX:{e}:marker              which server this is: gone when it has lost its data
//! ```
//!
//! The hash tag keeps all of it on one node of a Cluster, since a script's keys have to be together.

mod keys;
mod link;
mod record;
mod server;
mod settler;
mod trouble;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, Pipeline, Script, Value};

use self::keys::Keys;
use self::link::{Link, Options};
use self::settler::{Ended, Settler};
use super::tokens::Tokens;
use super::{
    ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Health, Lease, Ledger, LedgerError,
    OperatorAction, Page, Record, RecordFilter, SettleError, Settled, Settlement, State, StoredRequest,
};
use crate::clock;
use crate::config::{self, Durability, RedisUrl};
use crate::delivery_mode::DeliveryMode;
use crate::metrics::Metrics;

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
    /// What the server must promise before events are kept on it.
    pub durability: Durability,
    /// Whether events are to be kept, to begin with: a server that does not promise enough is no ledger then.
    pub keeps: bool,
}

impl RedisOptions {
    /// The server at `url`, used as `[ledger]` says; `keeps` says whether any endpoint has events to keep.
    pub fn new(url: &RedisUrl, ledger: &config::LedgerConfig, keeps: bool) -> RedisOptions {
        RedisOptions {
            url: url.clone(),
            prefix: ledger.prefix.clone(),
            connect_timeout: ledger.connect_timeout,
            command_timeout: ledger.command_timeout,
            retention: ledger.retention,
            durability: ledger.durability,
            keeps,
        }
    }
}

/// A ledger in Redis.
pub struct RedisLedger {
    link: Arc<Link>,
    keys: Keys,
    scripts: Scripts,
    settler: Settler,
    tokens: Mutex<Tokens>,
}

/// One for each transition.
struct Scripts {
    claim: Script,
    settle: Script,
    keep: Script,
    due: Script,
    retry: Script,
    act: Script,
    backlog: Script,
}

impl Scripts {
    fn new() -> Scripts {
        Scripts {
            claim: Script::new(include_str!("claim.lua")),
            settle: Script::new(include_str!("settle.lua")),
            keep: Script::new(include_str!("keep.lua")),
            due: Script::new(include_str!("due.lua")),
            retry: Script::new(include_str!("retry.lua")),
            act: Script::new(include_str!("act.lua")),
            backlog: Script::new(include_str!("backlog.lua")),
        }
    }

    fn all(&self) -> [&Script; 7] {
        let Scripts { claim, settle, keep, due, retry, act, backlog } = self;
        [claim, settle, keep, due, retry, act, backlog]
    }
}

impl RedisLedger {
    /// Connects in the background, and goes on trying for as long as it cannot; connections that break are made anew.
    /// What a server may forget is logged; one that came back empty is counted in `metrics` as well.
    ///
    /// While there is no connection, claims fail at once and [`health`](Ledger::health) has the reason.
    pub fn start(options: RedisOptions, metrics: Arc<Metrics>) -> RedisLedger {
        let (keys, scripts) = (Keys::new(&options.prefix), Scripts::new());
        let link = Link::start(link_to(&options), metrics);
        let settle = scripts.settle.clone();
        let settler = Settler::start(Arc::clone(&link), settle, keys.running.clone(), options.retention);
        RedisLedger { link, keys, scripts, settler, tokens: Mutex::default() }
    }

    /// Connects once, and says what the server is and what speaks against it.
    ///
    /// # Errors
    /// Why it cannot be a ledger, without its name.
    pub async fn look(options: &RedisOptions) -> Result<String, String> {
        let server = link::look(&link_to(options)).await?;
        if let Some(short) = server.falls_short_of(options.durability).filter(|_| options.keeps) {
            return Err(short);
        }
        let told = format!("version {}, persistence: {}", server.version(), server.persistence());
        Ok([vec![told], server.concerns()].concat().join("; "))
    }

    /// Whether events are to be kept from now on, as after a reload.
    pub fn set_keeping(&self, keeping: bool) {
        self.link.set_keeping(keeping);
    }

    /// Lets go of the connection. Calls after this fail.
    pub fn close(&self) {
        self.link.close();
    }

    fn token(&self) -> Result<String, LedgerError> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.next();
        token.map(hex).map_err(|error| LedgerError::new(format!("the system gives no randomness: {error}")))
    }

    /// Runs a command in a task of its own, which goes on when its caller leaves.
    async fn finish(&self, command: Cmd) -> Result<Value, LedgerError> {
        let link = Arc::clone(&self.link);
        let sent = tokio::spawn(async move { link.send(&command).await }).await;
        sent.unwrap_or_else(|_| Err(LedgerError::new("its task was stopped")))
    }

    /// The keys of an event, in the order that scripts on kept events have them.
    fn keys_of(&self, key: &EventKey) -> [String; 6] {
        let record = self.keys.record(key);
        let of = |what| self.keys.of_endpoint(what, &key.endpoint);
        let parcel = self.keys.parcel(&record);
        [record, self.keys.running.clone(), parcel, of("due"), of("kept"), of("dead")]
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        let ends = ends_of(lease);
        let token = self.token()?;
        let mut command =
            evalsha(&self.scripts.claim, &[&self.keys.record(&arrival.key), &self.keys.running]);
        command.arg(&token).arg(millis(lease)).arg(record::description(&arrival));
        self.link.takes_more()?;
        match parsed::<(u8, u32)>(self.link.send(&command).await?)? {
            (1, attempt) => Ok(Claim::Leased(Lease::new(arrival, attempt, number(&token), ends))),
            (2, left) => Ok(Claim::InFlight { retry_after: Duration::from_millis(left.into()) }),
            (3, _) => Ok(Claim::Duplicate),
            other => Err(nonsense(&other)),
        }
    }

    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, SettleError> {
        let token = hex(lease.token);
        let done = |state, status| {
            let (record, says) = (self.keys.record(lease.key()), record::description(&lease.arrival));
            let (token, status) = (token.clone(), digits(status));
            self.settler.settle(Ended { record, token, state, status, attempt: lease.attempt, says })
        };
        let kept = |state, status, wait: Duration, counts: bool| {
            let keys = self.keys_of(lease.key());
            let mut command = evalsha(&self.scripts.retry, &keys.each_ref().map(String::as_str));
            command.arg(&token).arg(state).arg(digits(status)).arg(millis(wait)).arg(u8::from(counts));
            async { self.finish(command).await.and_then(parsed::<u8>) }
        };
        let settled = match settlement {
            Settlement::Delivered { status } => done("D", Some(status)).await,
            Settlement::Failed { status } => done("F", status).await,
            Settlement::Retry { status, wait, counts } => kept("P", status, wait, counts).await.map(told),
            Settlement::Dead { status } => kept("X", status, Duration::ZERO, true).await.map(told),
        };
        settled.map_err(|error| SettleError { lease, error })
    }

    fn health(&self) -> Health {
        self.link.health()
    }

    async fn enqueue(
        &self,
        arrival: Arrival,
        parcel: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        self.link.takes_more()?;
        self.link.keeps()?;
        let ends = ends_of(lease.unwrap_or_default());
        let token = self.token()?;
        let [record, running, parcel_key, due, kept, _] = self.keys_of(&arrival.key);
        let keys = [&record, &running, &parcel_key, &due, &kept, &self.keys.endpoints];
        let mut command = evalsha(&self.scripts.keep, &keys.map(String::as_str));
        command.arg(&token).arg(lease.map_or(0, millis)).arg(record::description(&arrival));
        command.arg(&*arrival.key.endpoint).arg(record::letter(parcel.mode));
        command.arg(&parcel.head[..]).arg(&parcel.signature[..]).arg(&parcel.body[..]);
        match parsed::<(u8, u32)>(self.link.send(&command).await?)? {
            (1, attempt) => Ok(EnqueueResult::Leased(Lease::new(arrival, attempt, number(&token), ends))),
            (2, left) => Ok(EnqueueResult::InFlight { retry_after: Duration::from_millis(left.into()) }),
            (3, _) => Ok(EnqueueResult::Duplicate),
            (4, _) => Ok(EnqueueResult::Queued),
            other => Err(nonsense(&other)),
        }
    }

    async fn claim_due(
        &self,
        endpoint: &str,
        most: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        let ends = ends_of(lease);
        let of = |what| self.keys.of_endpoint(what, endpoint);
        let keys = [&of("due"), &of("kept"), &self.keys.running, &self.keys.served];
        let mut command = evalsha(&self.scripts.due, &keys.map(String::as_str));
        command.arg(millis(lease)).arg(&self.keys.stem).arg(endpoint);
        for _ in 0..most.min(LEASED_AT_ONCE) {
            command.arg(self.token()?);
        }
        let leased = parsed::<Vec<Leased>>(self.finish(command).await?)?;
        if leased.is_empty() {
            return Ok(Vec::new());
        }
        let mut parcels = Pipeline::with_capacity(leased.len());
        for (key, ..) in &leased {
            parcels.hmget(self.keys.parcel(key), &PARCEL);
        }
        let parcels = self.link.read::<Vec<Held>>(&parcels).await?;
        let held = leased.into_iter().zip(parcels).filter_map(|((key, attempt, token, way, says), held)| {
            let arrival = self.keys.event(&key).and_then(|key| record::arrival(key, &says));
            let Some((arrival, way)) = arrival.zip(record::mode(&way)) else {
                tracing::error!(key, "a record that makes no sense is left alone");
                return None;
            };
            // Without a parcel, an earlier holder has settled it since.
            let parcel = parcel(way, held)?;
            Some((Lease::new(arrival, attempt, number(&token), ends), parcel))
        });
        Ok(held.collect())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        let keys = [&self.keys.running, &self.keys.endpoints, &self.keys.served];
        let mut command = evalsha(&self.scripts.backlog, &keys.map(String::as_str));
        command.arg(&self.keys.stem);
        let told = parsed::<Vec<(String, u64, u64, u64, u64, i64, i64)>>(self.link.send(&command).await?)?;
        let age = |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis);
        let backlogs =
            told.into_iter().map(|(endpoint, running, pending, dead, kept, oldest, idle)| Backlog {
                endpoint: endpoint.into(),
                running,
                pending,
                dead,
                kept,
                oldest_pending: age(oldest).filter(|_| pending > 0),
                last_polled_ago: age(idle),
            });
        Ok(backlogs.filter(|backlog| backlog.running + backlog.pending + backlog.dead > 0).collect())
    }

    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, LedgerError> {
        let sources = self.sources(filter).await?;
        let (mut source, mut cursor) = match after {
            None => (0, 0),
            Some(place) => {
                place_of(place).ok_or_else(|| LedgerError::new("there is no page that begins there"))?
            }
        };
        let (mut records, mut looked_at) = (Vec::new(), 0);
        while let Some(set) = sources.get(source) {
            let (next, keys) = self.scan(set.as_deref(), cursor).await?;
            looked_at += keys.len();
            let found = self.records(&keys).await?;
            records.extend(found.into_iter().filter(|record| filter.takes(record)));
            (source, cursor) = if next == 0 { (source + 1, 0) } else { (source, next) };
            if records.len() >= most || looked_at >= LOOKED_AT {
                break;
            }
        }
        let next = (source < sources.len()).then(|| format!("{source}.{cursor}"));
        Ok(Page { records, next })
    }

    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
        let record = self.keys.record(key);
        let mut get = Cmd::new();
        get.arg("GET").arg(&record);
        let Some(text) = parsed::<Option<String>>(self.link.send(&get).await?)? else { return Ok(None) };
        let (found, way) = record::parse(key.clone(), &text).ok_or_else(|| nonsense(&record))?;
        let Some(way) = way else { return Ok(Some((found, None))) };
        let get = Cmd::hmget(self.keys.parcel(&record), &PARCEL);
        let parcel = parcel(way, parsed::<Held>(self.link.send(&get).await?)?);
        Ok(Some((found, parcel)))
    }

    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
        let keys = self.keys_of(key);
        let mut command = evalsha(&self.scripts.act, &keys.each_ref().map(String::as_str));
        command.arg(match action {
            OperatorAction::Redeliver => "redeliver",
            OperatorAction::Forget => "forget",
        });
        match parsed::<u8>(self.finish(command).await?)? {
            0 => Ok(ActionResult::Unknown),
            1 => Ok(ActionResult::Done),
            2 => Ok(ActionResult::Running),
            3 => Ok(ActionResult::PayloadGone),
            other => Err(nonsense(&other)),
        }
    }
}

/// What a script says of an event that it has leased: its record's key, attempt, token, way, and what its record says.
type Leased = (String, u32, String, String, String);
/// The fields of a parcel, and what is in them.
const PARCEL: [&str; 3] = ["head", "signature", "body"];
type Held = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

fn parcel(mode: DeliveryMode, held: Held) -> Option<StoredRequest> {
    let (Some(head), Some(signature), Some(body)) = held else { return None };
    Some(StoredRequest { mode, head: head.into(), signature: signature.into(), body: body.into() })
}

/// Events leased by one script at the most: it occupies the server meanwhile, and its stack has room for some thousands.
const LEASED_AT_ONCE: usize = 512;
/// Keys looked at for one page: a filter that lets little through must not occupy a server for long.
const LOOKED_AT: usize = 20_000;
/// Keys that one step of a scan looks at.
const SCANNED: usize = 500;

/// Pages.
impl RedisLedger {
    /// The sets whose members are asked for; `None` is every key there is.
    async fn sources(&self, filter: &RecordFilter) -> Result<Vec<Option<String>>, LedgerError> {
        let what = match filter.state {
            Some(State::Running) => return Ok(vec![Some(self.keys.running.clone())]),
            Some(State::Pending) => "kept",
            Some(State::Dead) => "dead",
            Some(State::Delivered | State::Failed) | None => return Ok(vec![None]),
        };
        let endpoints = match &filter.endpoint {
            Some(endpoint) => vec![endpoint.clone()],
            None => {
                let mut members = Cmd::new();
                members.arg("SMEMBERS").arg(&self.keys.endpoints);
                let mut endpoints = parsed::<Vec<String>>(self.link.send(&members).await?)?;
                endpoints.sort_unstable();
                endpoints
            }
        };
        Ok(endpoints.iter().map(|endpoint| Some(self.keys.of_endpoint(what, endpoint))).collect())
    }

    /// A step of a scan: where the next begins, 0 after the last; and the keys of records.
    async fn scan(&self, set: Option<&str>, cursor: u64) -> Result<(u64, Vec<String>), LedgerError> {
        let mut command = Cmd::new();
        let (next, keys) = match set {
            Some(set) => {
                let scan = if set == self.keys.running { "SSCAN" } else { "ZSCAN" };
                command.arg(scan).arg(set).arg(cursor).arg("COUNT").arg(SCANNED);
                let (next, mut keys) = parsed::<(u64, Vec<String>)>(self.link.send(&command).await?)?;
                // Of a sorted set each member is followed by its score, which is no record's key.
                keys.retain(|key| self.keys.event(key).is_some());
                (next, keys)
            }
            None => {
                command.arg("SCAN").arg(cursor).arg("MATCH").arg(format!("{}*", self.keys.stem));
                command.arg("COUNT").arg(SCANNED).arg("TYPE").arg("string");
                parsed::<(u64, Vec<String>)>(self.link.send(&command).await?)?
            }
        };
        Ok((next, keys))
    }

    /// The records under these keys, where they are still there.
    async fn records(&self, keys: &[String]) -> Result<Vec<Record>, LedgerError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Cmd::new();
        command.arg("MGET").arg(keys);
        let texts = parsed::<Vec<Option<String>>>(self.link.send(&command).await?)?;
        let read =
            |(key, text): (&String, Option<String>)| Some(record::parse(self.keys.event(key)?, &text?)?.0);
        Ok(keys.iter().zip(texts).filter_map(read).collect())
    }
}

/// Where a page begins: `SOURCE.CURSOR`.
fn place_of(text: &str) -> Option<(usize, u64)> {
    let (source, cursor) = text.split_once('.')?;
    Some((source.parse().ok()?, cursor.parse().ok()?))
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
        durability: options.durability,
        keeps: options.keeps,
        marker: Keys::new(&options.prefix).marker,
        scripts: Scripts::new().all().map(Script::clone).into(),
        probe: Script::new(include_str!("probe.lua")),
    }
}

/// What a settling script answers.
fn told(answer: u8) -> Settled {
    if answer == 1 { Settled::Recorded } else { Settled::Superseded }
}

/// A script on these keys, before its arguments.
fn evalsha(script: &Script, keys: &[&str]) -> Cmd {
    let mut command = Cmd::with_capacity(3 + keys.len() + 8, 512);
    command.arg("EVALSHA").arg(script.get_hash()).arg(keys.len()).arg(keys);
    command
}

/// A status in the three columns that a record has for it.
fn digits(status: Option<u16>) -> String {
    format!("{:03}", status.unwrap_or_default())
}

fn hex(token: u64) -> String {
    format!("{token:016x}")
}

/// The token that [`hex`] spelled.
fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap_or_default()
}

/// When a lease that is asked for now ends. The server counts in whole milliseconds, cut off: by its clock it may be
/// over that much sooner.
fn ends_of(lease: Duration) -> Instant {
    clock::instant() + Duration::from_millis(millis(lease).saturating_sub(1))
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn parsed<T: FromRedisValue>(value: Value) -> Result<T, LedgerError> {
    T::from_redis_value(value)
        .map_err(|error| LedgerError::new(format!("an answer that makes no sense: {error}")))
}

fn nonsense(answer: &impl std::fmt::Debug) -> LedgerError {
    LedgerError::new(format!("an answer that makes no sense: {answer:?}"))
}
