//! A request to a webhook path, from its head to its response: what its head alone refuses, the body, the verdict of the
//! intake, the response and one log line. It verifies nothing itself.

use bytes::Bytes;
use std::sync::Arc;

use super::admission::AdmissionPermit;
use super::body::{BodyError, ReadLimits};
use super::exchange::{Exchange, ExchangeResult, Handling};
use super::headers::{self, RequestId};
use super::response::Response;
use crate::backend::RequestHeadBuilder;
use crate::endpoint::Endpoint;
use crate::guard::UnreadableForm;
use crate::http1::framing::Framing;
use crate::intake::{WebhookDisposition, WebhookRequest, WebhookResult};
use crate::outcome::{Outcome, outcome_of_rejection};

/// How the handling of a webhook ended.
type WebhookExchangeResult = ExchangeResult<Outcome, WebhookResult>;

/// A request to a webhook endpoint.
struct WebhookExchange<'a, 'c> {
    exchange: Exchange<'c>,
    endpoint: &'a Arc<Endpoint>,
    /// The values of the path's variable segments, separated by `/`; empty if there are none.
    segments: &'a str,
    /// Whether what fails its check is refused; if not, it is forwarded with the verdict.
    enforce: bool,
    /// The id for the backend and for the log.
    request_id: RequestId,
}

/// Handles a request to a location of `endpoint`, counts it and logs it. `segments` has the values of the path's variable
/// segments, separated by `/`. `enforce` tells whether what fails its check is refused.
pub(super) async fn handle(
    exchange: Exchange<'_>,
    endpoint: &Arc<Endpoint>,
    segments: &str,
    enforce: bool,
) -> Handling {
    let _in_flight = exchange.context.metrics.in_flight();
    let _needs_ledger = exchange.context.drain.begin_webhook();
    let request_id = exchange.new_request_id();
    let mut webhook = WebhookExchange { exchange, endpoint, segments, enforce, request_id };
    let result = webhook.run().await;
    let took = webhook.exchange.started.elapsed();
    let outcome = result.as_ref().map_or_else(|verdict| *verdict, |result| result.outcome);
    endpoint.metrics.record_response(outcome, took);
    log(&webhook, outcome, result.as_ref().ok(), took.as_micros() as f64 / 1e3);
    match result {
        Ok(result) => Handling::Responded(result.action),
        Err(verdict) => Handling::Forward(webhook.exchange.head, webhook.request_id, Some(verdict)),
    }
}

impl WebhookExchange<'_, '_> {
    /// Returns how it ended, or as an error the verdict with which the request is to be forwarded in a dry run.
    async fn run(&mut self) -> Result<WebhookExchangeResult, Outcome> {
        if let Some(outcome) = self.check_head() {
            // A dry run forwards what it would refuse. A request that is malformed or too late cannot be forwarded either.
            let forwardable = !matches!(outcome, Outcome::ShuttingDown | Outcome::RequestMalformed);
            return if forwardable && !self.enforce { Err(outcome) } else { Ok(self.reject(outcome).await) };
        }
        // It waits without a permit: as many webhooks may wait as there are connections.
        if let Some(handover) = &self.exchange.context.handover {
            handover.wait(self.exchange.context.drain.token()).await;
        }
        let Some(mut permit) = self.exchange.context.webhooks.acquire().await else {
            return Ok(self.reject(Outcome::Overloaded).await);
        };
        let body = match self.read_body(&mut permit).await {
            Ok(body) => body,
            Err(error) => {
                // A client that is slow to read its response takes no place from another.
                drop(permit);
                return Ok(self.fail(error).await);
            }
        };
        let mut permit = Some(permit);
        // What is durable needs no place any more, even if its sender waits for a delivery.
        let result = self.receive(body.clone(), || drop(permit.take())).await;
        let mut outcome = result.disposition.outcome();
        let response = if let WebhookDisposition::Rejected(rejection) = &result.disposition
            && !self.enforce
        {
            match self.check_form(&body) {
                Ok(()) => self.pass_on(outcome_of_rejection(*rejection), body).await,
                Err(refusal) => {
                    outcome = refusal;
                    Response::from_outcome(refusal)
                }
            }
        } else {
            Response::from_webhook(&result.disposition)
        };
        drop(permit);
        let action = self.exchange.respond(&response).await;
        Ok(ExchangeResult { action, outcome, status: Some(response.status), result: Some(result) })
    }

    /// Returns what is wrong with the request before a byte of its body is read.
    fn check_head(&self) -> Option<Outcome> {
        let head = &self.exchange.head;
        if head.validate().is_err() {
            return Some(Outcome::RequestMalformed);
        }
        if head.method() != b"POST" {
            return Some(Outcome::MethodNotAllowed);
        }
        if !self.endpoint.takes_query(head.query()) {
            return Some(Outcome::QueryUnexpected);
        }
        if head.values("content-encoding").any(|value| !value.eq_ignore_ascii_case(b"identity")) {
            return Some(Outcome::BodyEncoded);
        }
        match head.framing() {
            Framing::Length(length) if length > self.endpoint.limits.max_body => {
                return Some(Outcome::BodyTooLarge);
            }
            Framing::Length(_) | Framing::Chunked => {}
        }
        let has_time = self.exchange.has_time_for(self.exchange.context.attempt_timeout);
        (!has_time).then_some(Outcome::ShuttingDown)
    }

