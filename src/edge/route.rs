//! Routing: a request's target → what handles the request. It knows no method and no body. Pure.

use ipnet::IpNet;
use std::sync::Arc;

use super::proxy::FormCheck;
use crate::checkout::{Checkout, session};
use crate::endpoint::Endpoint;
use crate::guard::{Classification, FormKind, Guard, Reason, UnreadableForm};
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;

/// All that routing needs to know; a reload replaces it as a whole.
pub struct Routes {
    /// The locations of every endpoint.
    all: GuardedLocations,
    /// The locations of the enforced endpoints alone. They judge what a dry run would forward.
    enforced: GuardedLocations,
    endpoints: Vec<Arc<Endpoint>>,
    /// The endpoint of each of the locations of `all`, as its position in `endpoints`.
    owners: Vec<usize>,
    /// The checkout, if one is configured.
    checkout: Option<Arc<Checkout>>,
    /// The peers that may set `X-Forwarded-*` and the identity headers.
    pub trusted_proxies: Vec<IpNet>,
}

/// Locations, and what becomes of a request that is ambiguous with one of them.
struct GuardedLocations {
    guard: Guard,
    /// For each of the guard's locations, whether its endpoint rejects ambiguous requests.
    enforced: Arc<[bool]>,
}

/// The part of the program that handles a request.
pub enum Route<'a> {
    /// The intake handles it as a webhook of an endpoint.
    Webhook(WebhookRoute<'a>),
    /// The target is ambiguous with the path of an endpoint.
    Ambiguous {
        /// The guard's rule that found it.
        reason: Reason,
        /// Whether any endpoint that the target is taken for rejects ambiguous paths; if not, they are only counted.
        enforce: bool,
    },
    /// The checkout handles it.
    Checkout(&'a Arc<Checkout>, CheckoutRoute),
    /// The backend handles it, unchanged.
    Pass,
}

/// A webhook that a target spells exactly.
pub struct WebhookRoute<'a> {
    /// The endpoint whose webhook it is.
    pub endpoint: &'a Arc<Endpoint>,
    /// The values of the path's variable segments, separated by `/`.
    pub segments: Box<str>,
    /// Whether a request that fails verification is rejected: its endpoint does so, or some backend takes the target for a
    /// webhook of an endpoint that does.
    pub enforce: bool,
}

/// What a target within the checkout's paths asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckoutRoute {
    /// The checkout path itself: to create a Checkout Session.
    CreateSession,
    /// A session's id beneath the path: to read the status of that session.
    SessionStatus(Box<str>),
    /// Anything else beneath the path.
    NotFound,
}

impl Routes {
    /// Creates routes to these endpoints, and no checkout.
    pub fn new(endpoints: Vec<Arc<Endpoint>>, trusted_proxies: Vec<IpNet>) -> Self {
        let locations =
            || endpoints.iter().enumerate().flat_map(|(at, e)| e.locations.iter().map(move |l| (at, l)));
        let guarded = |is_meant: fn(&Endpoint) -> bool| {
            let meant = || locations().filter(|(owner, _)| is_meant(&endpoints[*owner]));
            GuardedLocations {
                guard: Guard::new(meant().map(|(_, location)| location.clone())),
                enforced: meant().map(|(owner, _)| endpoints[owner].enforce).collect(),
            }
        };
        let (all, enforced) = (guarded(|_| true), guarded(|endpoint| endpoint.enforce));
        let owners = locations().map(|(owner, _)| owner).collect();
        Self { all, enforced, endpoints, owners, checkout: None, trusted_proxies }
    }

