//! The checkout: what a client orders becomes a Checkout Session at Stripe. It owns what may be ordered, who buys, and
//! what Stripe's answer means; how requests are read and answered is the edge's.

mod draft;
pub mod identity;
pub mod limit;
pub mod order;
pub mod session;

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::{self, CheckoutState};
use crate::metrics::Metrics;
use crate::outcome::checkout::CheckoutOutcome;
use crate::stripe_api::{Api, ApiConfig, ApiError, Call, HttpTransport, StripeError};
use identity::Identity;
use limit::Limit;
use order::{Order, OrderError, Shape};
use session::{Session, Status};

/// A checkout that is on. Replaced as a whole on a reload.
pub struct Checkout {
    /// What it sells, on which terms.
    pub terms: config::CheckoutConfig,
    /// Which requests are too many; `None`: none are.
    pub limit: Option<Arc<Limit>>,
    api: Api,
}

/// What survives a reload: connections to Stripe, and who has asked how often.
pub struct CheckoutResources {
    metrics: Arc<Metrics>,
    wire: Option<Arc<HttpTransport>>,
    limit: Option<(config::RateConfig, Arc<Limit>)>,
}

/// A written order, as it came.
pub struct OrderRequest<'a> {
    /// How it is written.
    pub shape: Shape,
    /// Its body.
    pub body: &'a [u8],
    /// The client's `Idempotency-Key`.
    pub idempotency_key: Option<&'a [u8]>,
    /// Who orders.
    pub buyer: &'a Identity,
}

/// What became of an order or a question.
#[derive(Debug)]
pub struct OrderResult {
    /// How it ended.
    pub disposition: OrderDisposition,
    /// How often Stripe was asked.
    pub attempts: u32,
    /// By which Stripe's dashboard finds it.
    pub request_id: Option<String>,
    /// Stripe's answer is that to an earlier order with the same key.
    pub replayed: bool,
}

/// How an order or a question ended.
#[derive(Debug)]
pub enum OrderDisposition {
    /// Stripe created the session.
    Created(Session),
    /// Stripe told a session's status.
    Told(Status),
    /// The order is not one; Stripe was not asked.
    Refused(OrderError),
    /// Stripe knows no such session.
    Unknown,
    /// Stripe did not do it.
    Failed(ApiError),
}

impl OrderDisposition {
    /// The word for it.
    pub fn outcome(&self) -> CheckoutOutcome {
        match self {
            OrderDisposition::Created(_) => CheckoutOutcome::Created,
            OrderDisposition::Told(_) => CheckoutOutcome::Status,
            OrderDisposition::Refused(refusal) => outcome_of_refusal(refusal),
            OrderDisposition::Unknown => CheckoutOutcome::SessionUnknown,
            OrderDisposition::Failed(fault) => outcome_of(fault),
        }
    }

    /// What an operator should know beyond the word, for the log.
    pub fn reason(&self) -> Option<String> {
        match self {
            OrderDisposition::Failed(fault) => Some(fault.to_string()),
            // The field's name is the client's own writing.
            OrderDisposition::Created(_)
            | OrderDisposition::Told(_)
            | OrderDisposition::Refused(_)
            | OrderDisposition::Unknown => None,
        }
    }

    /// The session that was created.
    pub fn session(&self) -> Option<&str> {
        match self {
            OrderDisposition::Created(session) => Some(&session.id),
            OrderDisposition::Told(_)
            | OrderDisposition::Refused(_)
            | OrderDisposition::Unknown
            | OrderDisposition::Failed(_) => None,
        }
    }

    /// Whether an operator has to mend something.
    pub fn is_ours(&self) -> bool {
        let OrderDisposition::Failed(ApiError::Rejected(refused)) = self else { return false };
        let outcome = self.outcome();
        outcome == CheckoutOutcome::StripeKeyRefused
            || (outcome == CheckoutOutcome::StripeRefused
                && !refused.is_key_reuse()
                && !refused_for_the_clients_own_words(refused))
    }
}

