//! `X-Request-Id`: one id in the proxy's log, in Countersign's log and at the backend.

use crate::harness::{
    Backend, Event, OTHER_SECRET, Program, Received, Reply, Request, Setup, TestLedger, on_each_ledger,
};
use crate::ops::events::{call_api, in_state, with_events_api};
use serde_json::Value;

/// Returns the one id of a request that arrived.
#[track_caller]
fn id_of(got: &Received) -> &str {
    got.header("X-Request-Id").expect("each request has an id")
}

#[track_caller]
fn assert_is_new(id: &str) {
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

async fn logged_id(program: &Program, event: &Event, outcome: &str) -> Value {
    program.wait_for_webhook_log(&event.id, outcome).await["request_id"].clone()
}

on_each_ledger! {
    every_attempt_at_an_event_has_the_id_of_its_request,
}

async fn every_attempt_at_an_event_has_the_id_of_its_request(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = with_events_api(ledger.configure(Setup::new(&backend))).delivery("queued").retry(&["10ms"]);
    let mut program = Program::start(setup).await;
    for given in [Some("r-1"), None] {
        backend.reply_always(Reply::status(500));
        let (event, before) = (Event::checkout(), backend.count());
        let request = given.iter().fold(event.signed(), |request, id| request.header("x-request-id", id));
        program.send(&request).await.expect_received("queued");
        let id = id_of(&backend.await_request(before + 1).await).to_owned();
        match given {
            Some(given) => assert_eq!(id, given),
            None => assert_is_new(&id),
        }
        assert_eq!(logged_id(&program, &event, "queued").await, *id);
        assert_eq!(id_of(&backend.await_request(before + 2).await), id, "the retry");
        in_state(&program, &event.id, "dead").await;
        assert_eq!(logged_id(&program, &event, "refused").await, *id, "the line of an attempt");
        let is_dead =
            |line: &Value| line["attempt"] == 2 && line["level"] == "WARN" && line["request_id"] == *id;
        program.wait_for_log("the dead event with its id", is_dead).await;

        program = program.restart().await;
        backend.reply_always(Reply::ok());
        let before = backend.count();
        let asked = call_api(&program, "POST", &format!("/api/events/{}/redeliver", event.id), "").await;
        assert_eq!(asked.status, 202, "{}", asked.text());
        assert_eq!(id_of(&backend.await_request(before + 1).await), id, "the redelivery");
        assert_eq!(logged_id(&program, &event, "delivered").await, *id, "the line of the redelivery");
    }
}

#[tokio::test]
async fn inline_event_and_page_have_an_id_of_their_own_or_the_one_that_the_proxy_gave() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend)).await;
    let (one, other) = (Event::checkout(), Event::checkout());
    program.send(&one.signed()).await.expect_delivered(200);
    program.send(&other.signed().header("X-REQUEST-ID", "Root=1-6789;a")).await.expect_delivered(200);
    program.send(&Request::get("/")).await;
    program.send(&Request::get("/").header("x-request-id", "r-2")).await;

    let [first, second, page, given] = backend.requests().try_into().expect("four requests");
    assert_is_new(id_of(&first));
    assert_eq!(logged_id(&program, &one, "delivered").await, id_of(&first));
    assert_eq!(logged_id(&program, &other, "delivered").await, "Root=1-6789;a");
    let kept = String::from_utf8_lossy(&second.head).contains("\r\nX-REQUEST-ID: Root=1-6789;a\r\n");
    assert!(kept, "its spelling stays");
    assert_is_new(id_of(&page));
    assert_ne!(id_of(&page), id_of(&first));
    assert_eq!(id_of(&given), "r-2");
}

#[tokio::test]
async fn id_that_is_no_id_or_of_a_stranger_is_replaced_on_every_route() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend)).await;
    let long = "x".repeat(256);
    let stranger = Setup::new(&backend).set("server.trusted_proxies", Vec::<&str>::new());
    let beyond = Program::start(stranger).await;
    for (program, ids) in [
        (&program, &["a b"][..]),
        (&program, &["\u{e9}"]),
        (&program, &[""]),
        (&program, &[long.as_str()]),
        (&program, &["r-1", "r-1"]),
        (&beyond, &["r-1"]),
    ] {
        let with_ids =
            |request: Request| ids.iter().fold(request, |request, id| request.header("X-Request-Id", id));
        let (event, before) = (Event::checkout(), backend.count());
        program.send(&with_ids(event.signed())).await.expect_delivered(200);
        assert_eq!(program.send(&with_ids(Request::get("/"))).await.status, 200, "{ids:?}");
        for n in [1, 2] {
            assert_is_new(id_of(&backend.await_request(before + n).await));
        }
        let id = logged_id(program, &event, "delivered").await;
        assert_eq!(id, id_of(&backend.await_request(before + 1).await));
    }
}

#[tokio::test]
async fn refused_webhook_and_one_that_a_dry_run_passes_on_are_logged_with_their_id() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("webhook.enforce", false)).await;
    let forged = Event::checkout().signed_by(&[OTHER_SECRET]);
    // The second one is refused by its head, and streams to the backend.
    for (request, outcome) in
        [(forged.clone(), "signature_mismatch"), (forged.method("PUT"), "method_not_allowed")]
    {
        let before = backend.count();
        assert_eq!(program.send(&request).await.status, 200);
        let got = backend.await_request(before + 1).await;
        assert_is_new(id_of(&got));
        let line = program.wait_for_log(outcome, |line| line["outcome"] == outcome).await;
        assert_eq!(line["request_id"], id_of(&got));
    }
    let enforcing = Program::start(Setup::new(&backend)).await;
    let refused = Event::checkout().signed_by(&[OTHER_SECRET]).header("X-Request-Id", "r-1");
    enforcing.send(&refused).await.expect_error(400, "signature_mismatch");
    enforcing.wait_for_log("the refusal", |line| line["request_id"] == "r-1").await;
}

#[tokio::test]
async fn every_attempt_at_an_import_has_one_id() {
    let backend = Backend::start().await;
    let program = Program::start(with_events_api(Setup::new(&backend)).retry(&["10ms"])).await;
    backend.reply_always(Reply::status(500));
    let event = Event::checkout();
    let body = String::from_utf8(event.body()).unwrap();
    let target = "/api/events?endpoint=%2Fwebhooks%2Fstripe";
    assert_eq!(call_api(&program, "POST", target, &body).await.status, 202);
    let id = id_of(&backend.await_request(1).await).to_owned();
    assert_is_new(&id);
    assert_eq!(id_of(&backend.await_request(2).await), id);
    assert_eq!(logged_id(&program, &event, "refused").await, *id);
}
