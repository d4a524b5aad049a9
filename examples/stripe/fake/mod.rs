//! A fake Stripe on loopback, for trying things out (`cargo run --example stripe`) and for tests.
//!
//! It owns what Stripe's side of a purchase needs: Checkout Sessions with rules of their own, idempotency keys, a page
//! to pay on, signed events, a list of them, and the conversation with `stripe listen` and `stripe trigger`. It uses
//! nothing of the program's but its clock, and nothing leaves the machine but webhooks to the URL it is given.
//!
//! In `tests/it/` it is the module `fake_stripe`:
//!
//! ```ignore
//! let stripe = FakeStripe::start().await;                       // on a free port
//! let setup = Setup::new(&backend).env("STRIPE_API_BASE", &stripe.api_base()).env("STRIPE_SECRET_KEY", KEY);
//! stripe.next(Fault::named("unavailable"));                     // what happens to the next call; several queue up
//! stripe.next(Fault::drop_done());                              // work done, connection closed instead of an answer
//! let (held, release) = Fault::held();                          // no sleeping: it answers when told
//! stripe.always(|| Some(Fault::slow(Duration::from_secs(60)))); // for every call that finds no other fault
//! // … orders through the program …
//! let call = stripe.await_calls(1).await.remove(0);             // method, target, headers, raw body
//! assert_eq!(call.param("line_items[0][price]").as_deref(), Some(PRICE));
//! assert_eq!(stripe.connections(), 1);
//! stripe.deliver_to(&url, SECRET);                              // where events go, and what signs them
//! let paid = stripe.pay(&id, "ada@example.com").await.unwrap();  // what a click on "Pay" does
//! ```
//!
//! It sells [`PRICE`], [`OTHER_PRICE`] and [`MONTHLY_PRICE`], and takes any key `sk_test_…`, `sk_live_…`, `rk_…`. Waits
//! have no deadline of their own: put them into `within`.

#![allow(dead_code, unused_imports, reason = "each of its users needs another part of it")]

mod cli;
mod door;
mod errors;
mod events;
mod fault;
mod form;
mod keys;
mod objects;
mod pay;
mod rules;
mod schema;
mod sessions;
mod shop;
mod state;
mod wire;

pub use cli::Forwarded;
pub use door::from_base64;
pub use errors::Error;
pub use events::sign;
pub use fault::{Fault, Release};
pub use form::{Node, Tree};
pub use pay::Paid;
pub use shop::Price;
pub use wire::{Call, Reply};

use serde_json::Value;
use state::{Stripe, lock};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A key that the fake takes, as it takes any of its form.
pub const KEY: &str = "sk_test_countersign";
/// A price of 12.00 € that is paid once.
pub const PRICE: &str = "price_1FakeOnce";
/// Another, of 3.50 €.
pub const OTHER_PRICE: &str = "price_1FakeOther";
/// A price of 5.00 € a month.
pub const MONTHLY_PRICE: &str = "price_1FakeMonthly";

/// What becomes of the record of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// It is kept, whole, for [`FakeStripe::calls`].
    Keep,
    /// Method and path are printed.
    Print,
    /// There is none: where speed is measured.
    Nothing,
}

/// How a fake is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What a browser calls it, without a slash at the end; `None` for where it listens.
    pub public: Option<String>,
    /// What it sells.
    pub prices: Vec<Price>,
    /// Where events go, and the secret that signs them.
    pub webhook: Option<(String, String)>,
    /// Stripe's OpenAPI description, which calls are held to beside the fake's own rules.
    pub schema: Option<PathBuf>,
    /// The secret that `stripe listen` is given.
    pub listen_secret: String,
    /// What becomes of the record of each call.
    pub record: Record,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public: None,
            prices: vec![
                Price::once(PRICE, 1200, "The whole story"),
                Price::once(OTHER_PRICE, 350, "A single chapter"),
                Price::monthly(MONTHLY_PRICE, 500, "Every new story"),
            ],
            webhook: None,
            schema: schema::nearby(),
            listen_secret: "whsec_tests_know_this_one".into(),
            record: Record::Keep,
        }
    }
}

/// The handle on a running fake, which stops when this is dropped.
pub struct FakeStripe {
    stripe: Arc<Stripe>,
    serving: JoinHandle<()>,
}

