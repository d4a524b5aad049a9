//! A request to a checkout path, from its head to its answer: who may ask and how often, the body, the checkout's
//! verdict, the reply, one log line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Edge;
use super::body::{self, BodyFault, Bounds};
use super::client;
use super::connection::Connection;
use super::forwarded::{self, Origin};
use super::page::{Page, Said};
use super::reply::Reply;
use super::route::{Errand, Routes};
use super::serve::{Arrived, Next, early};
use crate::checkout::identity::{Identity, Unreadable};
use crate::checkout::limit::Who;
use crate::checkout::order::Shape;
use crate::checkout::{Checkout, Receipt, Slip};
use crate::clock;
use crate::http1::head::Fields;
use crate::outcome::checkout::CheckoutOutcome;

/// For the whole body: orders are short.
const BODY: Duration = Duration::from_secs(10);

/// What a path can be asked, as `Allow` says it.
const ORDER_METHODS: &str = "POST, OPTIONS";
const STATUS_METHODS: &str = "GET, HEAD, OPTIONS";

/// What is done about a request, once its head is known.
enum Deal {
    /// It is answered at once.
    Answer(Reply, CheckoutOutcome),
    /// It is an order of this shape.
    Order(Shape, Identity),
    /// It asks for this session.
    Status(Box<str>),
}

/// How it ended.
struct Ended {
    next: Next,
    outcome: CheckoutOutcome,
    /// `None` if there was no one left to tell.
    status: Option<u16>,
    receipt: Option<Receipt>,
}

/// Handles one.
pub(super) async fn handle(
    edge: &Edge,
    checkout: &Arc<Checkout>,
    errand: Errand,
    connection: &mut Connection,
    arrived: Arrived,
) -> Next {
    let started = clock::instant();
    let _in_flight = edge.metrics.in_flight();
    let order = matches!(errand, Errand::Order);
    let ended = run(edge, checkout, errand, connection, arrived).await;
    let took = started.elapsed();
    edge.metrics.checked_out(ended.outcome, took);
    log(&ended, order, took.as_micros() as f64 / 1e3);
    ended.next
}

async fn run(
    edge: &Edge,
    checkout: &Checkout,
    errand: Errand,
    connection: &mut Connection,
    arrived: Arrived,
) -> Ended {
    let methods = if matches!(errand, Errand::Order) { ORDER_METHODS } else { STATUS_METHODS };
    let head = &connection.buffered()[..arrived.length];
    let Ok(fields) = Fields::parse(head) else {
        return at_once(edge, connection, arrived, refusal(CheckoutOutcome::RequestMalformed, None)).await;
    };
    let routes = edge.routes.load_full();
    let asked = Asked { checkout, routes: &routes, peer: connection.peer(), head, fields: &fields };
    let page = asked.page();
    let html = forwarded::wants_html(&fields.values(head, "accept").collect::<Vec<_>>());
    // Whoever is told no is told so in a way that he, and his page, can read.
    let dress = |reply: Reply| {
        let reply = if html && reply.status >= 400 { reply.for_people() } else { reply };
        reply.for_page(&page, methods)
    };
    let deal = match asked.deal(errand, &page, methods) {
        Deal::Answer(reply, outcome) => Err((dress(reply), outcome)),
        Deal::Order(..) | Deal::Status(_) if !edge.drain.has_time_for(checkout.longest()) => {
            let (reply, outcome) = refusal(CheckoutOutcome::ShuttingDown, None);
            Err((dress(reply), outcome))
        }
        deal => Ok(deal),
    };
    let deal = match deal {
        Ok(deal) => deal,
        Err(answer) => return at_once(edge, connection, arrived, answer).await,
    };
    let Some(mut pass) = edge.orders.enter().await else {
        let (reply, outcome) = refusal(CheckoutOutcome::Overloaded, None);
        return at_once(edge, connection, arrived, (dress(reply), outcome)).await;
    };
    let head = connection.take(arrived.length);
    let bounds = Bounds { limit: checkout.terms.max_body, within: BODY };
    let awaited = body::awaited(&head, &fields);
    let body = match body::receive(connection, awaited, arrived.framing, bounds, &mut pass).await {
        Ok(body) => body,
        Err(fault) => {
            drop(pass);
            return broken(connection, fault, dress).await;
        }
    };
    let (receipt, go) = match deal {
        Deal::Order(shape, buyer) => {
            let idempotency_key = fields.value(&head, "idempotency-key");
            let slip = Slip { shape, body: &body, idempotency_key, buyer: &buyer };
            (checkout.order(slip).await, shape == Shape::Form || html)
        }
        Deal::Status(id) => (checkout.status(&id).await, false),
        // Answered above.
        Deal::Answer(reply, outcome) => return at_once(edge, connection, arrived, (reply, outcome)).await,
    };
    drop(pass);
    let reply = dress(Reply::to_checkout(&receipt.fate, go));
    let keep = fields.keep_alive() && !edge.drain.begun();
    let text = if head.starts_with(b"HEAD ") { &b""[..] } else { &reply.body };
    let sent = connection.send(&reply.head(keep), text).await;
    let next = if keep && sent.is_ok() { Next::Keep } else { Next::Close };
    let outcome = receipt.fate.outcome();
    Ended { next, outcome, status: Some(reply.status), receipt: Some(receipt) }
}

/// A request whose head is read and whose body is not.
struct Asked<'a> {
    checkout: &'a Checkout,
    routes: &'a Routes,
    peer: Option<IpAddr>,
    head: &'a [u8],
    fields: &'a Fields,
}

