//! `reconcile` against the fake Stripe and the real program: missing events are found, imported once, and nothing
//! else is.

use crate::fake_stripe::{Error, FakeStripe, Fault, KEY};
use crate::harness::{
    Backend, Event, Program, Reply, SECRET, Setup, TestLedger, now, on_each_ledger, sign, webhook,
};
use crate::ops::events::{Operator, Output, with_events_api};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The fake Stripe, a program and an operator.
pub struct Fixture {
    pub stripe: FakeStripe,
    pub program: Program,
    pub operator: Operator,
    pub setup: Setup,
}

impl Fixture {
    pub async fn start(setup: Setup) -> Self {
        let stripe = FakeStripe::start().await;
        let setup = with_events_api(setup)
            .env("STRIPE_API_BASE", &stripe.api_base())
            .env("STRIPE_SECRET_KEY", KEY)
            .set("stripe.api_base", stripe.api_base());
        let program = Program::start(setup.clone()).await;
        let operator = Operator::new(&program, &setup).env("STRIPE_SECRET_KEY", KEY);
        Self { stripe, program, operator, setup }
    }

    /// Restarts the program with this change of its configuration, which the operator has, too.
    pub async fn restart_with(self, change: impl FnOnce(Setup) -> Setup) -> Self {
        let Self { stripe, program, setup, .. } = self;
        let setup = change(setup);
        let program = program.restart_with(setup.clone()).await;
        let operator = Operator::new(&program, &setup).env("STRIPE_SECRET_KEY", KEY);
        Self { stripe, program, operator, setup }
    }

    /// Starts all of them and records one event in the ledger.
    pub async fn with_one_event(setup: Setup) -> Self {
        let fixture = Self::start(setup).await;
        fixture.program.send(&Event::checkout().signed()).await;
        fixture
    }

    pub async fn reconcile(&self, words: &[&str]) -> Output {
        self.operator.run(&[&["reconcile"], words].concat()).await
    }

    /// Creates an event that Stripe could not deliver.
    pub fn undelivered(&self, kind: &str, size: usize) -> String {
        let event = self
            .stripe
            .emit_undelivered(kind, json!({ "id": "in_1", "object": "invoice", "note": "x".repeat(size) }));
        event["id"].as_str().unwrap().to_owned()
    }
}

pub fn last_line(output: &Output) -> &str {
    output.out.lines().last().unwrap_or_default()
}

on_each_ledger! {
    fresh_install_finds_nothing_and_does_not_call_stripe,
    missing_events_are_listed_and_apply_imports_each_once,
    event_that_failed_inline_is_missing_and_a_delivered_one_is_not,
}

async fn fresh_install_finds_nothing_and_does_not_call_stripe(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let fixture = Fixture::start(setup.delivery("queued")).await;
    let id = fixture.undelivered("invoice.paid", 0);
    for words in [&[][..], &["--apply"]] {
        let output = fixture.reconcile(words).await;
        assert!(output.code == 0 && output.out.contains("has no record"), "{output:?}");
    }
    assert!(fixture.stripe.calls().is_empty());
    let output = fixture.reconcile(&["--since", "1h"]).await;
    assert!(output.code == 3 && output.out.contains(&id), "{output:?}");
    assert_eq!(backend.count(), 0);
}

async fn missing_events_are_listed_and_apply_imports_each_once(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let setup = setup.delivery("queued").set("webhook.types", vec!["checkout.session.*", "invoice.*"]);
    let seen = backend.count() + 1;
    let fixture = Fixture::with_one_event(setup).await;
    backend.await_request(seen).await;
    // The events fill three pages, with events of an unwanted type among them.
    let mut undelivered = BTreeSet::new();
    for n in 0..230 {
        undelivered.insert(fixture.undelivered("invoice.paid", 0));
        if n % 10 == 0 {
            fixture.undelivered("charge.refunded", 0);
        }
    }
    let output = fixture.reconcile(&[]).await;
    assert!(
        output.code == 3 && output.out.contains("230 events are missing at /webhooks/stripe"),
        "{output:?}"
    );
    assert_eq!(output.err, "", "progress is for terminals");
    assert_eq!(undelivered.iter().filter(|id| output.out.contains(*id)).count(), 230);
    let calls = fixture.stripe.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.target.contains("delivery_success=false")), "{calls:?}");
    assert_eq!(backend.count(), seen, "nothing was taken in yet");

    let output = fixture.reconcile(&["--apply"]).await;
    assert_eq!((output.code, last_line(&output)), (0, "230 of 230 imported."), "{output:?}");
    backend.await_request(seen + 230).await;
    let got: BTreeSet<_> = backend.requests()[seen..]
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(got, undelivered);
    let payload: Value = serde_json::from_slice(&backend.requests().pop().unwrap().body.bytes).unwrap();
    assert_eq!((&payload["object"], &payload["type"]), (&json!("event"), &json!("invoice.paid")));

    let output = fixture.reconcile(&["--apply"]).await;
    assert!(
        output.code == 0 && last_line(&output).starts_with("Nothing is missing at /webhooks/stripe"),
        "{output:?}"
    );
    assert_eq!(backend.count(), seen + 230);
}

