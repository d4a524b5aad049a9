//! The places of `max_webhooks`: how many webhooks are read and delivered inline at once, by each endpoint and together.

use crate::harness::{
    Backend, Client, Event, Gate, Program, Reply, Request, Setup, TestLedger, on_each_ledger, until,
};
use toml::{Table, Value};

const ENDPOINTS: [&str; 4] = ["/webhooks/stripe", "/hooks/queued", "/hooks/inline", "/hooks/other"];

/// Four endpoints that share 16 places. The second one queues its events, the others deliver inline.
fn four_endpoints(backend: &Backend) -> Setup {
    let secrets = ["{$STRIPE_WEBHOOK_SECRET}"];
    let setup = Setup::new(backend).set("server.max_webhooks", 16);
    let setup = ENDPOINTS[1..].iter().fold(setup, |setup, path| setup.webhook(path, &secrets));
    setup.set("webhook.1.delivery", "queued")
}

fn event_to(path: &str) -> Request {
    Event::checkout().signed().target(path)
}

/// Has Stripe send `count` events to a path at which the backend does not respond, and waits until the backend has them.
async fn hang(program: &Program, backend: &Backend, path: &str, count: usize) -> Vec<Client> {
    let mut waiting = vec![];
    for _ in 0..count {
        let before = backend.count();
        let mut client = program.connect().await;
        client.write(event_to(path).bytes()).await;
        backend.await_request(before + 1).await;
        waiting.push(client);
    }
    waiting
}

on_each_ledger! {
    slow_inline_endpoint_leaves_places_to_every_other_endpoint,
    several_slow_inline_endpoints_leave_places_to_a_queued_one,
    hybrid_event_needs_no_place_once_it_is_stored,
}

async fn slow_inline_endpoint_leaves_places_to_every_other_endpoint(ledger: TestLedger) {
    let backend = Backend::start().await;
    let program = Program::start(ledger.configure(four_endpoints(&backend))).await;
    let gate = Gate::new();
    backend.reply_at(ENDPOINTS[0], Reply::ok().when(&gate));
    let mut waiting = hang(&program, &backend, ENDPOINTS[0], 12).await;
    for _ in 0..3 {
        program.send(&event_to(ENDPOINTS[0])).await.expect_error(503, "overloaded");
        program.send(&event_to(ENDPOINTS[1])).await.expect_received("queued");
        program.send(&event_to(ENDPOINTS[2])).await.expect_delivered(200);
    }
    let is_refused = |line: &serde_json::Value| {
        line["outcome"] == "overloaded" && line["reason"] == "max_inline deliveries are under way"
    };
    program.wait_for_log("the reason", is_refused).await;
    gate.open();
    for client in &mut waiting {
        client.response().await.expect_delivered(200);
    }
    program.send(&event_to(ENDPOINTS[0])).await.expect_delivered(200);
}

async fn several_slow_inline_endpoints_leave_places_to_a_queued_one(ledger: TestLedger) {
    let backend = Backend::start().await;
    let program = Program::start(ledger.configure(four_endpoints(&backend))).await;
    let gate = Gate::new();
    for path in [ENDPOINTS[0], ENDPOINTS[2]] {
        backend.reply_at(path, Reply::ok().when(&gate));
    }
    let mut waiting = hang(&program, &backend, ENDPOINTS[0], 12).await;
    waiting.extend(hang(&program, &backend, ENDPOINTS[2], 2).await);
    for path in [ENDPOINTS[0], ENDPOINTS[2], ENDPOINTS[3]] {
        program.send(&event_to(path)).await.case(path).expect_error(503, "overloaded");
    }
    for _ in 0..3 {
        program.send(&event_to(ENDPOINTS[1])).await.expect_received("queued");
    }
    gate.open();
    for client in &mut waiting {
        client.response().await.expect_delivered(200);
    }
    program.send(&event_to(ENDPOINTS[3])).await.expect_delivered(200);
}

async fn hybrid_event_needs_no_place_once_it_is_stored(ledger: TestLedger) {
    let backend = Backend::start().await;
    let rule: Table = "types = ['checkout.session.*']\ndelivery = 'hybrid'".parse().unwrap();
    let setup = Setup::new(&backend)
        .delivery("queued")
        .set("server.max_webhooks", 1)
        .set("webhook.rule", Value::Array(vec![Value::Table(rule)]));
    let program = Program::start(ledger.configure(setup)).await;
    let gate = Gate::new();
    backend.reply_always(Reply::ok().when(&gate));
    let mut buyers = hang(&program, &backend, ENDPOINTS[0], 2).await;
    program.send(&Event::new("invoice.paid").signed()).await.expect_received("queued");
    gate.open();
    for client in &mut buyers {
        client.response().await.expect_delivered(200);
    }
}

#[tokio::test]
async fn max_inline_bounds_an_endpoint_and_changes_with_a_reload() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("webhook.max_inline", 2);
    let program = Program::start(setup.clone()).await;
    let gate = Gate::new();
    backend.reply_always(Reply::ok().when(&gate));
    let mut waiting = hang(&program, &backend, ENDPOINTS[0], 2).await;
    program.send(&event_to(ENDPOINTS[0])).await.expect_error(503, "overloaded");
    // What is under way counts after the reload, too.
    program.reconfigure(&setup.clone().set("webhook.max_inline", 3));
    program.sighup();
    program.wait_for_log("a reload", |line| line["message"] == "configuration reloaded").await;
    waiting.extend(hang(&program, &backend, ENDPOINTS[0], 1).await);
    program.send(&event_to(ENDPOINTS[0])).await.expect_error(503, "overloaded");
    gate.open();
    for client in &mut waiting {
        client.response().await.expect_delivered(200);
    }
    program.send(&event_to(ENDPOINTS[0])).await.expect_delivered(200);
}

#[tokio::test]
async fn forged_webhooks_in_a_dry_run_take_no_more_than_max_inline() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.enforce", false)
        .set("webhook.max_inline", 1)
        .webhook(ENDPOINTS[2], &["{$STRIPE_WEBHOOK_SECRET}"])
        .set("server.max_webhooks", 2);
    let program = Program::start(setup).await;
    let gate = Gate::new();
    backend.reply_at(ENDPOINTS[0], Reply::ok().when(&gate));
    let forged = || Event::checkout().signed_by(&["whsec_forged"]);
    let mut attacker = program.connect().await;
    attacker.write(forged().bytes()).await;
    backend.await_request(1).await;
    for _ in 0..3 {
        program.send(&forged()).await.expect_error(503, "overloaded");
        program.send(&event_to(ENDPOINTS[2])).await.expect_delivered(200);
    }
    gate.open();
    assert_eq!(attacker.response().await.status, 200);
    until("a free place", async || (program.send(&forged()).await.status == 200).then_some(())).await;
}
