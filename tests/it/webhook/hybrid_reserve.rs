//! The slots of `max_concurrent` that are reserved for first attempts of hybrid events: a buyer's event does not wait behind
//! a backlog.

use crate::harness::{
    Backend, Event, Gate, Program, Received, Reply, Request, Setup, TestLedger, on_each_ledger, until,
};
use std::collections::BTreeSet;
use toml::{Table, Value};

/// The target of events that the backend does not respond to while a test holds it back.
const SLOW: &str = "/webhooks/stripe?slow";

/// Queues every event but completed checkouts, which are hybrid. Two deliveries may run at once.
fn shop(backend: &Backend) -> Setup {
    let rule: Table = "types = ['checkout.session.*']\ndelivery = 'hybrid'".parse().unwrap();
    Setup::new(backend)
        .delivery("queued")
        .set("webhook.max_concurrent", 2)
        .set("webhook.rule", Value::Array(vec![Value::Table(rule)]))
}

fn invoice() -> Event {
    Event::new("invoice.paid")
}

fn slow(event: &Event) -> Request {
    event.signed().target(SLOW)
}

/// Queues this many events to the slow target.
async fn queue(program: &Program, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let event = invoice();
        program.send(&slow(&event)).await.expect_received("queued");
        ids.insert(event.id);
    }
    ids
}

/// Returns how many requests came for the slow target.
fn slow_count(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| request.target == SLOW).count()
}

fn key(request: &Received) -> String {
    request.header("idempotency-key").unwrap().to_owned()
}

async fn await_no_event_left(program: &Program) {
    for state in ["pending", "running"] {
        program.await_metric(&format!(r#"events{{endpoint="/webhooks/stripe",state="{state}"}}"#), 0.0).await;
    }
}

on_each_ledger! {
    buyers_events_are_attempted_at_once_beside_a_slow_backlog,
    no_more_than_max_concurrent_deliveries_run_at_once_with_a_reserve,
    buyers_event_is_attempted_at_once_while_the_queue_is_paused,
    failed_first_attempt_is_repeated_by_the_queue_without_overlap,
    each_hybrid_endpoint_has_a_reserve_of_its_own,
}

async fn buyers_events_are_attempted_at_once_beside_a_slow_backlog(ledger: TestLedger) {
    let backend = Backend::start().await;
    let program = Program::start(ledger.configure(shop(&backend))).await;
    let gate = Gate::new();
    backend.reply_at(SLOW, Reply::ok().when(&gate));
    let mut sent = queue(&program, 30).await;
    backend.await_request(1).await;
    for _ in 0..12 {
        let event = Event::checkout();
        program.send(&event.signed()).await.expect_delivered(200);
        sent.insert(event.id);
    }
    assert_eq!(slow_count(&backend), 1, "the queue leaves the other slot to buyers");
    gate.open();
    backend.await_request(42).await;
    await_no_event_left(&program).await;
    let delivered: Vec<_> = backend.requests().iter().map(key).collect();
    assert_eq!((delivered.len(), delivered.into_iter().collect::<BTreeSet<_>>()), (42, sent));
}

async fn no_more_than_max_concurrent_deliveries_run_at_once_with_a_reserve(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(shop(&backend)).set("webhook.max_concurrent", 4);
    let program = Program::start(setup).await;
    let gate = Gate::new();
    backend.reply_always(Reply::ok().when(&gate));
    queue(&program, 8).await;
    backend.await_request(3).await;
    let mut buyer = program.connect().await;
    buyer.write(Event::checkout().signed().bytes()).await;
    backend.await_request(4).await;
    for _ in 0..3 {
        program.send(&Event::checkout().signed()).await.expect_received("queued");
    }
    assert_eq!(backend.count(), 4);
    gate.open();
    buyer.response().await.expect_delivered(200);
    backend.await_request(12).await;
    await_no_event_left(&program).await;
    assert_eq!(backend.count(), 12);
}

async fn buyers_event_is_attempted_at_once_while_the_queue_is_paused(ledger: TestLedger) {
    let mut backend = Backend::start().await;
    let program = Program::start(ledger.configure(shop(&backend))).await;
    backend.stop().await;
    let mut sent = queue(&program, 10).await;
    program.wait_for_log("a pause", is_pause).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_received("queued");
    sent.insert(event.id);
    backend.restart().await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    sent.insert(event.id);
    backend.await_request(12).await;
    await_no_event_left(&program).await;
    let delivered: Vec<_> = backend.requests().iter().map(key).collect();
    assert_eq!((delivered.len(), delivered.into_iter().collect::<BTreeSet<_>>()), (12, sent));
}

fn is_pause(line: &serde_json::Value) -> bool {
    line["message"].as_str().is_some_and(|message| message.starts_with("delivery paused"))
}

async fn failed_first_attempt_is_repeated_by_the_queue_without_overlap(ledger: TestLedger) {
    let backend = Backend::start().await;
    let program = Program::start(ledger.configure(shop(&backend).set("webhook.deadline", "200ms"))).await;
    let (gate, buyers) = (Gate::new(), Gate::new());
    backend.reply_at(SLOW, Reply::ok().when(&gate));
    queue(&program, 3).await;
    backend.await_request(1).await;
    backend.reply_next(Reply::status(500).when(&buyers));
    let event = Event::checkout();
    // The first attempt outlasts the deadline. Its event has a lease, and no copy is delivered beside it.
    program.send(&event.signed()).await.expect_received("queued");
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), 2);
    buyers.open();
    let refused = r#"deliveries_total{endpoint="/webhooks/stripe",mode="hybrid",result="refused"}"#;
    program.await_metric(refused, 1.0).await;
    // A later attempt is the queue's: it waits for a slot of the queue, as every queued event does.
    gate.open();
    let again = until("the second attempt", async || {
        let requests = backend.requests();
        requests.into_iter().find(|request| key(request) == event.id && attempt(request) == "2")
    });
    again.await;
    await_no_event_left(&program).await;
    assert_eq!(backend.count(), 5);
}

