//! The head of the request that the backend gets for an event: the one that came, line by line, in every delivery mode and
//! after any time in a ledger.

use crate::harness::{
    Backend, Event, OTHER_SECRET, Program, Received, Reply, Request, SECRET, Setup, TestLedger, now,
    on_each_ledger,
};
use crate::ops::events::{call_api, in_state, with_events_api};

on_each_ledger! {
    every_header_reaches_the_backend_in_its_order_and_spelling_in_each_delivery_mode,
    headers_of_a_queued_event_survive_a_restart,
}

/// Headers as Caddy, a CDN, `stripe listen --headers` and tracing add them, and some that nobody would.
const ADDED: [(&str, &str); 16] = [
    ("Authorization", "Basic c3RyaXBlOmh1bnRlcjI="),
    ("X-Tenant", "blue"),
    ("X-Real-IP", "54.187.174.169"),
    ("CF-Connecting-IP", "54.187.174.169"),
    ("x-request-id", "r-1"),
    ("Cookie", "a=b; c=\"d\""),
    ("Accept-Encoding", "gzip"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("baggage", "k=v"),
    ("x-TENANT", "green"),
    ("Set-Cookie", "x=\u{e9}"),
    ("X_Under_Score", "  spaced \t"),
    ("X-Empty", ""),
    ("Forwarded", "for=203.0.113.9;proto=https"),
    ("Via", "1.1 Caddy"),
    ("Cookie", "e=f"),
];
/// Headers that the backend does not get, by the reason that the documentation gives.
const DROPPED: [(&str, &str); 8] = [
    ("Connection", "keep-alive, X-Hop"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Proxy-Connection", "keep-alive"),
    ("X-Original-URL", "/admin"),
    ("countersign_attempt", "9"),
    ("Countersign-Event", "evt_forged"),
];

/// Returns a request with headers of both kinds, mixed, and an `Idempotency-Key` of the sender's own.
fn with_headers(request: Request) -> Request {
    let mut dropped = DROPPED.iter();
    let mut request = request.header("Idempotency-Key", "the-senders");
    for (name, value) in ADDED {
        request = request.header(name, value);
        if let Some((name, value)) = dropped.next() {
            request = request.header(name, value);
        }
    }
    request
        .header("X-Forwarded-For", "203.0.113.9")
        .header("x-forwarded-for", "198.51.100.7,198.51.100.8")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "www.shop.example")
}

/// Returns the lines of a head.
fn lines(head: &[u8]) -> Vec<String> {
    let text: String = head.iter().map(|&byte| char::from(byte)).collect();
    text.trim_end_matches("\r\n").split("\r\n").map(str::to_owned).collect()
}

/// Returns the lines of `request` that pass, and then those that a delivery of `event` adds.
fn expected(request: &Request, event: &Event, attempt: u32, mode: &str) -> Vec<String> {
    let mut expected = passing(request);
    expected.retain(|line| line != "Idempotency-Key: the-senders");
    let id = &event.id;
    expected.extend([
        format!("Idempotency-Key: {id}"),
        format!("Countersign-Event: {id}"),
        "Countersign-Type: checkout.session.completed".to_owned(),
        format!("Countersign-Attempt: {attempt}"),
        format!("Countersign-Delivery: {mode}"),
    ]);
    expected
}

fn passing(request: &Request) -> Vec<String> {
    let mut passing = lines(&request.head_bytes());
    passing.retain(|line| !DROPPED.iter().any(|(name, value)| *line == format!("{name}: {value}")));
    passing
}

/// Returns the lines that arrived, with the signature of the request in place of one that is valid now.
#[track_caller]
fn arrived(got: &Received, request: &Request) -> Vec<String> {
    let signature = got.header("Stripe-Signature").unwrap();
    assert_ne!(Some(signature), request.value("Stripe-Signature"), "it is signed again");
    lines(&got.head)
        .into_iter()
        .map(|line| match line.strip_prefix("Stripe-Signature: ") {
            Some(_) => format!("Stripe-Signature: {}", request.value("Stripe-Signature").unwrap()),
            None => line,
        })
        .collect()
}

async fn every_header_reaches_the_backend_in_its_order_and_spelling_in_each_delivery_mode(
    ledger: TestLedger,
) {
    let setup = |backend: &Backend| with_events_api(ledger.configure(Setup::new(backend)));

    for mode in ["inline", "hybrid"] {
        let backend = Backend::start().await;
        let program = Program::start(setup(&backend).delivery(mode)).await;
        let event = Event::checkout();
        let request = with_headers(event.signed().target("/webhooks/stripe?version=2&x=%2F"));
        program.send(&request).await.expect_delivered(200);
        assert_eq!(lines(&backend.only().head), expected(&request, &event, 1, mode));
    }

    let backend = Backend::start().await;
    let program = Program::start(setup(&backend).delivery("queued").retry(&[])).await;
    let event = Event::checkout();
    let request = with_headers(event.signed_at(now() - 100, &[SECRET]));
    backend.reply_next(Reply::status(500));
    program.send(&request).await.expect_received("queued");
    let got = backend.await_request(1).await;
    assert_eq!(arrived(&got, &request), expected(&request, &event, 1, "queued"));
    assert_eq!(got.body.bytes, event.body());
    in_state(&program, &event.id, "dead").await;
    let asked = call_api(&program, "POST", &format!("/api/events/{}/redeliver", event.id), "").await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let got = backend.await_request(2).await;
    assert_eq!(arrived(&got, &request), expected(&request, &event, 1, "redelivery"));
    assert_eq!(got.body.bytes, event.body());

    let backend = Backend::start().await;
    let program = Program::start(setup(&backend).set("webhook.enforce", false)).await;
    let request = with_headers(Event::checkout().signed_by(&[OTHER_SECRET]));
    assert_eq!(program.send(&request).await.status, 200);
    let mut expected = passing(&request);
    expected.push("Countersign-Verdict: signature_mismatch".to_owned());
    assert_eq!(lines(&backend.only().head), expected);
}

async fn headers_of_a_queued_event_survive_a_restart(ledger: TestLedger) {
    let mut backend = Backend::start().await;
    let mut program = Program::start(ledger.configure(Setup::new(&backend)).delivery("queued")).await;
    backend.stop().await;
    let event = Event::checkout();
    // The head is as long as one may be.
    let mut request = with_headers(event.signed_at(now() - 100, &[SECRET]));
    let room = 64 * 1024 - request.head_bytes().len();
    request = request.header("X-Long", &"x".repeat(room - "X-Long: \r\n".len()));
    assert_eq!(request.head_bytes().len(), 64 * 1024);
    program.send(&request).await.expect_received("queued");
    // A killed program could leave the event leased.
    program.sigterm();
    assert!(program.wait_exit().await.success());
    let _program = program.restart().await;
    backend.restart().await;
    let got = backend.await_request(1).await;
    assert_eq!(arrived(&got, &request), expected(&request, &event, 1, "queued"));
}

#[tokio::test]
async fn chunked_webhook_arrives_with_its_length_and_without_its_transfer_coding() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    let request = event.signed().chunked(100).header("Trailer", "X").header("X-Last", "1");
    program.send(&request).await.expect_delivered(200);
    let got = backend.only();
    assert_eq!(got.body.bytes, event.body());
    let length = event.body().len().to_string();
    assert_eq!(got.header("Content-Length"), Some(length.as_str()));
    for name in ["Transfer-Encoding", "Trailer"] {
        assert_eq!(got.header(name), None, "{name}");
    }
    assert_eq!(got.header("X-Last"), Some("1"));
}

#[tokio::test]
async fn compressed_response_and_retry_after_reach_stripe() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let reply = Reply::status(503).header("Content-Encoding", "gzip").header("Retry-After", "120");
    backend.reply_always(reply.body("compressed"));
    let got = program.send(&Event::checkout().signed().header("Accept-Encoding", "gzip")).await;
    got.expect_delivered(503);
    assert_eq!((got.header("content-encoding"), got.header("retry-after")), (Some("gzip"), Some("120")));
    assert_eq!(got.text(), "compressed");
}
