//! A request to a checkout path, from its head to its answer: the body, the checkout's verdict, the reply, one log line.

use bytes::Bytes;
use std::time::Duration;

use super::Edge;
use super::asked::{Asked, Told, Work};
use super::body::{self, BodyFault, Bounds};
use super::connection::Connection;
use super::gate::Pass;
use super::page::Page;
use super::reply::Response;
use super::route::Errand;
use super::serve::{Arrived, Next, early};
use crate::checkout::order::Shape;
use crate::checkout::{Checkout, OrderDisposition, OrderRequest, OrderResult};
use crate::clock;
use crate::http1::head::Headers;
use crate::outcome::checkout::CheckoutOutcome;

/// For the whole body: orders are short.
const BODY: Duration = Duration::from_secs(10);

/// One request being handled.
struct Visit<'a> {
    edge: &'a Edge,
    checkout: &'a Checkout,
    connection: &'a mut Connection,
    /// Which page sent it, which methods its path has, and whether a person reads the answer.
    page: Page,
    methods: &'static str,
    html: bool,
}

/// How it ended.
struct Ended {
    next: Next,
    outcome: CheckoutOutcome,
    /// `None` if there was no one left to tell.
    status: Option<u16>,
    result: Option<OrderResult>,
}

/// Handles one.
pub(super) async fn handle(
    edge: &Edge,
    checkout: &Checkout,
    errand: Errand,
    connection: &mut Connection,
    arrived: Arrived,
) -> Next {
    let started = clock::instant();
    let _in_flight = edge.metrics.in_flight();
    let order = errand == Errand::Order;
    let methods = if order { "POST, OPTIONS" } else { "GET, HEAD, OPTIONS" };
    let visit = Visit { edge, checkout, connection, page: Page::Any, methods, html: false };
    let ended = visit.run(errand, arrived).await;
    let took = started.elapsed();
    edge.metrics.checked_out(ended.outcome, took);
    log(&ended, order, took.as_micros() as f64 / 1e3);
    ended.next
}

impl Visit<'_> {
    async fn run(mut self, errand: Errand, arrived: Arrived) -> Ended {
        let head = &self.connection.buffered()[..arrived.length];
        let Ok(fields) = Headers::parse(head) else {
            return self.answer_early(arrived, Told::of(CheckoutOutcome::RequestMalformed)).await;
        };
        let routes = self.edge.routes.load_full();
        let (checkout, peer) = (self.checkout, self.connection.peer());
        let asked = Asked { checkout, routes: &routes, peer, head, fields: &fields };
        (self.page, self.html) = (asked.page(), asked.html());
        let work = match asked.work(errand, &self.page, self.methods) {
            Ok(work) => work,
            Err(told) => return self.answer_early(arrived, told).await,
        };
        if !self.has_time() {
            return self.answer_early(arrived, Told::of(CheckoutOutcome::ShuttingDown)).await;
        }
        let Some(mut pass) = self.edge.orders.enter().await else {
            return self.answer_early(arrived, Told::of(CheckoutOutcome::Overloaded)).await;
        };
        let head = self.connection.take(arrived.length);
        let body = match self.read_body(&head, &fields, arrived, &mut pass).await {
            Ok(body) => body,
            Err(Some(outcome)) => {
                // A client that is slow to read its answer takes no place from another.
                drop(pass);
                let reply = self.dress(Response::of_checkout(outcome, None));
                let sent = self.connection.send(&reply.head(false), &reply.body).await;
                let next = if sent.is_ok() { Next::Part } else { Next::Close };
                return Ended { next, outcome, status: Some(reply.status), result: None };
            }
            Err(None) => {
                let outcome = CheckoutOutcome::BodyMalformed;
                return Ended { next: Next::Close, outcome, status: None, result: None };
            }
        };
        let (result, go) = self.perform(work, &head, &fields, &body).await;
        drop(pass);
        let reply = self.dress(Response::to_checkout(&result.disposition, go));
        let keep = fields.keep_alive() && !self.edge.drain.begun();
        let text = if head.starts_with(b"HEAD ") { &b""[..] } else { &reply.body };
        let sent = self.connection.send(&reply.head(keep), text).await;
        Ended {
            next: if keep && sent.is_ok() { Next::Keep } else { Next::Close },
            outcome: result.disposition.outcome(),
            status: Some(reply.status),
            result: Some(result),
        }
    }

    /// Does what was asked; and whether whoever asked follows a redirect.
    async fn perform(&self, work: Work, head: &[u8], fields: &Headers, body: &[u8]) -> (OrderResult, bool) {
        match work {
            Work::Order(shape, buyer) => {
                let idempotency_key = fields.value(head, "idempotency-key");
                let slip = OrderRequest { shape, body, idempotency_key, buyer: &buyer };
                (self.checkout.order(slip).await, shape == Shape::Form || self.html)
            }
            Work::Status(id) => (self.checkout.status(&id).await, false),
        }
    }

    /// `Err(None)`: there is no one to answer any more.
    async fn read_body(
        &mut self,
        head: &[u8],
        fields: &Headers,
        arrived: Arrived,
        pass: &mut Pass,
    ) -> Result<Bytes, Option<CheckoutOutcome>> {
        let bounds = Bounds { limit: self.checkout.terms.max_body, within: BODY };
        let awaited = body::awaited(head, fields);
        match body::receive(self.connection, awaited, arrived.framing, bounds, pass).await {
            // The body may have taken what time there was.
            Ok(_) if !self.has_time() => Err(Some(CheckoutOutcome::ShuttingDown)),
            Ok(body) => Ok(body),
            Err(BodyFault::TooLarge) => Err(Some(CheckoutOutcome::BodyTooLarge)),
            Err(BodyFault::Malformed) => Err(Some(CheckoutOutcome::BodyMalformed)),
            Err(BodyFault::TooSlow) => Err(Some(CheckoutOutcome::BodyTooSlow)),
            Err(BodyFault::SentAway) => Err(Some(CheckoutOutcome::Overloaded)),
            Err(BodyFault::Gone) => Err(None),
        }
    }

    /// Whether Stripe can be asked, and asked again, before the program ends.
    fn has_time(&self) -> bool {
        self.edge.drain.has_time_for(self.checkout.longest())
    }

    /// Answers before the body was read.
    async fn answer_early(self, arrived: Arrived, told: Told) -> Ended {
        let reply = self.dress(*told.reply);
        let next = early(self.edge, self.connection, arrived, &reply).await;
        Ended { next, outcome: told.outcome, status: Some(reply.status), result: None }
    }

    /// A reply as whoever asked, and his page, can read it.
    fn dress(&self, reply: Response) -> Response {
        let reply = if self.html && reply.status >= 400 { reply.for_people() } else { reply };
        reply.for_page(&self.page, self.methods)
    }
}

/// The one line that an order leaves; questions for a status are many and leave theirs at `debug`.
fn log(ended: &Ended, order: bool, duration_ms: f64) {
    let result = ended.result.as_ref();
    let disposition = result.map(|result| &result.disposition);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                outcome = ended.outcome.as_str(),
                status = ended.status,
                duration_ms,
                session.id = disposition.and_then(OrderDisposition::session),
                stripe.request_id = result.and_then(|result| result.request_id.as_deref()),
                stripe.attempts = result.map(|result| result.attempts),
                stripe.replayed = result.filter(|result| result.replayed).map(|_| true),
                reason = disposition.and_then(OrderDisposition::reason),
                "checkout"
            )
        };
    }
    if disposition.is_some_and(OrderDisposition::is_ours) {
        line!(error);
    } else if order {
        line!(info);
    } else {
        line!(debug);
    }
}
