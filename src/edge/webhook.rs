//! A request to a webhook path, from its head to its answer: what the edge refuses by itself, the body, the intake's
//! verdict, the reply, one log line.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use pingora::proxy::Session;
use std::sync::Arc;
use tokio::time::timeout;

use super::Edge;
use super::body::{self, BodyFault};
use super::gate::Pass;
use super::reply::Reply;
use crate::backend::RequestHead;
use crate::endpoint::Endpoint;
use crate::intake::{Fate, Letter, Receipt};
use crate::outcome::Outcome;
use crate::{clock, intake};

/// Of the original request the app gets these, as they came or as the edge extended them.
const CARRIED: [&str; 8] = [
    "Host",
    "Content-Type",
    "User-Agent",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "traceparent",
    "tracestate",
];
/// These concern one connection only (RFC 9110, 7.6.1), or are said anew.
const HOP_BY_HOP: [&str; 9] = [
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

/// What is left to do with a request.
pub enum Handled {
    /// It is answered.
    Replied(Reply),
    /// There is no one to answer.
    Gone,
    /// A dry run: it goes to the backend by pingora, with this verdict.
    Pass(Outcome),
}

/// Handles one.
pub async fn handle(edge: &Edge, endpoint: &Arc<Endpoint>, session: &mut Session) -> Handled {
    let started = clock::instant();
    let (handled, receipt) = judge(edge, endpoint, session).await;
    let (outcome, status) = match &handled {
        Handled::Replied(reply) => (receipt.as_ref().map_or(reply.outcome, |r| r.fate.outcome()), reply.status),
        Handled::Gone => (Outcome::BodyMalformed, 0),
        Handled::Pass(verdict) => (*verdict, 0),
    };
    let took = started.elapsed();
    endpoint.metrics.answered(outcome, took);
    log(endpoint, receipt.as_ref(), outcome, status, took.as_secs_f64() * 1e3);
    handled
}

async fn judge(edge: &Edge, endpoint: &Arc<Endpoint>, session: &mut Session) -> (Handled, Option<Receipt>) {
    if let Some(fault) = head_fault(edge, endpoint, session) {
        return (refuse(endpoint, fault), None);
    }
    let Some(mut pass) = edge.gate.enter().await else {
        return (Handled::Replied(Reply::of(Outcome::Overloaded)), None);
    };
    let body = match read_body(endpoint, &mut pass, session).await {
        Ok(body) => body,
        Err(None) => return (Handled::Gone, None),
        // Of a body that has been begun no one else can make anything: even a dry run answers it.
        Err(Some(outcome)) => return (Handled::Replied(Reply::of(outcome)), None),
    };
    let receipt = {
        let head = session.req_header();
        let signatures: Vec<&[u8]> =
            head.headers.get_all("stripe-signature").iter().map(|v| v.as_bytes()).collect();
        let query = head.uri.query().unwrap_or_default();
        let letter = Letter { endpoint, signatures: &signatures, query, body: body.clone() };
        edge.intake.receive(letter, || carried(head.raw_path(), &head.headers)).await
    };
    if let Fate::Refused(rejection) = &receipt.fate
        && !endpoint.enforce
    {
        return (pass_on(edge, session, rejection.outcome(), body).await, Some(receipt));
    }
    (Handled::Replied(Reply::to_webhook(&receipt.fate)), Some(receipt))
}

/// What is wrong before a byte of the body is read.
fn head_fault(edge: &Edge, endpoint: &Endpoint, session: &Session) -> Option<Outcome> {
    let head = session.req_header();
    if head.method != Method::POST {
        return Some(Outcome::MethodNotAllowed);
    }
    if head.headers.get(header::CONTENT_ENCODING).is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Some(Outcome::BodyEncoded);
    }
    if body::promised(session).is_some_and(|length| length > endpoint.max_body) {
        return Some(Outcome::BodyTooLarge);
    }
    (!edge.drain.has_time_for(edge.attempt_timeout)).then_some(Outcome::ShuttingDown)
}

fn refuse(endpoint: &Endpoint, outcome: Outcome) -> Handled {
    // A dry run refuses nothing; but what shutting down has no time for, it cannot pass on either.
    if endpoint.enforce || outcome == Outcome::ShuttingDown {
        Handled::Replied(Reply::of(outcome))
    } else {
        Handled::Pass(outcome)
    }
}

/// `Err(None)`: there is no one to answer any more.
async fn read_body(endpoint: &Endpoint, pass: &mut Pass, session: &mut Session) -> Result<Bytes, Option<Outcome>> {
    if wants_continue(&session.req_header().headers) && session.write_continue_response().await.is_err() {
        return Err(None);
    }
    let read = tokio::select! {
        biased;
        read = timeout(endpoint.body_timeout, body::read(session, endpoint.max_body)) => read,
        () = pass.sent_away() => return Err(Some(Outcome::Overloaded)),
    };
    pass.stay();
    match read {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(BodyFault::TooLarge)) => Err(Some(Outcome::BodyTooLarge)),
        Ok(Err(BodyFault::Broken)) => Err(Some(Outcome::BodyMalformed)),
        Err(_) => Err(Some(Outcome::BodyTooSlow)),
    }
}

fn wants_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// What the app gets of a verified request, before the courier adds what is ours to say.
fn carried(target: &[u8], headers: &HeaderMap) -> RequestHead {
    let mut head = RequestHead::post(target);
    for name in CARRIED {
        for value in headers.get_all(name) {
            head.add(name, value.as_bytes());
        }
    }
    head
}

/// A dry run: the request that failed its check goes to the backend as it came, with the verdict beside it.
async fn pass_on(edge: &Edge, session: &Session, verdict: Outcome, body: Bytes) -> Handled {
    let original = session.req_header();
    let mut head = RequestHead::post(original.raw_path());
    for (name, value) in &original.headers {
        if !HOP_BY_HOP.contains(&name.as_str()) {
            head.add(name.as_str(), value.as_bytes());
        }
    }
    head.add("Countersign-Verdict", verdict.code().as_bytes());
    Handled::Replied(match edge.intake.pass_unverified(head, body).await {
        Ok(answer) => Reply::passed_on(&answer),
        Err(error) => Reply::of(intake::outcome_of(&error)),
    })
}

/// The one line a webhook leaves.
fn log(endpoint: &Endpoint, receipt: Option<&Receipt>, outcome: Outcome, status: u16, duration_ms: f64) {
    let event = receipt.and_then(|r| r.event.as_ref());
    tracing::info!(
        endpoint = &*endpoint.name,
        event.id = event.map(|e| e.id()),
        event.r#type = event.map(|e| e.kind()),
        attempt = receipt.and_then(|r| r.attempt),
        outcome = outcome.code(),
        status,
        duration_ms,
        reason = receipt.and_then(|r| r.fate.reason()).map(tracing::field::display),
        "webhook"
    );
}
