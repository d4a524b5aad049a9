//! A request's target → where it goes. Pure.

use ipnet::IpNet;
use std::sync::Arc;

use crate::checkout::{Checkout, session};
use crate::endpoint::Endpoint;
use crate::guard::{Guard, Judgement, Reason};

/// What routing needs to know; replaced as a whole on a reload.
pub struct Routes {
    guard: Guard,
    endpoints: Vec<Arc<Endpoint>>,
    checkout: Option<Arc<Checkout>>,
    /// Peers whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Where a request goes.
pub enum Route<'a> {
    /// To the intake.
    Webhook(&'a Arc<Endpoint>),
    /// A spelling of a webhook path that is not the path.
    Ambiguous {
        /// Which rule found it.
        reason: Reason,
        /// Whether the endpoint that it would be taken for refuses.
        enforce: bool,
    },
    /// To the checkout.
    Checkout(&'a Arc<Checkout>, Errand),
    /// To the backend, untouched.
    Pass,
}

/// What is wanted of the checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// To buy.
    Order,
    /// To know what became of the session with this id.
    Status(Box<str>),
    /// Nothing that there is.
    Unknown,
}

impl Routes {
    /// Builds the routes to these endpoints.
    pub fn new(endpoints: Vec<Arc<Endpoint>>, trusted_proxies: Vec<IpNet>) -> Routes {
        let guard = Guard::new(endpoints.iter().map(|endpoint| endpoint.path.as_str()));
        Routes { guard, endpoints, checkout: None, trusted_proxies }
    }

    /// Every endpoint.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.clone()
    }

    /// The same, and this checkout.
    pub fn selling(mut self, checkout: Option<Arc<Checkout>>) -> Routes {
        self.checkout = checkout;
        self
    }

    /// Where a request with this raw target goes.
    pub fn route(&self, target: &[u8]) -> Route<'_> {
        match self.guard.judge(target) {
            Judgement::Other => match &self.checkout {
                Some(checkout) => match errand(&checkout.terms.paths, target) {
                    Some(errand) => Route::Checkout(checkout, errand),
                    None => Route::Pass,
                },
                None => Route::Pass,
            },
            Judgement::Webhook(index) => Route::Webhook(&self.endpoints[index]),
            Judgement::Ambiguous { reason, webhook } => {
                Route::Ambiguous { reason, enforce: self.endpoints[webhook].enforce }
            }
        }
    }
}

/// What a target asks of a checkout at these paths; `None` if it is none of its targets.
fn errand(paths: &[String], target: &[u8]) -> Option<Errand> {
    let rest = paths.iter().find_map(|path| {
        let rest = target.strip_prefix(path.as_bytes())?;
        matches!(rest.first(), None | Some(b'/' | b'?')).then_some(rest)
    })?;
    let Some(below) = rest.strip_prefix(b"/") else { return Some(Errand::Order) };
    let id = below.split(|&byte| byte == b'?').next().and_then(|id| str::from_utf8(id).ok());
    Some(id.filter(|id| session::is_id(id)).map_or(Errand::Unknown, |id| Errand::Status(id.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkouts_paths_and_what_lies_beneath_are_its_own() {
        let paths = ["/api/checkout".to_owned(), "/buy".to_owned()];
        for (target, expected) in [
            ("/api/checkout", Some(Errand::Order)),
            ("/api/checkout?x=/y", Some(Errand::Order)),
            ("/buy", Some(Errand::Order)),
            ("/api/checkout/cs_test_1", Some(Errand::Status("cs_test_1".into()))),
            ("/buy/cs_live_a?x", Some(Errand::Status("cs_live_a".into()))),
            ("/api/checkout/", Some(Errand::Unknown)),
            ("/api/checkout/x", Some(Errand::Unknown)),
            ("/api/checkout/cs_test_1/x", Some(Errand::Unknown)),
            ("/api/checkout/cs_test_%31", Some(Errand::Unknown)),
            ("/api/checkouts", None),
            ("/api/checkout.json", None),
            ("/API/checkout", None),
            ("/api", None),
            ("/", None),
        ] {
            assert_eq!(errand(&paths, target.as_bytes()), expected, "{target}");
        }
    }
}