fn attempt(request: &Received) -> &str {
    request.header("countersign-attempt").unwrap()
}

async fn each_hybrid_endpoint_has_a_reserve_of_its_own(ledger: TestLedger) {
    let backend = Backend::start().await;
    let other = "/hooks/other";
    let setup = ledger.configure(shop(&backend)).webhook(other, &["{$STRIPE_WEBHOOK_SECRET}"]);
    let setup = setup.set("webhook.1.delivery", "hybrid").set("webhook.1.max_concurrent", 2);
    let program = Program::start(setup).await;
    let gate = Gate::new();
    backend.reply_at(SLOW, Reply::ok().when(&gate));
    queue(&program, 5).await;
    backend.await_request(1).await;
    let mut buyer = program.connect().await;
    buyer.write(Event::checkout().signed().target(SLOW).bytes()).await;
    backend.await_request(2).await;
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    for _ in 0..5 {
        program.send(&Event::checkout().signed().target(other)).await.expect_delivered(200);
    }
    gate.open();
    buyer.response().await.expect_delivered(200);
    backend.await_request(12).await;
    await_no_event_left(&program).await;
    assert_eq!(backend.count(), 12);
}

#[tokio::test]
async fn deliveries_under_way_still_count_after_a_reload_that_adds_a_reserve() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).delivery("queued").set("webhook.max_concurrent", 2);
    let program = Program::start(setup).await;
    let gate = Gate::new();
    backend.reply_at(SLOW, Reply::ok().when(&gate));
    queue(&program, 6).await;
    backend.await_request(2).await;
    for (max_concurrent, outcome) in [(2, "queued"), (3, "delivered")] {
        let setup = shop(&backend).set("webhook.max_concurrent", max_concurrent);
        let setup = setup.set("server.listen", program.proxy().text());
        program.reconfigure(&setup.set("admin.listen", program.admin().text()));
        let before = reloads(&program);
        program.sighup();
        until("a reload", async || (reloads(&program) > before).then_some(())).await;
        let response = program.send(&Event::checkout().signed()).await;
        assert_eq!((response.status, response.outcome()), (200, outcome), "{max_concurrent}");
    }
    gate.open();
    backend.await_request(8).await;
    await_no_event_left(&program).await;
    assert_eq!(backend.count(), 8);
}

fn reloads(program: &Program) -> usize {
    program.log().iter().filter(|line| line.contains("configuration reloaded")).count()
}
