//! State that the modules of the fake share. Each module changes its own part only.

use super::call::Call;
use super::connections::ConnectionCounts;
use super::fault::Fault;
use super::idempotency::IdempotencyKeys;
use super::listeners::Listeners;
use super::lock::lock;
use super::schema::Schema;
use super::settings::{CallLog, Settings};
use super::store::Store;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

type DefaultFault = Box<dyn Fn() -> Option<Fault> + Send>;

/// The state of one fake.
pub struct State {
    /// The address on which the fake listens.
    pub(super) address: SocketAddr,
    /// The URL under which browsers reach the fake, without a slash at the end.
    pub(super) public_url: String,
    pub(super) schema: Option<Schema>,
    pub(super) ids: Ids,
    call_log: CallLog,
    /// The recorded calls, oldest first.
    pub(super) calls: watch::Sender<Vec<Call>>,
    /// Faults for the next calls, the next one first.
    pub(super) faults: Mutex<VecDeque<Fault>>,
    /// Returns the fault for a call when `faults` is empty.
    pub(super) default_fault: Mutex<DefaultFault>,
    pub(super) idempotency_keys: Mutex<IdempotencyKeys>,
    pub(super) store: Mutex<Store>,
    /// The URL to which events are sent, and the secret that signs them.
    pub(super) webhook: Mutex<Option<(String, String)>>,
    pub(super) listeners: Listeners,
    pub(super) connections: ConnectionCounts,
    /// The HTTP client that sends events.
    pub(super) client: reqwest::Client,
}

impl State {
    /// Creates the state of a fake that listens on `address`.
    ///
    /// # Errors
    ///
    /// Fails if the OpenAPI description cannot be read.
    pub(super) fn new(settings: Settings, address: SocketAddr) -> std::io::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self {
            address,
            public_url: settings.public_url.unwrap_or_else(|| format!("http://{address}")),
            schema: settings.schema.as_deref().map(Schema::read).transpose()?,
            ids: Ids::new()?,
            call_log: settings.call_log,
            calls: watch::Sender::new(vec![]),
            faults: Mutex::default(),
            default_fault: Mutex::new(Box::new(|| None)),
            idempotency_keys: Mutex::default(),
            store: Mutex::new(Store::new(settings.prices)),
            webhook: Mutex::new(settings.webhook),
            listeners: Listeners::new(settings.listen_secret),
            connections: ConnectionCounts::default(),
            client,
        })
    }

    /// Returns the time in Unix seconds.
    pub(super) fn now(&self) -> u64 {
        countersign::clock::unix().as_secs()
    }

    /// Records a call where the settings say.
    pub(super) fn log_call(&self, call: &Call) {
        match self.call_log {
            CallLog::Memory => self.calls.send_modify(|calls| calls.push(call.clone())),
            CallLog::Stdout => println!("stripe: {} {}", call.method, call.path()),
            CallLog::Off => {}
        }
    }

    /// Takes the fault for a call to this target. Pages and the calls of `stripe listen` have none.
    pub(super) fn take_fault(&self, target: &str) -> Option<Fault> {
        let is_api = ["/v1/", "/v2/"].iter().any(|version| target.starts_with(version));
        if !is_api || target.starts_with("/v1/stripecli/") {
            return None;
        }
        let queued = lock(&self.faults).pop_front();
        queued.or_else(|| lock(&self.default_fault)())
    }

    /// Leaves a fault for the next call.
    pub(super) fn requeue_fault(&self, fault: Fault) {
        if !fault.is_none() {
            lock(&self.faults).push_front(fault);
        }
    }
}

/// A generator of ids that look like Stripe's. No two ids are equal, even across runs.
pub struct Ids {
    /// Random hexadecimal digits that tell this run from others.
    run: String,
    count: AtomicU64,
}

impl Ids {
    fn new() -> std::io::Result<Self> {
        let mut run = [0; 6];
        getrandom::fill(&mut run).map_err(std::io::Error::other)?;
        Ok(Self { run: run.iter().map(|byte| format!("{byte:02x}")).collect(), count: AtomicU64::new(0) })
    }

    /// Returns a new id with this prefix.
    pub(super) fn next(&self, prefix: &str) -> String {
        format!("{prefix}1Fake{}{:06}", self.run, self.count.fetch_add(1, Ordering::Relaxed))
    }
}
