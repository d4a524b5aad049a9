//! A fake Stripe on loopback, for trying things out (`cargo run --example stripe`) and for tests.
//!
//! It owns Stripe's side of a purchase: Checkout Sessions with rules of their own, idempotency keys, a page to pay on,
//! signed events and a list of them, and the protocol of `stripe listen` and `stripe trigger`. It uses nothing of the
//! program but its clock. Nothing leaves the machine but webhooks to the URL that it is given.
//!
//! | file | what it owns |
//! |---|---|
//! | `settings`, `state` | settings, and the state that all files share |
//! | `store`, `catalog` | what the fake remembers: sessions, events, objects; prices |
//! | `http`, `connections` | the server and its connection counts |
//! | `call`, `form`, `response`, `errors` | a call, its parameters, a response, every error of Stripe's |
//! | `api`, `auth`, `idempotency`, `fault` | what happens to each call before its endpoint |
//! | `sessions`, `session_object`, `validation`, `session_rules`, `line_items`, `schema` | Checkout Sessions and their rules |
//! | `payment`, `payment_page` | paying, and the page for it |
//! | `events`, `event_list`, `thin_event_list`, `signature`, `listeners` | events, their lists, their signatures, `stripe listen` |
//! | `objects` | the rest of the API |
//! | `lock` | the lock that all files use |
//!
//! In `tests/it/` it is the module `fake_stripe`:
//!
//! ```ignore
//! let stripe = FakeStripe::start().await;                       // on a free port
//! let setup = Setup::new(&backend).env("STRIPE_API_BASE", &stripe.api_base()).env("STRIPE_SECRET_KEY", KEY);
//! stripe.next(Fault::named("unavailable"));                     // the fault of the next call; several queue up
//! stripe.next(Fault::drop_after_work());                        // work done, connection closed, no response
//! let (held, release) = Fault::held();                          // responds after `release.now()`, without sleeping
//! stripe.always(|| Some(Fault::slow(Duration::from_secs(60)))); // the fault of every call for which none is queued
//! // … orders through the program …
//! let call = stripe.await_calls(1).await.remove(0);             // method, target, headers, raw body
//! assert_eq!(call.param("line_items[0][price]").as_deref(), Some(PRICE));
//! assert_eq!(stripe.connections(), 1);
//! stripe.deliver_to(&url, SECRET);                              // where events go, and what signs them
//! let paid = stripe.pay(&id, "ada@example.com").await.unwrap();  // what a click on "Pay" does
//! ```
//!
//! It sells [`PRICE`], [`OTHER_PRICE`], [`MONTHLY_PRICE`] and [`METERED_PRICE`], and accepts any key `sk_test_…`, `sk_live_…`, `rk_…`. Its
//! waits have no deadline of their own: tests put them into `within`.

#![allow(dead_code, unused_imports, reason = "each of its users needs another part of it")]

mod api;
mod auth;
mod call;
mod catalog;
mod connections;
mod errors;
mod event_list;
mod events;
mod fault;
mod form;
mod http;
mod idempotency;
mod line_items;
mod listeners;
mod lock;
mod objects;
mod payment;
mod payment_page;
mod response;
mod schema;
mod session_object;
mod session_rules;
mod sessions;
mod settings;
mod signature;
mod state;
mod store;
mod thin_event_list;
mod validation;

pub use auth::from_base64;
pub use call::Call;
pub use catalog::Price;
pub use errors::Error;
pub use fault::{Fault, Release};
pub use form::{Node, Tree};
pub use listeners::Forwarded;
pub use payment::Payment;
pub use response::Response;
pub use settings::{CallLog, KEY, METERED_PRICE, MONTHLY_PRICE, OTHER_PRICE, PRICE, Settings};

