//! A request to a checkout path, from its head to its response: the body, the verdict of the checkout, the response and one
//! log line. `request` checks the head; what may be ordered is `crate::checkout`'s to decide.

mod request;

use bytes::Bytes;
use std::time::Duration;

use super::admission::AdmissionPermit;
use super::body::{BodyError, ReadLimits};
use super::cors::CorsDecision;
use super::exchange::{ConnectionAction, Exchange, ExchangeResult};
use super::response::Response;
use super::route::CheckoutRoute;
use crate::checkout::order::OrderEncoding;
use crate::checkout::{Checkout, OrderDisposition, OrderRequest, OrderResult};
use crate::outcome::checkout::CheckoutOutcome;
use request::{Action, EarlyReply, Request};

/// How long the whole body of an order may take to arrive: orders are short.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How the handling of a checkout request ended.
type CheckoutExchangeResult = ExchangeResult<CheckoutOutcome, OrderResult>;

/// A request to a checkout path.
struct CheckoutExchange<'a, 'c> {
    exchange: Exchange<'c>,
    checkout: &'a Checkout,
    /// Which page sent the request. Known once its head has been checked.
    cors: CorsDecision,
    /// The methods of the path, for `Allow` and for a preflight.
    methods: &'static str,
    /// True if the client prefers to read HTML.
    html: bool,
}

/// Handles a request to a path of `checkout`, counts it and logs it.
pub(super) async fn handle(
    exchange: Exchange<'_>,
    checkout: &Checkout,
    route: CheckoutRoute,
) -> ConnectionAction {
    let context = exchange.context;
    let _in_flight = context.metrics.in_flight();
    let (started, request_id) = (exchange.started, exchange.new_request_id());
    let order = route == CheckoutRoute::CreateSession;
    let methods = if order { "POST, OPTIONS" } else { "GET, HEAD, OPTIONS" };
    let mut handler = CheckoutExchange { exchange, checkout, cors: CorsDecision::Any, methods, html: false };
    let result = handler.run(route).await;
    let took = started.elapsed();
    context.metrics.record_checkout(result.outcome, took);
    log(&result, request_id.as_str(), order, took.as_micros() as f64 / 1e3);
    result.action
}

impl CheckoutExchange<'_, '_> {
    async fn run(&mut self, route: CheckoutRoute) -> CheckoutExchangeResult {
        let action = match self.check_head(route) {
            Ok(action) => action,
            Err(reply) => return self.reject(reply).await,
        };
        // Stripe may have to be asked more than once before the program ends.
        if !self.exchange.has_time_for(self.checkout.max_call_duration()) {
            return self.reject(EarlyReply::new(CheckoutOutcome::ShuttingDown)).await;
        }
        let context = self.exchange.context;
        let limiter = match &action {
            Action::CreateSession(..) => &context.orders,
            Action::SessionStatus(_) => &context.status_requests,
        };
        let Some(mut permit) = limiter.acquire().await else {
            return self.reject(EarlyReply::new(CheckoutOutcome::Overloaded)).await;
        };
        let body = match self.read_body(&mut permit).await {
            Ok(body) => body,
            Err(error) => {
                // A client that is slow to read its response takes no place from another.
                drop(permit);
                return self.fail(error).await;
            }
        };
        let (result, follows_redirect) = self.perform(action, &body).await;
        drop(permit);
        let response = self.finish(Response::from_order(&result.disposition, follows_redirect));
        ExchangeResult {
            action: self.exchange.respond(&response).await,
            outcome: result.disposition.outcome(),
            status: Some(response.status),
            result: Some(result),
        }
    }

    /// Checks the head, and learns from it who reads the response.
    fn check_head(&mut self, route: CheckoutRoute) -> Result<Action, EarlyReply> {
        let routes = self.exchange.context.routes.load();
        let request = Request {
            checkout: self.checkout,
            routes: &routes,
            peer: self.exchange.peer(),
            head: &self.exchange.head,
            valid: self.exchange.head.validate().is_ok(),
        };
        // An invalid head decides this too, so that the page can read its error.
        self.cors = request.cors();
        self.html = request.prefers_html();
        request.action(route, &self.cors, self.methods)
    }

    async fn read_body(&mut self, permit: &mut AdmissionPermit) -> Result<Bytes, BodyError> {
        let limits = ReadLimits { max_bytes: self.checkout.config.max_body, timeout: BODY_TIMEOUT };
        self.exchange.read_body(limits, self.checkout.max_call_duration(), permit).await
    }

    /// Performs the action. Also returns whether the client follows a redirect.
    async fn perform(&self, action: Action, body: &[u8]) -> (OrderResult, bool) {
        match action {
            Action::CreateSession(encoding, buyer) => {
                let idempotency_key = self.exchange.head.value("idempotency-key");
                let order = OrderRequest { encoding, body, idempotency_key, buyer: &buyer };
                (self.checkout.order(order).await, encoding == OrderEncoding::Form || self.html)
            }
            Action::SessionStatus(id) => (self.checkout.status(&id).await, false),
        }
    }

    /// Responds before the body is read.
    async fn reject(&mut self, reply: EarlyReply) -> CheckoutExchangeResult {
        let response = self.finish(*reply.response);
        let action = self.exchange.reject(&response).await;
        ExchangeResult { action, outcome: reply.outcome, status: Some(response.status), result: None }
    }

    /// Responds to a body that could not be read.
    async fn fail(&mut self, error: BodyError) -> CheckoutExchangeResult {
        let outcome = match error {
            BodyError::TooLarge => CheckoutOutcome::BodyTooLarge,
            BodyError::Malformed | BodyError::Disconnected => CheckoutOutcome::BodyMalformed,
            BodyError::TooSlow => CheckoutOutcome::BodyTooSlow,
            BodyError::Evicted => CheckoutOutcome::Overloaded,
            BodyError::ShuttingDown => CheckoutOutcome::ShuttingDown,
        };
        let response = self.finish(Response::from_checkout_outcome(outcome, None));
        self.exchange.fail_body(error, outcome, &response).await
    }

    /// Finishes a response for the client and the page that read it.
    fn finish(&self, response: Response) -> Response {
        let response = if self.html && response.status >= 400 { response.into_html() } else { response };
        let requested = self.exchange.head.values("access-control-request-headers");
        response.with_cors(&self.cors, self.methods, requested)
    }
}

/// Logs the one line of a checkout request. Pages ask for a status often, so those lines are at `debug`.
fn log(exchange_result: &CheckoutExchangeResult, request_id: &str, order: bool, duration_ms: f64) {
    let result = exchange_result.result.as_ref();
    let disposition = result.map(|result| &result.disposition);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id,
                outcome = exchange_result.outcome.as_str(),
                status = exchange_result.status,
                duration_ms,
                session.id = disposition.and_then(OrderDisposition::session),
                stripe.request_id = result.and_then(|result| result.request_id.as_deref()),
                stripe.attempts = result.map(|result| result.attempts),
                stripe.replayed = result.filter(|result| result.replayed).map(|_| true),
                reason = disposition.and_then(OrderDisposition::reason),
                "checkout request handled"
            )
        };
    }
    if disposition.is_some_and(OrderDisposition::is_operator_error) {
        line!(error);
    } else if order {
        line!(info);
    } else {
        line!(debug);
    }
}
