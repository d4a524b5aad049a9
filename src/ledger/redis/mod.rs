//! The ledger in Redis, for any number of replicas. Each transition is one Lua script, timed by the server's own clock.
//! This file implements the [`Ledger`] trait: it builds commands and reads replies, and never handles connections.
//!
//! ```text
//!  options           settings                          connect      opens one connection
//!  keys              the keys' names and map               connection   the call side of the shared connection
//!  record            a record's text form              supervisor   the task that connects, probes, reconnects
//!  scripts, *.lua    one script for each transition    error        the meaning of a Redis error
//!  command, reply    commands out, typed replies in    server_info  durability and warnings about a server
//!  settlement_batch  groups settlements                listing      pages of records
//!  replication       waits until a replica has a write  settle       records how a delivery ended
//!  transfer          copies events out and in           stats        what the ledger holds, in numbers
//!  held_leases       the leases of this process         claim_due    leases events that are due
//!  abandoned         fails events whose process died  settings     what a reload changes, and inspecting a server
//!  expiry            deletes records after retention    duplicates   whether a copy needs no delivery
//! ```

mod abandoned;
mod claim_due;
mod command;
mod connect;
mod connection;
mod duplicates;
mod error;
mod expiry;
mod held_leases;
mod keys;
mod listing;
mod options;
mod record;
mod replication;
mod reply;
mod scripts;
mod server_info;
mod settings;
mod settle;
mod settlement_batch;
mod stats;
mod supervisor;
mod transfer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Value};

pub use self::options::RedisOptions;

use self::abandoned::AbandonedSweeper;
use self::command::{evalsha, format_token, lease_end, millis};
use self::connect::RedisConnector;
use self::connection::RedisConnection;
use self::expiry::ExpirySweeper;
use self::held_leases::HeldLeases;
use self::keys::Keys;
use self::listing::Listing;
use self::record::{PAYLOAD_FIELDS, PayloadFields};
use self::replication::ReplicatedSender;
use self::reply::{BacklogRow, parse_reply, parse_token, unexpected_reply};
use self::scripts::Scripts;
use self::settlement_batch::SettlementBatcher;
use crate::config::Durability;
use crate::ledger::tokens::Tokens;
use crate::ledger::usual_lease::UsualLease;
use crate::ledger::{
    ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Health, Lease, Ledger, LedgerError,
    OperatorAction, Page, Record, RecordFilter, SettleError, Settled, Settlement, StoredRequest,
};
use crate::metrics::Metrics;

/// A ledger in Redis.
pub struct RedisLedger {
    connection: Arc<RedisConnection>,
    keys: Keys,
    scripts: Scripts,
    batcher: SettlementBatcher,
    /// Sends what must not be lost with one server; `None` unless `durability` is `replicated`.
    replicated: Option<ReplicatedSender>,
    tokens: Mutex<Tokens>,
    usual_lease: Arc<UsualLease>,
    held: HeldLeases,
}

impl RedisLedger {
    /// Connects in the background and retries until it succeeds; a broken connection is replaced. A server that may
    /// lose records is logged. A server that came back empty is also counted in `metrics`.
    ///
    /// While there is no connection, calls fail at once and [`health`](Ledger::health) gives the reason.
    pub fn start(options: RedisOptions, metrics: Arc<Metrics>) -> Self {
        let (keys, scripts, retention) = (Keys::new(&options.prefix), Scripts::new(), options.retention);
        let is_replicated = options.durability == Durability::Replicated;
        let connection = supervisor::start(RedisConnector::new(options), metrics);
        let settle = scripts.settle.clone();
        let batcher =
            SettlementBatcher::start(Arc::clone(&connection), settle, keys.running.clone(), retention);
        let usual_lease = Arc::<UsualLease>::default();
        AbandonedSweeper {
            connection: Arc::clone(&connection),
            script: scripts.fail_abandoned.clone(),
            keys: keys.clone(),
            retention,
            usual_lease: Arc::clone(&usual_lease),
        }
        .start();
        ExpirySweeper::start(&connection, &scripts.expire, &keys, retention);
        let replicated = is_replicated.then(|| ReplicatedSender::start(Arc::clone(&connection)));
        Self {
            connection,
            keys,
            scripts,
            batcher,
            replicated,
            tokens: Mutex::default(),
            usual_lease,
            held: HeldLeases::default(),
        }
    }

    /// Closes the connection. Later calls fail.
    pub fn close(&self) {
        self.connection.close();
    }

