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
use crate::config::{self, State};
use crate::metrics::Metrics;
use crate::outcome::checkout::CheckoutOutcome;
use crate::stripe::api::{Access, Api, Call, Fault, Refused, Wire};
use identity::Identity;
use limit::Limit;
use order::{Order, Refusal, Shape};
use session::{Session, Status};

/// A checkout that is on. Replaced as a whole on a reload.
pub struct Checkout {
    /// What it sells, on which terms.
    pub terms: config::Checkout,
    /// Which requests are too many; `None`: none are.
    pub limit: Option<Arc<Limit>>,
    api: Api,
}

/// What survives a reload: connections to Stripe, and who has asked how often.
pub struct Counter {
    metrics: Arc<Metrics>,
    wire: Option<Arc<Wire>>,
    limit: Option<(config::Rate, Arc<Limit>)>,
}

/// A written order, as it came.
pub struct Slip<'a> {
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
pub struct Receipt {
    /// How it ended.
    pub fate: Fate,
    /// How often Stripe was asked.
    pub attempts: u32,
    /// By which Stripe's dashboard finds it.
    pub request_id: Option<String>,
    /// Stripe's answer is that to an earlier order with the same key.
    pub replayed: bool,
}

/// How an order or a question ended.
#[derive(Debug)]
pub enum Fate {
    /// Stripe created the session.
    Created(Session),
    /// Stripe told a session's status.
    Told(Status),
    /// The order is not one; Stripe was not asked.
    Refused(Refusal),
    /// Stripe knows no such session.
    Unknown,
    /// Stripe did not do it.
    Failed(Fault),
}

impl Fate {
    /// The word for it.
    pub fn outcome(&self) -> CheckoutOutcome {
        match self {
            Fate::Created(_) => CheckoutOutcome::Created,
            Fate::Told(_) => CheckoutOutcome::Status,
            Fate::Refused(refusal) => outcome_of_refusal(refusal),
            Fate::Unknown => CheckoutOutcome::SessionUnknown,
            Fate::Failed(fault) => outcome_of(fault),
        }
    }

    /// What an operator should know beyond the word, for the log.
    pub fn reason(&self) -> Option<String> {
        match self {
            Fate::Failed(fault) => Some(fault.to_string()),
            // The field's name is the client's own writing.
            Fate::Created(_) | Fate::Told(_) | Fate::Refused(_) | Fate::Unknown => None,
        }
    }

    /// The session that was created.
    pub fn session(&self) -> Option<&str> {
        match self {
            Fate::Created(session) => Some(&session.id),
            Fate::Told(_) | Fate::Refused(_) | Fate::Unknown | Fate::Failed(_) => None,
        }
    }

    /// Whether an operator has to mend something.
    pub fn is_ours(&self) -> bool {
        let Fate::Failed(Fault::Refused(refused)) = self else { return false };
        let outcome = self.outcome();
        outcome == CheckoutOutcome::StripeKeyRefused
            || (outcome == CheckoutOutcome::StripeRefused
                && !refused.is_key_reuse()
                && !refused_for_the_clients_own_words(refused))
    }
}

fn outcome_of_refusal(refusal: &Refusal) -> CheckoutOutcome {
    match refusal.fault {
        order::Fault::Malformed => CheckoutOutcome::OrderMalformed,
        order::Fault::FieldUnknown => CheckoutOutcome::FieldUnknown,
        order::Fault::FieldInvalid => CheckoutOutcome::FieldInvalid,
        order::Fault::FieldMissing => CheckoutOutcome::FieldMissing,
        order::Fault::PriceUnknown => CheckoutOutcome::PriceUnknown,
        order::Fault::QuantityOutOfRange => CheckoutOutcome::QuantityOutOfRange,
        order::Fault::ModesMixed => CheckoutOutcome::ModesMixed,
    }
}

fn outcome_of(fault: &Fault) -> CheckoutOutcome {
    match fault {
        Fault::Refused(refused) => match (refused.status, refused.code.as_deref()) {
            (401 | 403, _) => CheckoutOutcome::StripeKeyRefused,
            (402, _) => CheckoutOutcome::StripeCardRefused,
            (409, _) => CheckoutOutcome::StripeConflict,
            // An object that another call holds is no matter of rates.
            (429, Some("lock_timeout")) => CheckoutOutcome::StripeConflict,
            (429, _) => CheckoutOutcome::StripeRateLimited,
            (400..=499, _) => CheckoutOutcome::StripeRefused,
            _ => CheckoutOutcome::StripeFailed,
        },
        Fault::Invalid(429) => CheckoutOutcome::StripeRateLimited,
        Fault::Invalid(_) => CheckoutOutcome::StripeFailed,
        Fault::Unreachable(_) => CheckoutOutcome::StripeUnreachable,
        Fault::Timeout => CheckoutOutcome::StripeTimeout,
        Fault::Busy => CheckoutOutcome::Overloaded,
    }
}