    async fn reject(&mut self, outcome: Outcome) -> WebhookExchangeResult {
        let response = Response::from_outcome(outcome);
        let action = self.exchange.reject(&response).await;
        ExchangeResult { action, outcome, status: Some(response.status), result: None }
    }

    async fn read_body(&mut self, permit: &mut AdmissionPermit) -> Result<Bytes, BodyError> {
        let limits = ReadLimits {
            max_bytes: self.endpoint.limits.max_body,
            timeout: self.endpoint.limits.body_timeout,
        };
        self.exchange.read_body(limits, self.exchange.context.attempt_timeout, permit).await
    }

    /// Responds to a body that could not be read. Even a dry run does: what is left of the body cannot be forwarded.
    async fn fail(&mut self, error: BodyError) -> WebhookExchangeResult {
        let outcome = match error {
            BodyError::TooLarge => Outcome::BodyTooLarge,
            BodyError::Malformed | BodyError::Disconnected => Outcome::BodyMalformed,
            BodyError::TooSlow => Outcome::BodyTooSlow,
            BodyError::Evicted => Outcome::Overloaded,
            BodyError::ShuttingDown => Outcome::ShuttingDown,
        };
        let response = Response::from_outcome(outcome);
        self.exchange.fail_body(error, outcome, &response).await
    }

    async fn receive(&self, body: Bytes, on_stored: impl FnOnce() + Send) -> WebhookResult {
        let head = &self.exchange.head;
        let request = WebhookRequest {
            endpoint: self.endpoint,
            signatures: head.values("stripe-signature"),
            segments: self.segments,
            // The ledger's key alone is made of this text: the backend gets the query byte for byte.
            query: &String::from_utf8_lossy(head.query()),
            body,
            arrived: self.exchange.started,
        };
        self.exchange.context.intake.receive(request, || self.verified_head(), on_stored).await
    }

    /// Builds the head of a verified request, before the dispatcher adds Countersign's own headers.
    fn verified_head(&self) -> RequestHeadBuilder {
        let routes = self.exchange.context.routes.load();
        let (head, peer) = (&self.exchange.head, self.exchange.peer());
        headers::delivery_head(head, peer, &routes.trusted_proxies, &self.request_id)
    }

    /// Judges the body of a request that failed its check as a form: a dry run must not forward what tells a webhook of an
    /// enforced endpoint.
    ///
    /// # Errors
    /// The outcome with which the request is refused.
    fn check_form(&self, body: &[u8]) -> Result<(), Outcome> {
        let form = self.exchange.context.routes.load().enforced_form_check(&self.exchange.head);
        match form {
            Ok(Some(form)) if form.rejects(body, &self.exchange.context.metrics) => {
                Err(Outcome::AmbiguousPath)
            }
            Ok(_) => Ok(()),
            Err(UnreadableForm) => Err(Outcome::BodyEncoded),
        }
    }

    /// Sends a request that failed its check to the backend as it came, with the verdict beside it: a dry run.
    async fn pass_on(&self, verdict: Outcome, body: Bytes) -> Response {
        let request = {
            let routes = self.exchange.context.routes.load();
            let (head, peer) = (&self.exchange.head, self.exchange.peer());
            headers::unverified_head(head, peer, &routes.trusted_proxies, &self.request_id, verdict.as_str())
        };
        match self.exchange.context.intake.pass_unverified(self.endpoint, request, body).await {
            Ok(response) => Response::from_backend(&response),
            Err(outcome) => Response::from_outcome(outcome),
        }
    }
}

/// Logs the one line of a webhook. `exchange_result` is `None` if a dry run forwards it.
fn log(
    webhook: &WebhookExchange<'_, '_>,
    outcome: Outcome,
    exchange_result: Option<&WebhookExchangeResult>,
    duration_ms: f64,
) {
    let result = exchange_result.and_then(|exchange| exchange.result.as_ref());
    let event = result.and_then(|result| result.event.as_ref());
    tracing::info!(
        endpoint = &*webhook.endpoint.name,
        request_id = webhook.request_id.as_str(),
        event.id = event.map(|e| e.id()),
        event.r#type = event.map(|e| e.event_type()),
        attempt = result.and_then(|result| result.attempt),
        outcome = outcome.as_str(),
        status = exchange_result.and_then(|exchange| exchange.status),
        duration_ms,
        reason = result.and_then(|result| result.disposition.reason()),
        "webhook handled"
    );
}
