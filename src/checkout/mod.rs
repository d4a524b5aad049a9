//! The checkout: an order of a client becomes a Checkout Session at Stripe. It owns what may be ordered, who buys, and what
//! Stripe's response means. It never reads requests or writes responses: the edge does.
//!
//! - [`order`]: the rules of an order
//! - `raw_order`: the fields of an order as JSON or form, before they are checked
//! - [`error`]: why an order is rejected
//! - [`identity`]: the buyer, from trusted headers, and the idempotency key
//! - [`rate_limit`]: how many requests a buyer or an address may send
//! - `params`: the parameters of a session
//! - [`session`]: Stripe's responses about a session
//! - `status`: the status of a session, asked of Stripe
//! - `status_cache`: what Stripe told of sessions in the last second
//! - `expiry`: when a session expires
//! - `price_ids`: Stripe's ids of the configured prices
//! - `lookup`: asks Stripe for prices
//! - `price_check`: whether Stripe's price fits the configured one
//! - `recent`: a bounded memory of recent orders
//! - `disposition`: the result of a request, and its outcome

mod disposition;
pub mod error;
mod expiry;
pub mod identity;
mod lookup;
pub mod order;
mod params;
mod price_check;
pub mod price_ids;
pub mod rate_limit;
mod raw_order;
mod recent;
pub mod session;
mod status;
mod status_cache;

pub use disposition::{OrderDisposition, OrderResult, is_client_input_error};
pub use price_check::PriceCheck;

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::{CheckoutConfig, CheckoutState, Config, RateConfig, StripeConfig};
use crate::metrics::Metrics;
use crate::stripe::retry;
use crate::stripe_api::{Api, ApiConfig, ApiError, CallResult, HttpTransport};
use expiry::Expiries;
use identity::Identity;
use order::{Order, OrderEncoding};
use price_ids::PriceIds;
use rate_limit::RateLimit;
use recent::Recent;
use secrecy::{ExposeSecret, SecretString};
use status_cache::StatusCache;

/// A checkout with one configuration. A reload replaces it as a whole.
pub struct Checkout {
    /// The configuration: prices, modes, URLs.
    pub config: CheckoutConfig,
    /// The rate limit of orders; `None` if none is configured.
    pub order_limit: Option<Arc<RateLimit>>,
    /// The rate limit of status requests; `None` if none is configured.
    pub status_limit: Option<Arc<RateLimit>>,
    /// A client for each account that sells: that of `[stripe]` first, then those of the prices.
    apis: Vec<(Option<String>, Api)>,
    ids: Arc<PriceIds>,
    memory: Arc<OrderMemory>,
    /// The time limit for each attempt at a call.
    call_timeout: Duration,
}

/// What is remembered of recent orders.
struct OrderMemory {
    expiries: Expiries,
    /// The accounts of sessions that another account than that of `[stripe]` sells, by the session's id.
    accounts: Recent<Option<String>>,
    /// What Stripe told of sessions in the last second.
    statuses: StatusCache,
}