impl Asked<'_> {
    fn page(&self) -> Page {
        let values = |name| self.fields.values(self.head, name);
        let origin = Origin::of(self.peer, &self.routes.trusted_proxies, values);
        let said = Said {
            origins: values("origin").collect(),
            fetch_site: values("sec-fetch-site").next(),
            host: origin.host,
        };
        Page::of(&said, &self.checkout.terms.allowed_origins)
    }

    /// What is to be done: everything that can be told without the body.
    fn deal(&self, errand: Errand, page: &Page, methods: &'static str) -> Deal {
        let answer = |outcome| Deal::Answer(Reply::of_checkout(outcome, None), outcome);
        let method = self.head.split(|&byte| byte == b' ').next().unwrap_or_default();
        if *page == Page::Foreign {
            return answer(CheckoutOutcome::OriginForbidden);
        }
        match (method, &errand) {
            (b"OPTIONS", _) => {
                let outcome = CheckoutOutcome::Preflight;
                return Deal::Answer(Reply::of_checkout(outcome, None).allowing(methods), outcome);
            }
            (b"POST", Errand::Order) | (b"GET" | b"HEAD", Errand::Status(_) | Errand::Unknown) => {}
            _ => {
                let outcome = CheckoutOutcome::MethodNotAllowed;
                return Deal::Answer(Reply::of_checkout(outcome, None).allowing(methods), outcome);
            }
        }
        let buyer = match self.buyer() {
            Ok(buyer) => buyer,
            Err(Unreadable(header)) => {
                let outcome = CheckoutOutcome::IdentityInvalid;
                return Deal::Answer(Reply::of_checkout(outcome, Some(&header)), outcome);
            }
        };
        if let Err(wait) = self.count(&buyer) {
            let outcome = CheckoutOutcome::RateLimited;
            return Deal::Answer(Reply::of_checkout(outcome, None).after_limit(wait), outcome);
        }
        match errand {
            Errand::Status(id) => Deal::Status(id),
            Errand::Unknown => answer(CheckoutOutcome::SessionUnknown),
            Errand::Order => {
                let mut kinds = self.fields.values(self.head, "content-type");
                let shape = kinds.next().and_then(Shape::of).filter(|_| kinds.next().is_none());
                let mut codings = self.fields.values(self.head, "content-encoding");
                let mut keys = self.fields.values(self.head, "idempotency-key");
                match shape {
                    None => answer(CheckoutOutcome::ContentTypeUnsupported),
                    Some(_) if codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")) => {
                        answer(CheckoutOutcome::BodyEncoded)
                    }
                    Some(_) if keys.nth(1).is_some() => {
                        let outcome = CheckoutOutcome::FieldInvalid;
                        Deal::Answer(Reply::of_checkout(outcome, Some("Idempotency-Key")), outcome)
                    }
                    Some(shape) => Deal::Order(shape, buyer),
                }
            }
        }
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

    /// Counts the request for whoever sent it; `Err` if that was one too many.
    fn count(&self, buyer: &Identity) -> Result<(), Duration> {
        let Some(limit) = &self.checkout.limit else { return Ok(()) };
        let proxies = &self.routes.trusted_proxies;
        let address = || client::address(self.peer, proxies, self.fields.values(self.head, forwarded::FOR));
        let who = match buyer.word() {
            Some(word) => Some(Who::known(word)),
            None => address().map(Who::at),
        };
        match who {
            Some(who) => limit.take(who, clock::instant()),
            None => {
                if limit.take_unknown() {
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

fn refusal(outcome: CheckoutOutcome, param: Option<&str>) -> (Reply, CheckoutOutcome) {
    (Reply::of_checkout(outcome, param), outcome)
}

/// Answers before the body was read.
async fn at_once(
    edge: &Edge,
    connection: &mut Connection,
    arrived: Arrived,
    (reply, outcome): (Reply, CheckoutOutcome),
) -> Ended {
    let next = early(edge, connection, arrived, &reply).await;
    Ended { next, outcome, status: Some(reply.status), receipt: None }
}

/// Answers to a body that did not come whole.
async fn broken(connection: &mut Connection, fault: BodyFault, dress: impl Fn(Reply) -> Reply) -> Ended {
    let outcome = match fault {
        BodyFault::TooLarge => CheckoutOutcome::BodyTooLarge,
        BodyFault::Malformed => CheckoutOutcome::BodyMalformed,
        BodyFault::TooSlow => CheckoutOutcome::BodyTooSlow,
        BodyFault::SentAway => CheckoutOutcome::Overloaded,
        BodyFault::Gone => {
            let outcome = CheckoutOutcome::BodyMalformed;
            return Ended { next: Next::Close, outcome, status: None, receipt: None };
        }
    };
    let reply = dress(Reply::of_checkout(outcome, None));
    let sent = connection.send(&reply.head(false), &reply.body).await;
    let next = if sent.is_ok() { Next::Part } else { Next::Close };
    Ended { next, outcome, status: Some(reply.status), receipt: None }
}

/// The one line that an order leaves; questions for a status are many and leave theirs at `debug`.
fn log(ended: &Ended, order: bool, duration_ms: f64) {
    let receipt = ended.receipt.as_ref();
    let fate = receipt.map(|receipt| &receipt.fate);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                outcome = ended.outcome.code(),
                status = ended.status,
                duration_ms,
                session.id = fate.and_then(|fate| fate.session()),
                stripe.request_id = receipt.and_then(|receipt| receipt.request_id.as_deref()),
                stripe.attempts = receipt.map(|receipt| receipt.attempts),
                stripe.replayed = receipt.filter(|receipt| receipt.replayed).map(|_| true),
                reason = fate.and_then(|fate| fate.reason()),
                "checkout"
            )
        };
    }
    match fate {
        Some(fate) if fate.is_ours() => line!(error),
        Some(_) | None if order => line!(info),
        Some(_) | None => line!(debug),
    }
}
