//! A request to a webhook path, from its head to its answer: what the edge refuses by itself, the body, the intake's
//! verdict, the reply, one log line.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

use super::Edge;
use super::body::{self, BodyFault, Bounds};
use super::connection::Connection;
use super::forwarded::{self, Origin};
use super::gate::Pass;
use super::reply::Response;
use super::serve::{Arrived, Next, early};
use crate::backend::RequestHeadBuilder;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::http1::head::{Framing, Headers};
use crate::intake::{self, WebhookDisposition, WebhookRequest, WebhookResult};
use crate::outcome::Outcome;

/// Of the original request the app gets these as they came, besides its `X-Forwarded-*`.
const CARRIED: [&str; 5] = ["Host", "Content-Type", "User-Agent", "traceparent", "tracestate"];
/// These concern one connection only (RFC 9110, 7.6.1), or are said anew.
const HOP_BY_HOP: [&str; 10] = [
    // The answer is handed on without its coding.
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is left to do about a request.
pub(super) enum Handled {
    /// Nothing.
    Answered(Next),
    /// It goes to the backend by pingora; in a dry run with a verdict.
    Pass(Option<Outcome>),
}

/// One request being handled.
struct Visit<'a> {
    edge: &'a Edge,
    endpoint: &'a Arc<Endpoint>,
    connection: &'a mut Connection,
    /// When its head had arrived.
    started: Instant,
}

/// How a visit ended.
struct Ended {
    handled: Handled,
    outcome: Outcome,
    /// What the caller was told; `None` if there was no one left to tell, or the backend is to tell.
    status: Option<u16>,
    result: Option<WebhookResult>,
}

/// Handles one.
pub(super) async fn handle(
    edge: &Edge,
    endpoint: &Arc<Endpoint>,
    connection: &mut Connection,
    arrived: Arrived,
) -> Handled {
    let started = clock::instant();
    let _in_flight = edge.metrics.in_flight();
    let ended = Visit { edge, endpoint, connection, started }.run(arrived).await;
    let took = started.elapsed();
    endpoint.metrics.answered(ended.outcome, took);
    log(endpoint, &ended, took.as_micros() as f64 / 1e3);
    ended.handled
}