/// The resources that survive a reload: connections to Stripe, the counts of the rate limit, and what is remembered.
pub struct CheckoutResources {
    metrics: Arc<Metrics>,
    /// Created when a checkout is opened first.
    transport: Option<Arc<HttpTransport>>,
    /// The rate limit of orders, with the rate that it was created for.
    order_limit: Option<(RateConfig, Arc<RateLimit>)>,
    /// The rate limit of status requests, with the rate that it was created for.
    status_limit: Option<(RateConfig, Arc<RateLimit>)>,
    memory: Arc<OrderMemory>,
    /// The ids of prices, with the base URL and the key by which they were looked up.
    ids: Option<(String, SecretString, Arc<PriceIds>)>,
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
        let memory =
            OrderMemory { expiries: Expiries::new(), accounts: Recent::new(), statuses: StatusCache::new() };
        Self {
            metrics,
            transport: None,
            order_limit: None,
            status_limit: None,
            memory: Arc::new(memory),
            ids: None,
        }
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
        let apis = apis(checkout, stripe, key, &transport, &self.metrics)?;
        Ok(Some(Arc::new(Checkout {
            config: checkout.clone(),
            order_limit: rate_limit(&mut self.order_limit, checkout.rate_limit),
            status_limit: rate_limit(&mut self.status_limit, checkout.status_rate_limit),
            apis,
            ids: self.price_ids(&stripe.api_base, key),
            memory: self.memory.clone(),
            call_timeout: stripe.timeout,
        })))
    }

    /// Returns the ids that were found with this key, so that a reload interrupts no sale.
    fn price_ids(&mut self, base: &str, key: &SecretString) -> Arc<PriceIds> {
        let is_same = |(other, other_key, _): &&(String, SecretString, Arc<PriceIds>)| {
            other == base && other_key.expose_secret() == key.expose_secret()
        };
        let known = self.ids.as_ref().filter(is_same).map(|(_, _, ids)| ids.clone());
        let ids = known.unwrap_or_default();
        self.ids = Some((base.to_owned(), key.clone(), ids.clone()));
        ids
    }
}

impl Checkout {
    /// Returns the longest time that Stripe may take for one request, including retries.
    pub fn max_call_duration(&self) -> Duration {
        retry::max_call_duration(self.call_timeout)
    }

    /// Parses an order and creates a session for it at Stripe.
    pub async fn order(&self, request: OrderRequest<'_>) -> OrderResult {
        let order = match Order::parse(request.encoding, request.body, &self.config, &self.ids) {
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
        let expires_at = self.config.expires_after.map(|after| {
            let client_key = request.idempotency_key.map(|_| key.as_str());
            self.memory.expiries.expires_at(client_key, after, clock::unix().as_secs())
        });
        let account = order.account.clone();
        let params = params::session_params(order, request.buyer, &self.config, expires_at);
        let call = self.api(account.as_deref()).post(session::PATH, &params, &key).await;
        let result = order_result(call, |body| session::parse_created(body).map(OrderDisposition::Created));
        if let OrderDisposition::Created(session) = &result.disposition
            && self.apis.first().is_none_or(|(default, _)| *default != account)
        {
            self.memory.accounts.insert(&session.id, account);
        }
        result
    }

    /// Returns the client for an account. Every account of the configuration has one.
    fn api(&self, account: Option<&str>) -> &Api {
        let own = self.apis.iter().find(|(name, _)| name.as_deref() == account);
        &own.unwrap_or(&self.apis[0]).1
    }
}

/// Returns the limit for a rate. The counts of the `current` one survive a reload as long as the rate is the same.
fn rate_limit(
    current: &mut Option<(RateConfig, Arc<RateLimit>)>,
    rate: Option<RateConfig>,
) -> Option<Arc<RateLimit>> {
    *current = rate.map(|rate| match current.take() {
        Some((same, limit)) if same == rate => (rate, limit),
        Some(_) | None => (rate, Arc::new(RateLimit::new(rate, clock::instant()))),
    });
    current.as_ref().map(|(_, limit)| limit.clone())
}

/// Creates a client for each account that sells.
fn apis(
    checkout: &CheckoutConfig,
    stripe: &StripeConfig,
    key: &SecretString,
    transport: &Arc<HttpTransport>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<(Option<String>, Api)>, String> {
    let mut accounts = vec![&stripe.account];
    for price in &checkout.prices {
        if !accounts.contains(&&price.account) {
            accounts.push(&price.account);
        }
    }
    let api = |account: &Option<String>| {
        let config = ApiConfig {
            base: &stripe.api_base,
            key,
            version: &stripe.api_version,
            account: account.as_deref(),
            timeout: stripe.timeout,
        };
        Ok((account.clone(), Api::new(transport.clone(), &config, metrics.clone())?))
    };
    accounts.into_iter().map(api).collect()
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