/// Whether Stripe dislikes something that the client wrote. Its message is for him only then: otherwise it speaks of the
/// configuration.
pub fn refused_for_the_clients_own_words(refused: &Refused) -> bool {
    const OWN: [&str; 4] = ["customer_email", "client_reference_id", "locale", "metadata"];
    let param = refused.param.as_deref().unwrap_or_default();
    let word = param.split('[').next().unwrap_or_default();
    OWN.contains(&word) || (word == "line_items" && param.ends_with("[quantity]"))
}

impl Counter {
    /// Nothing is sold yet.
    pub fn new(metrics: Arc<Metrics>) -> Counter {
        Counter { metrics, wire: None, limit: None }
    }

    /// The checkout that the configuration asks for; `None` where that is none.
    ///
    /// # Errors
    /// Where Stripe's certificates could not be verified on this system.
    pub fn open(&mut self, terms: &config::Checkout) -> Result<Option<Arc<Checkout>>, String> {
        let (State::On, Some(key)) = (terms.state(), &terms.secret_key) else { return Ok(None) };
        let wire = match &self.wire {
            Some(wire) => wire.clone(),
            None => self.wire.insert(Arc::new(Wire::new()?)).clone(),
        };
        let access = Access {
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
    pub async fn order(&self, slip: Slip<'_>) -> Receipt {
        let order = match Order::read(slip.shape, slip.body, &self.terms) {
            Ok(order) => order,
            Err(refusal) => return unasked(Fate::Refused(refusal)),
        };
        let mut random = [0; 16];
        if let Err(error) = getrandom::fill(&mut random) {
            // Without a key of its own the call could not be made again.
            return unasked(Fate::Failed(Fault::Unreachable(format!("no randomness: {error}"))));
        }
        let key = slip.buyer.idempotency_key(slip.idempotency_key, random);
        let params = session::params(order, slip.buyer, &self.terms);
        let call = self.api.post(session::PATH, &params, &key).await;
        receipt(call, |body| session::created(body).map(Fate::Created))
    }

    /// Asks for a session's status; the id is one ([`session::is_id`]).
    pub async fn status(&self, id: &str) -> Receipt {
        let call = self.api.get(&format!("{}/{id}", session::PATH)).await;
        let mut receipt = receipt(call, |body| session::status(body).map(Fate::Told));
        if matches!(&receipt.fate, Fate::Failed(Fault::Refused(refused)) if refused.status == 404) {
            receipt.fate = Fate::Unknown;
        }
        receipt
    }
}

fn unasked(fate: Fate) -> Receipt {
    Receipt { fate, attempts: 0, request_id: None, replayed: false }
}

fn receipt(call: Call, read: impl FnOnce(&[u8]) -> Option<Fate>) -> Receipt {
    let Call { result, attempts, request_id, replayed } = call;
    let fate = match result {
        Ok(body) => read(&body).unwrap_or(Fate::Failed(Fault::Invalid(200))),
        Err(fault) => Fate::Failed(fault),
    };
    Receipt { fate, attempts, request_id, replayed }
}

#[cfg(test)]
mod testing {
    use crate::config::{Checkout, Source};

    /// The terms that this part of a `[checkout]` comes to, with a key.
    pub(super) fn terms(text: &str) -> Checkout {
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

    fn refused(status: u16, code: Option<&str>, param: Option<&str>) -> Fault {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Fault::Refused(Box::new(Refused { status, code: own(code), param: own(param), ..Refused::default() }))
    }

    #[test]
    fn each_of_stripes_faults_has_its_outcome_and_whose_it_is() {
        use CheckoutOutcome as O;
        let reused = Refused { status: 400, kind: "idempotency_error".into(), ..Refused::default() };
        let reused = Fault::Refused(Box::new(reused));
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
            (Fault::Invalid(502), O::StripeFailed, false),
            (Fault::Invalid(429), O::StripeRateLimited, false),
            (Fault::Unreachable("refused".into()), O::StripeUnreachable, false),
            (Fault::Timeout, O::StripeTimeout, false),
            (Fault::Busy, O::Overloaded, false),
        ] {
            let fate = Fate::Failed(fault);
            assert_eq!((fate.outcome(), fate.is_ours()), (outcome, ours), "{fate:?}");
        }
    }
}