use events::NewEvent;
use lock::lock;
use serde_json::Value;
use state::State;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The handle of a running fake. Dropping it stops the fake.
pub struct FakeStripe {
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl FakeStripe {
    /// Starts a fake on a free port.
    pub async fn start() -> Self {
        Self::start_with(Settings::default())
            .await
            .unwrap_or_else(|error| panic!("cannot start the fake Stripe: {error}"))
    }

    /// Starts a fake with these settings.
    ///
    /// # Errors
    ///
    /// Fails if the port is taken, or if the OpenAPI description cannot be read.
    pub async fn start_with(settings: Settings) -> std::io::Result<Self> {
        // The HTTP client needs a provider even without TLS. Another part of the process may have installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind(settings.listen).await?;
        let state = Arc::new(State::new(settings, listener.local_addr()?)?);
        let server = tokio::spawn(http::serve(state.clone(), listener));
        Ok(Self { state, server })
    }

    /// Returns the value for `STRIPE_API_BASE` and `--api-base`: `http://127.0.0.1:port`.
    pub fn api_base(&self) -> String {
        format!("http://{}", self.state.address)
    }

    /// Queues a fault for the next API call. Calls of `stripe listen` have no faults.
    pub fn next(&self, fault: Fault) {
        lock(&self.state.faults).push_back(fault);
    }

    /// Sets the fault of every API call for which none is queued.
    pub fn always(&self, fault: impl Fn() -> Option<Fault> + Send + 'static) {
        *lock(&self.state.default_fault) = Box::new(fault);
    }

    /// Returns every call so far, to the API and to pages, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.borrow().clone()
    }

    /// Returns the only call so far. Panics if there are more or none.
    #[track_caller]
    pub fn only_call(&self) -> Call {
        let mut calls = self.calls();
        let targets: Vec<String> =
            calls.iter().map(|call| format!("{} {}", call.method, call.target)).collect();
        assert_eq!(calls.len(), 1, "expected one call to the fake Stripe, found {targets:?}");
        calls.remove(0)
    }

    /// Waits until this many calls were read, and returns every call so far.
    pub async fn await_calls(&self, count: usize) -> Vec<Call> {
        let mut calls = self.state.calls.subscribe();
        let all = calls.wait_for(|calls| calls.len() >= count).await;
        all.map(|calls| calls.clone()).unwrap_or_default()
    }

    /// Returns how many connections were ever opened.
    pub fn connections(&self) -> usize {
        self.state.connections.opened()
    }

    /// Returns how many connections are open.
    pub fn open_connections(&self) -> usize {
        self.state.connections.open()
    }

    /// Returns the largest number of connections that were open at the same time.
    pub fn max_open_connections(&self) -> usize {
        self.state.connections.max_open()
    }

    /// Returns a Checkout Session as the API shows it.
    pub fn session(&self, id: &str) -> Option<Value> {
        lock(&self.state.store).sessions.get(id).map(|session| session.object.clone())
    }

    /// Moves a lookup key to the price with this id; `None` leaves it to no price.
    pub fn move_lookup_key(&self, key: &str, price: Option<&str>) {
        lock(&self.state.store).catalog.move_lookup_key(key, price);
    }

    /// Returns how many Checkout Sessions were created.
    pub fn sessions(&self) -> usize {
        lock(&self.state.store).sessions.len()
    }

    /// Sends events to this URL from now on, signed with this secret.
    pub fn deliver_to(&self, url: &str, secret: &str) {
        *lock(&self.state.webhook) = Some((url.to_owned(), secret.to_owned()));
    }

    /// Does what a click on "Pay" does: completes the session, sends its event, and returns where the buyer goes next.
    pub async fn pay(&self, session: &str, email: &str) -> Result<Payment, Error> {
        payment::pay(&self.state, session, email).await
    }

    /// Emits an event of this type about this object, and returns its id when the webhook has answered.
    pub async fn emit(&self, event_type: &str, object: Value) -> String {
        events::emit(&self.state, NewEvent { event_type, object, caused_by: None }).await
    }

    /// Stores an event that Stripe could not deliver: `GET /v1/events?delivery_success=false` lists it. Returns the
    /// event.
    pub fn emit_undelivered(&self, event_type: &str, object: Value) -> Value {
        events::emit_undelivered(&self.state, NewEvent { event_type, object, caused_by: None })
    }

    /// Stores an event as it is: one with `account` or `context` is in the list of that account, a thin event in that of
    /// `/v2`. `delivered` says whether its webhook has accepted it.
    pub fn record(&self, event: &Value, delivered: bool) {
        events::record(&self.state, event, delivered);
    }

    /// Returns every event so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.state.store).events.iter().map(|event| event.object.clone()).collect()
    }

    /// Sends an event to `stripe listen` as soon as one is connected, and waits for the app's response.
    pub async fn forward(&self, payload: &[u8], signature: &str) -> Forwarded {
        self.state.listeners.forward(payload, signature).await
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        self.server.abort();
    }
}
