//! A request to a checkout path, parsed from its head: which page sent it, who buys, how often, and what is asked for.
//! It reads no body and answers nobody. Counting for the rate limit is all that it changes.

use std::net::IpAddr;
use std::time::Duration;

use crate::checkout::Checkout;
use crate::checkout::identity::{Identity, InvalidHeader};
use crate::checkout::order::OrderEncoding;
use crate::checkout::rate_limit::RateKey;
use crate::clock;
use crate::edge::client_addr;
use crate::edge::cors::{CorsDecision, OriginPolicy, PageHeaders};
use crate::edge::headers::{Origin, X_FORWARDED_FOR, peer_trusted};
use crate::edge::response::Response;
use crate::edge::route::{CheckoutRoute, Routes};
use crate::http1::accept;
use crate::http1::head::RequestHead;
use crate::outcome::checkout::CheckoutOutcome;

/// What is to be done once the body has been read.
pub(super) enum Action {
    /// Create a session for an order in this encoding, for this buyer.
    CreateSession(OrderEncoding, Identity),
    /// Ask Stripe for the status of the session with this id.
    SessionStatus(Box<str>),
}

/// A response that needs no body and no call to Stripe.
pub(super) struct EarlyReply {
    /// The response, not yet finished for the page and the client.
    pub response: Box<Response>,
    /// The outcome for the log and the metrics.
    pub outcome: CheckoutOutcome,
}

impl EarlyReply {
    /// The response that needs nothing but its outcome.
    pub(super) fn new(outcome: CheckoutOutcome) -> Self {
        Self::with_param(outcome, None)
    }

    /// The response that names the invalid header or field.
    fn with_param(outcome: CheckoutOutcome, param: Option<&str>) -> Self {
        Self { response: Box::new(Response::from_checkout_outcome(outcome, param)), outcome }
    }

    fn map(self, change: impl FnOnce(Response) -> Response) -> Self {
        Self { response: Box::new(change(*self.response)), ..self }
    }
}

/// The head of a checkout request, with what is needed to check it.
pub(super) struct Request<'a> {
    /// The checkout whose path was asked for.
    pub checkout: &'a Checkout,
    /// The routes, for the proxies that are trusted.
    pub routes: &'a Routes,
    /// The address of the peer; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// The head, which need not be valid.
    pub head: &'a RequestHead,
    /// True if the head is valid.
    pub valid: bool,
}

impl Request<'_> {
    /// Determines which page sent the request.
    pub(super) fn cors(&self) -> CorsDecision {
        let origin = Origin::new(self.head, self.peer, &self.routes.trusted_proxies);
        let page = PageHeaders {
            origins: self.head.values("origin").collect(),
            fetch_site: self.head.value("sec-fetch-site"),
            // The host of an invalid head is ambiguous, so only a listed origin counts.
            host: origin.host.filter(|_| self.valid),
        };
        OriginPolicy { allowed_origins: &self.checkout.config.allowed_origins }.check(&page)
    }

    /// Returns true if the client prefers to read HTML.
    pub(super) fn prefers_html(&self) -> bool {
        accept::prefers_html(&self.head.values("accept").collect::<Vec<_>>())
    }

    /// Decides what is to be done. `methods` are those that the path has.
    pub(super) fn action(
        &self,
        route: CheckoutRoute,
        cors: &CorsDecision,
        methods: &'static str,
    ) -> Result<Action, EarlyReply> {
        if !self.valid {
            return Err(EarlyReply::new(CheckoutOutcome::RequestMalformed));
        }
        if *cors == CorsDecision::Deny {
            return Err(EarlyReply::new(CheckoutOutcome::OriginForbidden));
        }
        let method = self.head.method();
        let allowed = match &route {
            CheckoutRoute::CreateSession => method == b"POST",
            CheckoutRoute::SessionStatus(_) | CheckoutRoute::NotFound => matches!(method, b"GET" | b"HEAD"),
        };
        if !allowed {
            let preflight = method == b"OPTIONS";
            let outcome =
                if preflight { CheckoutOutcome::Preflight } else { CheckoutOutcome::MethodNotAllowed };
            return Err(EarlyReply::new(outcome).map(|response| response.with_allow(methods)));
        }
        let buyer = self.buyer().map_err(|InvalidHeader(header)| {
            EarlyReply::with_param(CheckoutOutcome::IdentityInvalid, Some(&header))
        })?;
        // Counted before the rest is looked at, so that probing for valid orders is limited too.
        self.check_rate(&route, &buyer).map_err(|wait| {
            EarlyReply::new(CheckoutOutcome::RateLimited).map(|response| response.with_retry_after(wait))
        })?;
        match route {
            CheckoutRoute::SessionStatus(id) => Ok(Action::SessionStatus(id)),
            CheckoutRoute::NotFound => Err(EarlyReply::new(CheckoutOutcome::SessionUnknown)),
            CheckoutRoute::CreateSession => {
                self.encoding().map(|encoding| Action::CreateSession(encoding, buyer))
            }
        }
    }

    /// Determines the encoding of the order, if there is one that can be read.
    fn encoding(&self) -> Result<OrderEncoding, EarlyReply> {
        let mut types = self.head.values("content-type");
        let encoding =
            types.next().and_then(OrderEncoding::from_content_type).filter(|_| types.next().is_none());
        let encoding = encoding.ok_or_else(|| EarlyReply::new(CheckoutOutcome::ContentTypeUnsupported))?;
        if self.head.values("content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(EarlyReply::new(CheckoutOutcome::BodyEncoded));
        }
        // Two keys could make one order twice.
        if self.head.values("idempotency-key").nth(1).is_some() {
            return Err(EarlyReply::with_param(CheckoutOutcome::FieldInvalid, Some("Idempotency-Key")));
        }
        Ok(encoding)
    }

    /// Reads who buys. Only a trusted proxy may say so.
    fn buyer(&self) -> Result<Identity, InvalidHeader> {
        if !peer_trusted(self.peer, &self.routes.trusted_proxies) {
            return Ok(Identity::default());
        }
        let values = |name: &str| {
            let name = name.as_bytes().to_vec();
            let named = move |(found, _): &(&[u8], &[u8])| found.eq_ignore_ascii_case(&name);
            self.head.headers().filter(named).map(|(_, value)| value)
        };
        Identity::from_headers(&self.checkout.config.identity, values)
    }

    /// Counts the request for its sender. Over the limit it returns how long to wait.
    fn check_rate(&self, route: &CheckoutRoute, buyer: &Identity) -> Result<(), Duration> {
        let (key, limit) = match route {
            CheckoutRoute::CreateSession => ("checkout.rate_limit", &self.checkout.order_limit),
            CheckoutRoute::SessionStatus(_) | CheckoutRoute::NotFound => {
                ("checkout.status_rate_limit", &self.checkout.status_limit)
            }
        };
        let Some(limit) = limit else { return Ok(()) };
        let proxies = &self.routes.trusted_proxies;
        let address = || client_addr::address(self.peer, proxies, self.head.values(X_FORWARDED_FOR));
        let sender = match buyer.principal() {
            Some(principal) => Some(RateKey::from_principal(principal)),
            None => address().map(RateKey::from_address),
        };
        match sender {
            Some(sender) => limit.check(sender, clock::instant()),
            None => {
                if limit.warn_once_unknown() {
                    tracing::warn!(
                        key,
                        "rate limit does not limit clients without a known address: every address in X-Forwarded-For is \
                         one of server.trusted_proxies; let the outermost proxy add the client's address"
                    );
                }
                Ok(())
            }
        }
    }
}
