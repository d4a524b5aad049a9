//! A request to a checkout path, as far as its head tells: which page sent it, who buys, how often, and what is wanted.
//! It reads no body and answers nobody; counting for the rate limit is all that it changes.

use std::net::IpAddr;
use std::time::Duration;

use super::client;
use super::forwarded::{self, Origin};
use super::page::{Page, Said};
use super::reply::Response;
use super::route::{Errand, Routes};
use crate::checkout::Checkout;
use crate::checkout::identity::{Identity, Unreadable};
use crate::checkout::limit::Who;
use crate::checkout::order::Shape;
use crate::clock;
use crate::http1::head::Headers;
use crate::outcome::checkout::CheckoutOutcome;

/// What is left to do.
pub(super) enum Work {
    /// To take an order of this shape, for this buyer.
    Order(Shape, Identity),
    /// To ask for this session.
    Status(Box<str>),
}

/// An answer that needs no work, or no more of it.
pub(super) struct Told {
    pub reply: Box<Response>,
    pub outcome: CheckoutOutcome,
}

impl Told {
    /// The answer that needs nothing but its outcome.
    pub(super) fn of(outcome: CheckoutOutcome) -> Told {
        Told::about(outcome, None)
    }

    /// The same, about one field.
    fn about(outcome: CheckoutOutcome, param: Option<&str>) -> Told {
        Told { reply: Box::new(Response::of_checkout(outcome, param)), outcome }
    }

    fn map(self, change: impl FnOnce(Response) -> Response) -> Told {
        Told { reply: Box::new(change(*self.reply)), ..self }
    }
}

/// The request.
pub(super) struct Asked<'a> {
    pub checkout: &'a Checkout,
    pub routes: &'a Routes,
    /// Who sent it; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    pub head: &'a [u8],
    pub fields: &'a Headers,
}

impl Asked<'_> {
    /// Which page sent it.
    pub(super) fn page(&self) -> Page {
        let values = |name| self.fields.values(self.head, name);
        let origin = Origin::of(self.peer, &self.routes.trusted_proxies, values);
        let said = Said {
            origins: values("origin").collect(),
            fetch_site: values("sec-fetch-site").next(),
            host: origin.host,
        };
        Page::of(&said, &self.checkout.terms.allowed_origins)
    }

    /// Whether whoever sent it would rather read a page.
    pub(super) fn html(&self) -> bool {
        forwarded::wants_html(&self.fields.values(self.head, "accept").collect::<Vec<_>>())
    }

    /// What is to be done about it. `methods` are those that the path has.
    pub(super) fn work(&self, errand: Errand, page: &Page, methods: &'static str) -> Result<Work, Told> {
        if *page == Page::Foreign {
            return Err(Told::of(CheckoutOutcome::OriginForbidden));
        }
        let method = self.head.split(|&byte| byte == b' ').next().unwrap_or_default();
        let known = match &errand {
            Errand::Order => method == b"POST",
            Errand::Status(_) | Errand::Unknown => matches!(method, b"GET" | b"HEAD"),
        };
        if !known {
            let preflight = method == b"OPTIONS";
            let outcome =
                if preflight { CheckoutOutcome::Preflight } else { CheckoutOutcome::MethodNotAllowed };
            return Err(Told::of(outcome).map(|reply| reply.allowing(methods)));
        }
        let buyer = self
            .buyer()
            .map_err(|Unreadable(header)| Told::about(CheckoutOutcome::IdentityInvalid, Some(&header)))?;
        self.count(&buyer)
            .map_err(|wait| Told::of(CheckoutOutcome::RateLimited).map(|reply| reply.after(wait)))?;
        match errand {
            Errand::Status(id) => Ok(Work::Status(id)),
            Errand::Unknown => Err(Told::of(CheckoutOutcome::SessionUnknown)),
            Errand::Order => self.shape().map(|shape| Work::Order(shape, buyer)),
        }
    }

    /// How an order is written, if it can be read at all.
    fn shape(&self) -> Result<Shape, Told> {
        let values = |name| self.fields.values(self.head, name);
        let mut kinds = values("content-type");
        let shape = kinds.next().and_then(Shape::of).filter(|_| kinds.next().is_none());
        let shape = shape.ok_or_else(|| Told::of(CheckoutOutcome::ContentTypeUnsupported))?;
        if values("content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(Told::of(CheckoutOutcome::BodyEncoded));
        }
        if values("idempotency-key").nth(1).is_some() {
            return Err(Told::about(CheckoutOutcome::FieldInvalid, Some("Idempotency-Key")));
        }
        Ok(shape)
    }

    /// Who buys, if whoever sent this may say so.
    fn buyer(&self) -> Result<Identity, Unreadable> {
        if !forwarded::trusted(self.peer, &self.routes.trusted_proxies) {
            return Ok(Identity::default());
        }
        let values = |name: &str| {
            let name = name.as_bytes().to_vec();
            let named = move |(found, _): &(&[u8], &[u8])| found.eq_ignore_ascii_case(&name);
            self.fields.iter(self.head).filter(named).map(|(_, value)| value)
        };
        Identity::read(&self.checkout.terms.identity, values)
    }

    /// Counts the request for whoever sent it; `Err` if that was one too many, with how long to wait.
    fn count(&self, buyer: &Identity) -> Result<(), Duration> {
        let Some(limit) = &self.checkout.limit else { return Ok(()) };
        let proxies = &self.routes.trusted_proxies;
        let address = || client::address(self.peer, proxies, self.fields.values(self.head, forwarded::FOR));
        let who = match buyer.principal() {
            Some(word) => Some(Who::known(word)),
            None => address().map(Who::at),
        };
        match who {
            Some(who) => limit.take(who, clock::instant()),
            None => {
                if limit.first_unknown() {
                    tracing::warn!(
                        "checkout.rate_limit limits nobody whose address is not known: every address in \
                         X-Forwarded-For is one of server.trusted_proxies"
                    );
                }
                Ok(())
            }
        }
    }
}
