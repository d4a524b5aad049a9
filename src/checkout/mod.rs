//! The checkout: an order of a client becomes a Checkout Session at Stripe. It owns what may be ordered, who buys, and what
//! Stripe's response means. It never reads requests or writes responses: the edge does.
//!
//! - [`order`]: the rules of an order
//! - `raw_order`: the fields of an order as JSON or form, before they are checked
//! - [`error`]: why an order is rejected
//! - [`identity`]: the buyer, from trusted headers, and the idempotency key
//! - [`rate_limit`]: how many requests a buyer or an address may send
//! - [`session`]: the parameters of a session, and Stripe's responses
//! - `disposition`: the result of a request, and its outcome

mod disposition;
pub mod error;
pub mod identity;
pub mod order;
pub mod rate_limit;
mod raw_order;
pub mod session;

pub use disposition::{OrderDisposition, OrderResult, is_client_input_error};

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::{CheckoutConfig, CheckoutState, Config, RateConfig};
use crate::metrics::Metrics;
use crate::stripe::retry;
use crate::stripe_api::{Api, ApiConfig, ApiError, CallResult, HttpTransport};
use identity::Identity;
use order::{Order, OrderEncoding};
use rate_limit::RateLimit;

/// A checkout with one configuration. A reload replaces it as a whole.
pub struct Checkout {
    /// The configuration: prices, modes, URLs.
    pub config: CheckoutConfig,
    /// The rate limit; `None` if none is configured.
    pub limit: Option<Arc<RateLimit>>,
    api: Api,
    /// The time limit for each attempt at a call.
    call_timeout: Duration,
}

/// The resources that survive a reload: connections to Stripe, and the counts of the rate limit.
pub struct CheckoutResources {
    metrics: Arc<Metrics>,
    /// Created when a checkout is opened first.
    transport: Option<Arc<HttpTransport>>,
    /// The rate limit with the rate that it was created for.
    limit: Option<(RateConfig, Arc<RateLimit>)>,
}

/// An order that has not been parsed yet.
pub struct OrderRequest<'a> {
    /// The encoding of the body.
    pub encoding: OrderEncoding,
    /// The body.
    pub body: &'a [u8],
    /// The value of the client's `Idempotency-Key`.
    pub idempotency_key: Option<&'a [u8]>,
    /// The verified identity of the buyer.
    pub buyer: &'a Identity,
}

impl CheckoutResources {
    /// Creates the resources. Nothing is opened yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, transport: None, limit: None }
    }

    /// Creates the checkout of a configuration, or returns `None` if the configuration has none.
    ///
    /// # Errors
    /// Returns a message if the system has no certificates to verify Stripe's with.
    pub fn open(&mut self, config: &Config) -> Result<Option<Arc<Checkout>>, String> {
        let Config { checkout, stripe, .. } = config;
        let (CheckoutState::On, Some(key)) = (checkout.state(stripe), &stripe.secret_key) else {
            return Ok(None);
        };
        let transport = match &self.transport {
            Some(transport) => transport.clone(),
            None => self.transport.insert(Arc::new(HttpTransport::new()?)).clone(),
        };
        let api_config = ApiConfig {
            base: &stripe.api_base,
            key,
            version: &stripe.api_version,
            account: stripe.account.as_deref(),
            timeout: stripe.timeout,
        };
        let api = Api::new(transport, &api_config, self.metrics.clone())?;
        // The counts survive a reload as long as the rate is the same.
        self.limit = checkout.rate_limit.map(|rate| match self.limit.take() {
            Some((same, limit)) if same == rate => (rate, limit),
            Some(_) | None => (rate, Arc::new(RateLimit::new(rate, clock::instant()))),
        });
        let limit = self.limit.as_ref().map(|(_, limit)| limit.clone());
        Ok(Some(Arc::new(Checkout { config: checkout.clone(), call_timeout: stripe.timeout, limit, api })))
    }
}

impl Checkout {
    /// Returns the longest time that Stripe may take for one request, including retries.
    pub fn max_call_duration(&self) -> Duration {
        retry::max_call_duration(self.call_timeout)
    }

    /// Parses an order and creates a session for it at Stripe.
    pub async fn order(&self, request: OrderRequest<'_>) -> OrderResult {
        let order = match Order::parse(request.encoding, request.body, &self.config) {
            Ok(order) => order,
            Err(error) => return OrderResult::without_call(OrderDisposition::Rejected(error)),
        };
        let mut random = [0; 16];
        if let Err(error) = getrandom::fill(&mut random) {
            // Without a unique key a retry could create a second session.
            let error = ApiError::Unreachable(format!("no randomness: {error}"));
            return OrderResult::without_call(OrderDisposition::Failed(error));
        }
        let key = request.buyer.idempotency_key(request.idempotency_key, random);
        let params = session::params(order, request.buyer, &self.config);
        let call = self.api.post(session::PATH, &params, &key).await;
        order_result(call, |body| session::parse_created(body).map(OrderDisposition::Created))
    }

    /// Asks Stripe for the status of a session. The caller has checked the id with [`session::is_session_id`].
    pub async fn status(&self, id: &str) -> OrderResult {
        let call = self.api.get(&format!("{}/{id}", session::PATH)).await;
        let mut result = order_result(call, |body| session::parse_status(body).map(OrderDisposition::Status));
        if matches!(&result.disposition, OrderDisposition::Failed(ApiError::Rejected(error)) if error.status == 404)
        {
            result.disposition = OrderDisposition::SessionNotFound;
        }
        result
    }
}

/// Converts the result of a call. `parse` reads the body of a 2xx response.
fn order_result(call: CallResult, parse: impl FnOnce(&[u8]) -> Option<OrderDisposition>) -> OrderResult {
    let CallResult { result, attempts, request_id, replayed } = call;
    let disposition = match result {
        Ok(body) => parse(&body).unwrap_or(OrderDisposition::Failed(ApiError::Invalid(200))),
        Err(error) => OrderDisposition::Failed(error),
    };
    OrderResult { disposition, attempts, request_id, replayed }
}

#[cfg(test)]
mod testing {
    use crate::config::{CheckoutConfig, Source};

    /// Returns the configuration of a `[checkout]` section with this text, and with a key.
    pub(super) fn checkout_config(text: &str) -> CheckoutConfig {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, format!("[checkout]\n{text}")).unwrap();
        let env = [("STRIPE_WEBHOOK_SECRET", "whsec_1"), ("STRIPE_SECRET_KEY", "sk_test_1")];
        let source = Source::new(Some(file), env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        source.load().unwrap_or_else(|errors| panic!("{errors}")).checkout
    }
}
