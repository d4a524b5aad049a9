//! What the modules of the fake share: settings, records, the script, the shop. Each module changes its own part only.

use super::fault::Fault;
use super::wire::{Call, Traffic};
use super::{Record, Settings, cli, keys, schema, shop};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

type Usual = Box<dyn Fn() -> Option<Fault> + Send>;

/// What the modules share.
pub struct Stripe {
    pub(super) address: SocketAddr,
    pub(super) public: String,
    pub(super) schema: Option<schema::Schema>,
    pub(super) ids: Ids,
    record: Record,
    pub(super) calls: watch::Sender<Vec<Call>>,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    pub(super) usual: Mutex<Usual>,
    pub(super) keys: Mutex<keys::Keys>,
    pub(super) shop: Mutex<shop::Shop>,
    pub(super) webhook: Mutex<Option<(String, String)>>,
    pub(super) listeners: cli::Listeners,
    pub(super) traffic: Traffic,
    pub(super) client: reqwest::Client,
}

impl Stripe {
    /// All of it, at this address. Fails if the description cannot be read.
    pub(super) fn new(settings: Settings, address: SocketAddr) -> std::io::Result<Stripe> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Stripe {
            address,
            public: settings.public.unwrap_or_else(|| format!("http://{address}")),
            schema: settings.schema.as_deref().map(schema::Schema::read).transpose()?,
            ids: Ids::new()?,
            record: settings.record,
            calls: watch::Sender::new(vec![]),
            faults: Mutex::default(),
            usual: Mutex::new(Box::new(|| None)),
            keys: Mutex::default(),
            shop: Mutex::new(shop::Shop::new(settings.prices)),
            webhook: Mutex::new(settings.webhook),
            listeners: cli::Listeners::new(settings.listen_secret),
            traffic: Traffic::default(),
            client,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Unix seconds.
    pub(super) fn now(&self) -> u64 {
        countersign::clock::unix().as_secs()
    }

    /// Does with a call what the settings say.
    pub(super) fn record(&self, call: &Call) {
        match self.record {
            Record::Keep => self.calls.send_modify(|calls| calls.push(call.clone())),
            Record::Print => println!("stripe: {} {}", call.method, call.path()),
            Record::Nothing => {}
        }
    }

    /// The fault for a call to this target.
    pub(super) fn take_fault(&self, target: &str) -> Option<Fault> {
        if !target.starts_with("/v1/") || target.starts_with("/v1/stripecli/") {
            return None;
        }
        let queued = lock(&self.faults).pop_front();
        queued.or_else(|| lock(&self.usual)())
    }

    /// Leaves a fault to the next call.
    pub(super) fn put_back(&self, fault: Fault) {
        if !fault.is_none() {
            lock(&self.faults).push_front(fault);
        }
    }
}

/// Ids like Stripe's: a prefix, then letters and digits, no two alike, in no two runs.
pub struct Ids {
    run: String,
    count: AtomicU64,
}

impl Ids {
    fn new() -> std::io::Result<Ids> {
        let mut run = [0; 6];
        getrandom::fill(&mut run).map_err(std::io::Error::other)?;
        Ok(Ids { run: run.iter().map(|byte| format!("{byte:02x}")).collect(), count: AtomicU64::new(0) })
    }

    /// One with this prefix.
    pub(super) fn next(&self, prefix: &str) -> String {
        format!("{prefix}1Fake{}{:06}", self.run, self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// A poisoned lock is no reason to stop: no update here can be left half done.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