async fn event_that_failed_inline_is_missing_and_a_delivered_one_is_not(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let fixture = Fixture::start(setup).await;
    fixture.stripe.deliver_to(&format!("http://{}/webhooks/stripe", fixture.program.proxy().text()), SECRET);
    let invoice = || json!({ "id": "in_1", "object": "invoice" });
    backend.reply_always(Reply::ok());
    let came = fixture.stripe.emit("invoice.paid", invoice()).await;
    backend.reply_always(Reply::status(500));
    let failed = fixture.stripe.emit("invoice.paid", invoice()).await;
    let undelivered = fixture.undelivered("invoice.paid", 0);
    backend.reply_always(Reply::ok());
    let output = fixture.reconcile(&["--apply"]).await;
    assert!(output.code == 0 && !output.out.contains(&came), "{output:?}");
    let line = |id: &str| output.out.lines().find(|line| line.starts_with(id)).unwrap_or_default();
    assert!(line(&failed).contains(" failed ") && line(&undelivered).contains(" missing "), "{output:?}");
    assert_eq!(last_line(&output), "2 of 2 imported.");
    // Stripe's own retry of the imported event is a copy.
    let event = fixture.stripe.events().into_iter().find(|event| event["id"] == failed.as_str()).unwrap();
    let body = event.to_string();
    let signature = sign(&[SECRET], now(), body.as_bytes());
    let again = webhook(body.as_bytes()).header("Stripe-Signature", &signature);
    fixture.program.send(&again).await.expect_received("duplicate");
    let output = fixture.reconcile(&[]).await;
    assert!(last_line(&output).starts_with("Nothing is missing"), "{output:?}");
}

#[tokio::test]
async fn rate_limits_are_respected_and_an_oversized_page_is_fetched_in_parts() {
    let backend = Backend::start().await;
    let fixture =
        Fixture::with_one_event(Setup::new(&backend).delivery("queued").set("webhook.max_body", "64KiB"))
            .await;
    for _ in 0..60 {
        fixture.undelivered("invoice.paid", 30_000);
    }
    fixture.stripe.next(Fault::named("rate_limited"));
    fixture.stripe.next(Fault::error(Error::named("rate_limited").unwrap().header("Retry-After", "1")));
    let started = tokio::time::Instant::now();
    let output = fixture.reconcile(&[]).await;
    assert!(output.code == 3 && output.out.contains("60 events are missing"), "{output:?}");
    assert!(started.elapsed() >= std::time::Duration::from_millis(1500));
    let output = fixture.reconcile(&["--apply"]).await;
    assert_eq!((output.code, last_line(&output)), (0, "60 of 60 imported."));
}