    /// Returns every endpoint, in the order of the configuration.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.clone()
    }

    /// Returns these routes with a checkout.
    pub fn with_checkout(mut self, checkout: Option<Arc<Checkout>>) -> Self {
        self.checkout = checkout;
        self
    }

    /// Returns the check of the form in a request that passes through; `None` if it has no form, or no form can tell a
    /// webhook.
    ///
    /// # Errors
    /// The form cannot be read, and so might tell a webhook of an enforced endpoint.
    pub(super) fn form_check(&self, head: &RequestHead) -> Result<Option<FormCheck>, UnreadableForm> {
        self.form_check_by(&self.all, head)
    }

    /// Returns the check of the form in a request that a dry run forwards with a verdict: whether it tells a webhook of an
    /// enforced endpoint.
    ///
    /// # Errors
    /// The form cannot be read, and so might tell such a webhook.
    pub(super) fn enforced_form_check(
        &self,
        head: &RequestHead,
    ) -> Result<Option<FormCheck>, UnreadableForm> {
        self.form_check_by(&self.enforced, head)
    }

    fn form_check_by(
        &self,
        locations: &GuardedLocations,
        head: &RequestHead,
    ) -> Result<Option<FormCheck>, UnreadableForm> {
        let GuardedLocations { guard, enforced } = locations;
        if !guard.judges_forms() || head.framing() == Framing::Length(0) {
            return Ok(None);
        }
        let kind = match FormKind::of(head.values("content-type"), head.values("content-encoding")) {
            Ok(Some(kind)) => kind,
            Err(UnreadableForm) if self.enforced.guard.judges_forms() => return Err(UnreadableForm),
            Ok(None) | Err(UnreadableForm) => return Ok(None),
        };
        let guard = guard.form(head.target(), kind);
        Ok(guard.map(|guard| FormCheck { guard, enforced: enforced.clone() }))
    }

    /// Returns the endpoint of the guard's location at this position.
    fn endpoint(&self, location: usize) -> &Arc<Endpoint> {
        &self.endpoints[self.owners[location]]
    }

    /// Starts looking up the checkout's prices at Stripe. Returns after the first lookup, or after two seconds.
    pub async fn resolve_prices(&self) {
        if let Some(checkout) = &self.checkout {
            checkout.keep_prices_resolved().await;
        }
    }

    /// Returns what handles a request with this target, given as it stands in the request line.
    pub fn route(&self, target: &[u8]) -> Route<'_> {
        match self.all.guard.classify(target) {
            // The guard comes first, because a webhook path may lie beneath a checkout path.
            Classification::Other => match &self.checkout {
                Some(checkout) => match checkout_route(&checkout.config.paths, target) {
                    Some(route) => Route::Checkout(checkout, route),
                    None => Route::Pass,
                },
                None => Route::Pass,
            },
            Classification::Webhook(location) => Route::Webhook(WebhookRoute {
                endpoint: self.endpoint(location),
                segments: self.all.guard.segments(location, target),
                enforce: self.enforces(location, target),
            }),
            Classification::Ambiguous { reason, webhook } => {
                Route::Ambiguous { reason, enforce: self.enforces(webhook, target) }
            }
        }
    }

    /// Returns the rule by which a backend takes a target for an enforced webhook, if it takes the first segment for a host.
    pub(super) fn tells_webhook_behind_host(&self, target: &[u8]) -> Option<Reason> {
        match self.enforced.guard.classify(&[b"/", target].concat()) {
            Classification::Ambiguous { reason, .. } => Some(reason),
            Classification::Webhook(_) | Classification::Other => None,
        }
    }

    /// Returns whether the endpoint of this location is enforced, or any other that some backend takes the target for.
    fn enforces(&self, location: usize, target: &[u8]) -> bool {
        self.all.enforced[location] || self.enforced.guard.classify(target) != Classification::Other
    }
}

/// Returns what a target asks of a checkout at these paths, or `None` if it lies outside them.
fn checkout_route(paths: &[String], target: &[u8]) -> Option<CheckoutRoute> {
    let rest = paths.iter().find_map(|path| {
        let rest = target.strip_prefix(path.as_bytes())?;
        matches!(rest.first(), None | Some(b'/' | b'?')).then_some(rest)
    })?;
    let Some(below) = rest.strip_prefix(b"/") else { return Some(CheckoutRoute::CreateSession) };
    let id = below.split(|&byte| byte == b'?').next().and_then(|id| str::from_utf8(id).ok());
    let id = id.filter(|id| session::is_session_id(id));
    Some(id.map_or(CheckoutRoute::NotFound, |id| CheckoutRoute::SessionStatus(id.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_has_its_paths_and_everything_beneath_them() {
        let paths = ["/api/checkout".to_owned(), "/buy".to_owned()];
        for (target, expected) in [
            ("/api/checkout", Some(CheckoutRoute::CreateSession)),
            ("/api/checkout?x=/y", Some(CheckoutRoute::CreateSession)),
            ("/buy", Some(CheckoutRoute::CreateSession)),
            ("/api/checkout/cs_test_1", Some(CheckoutRoute::SessionStatus("cs_test_1".into()))),
            ("/buy/cs_live_a?x", Some(CheckoutRoute::SessionStatus("cs_live_a".into()))),
            ("/api/checkout/", Some(CheckoutRoute::NotFound)),
            ("/api/checkout/x", Some(CheckoutRoute::NotFound)),
            ("/api/checkout/cs_test_1/x", Some(CheckoutRoute::NotFound)),
            ("/api/checkout/cs_test_%31", Some(CheckoutRoute::NotFound)),
            ("/api/checkouts", None),
            ("/api/checkout.json", None),
            ("/API/checkout", None),
            ("/api", None),
            ("/", None),
        ] {
            assert_eq!(checkout_route(&paths, target.as_bytes()), expected, "{target}");
        }
    }
}