fn outcome_of_refusal(refusal: &OrderError) -> CheckoutOutcome {
    match refusal.fault {
        order::OrderErrorKind::Malformed => CheckoutOutcome::OrderMalformed,
        order::OrderErrorKind::FieldUnknown => CheckoutOutcome::FieldUnknown,
        order::OrderErrorKind::FieldInvalid => CheckoutOutcome::FieldInvalid,
        order::OrderErrorKind::FieldMissing => CheckoutOutcome::FieldMissing,
        order::OrderErrorKind::PriceUnknown => CheckoutOutcome::PriceUnknown,
        order::OrderErrorKind::QuantityOutOfRange => CheckoutOutcome::QuantityOutOfRange,
        order::OrderErrorKind::ModesMixed => CheckoutOutcome::ModesMixed,
    }
}

fn outcome_of(fault: &ApiError) -> CheckoutOutcome {
    match fault {
        ApiError::Rejected(refused) => match (refused.status, refused.code.as_deref()) {
            (401 | 403, _) => CheckoutOutcome::StripeKeyRefused,
            (402, _) => CheckoutOutcome::StripeCardRefused,
            (409, _) => CheckoutOutcome::StripeConflict,
            // An object that another call holds is no matter of rates.
            (429, Some("lock_timeout")) => CheckoutOutcome::StripeConflict,
            (429, _) => CheckoutOutcome::StripeRateLimited,
            (400..=499, _) => CheckoutOutcome::StripeRefused,
            _ => CheckoutOutcome::StripeFailed,
        },
        ApiError::Invalid(429) => CheckoutOutcome::StripeRateLimited,
        ApiError::Invalid(_) => CheckoutOutcome::StripeFailed,
        ApiError::Unreachable(_) => CheckoutOutcome::StripeUnreachable,
        ApiError::Timeout => CheckoutOutcome::StripeTimeout,
        ApiError::Busy => CheckoutOutcome::Overloaded,
    }
}

/// Whether Stripe dislikes something that the client wrote. Its message is for him only then: otherwise it speaks of the
/// configuration.
pub fn refused_for_the_clients_own_words(refused: &StripeError) -> bool {
    const OWN: [&str; 4] = ["customer_email", "client_reference_id", "locale", "metadata"];
    let param = refused.param.as_deref().unwrap_or_default();
    let word = param.split('[').next().unwrap_or_default();
    OWN.contains(&word) || (word == "line_items" && param.ends_with("[quantity]"))
}

impl CheckoutResources {
    /// Nothing is sold yet.
    pub fn new(metrics: Arc<Metrics>) -> CheckoutResources {
        CheckoutResources { metrics, wire: None, limit: None }
    }

    /// The checkout that the configuration asks for; `None` where that is none.
    ///
    /// # Errors
    /// Where Stripe's certificates could not be verified on this system.
    pub fn open(&mut self, terms: &config::CheckoutConfig) -> Result<Option<Arc<Checkout>>, String> {
        let (CheckoutState::On, Some(key)) = (terms.state(), &terms.secret_key) else { return Ok(None) };
        let wire = match &self.wire {
            Some(wire) => wire.clone(),
            None => self.wire.insert(Arc::new(HttpTransport::new()?)).clone(),
        };
        let access = ApiConfig {
            base: &terms.api_base,
            key,
            version: &terms.api_version,
            account: terms.account.as_deref(),
            timeout: terms.timeout,
        };
        let api = Api::new(wire, &access, self.metrics.clone())?;
        self.limit = terms.rate_limit.map(|rate| match self.limit.take() {
            Some((same, limit)) if same == rate => (rate, limit),
            Some(_) | None => (rate, Arc::new(Limit::new(rate, clock::instant()))),
        });
        let limit = self.limit.as_ref().map(|(_, limit)| limit.clone());
        Ok(Some(Arc::new(Checkout { terms: terms.clone(), limit, api })))
    }
}

impl Checkout {
    /// The longest that Stripe may be waited for.
    pub fn longest(&self) -> Duration {
        Api::longest(self.terms.timeout)
    }

    /// Takes an order: has Stripe create a session for it.
    pub async fn order(&self, slip: OrderRequest<'_>) -> OrderResult {
        let order = match Order::read(slip.shape, slip.body, &self.terms) {
            Ok(order) => order,
            Err(refusal) => return unasked(OrderDisposition::Refused(refusal)),
        };
        let mut random = [0; 16];
        if let Err(error) = getrandom::fill(&mut random) {
            // Without a key of its own the call could not be made again.
            return unasked(OrderDisposition::Failed(ApiError::Unreachable(format!(
                "no randomness: {error}"
            ))));
        }
        let key = slip.buyer.idempotency_key(slip.idempotency_key, random);
        let params = session::params(order, slip.buyer, &self.terms);
        let call = self.api.post(session::PATH, &params, &key).await;
        result(call, |body| session::created(body).map(OrderDisposition::Created))
    }