    fn new_token(&self) -> Result<String, LedgerError> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.next().map_err(|error| {
            LedgerError::new(format!("the operating system provides no random numbers: {error}"))
        })?;
        Ok(format_token(token))
    }

    /// Sends a command from a task of its own, so that a caller that is dropped does not cancel it.
    async fn send_detached(&self, command: Cmd) -> Result<Value, LedgerError> {
        let connection = Arc::clone(&self.connection);
        let sent = tokio::spawn(async move { connection.send(&command).await }).await;
        sent.unwrap_or_else(|_| Err(LedgerError::new("the sending task has stopped")))
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        if let Some(retry_after) = self.held.remaining(&arrival.key) {
            let is_duplicate = self.is_duplicate(&arrival.key).await?;
            return Ok(if is_duplicate { Claim::Duplicate } else { Claim::InFlight { retry_after } });
        }
        // Taken before the command is sent: the lease must end here no later than on the server.
        let ends = lease_end(lease);
        let token = self.new_token()?;
        let keys = [&*self.keys.record(&arrival.key), &self.keys.running, &self.keys.clock];
        let mut command = evalsha(&self.scripts.claim, &keys);
        command.arg(&token).arg(millis(lease)).arg(record::metadata(&arrival));
        self.connection.check_capacity()?;
        match parse_reply::<(u8, u32)>(self.connection.send(&command).await?)? {
            (1, attempt) => {
                let granted = Lease::new(arrival, attempt, parse_token(&token), ends);
                Ok(self.held.note(granted).map_or(Claim::InFlight { retry_after: lease }, Claim::Leased))
            }
            (2, left) => Ok(Claim::InFlight { retry_after: Duration::from_millis(left.into()) }),
            (3, _) => Ok(Claim::Duplicate),
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, SettleError> {
        let settled = match settlement {
            Settlement::Delivered { status } => self.settle_batched(&lease, "D", Some(status)).await,
            Settlement::Failed { status } => self.settle_batched(&lease, "F", status).await,
            Settlement::Retry { status, wait, counts } => {
                self.reschedule(&lease, "P", status, wait, counts).await
            }
            Settlement::Dead { status } => self.reschedule(&lease, "X", status, Duration::ZERO, true).await,
        };
        settled.inspect(|_| self.held.release(lease.key())).map_err(|error| SettleError { lease, error })
    }

    fn health(&self) -> Health {
        self.connection.health()
    }

    async fn enqueue(
        &self,
        arrival: Arrival,
        request: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        self.connection.check_capacity()?;
        self.connection.check_queueing()?;
        let lease = lease.filter(|_| self.held.remaining(&arrival.key).is_none());
        let ends = lease_end(lease.unwrap_or_default());
        let token = self.new_token()?;
        let [record, running, payload, due, queued, _] = self.keys.event_keys(&arrival.key);
        let (queued_endpoints, writes) = (&self.keys.queued_endpoints, self.connection.write_counter());
        let clock = &self.keys.clock;
        let keys = [&*record, &running, &payload, &due, &queued, queued_endpoints, writes, clock];
        let mut command = evalsha(&self.scripts.enqueue, &keys);
        command.arg(&token).arg(lease.map_or(0, millis)).arg(record::metadata(&arrival));
        command.arg(&*arrival.key.endpoint).arg(record::mode_letter(request.mode));
        command.arg(&request.head[..]).arg(&request.signature[..]).arg(&request.body[..]);
        command.arg(millis(self.usual_lease.get()));
        let reply = match &self.replicated {
            Some(replicated) => replicated.send(command).await?,
            None => self.connection.send(&command).await?,
        };
        let (code, value, writes) = parse_reply::<(u8, u32, u64)>(reply)?;
        self.connection.note_write(writes);
        match (code, value) {
            (1, attempt) => {
                let granted = Lease::new(arrival, attempt, parse_token(&token), ends);
                Ok(self.held.note(granted).map_or(EnqueueResult::Queued, EnqueueResult::Leased))
            }
            (2, left) => Ok(EnqueueResult::InFlight { retry_after: Duration::from_millis(left.into()) }),
            (3, _) => Ok(EnqueueResult::Duplicate),
            (4, _) => Ok(EnqueueResult::Queued),
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn claim_due(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        self.lease_due(endpoint, limit, lease).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        let keys = [&self.keys.running, &self.keys.queued_endpoints, &self.keys.polled];
        let mut command = evalsha(&self.scripts.backlog, &keys.map(String::as_str));
        command.arg(&self.keys.key_prefix);
        let rows = parse_reply::<Vec<BacklogRow>>(self.connection.send(&command).await?)?;
        let lease = self.usual_lease.get();
        let backlogs = rows.into_iter().map(|row| reply::backlog(row, lease));
        Ok(backlogs.filter(|backlog| backlog.running + backlog.pending + backlog.dead > 0).collect())
    }

    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, LedgerError> {
        let listing = Listing { connection: &self.connection, keys: &self.keys, filter };
        listing.page(after, limit).await
    }

    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
        let record_key = self.keys.record(key);
        let mut get = Cmd::new();
        get.arg("GET").arg(&record_key);
        let Some(text) = parse_reply::<Option<String>>(self.connection.send(&get).await?)? else {
            return Ok(None);
        };
        let parsed = record::parse(key.clone(), &text);
        let (record, mode) = parsed.ok_or_else(|| unexpected_reply(&record_key))?;
        let Some(mode) = mode else { return Ok(Some((record, None))) };
        let get = Cmd::hmget(self.keys.payload(&record_key), &PAYLOAD_FIELDS);
        let payload = parse_reply::<PayloadFields>(self.connection.send(&get).await?)?;
        Ok(Some((record, record::stored_request(mode, payload))))
    }

    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
        let [record, running, payload, due, queued, dead] = &self.keys.event_keys(key);
        let keys = [record, running, payload, due, queued, dead, &self.keys.clock];
        let mut command = evalsha(&self.scripts.operator, &keys.map(String::as_str));
        command.arg(match action {
            OperatorAction::Redeliver => "redeliver",
            OperatorAction::Delete => "delete",
        });
        command.arg(millis(self.usual_lease.get()));
        match parse_reply::<u8>(self.send_detached(command).await?)? {
            0 => Ok(ActionResult::Unknown),
            1 => Ok(ActionResult::Done),
            2 => Ok(ActionResult::Running),
            3 => Ok(ActionResult::PayloadGone),
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn last_arrival(&self, endpoint: &str) -> Result<Option<String>, LedgerError> {
        parse_reply(self.connection.send(&Cmd::hget(&self.keys.last_arrivals, endpoint)).await?)
    }

    async fn remember_arrival(&self, endpoint: &str, head: &str) -> Result<(), LedgerError> {
        self.send_detached(Cmd::hset(&self.keys.last_arrivals, endpoint, head)).await.map(drop)
    }
}

impl Drop for RedisLedger {
    fn drop(&mut self) {
        self.close();
    }
}