impl Visit<'_> {
    async fn run(mut self, arrived: Arrived) -> Ended {
        let Ok(fields) = Headers::parse(&self.connection.buffered()[..arrived.length]) else {
            return self.refuse(arrived, Outcome::RequestMalformed).await;
        };
        if let Some(fault) = self.head_fault(arrived, &fields) {
            return self.refuse(arrived, fault).await;
        }
        let Some(mut pass) = self.edge.gate.enter().await else {
            return self.answer_early(arrived, Outcome::Overloaded).await;
        };
        let head = self.connection.take(arrived.length);
        let body = match self.read_body(&head, &fields, arrived.framing, &mut pass).await {
            Ok(body) => body,
            Err(Some(outcome)) => {
                // Of a body that has been begun no one else can make anything: even a dry run answers it.
                let reply = Response::from_outcome(outcome);
                drop(pass);
                let sent = self.connection.send(&reply.head(false), &reply.body).await;
                let next = if sent.is_ok() { Next::Part } else { Next::Close };
                return Ended {
                    handled: Handled::Answered(next),
                    outcome,
                    status: Some(reply.status),
                    result: None,
                };
            }
            Err(None) => {
                let (handled, outcome) = (Handled::Answered(Next::Close), Outcome::BodyMalformed);
                return Ended { handled, outcome, status: None, result: None };
            }
        };
        let result = self.judge(&head, &fields, body.clone()).await;
        let reply = match &result.disposition {
            WebhookDisposition::Refused(rejection) if !self.endpoint.enforce => {
                self.pass_on(&head, &fields, rejection.outcome(), body).await
            }
            disposition => Response::to_webhook(disposition),
        };
        // The delivery is over: a client that is slow to read its answer takes no place from another.
        drop(pass);
        let keep = fields.keep_alive() && !self.edge.drain.begun();
        let sent = self.connection.send(&reply.head(keep), &reply.body).await;
        let next = if keep && sent.is_ok() { Next::Keep } else { Next::Close };
        Ended {
            handled: Handled::Answered(next),
            outcome: result.disposition.outcome(),
            status: Some(reply.status),
            result: Some(result),
        }
    }

    /// What is wrong before a byte of the body is read.
    fn head_fault(&self, arrived: Arrived, fields: &Headers) -> Option<Outcome> {
        let head = self.connection.buffered();
        if !arrived.post {
            return Some(Outcome::MethodNotAllowed);
        }
        if fields.values(head, "content-encoding").any(|v| !v.eq_ignore_ascii_case(b"identity")) {
            return Some(Outcome::BodyEncoded);
        }
        match arrived.framing {
            Framing::Length(length) if length > self.endpoint.limits.max_body => {
                return Some(Outcome::BodyTooLarge);
            }
            Framing::Length(_) | Framing::Chunked => {}
        }
        (!self.edge.drain.has_time_for(self.edge.attempt_timeout)).then_some(Outcome::ShuttingDown)
    }

    /// A dry run refuses nothing; but what there is no time left for cannot be passed on either.
    async fn refuse(self, arrived: Arrived, outcome: Outcome) -> Ended {
        if self.endpoint.enforce || matches!(outcome, Outcome::ShuttingDown | Outcome::RequestMalformed) {
            self.answer_early(arrived, outcome).await
        } else {
            Ended { handled: Handled::Pass(Some(outcome)), outcome, status: None, result: None }
        }
    }

    async fn answer_early(self, arrived: Arrived, outcome: Outcome) -> Ended {
        let reply = Response::from_outcome(outcome);
        let next = early(self.edge, self.connection, arrived, &reply).await;
        let status = Some(reply.status);
        Ended { handled: Handled::Answered(next), outcome, status, result: None }
    }

    /// `Err(None)`: there is no one to answer any more.
    async fn read_body(
        &mut self,
        head: &[u8],
        fields: &Headers,
        framing: Framing,
        pass: &mut Pass,
    ) -> Result<Bytes, Option<Outcome>> {
        let bounds =
            Bounds { limit: self.endpoint.limits.max_body, within: self.endpoint.limits.body_timeout };
        let read = body::receive(self.connection, body::awaited(head, fields), framing, bounds, pass).await;
        match read {
            // The body may have taken what time there was.
            Ok(_) if !self.edge.drain.has_time_for(self.edge.attempt_timeout) => {
                Err(Some(Outcome::ShuttingDown))
            }
            Ok(body) => Ok(body),
            Err(BodyFault::TooLarge) => Err(Some(Outcome::BodyTooLarge)),
            Err(BodyFault::Malformed) => Err(Some(Outcome::BodyMalformed)),
            Err(BodyFault::TooSlow) => Err(Some(Outcome::BodyTooSlow)),
            Err(BodyFault::SentAway) => Err(Some(Outcome::Overloaded)),
            Err(BodyFault::Gone) => Err(None),
        }
    }

    async fn judge(&self, head: &[u8], fields: &Headers, body: Bytes) -> WebhookResult {
        let target = target(head);
        let query = memchr::memchr(b'?', target).map_or(&b""[..], |at| &target[at + 1..]);
        let letter = WebhookRequest {
            endpoint: self.endpoint,
            signatures: fields.values(head, "stripe-signature"),
            // Only what the ledger is keyed by: the app gets the query byte for byte.
            query: &String::from_utf8_lossy(query),
            body,
            arrived: self.started,
        };
        self.edge.intake.receive(letter, || self.carried(head, fields)).await
    }

    /// What the app gets of a verified request, before the dispatcher adds what is ours to say.
    fn carried(&self, head: &[u8], fields: &Headers) -> RequestHeadBuilder {
        let mut request = RequestHeadBuilder::post(target(head));
        for name in CARRIED {
            for value in fields.values(head, name) {
                request.add(name, value);
            }
        }
        self.add_origin(&mut request, head, fields);
        request
    }

    fn add_origin(&self, request: &mut RequestHeadBuilder, head: &[u8], fields: &Headers) {
        let routes = self.edge.routes.load();
        let origin =
            Origin::of(self.connection.peer(), &routes.trusted_proxies, |name| fields.values(head, name));
        if let Some(chain) = &origin.chain {
            request.add(forwarded::FOR, chain);
        }
        request.add(forwarded::PROTO, origin.proto);
        if let Some(host) = origin.host {
            request.add(forwarded::HOST, host);
        }
    }

    /// A dry run: the request that failed its check goes to the backend as it came, with the verdict beside it.
    async fn pass_on(&self, head: &[u8], fields: &Headers, verdict: Outcome, body: Bytes) -> Response {
        let mut request = RequestHeadBuilder::post(target(head));
        for (name, value) in fields.iter(head) {
            let is = |word: &&str| name.eq_ignore_ascii_case(word.as_bytes());
            let ours = forwarded::removed(name) || forwarded::forwarding(name);
            if !ours && !HOP_BY_HOP.iter().any(is) && !fields.connection_names(head, name) {
                // Names of fields are ASCII (RFC 9110, 5.1): the parser has seen to it.
                request.add(std::str::from_utf8(name).unwrap_or_default(), value);
            }
        }
        self.add_origin(&mut request, head, fields);
        request.add("Countersign-Verdict", verdict.as_str().as_bytes());
        match self.edge.intake.pass_unverified(request, body).await {
            Ok(answer) => Response::passed_on(&answer),
            Err(error) => Response::from_outcome(intake::outcome_of(&error)),
        }
    }
}

/// The target of a request whose head the outline has read.
fn target(head: &[u8]) -> &[u8] {
    head.split(|&b| b == b' ').nth(1).unwrap_or_default()
}

/// The one line a webhook leaves.
fn log(endpoint: &Endpoint, ended: &Ended, duration_ms: f64) {
    let event = ended.result.as_ref().and_then(|r| r.event.as_ref());
    tracing::info!(
        endpoint = &*endpoint.name,
        event.id = event.map(|e| e.id()),
        event.r#type = event.map(|e| e.event_type()),
        attempt = ended.result.as_ref().and_then(|r| r.attempt),
        outcome = ended.outcome.as_str(),
        status = ended.status,
        duration_ms,
        reason = ended.result.as_ref().and_then(|r| r.disposition.reason()),
        "webhook"
    );
}