    /// Asks for a session's status; the id is one ([`session::is_id`]).
    pub async fn status(&self, id: &str) -> OrderResult {
        let call = self.api.get(&format!("{}/{id}", session::PATH)).await;
        let mut result = result(call, |body| session::status(body).map(OrderDisposition::Told));
        if matches!(&result.disposition, OrderDisposition::Failed(ApiError::Rejected(refused)) if refused.status == 404)
        {
            result.disposition = OrderDisposition::Unknown;
        }
        result
    }
}

fn unasked(disposition: OrderDisposition) -> OrderResult {
    OrderResult { disposition, attempts: 0, request_id: None, replayed: false }
}

fn result(call: Call, read: impl FnOnce(&[u8]) -> Option<OrderDisposition>) -> OrderResult {
    let Call { result, attempts, request_id, replayed } = call;
    let disposition = match result {
        Ok(body) => read(&body).unwrap_or(OrderDisposition::Failed(ApiError::Invalid(200))),
        Err(fault) => OrderDisposition::Failed(fault),
    };
    OrderResult { disposition, attempts, request_id, replayed }
}

#[cfg(test)]
mod testing {
    use crate::config::{CheckoutConfig, Source};

    /// The terms that this part of a `[checkout]` comes to, with a key.
    pub(super) fn terms(text: &str) -> CheckoutConfig {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, format!("[checkout]\n{text}")).unwrap();
        let env = [("STRIPE_WEBHOOK_SECRET", "whsec_1"), ("STRIPE_SECRET_KEY", "sk_test_1")];
        let source = Source::new(Some(file), env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        source.load().unwrap_or_else(|faults| panic!("{faults}")).checkout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<&str>, param: Option<&str>) -> ApiError {
        let own = |text: Option<&str>| text.map(str::to_owned);
        ApiError::Rejected(Box::new(StripeError {
            status,
            code: own(code),
            param: own(param),
            ..StripeError::default()
        }))
    }

    #[test]
    fn each_of_stripes_faults_has_its_outcome_and_whose_it_is() {
        use CheckoutOutcome as O;
        let reused = StripeError { status: 400, kind: "idempotency_error".into(), ..StripeError::default() };
        let reused = ApiError::Rejected(Box::new(reused));
        for (fault, outcome, ours) in [
            (refused(400, Some("parameter_unknown"), Some("foo")), O::StripeRefused, true),
            (refused(400, Some("resource_missing"), Some("line_items[0][price]")), O::StripeRefused, true),
            (
                refused(400, Some("parameter_invalid_integer"), Some("line_items[0][quantity]")),
                O::StripeRefused,
                false,
            ),
            (refused(400, Some("email_invalid"), Some("customer_email")), O::StripeRefused, false),
            (refused(400, None, Some("metadata[size]")), O::StripeRefused, false),
            (reused, O::StripeRefused, false),
            (refused(401, None, None), O::StripeKeyRefused, true),
            (refused(403, None, None), O::StripeKeyRefused, true),
            (refused(402, Some("card_declined"), None), O::StripeCardRefused, false),
            (refused(409, Some("idempotency_key_in_use"), None), O::StripeConflict, false),
            (refused(429, Some("lock_timeout"), None), O::StripeConflict, false),
            (refused(429, Some("rate_limit"), None), O::StripeRateLimited, false),
            (refused(500, None, None), O::StripeFailed, false),
            (ApiError::Invalid(502), O::StripeFailed, false),
            (ApiError::Invalid(429), O::StripeRateLimited, false),
            (ApiError::Unreachable("refused".into()), O::StripeUnreachable, false),
            (ApiError::Timeout, O::StripeTimeout, false),
            (ApiError::Busy, O::Overloaded, false),
        ] {
            let disposition = OrderDisposition::Failed(fault);
            assert_eq!((disposition.outcome(), disposition.is_ours()), (outcome, ours), "{disposition:?}");
        }
    }
}