impl FakeStripe {
    /// Listens on a free port.
    pub async fn start() -> FakeStripe {
        FakeStripe::start_with(Settings::default()).await.unwrap_or_else(|e| panic!("the fake Stripe: {e}"))
    }

    /// Listens as told. Fails if the port is taken, or the description cannot be read.
    pub async fn start_with(settings: Settings) -> std::io::Result<FakeStripe> {
        // Another part of the process may have chosen one; only loopback is talked to, without TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind(settings.listen).await?;
        let stripe = Arc::new(Stripe::new(settings, listener.local_addr()?)?);
        let serving = tokio::spawn(wire::serve(stripe.clone(), listener));
        Ok(FakeStripe { stripe, serving })
    }

    /// What `STRIPE_API_BASE` and `--api-base` take: `http://127.0.0.1:port`.
    pub fn api_base(&self) -> String {
        format!("http://{}", self.stripe.address)
    }

    /// What happens to the next API call. Several queue up. Calls of `stripe listen` take none.
    pub fn next(&self, fault: Fault) {
        lock(&self.stripe.faults).push_back(fault);
    }

    /// What happens to every API call for which nothing is queued.
    pub fn always(&self, fault: impl Fn() -> Option<Fault> + Send + 'static) {
        *lock(&self.stripe.usual) = Box::new(fault);
    }

    /// Every call that was read so far, API and pages, in the order they came.
    pub fn calls(&self) -> Vec<Call> {
        self.stripe.calls.borrow().clone()
    }

    /// The one call there is; panics if there are more or none.
    #[track_caller]
    pub fn only_call(&self) -> Call {
        let mut calls = self.calls();
        let targets: Vec<String> =
            calls.iter().map(|call| format!("{} {}", call.method, call.target)).collect();
        assert_eq!(calls.len(), 1, "calls at the fake Stripe: {targets:?}");
        calls.remove(0)
    }

    /// Waits until this many calls were read, and hands all back.
    pub async fn await_calls(&self, n: usize) -> Vec<Call> {
        let mut calls = self.stripe.calls.subscribe();
        let all = calls.wait_for(|calls| calls.len() >= n).await;
        all.map(|calls| calls.clone()).unwrap_or_default()
    }

    /// How many connections were ever made to it.
    pub fn connections(&self) -> usize {
        self.stripe.traffic.opened()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.stripe.traffic.open_now()
    }

    /// How many connections were open at once, at most.
    pub fn most_open(&self) -> usize {
        self.stripe.traffic.most()
    }

    /// A Checkout Session as the API shows it.
    pub fn session(&self, id: &str) -> Option<Value> {
        lock(&self.stripe.shop).session(id).map(|session| session.object.clone())
    }

    /// How many Checkout Sessions were created.
    pub fn sessions(&self) -> usize {
        lock(&self.stripe.shop).sessions()
    }

    /// Sends events to this URL from now on, signed with this secret.
    pub fn deliver_to(&self, url: &str, secret: &str) {
        *lock(&self.stripe.webhook) = Some((url.to_owned(), secret.to_owned()));
    }

    /// What a click on "Pay" does: the session is complete, its event is sent, and the buyer goes where this says.
    pub async fn pay(&self, session: &str, email: &str) -> Result<Paid, Error> {
        pay::pay(&self.stripe, session, email).await
    }

    /// Lets something happen: an event of this type about this object, sent to wherever events go. Hands back its id.
    pub async fn happens(&self, kind: &str, object: Value) -> String {
        events::happens(&self.stripe, events::Happening { kind, object, ..Default::default() }).await
    }

    /// The same, for an event that Stripe keeps and could not deliver: `GET /v1/events?delivery_success=false` lists it.
    pub fn missed(&self, kind: &str, object: Value) -> Value {
        events::missed(&self.stripe, kind, object)
    }

    /// Every event so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.stripe.shop).events().map(|event| event.object.clone()).collect()
    }

    /// Hands an event to `stripe listen`, once one is connected, and waits for what the app answered it.
    pub async fn forward(&self, payload: &[u8], signature: &str) -> Forwarded {
        self.stripe.listeners.forward(payload, signature).await
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