#[tokio::test]
async fn failed_reconcile_says_why() {
    let backend = Backend::start().await;
    let fixture = Fixture::with_one_event(Setup::new(&backend).delivery("queued")).await;
    fixture.stripe.next(Fault::named("permission"));
    let output = fixture.reconcile(&[]).await;
    assert!(output.code == 1 && output.err.contains("may read events"), "{output:?}");
    fixture.stripe.always(|| Some(Fault::named("api_error_no_retry")));
    let output = fixture.reconcile(&[]).await;
    assert!(output.code == 1 && output.err.contains("Stripe answered 500"), "{output:?}");
    assert!(!output.err.contains(KEY));
    let output = fixture.reconcile(&["--endpoint", "other"]).await;
    assert!(output.code == 2 && output.err.contains("/webhooks/stripe"), "{output:?}");
    let output = fixture.reconcile(&["--query", "version=2"]).await;
    assert!(output.code == 2 && output.err.contains("--query"), "{output:?}");
    let output = fixture.reconcile(&["--since", "soon"]).await;
    assert_eq!(output.code, 2);
    let Fixture { operator, program, stripe, .. } = fixture;
    drop(stripe);
    let output = operator.run(&["reconcile"]).await;
    assert!(
        output.code == 1 && output.err.contains("http://127.0.0.1:") && output.err.contains("refused"),
        "{output:?}"
    );
    let operator = operator.env("STRIPE_SECRET_KEY", "");
    let output = operator.run(&["reconcile"]).await;
    assert!(output.code == 78 && output.err.contains("STRIPE_SECRET_KEY"), "{output:?}");

    let setup =
        with_events_api(Setup::new(&backend)).webhook("/webhooks/connect", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let operator = Operator::new(&program, &setup).env("STRIPE_SECRET_KEY", KEY);
    let output = operator.run(&["reconcile"]).await;
    assert!(output.code == 2 && output.err.contains("/webhooks/connect"), "{output:?}");
    let operator = Operator::new(&program, &setup.no_ledger()).env("STRIPE_SECRET_KEY", KEY);
    assert_eq!(operator.run(&["reconcile"]).await.code, 78);
}

#[tokio::test]
async fn expired_events_are_not_listed_however_far_back_since_reaches() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).delivery("queued").set("ledger.retention", "1h");
    let fixture = Fixture::with_one_event(setup).await;
    let id = fixture.undelivered("invoice.paid", 0);
    let output = fixture.reconcile(&["--since", "30d"]).await;
    assert!(output.code == 3 && output.out.contains(&id) && output.err.contains("1h only"), "{output:?}");
    let call = fixture.stripe.calls().pop().unwrap();
    let since: i64 = call.target.split("created%5Bgte%5D=").nth(1).map_or_else(
        || call.target.split("created[gte]=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap(),
        |rest| rest.split('&').next().unwrap().parse().unwrap(),
    );
    assert!((now() - since - 3600).abs() < 60, "{}", call.target);
}

#[tokio::test]
async fn events_of_one_tenant_are_compared_and_imported_by_its_path() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("webhook.path", "/tenants/{tenant}/stripe").set("webhook.name", "t");
    let fixture = Fixture::start(setup).await;
    let id = fixture.undelivered("invoice.paid", 0);
    // One tenant has the event, and the other lacks it.
    let signed = Event::checkout().id(&id).signed();
    fixture.program.send(&signed.target("/tenants/acme/stripe")).await.expect_delivered(200);
    fixture.program.send(&Event::checkout().signed().target("/tenants/other/stripe")).await;

    let output = fixture.reconcile(&[]).await;
    assert!(output.code == 2 && output.err.contains("--path"), "{output:?}");
    let output = fixture.reconcile(&["--path", "/tenants/acme"]).await;
    assert!(output.code == 2 && output.err.contains("/tenants/{tenant}/stripe"), "{output:?}");
    let output = fixture.reconcile(&["--path", "/tenants/acme/stripe", "--apply", "--since", "1h"]).await;
    assert!(output.code == 0 && !output.out.contains(&id), "{output:?}");
    let output = fixture.reconcile(&["--path", "/tenants/other/stripe", "--apply", "--since", "1h"]).await;
    assert_eq!((output.code, last_line(&output)), (0, "1 of 1 imported."), "{output:?}");
    let got = backend.await_request(3).await;
    assert_eq!((got.target.as_str(), got.header("idempotency-key")), ("/tenants/other/stripe", Some(&*id)));

    let shown = fixture.operator.run(&["events", "list", "--json", "--id", &id]).await;
    let records: Vec<Value> = shown.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let segments: BTreeSet<_> = records.iter().map(|record| record["segments"].as_str().unwrap()).collect();
    assert_eq!(segments, BTreeSet::from(["acme", "other"]));
}

#[tokio::test]
async fn events_are_those_of_the_account_that_stripe_section_names() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).delivery("queued").set("stripe.account", "acct_1Shop");
    let fixture = Fixture::with_one_event(setup).await;
    let output = fixture.reconcile(&[]).await;
    assert_eq!(output.code, 0, "{output:?}");
    let accounts: Vec<_> =
        fixture.stripe.calls().iter().map(|call| call.header("stripe-account").map(str::to_owned)).collect();
    assert_eq!(accounts, [Some("acct_1Shop".to_owned())]);
}
