//! `reconcile` against the fake Stripe and the real program: missing events are found, imported once, and nothing
//! else is.

use crate::fake_stripe::{Error, FakeStripe, Fault, KEY};
use crate::harness::{
    Answer, Backend, Event, Program, SECRET, Setup, TestLedger, now, on_each_ledger, sign, webhook,
};
use crate::ops::events::{Operator, Said, administered};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The fake Stripe, a program and an operator.
struct Desk {
    stripe: FakeStripe,
    program: Program,
    operator: Operator,
}

impl Desk {
    async fn open(setup: Setup) -> Desk {
        let stripe = FakeStripe::start().await;
        let setup = administered(setup)
            .env("STRIPE_API_BASE", &stripe.api_base())
            .env("STRIPE_SECRET_KEY", KEY)
            .set("checkout.api_base", stripe.api_base());
        let program = Program::start(setup.clone()).await;
        let operator = Operator::of(&program, &setup).env("STRIPE_SECRET_KEY", KEY);
        Desk { stripe, program, operator }
    }

    /// Starts all of them and records one event in the ledger.
    async fn begun(setup: Setup) -> Desk {
        let desk = Desk::open(setup).await;
        desk.program.send(&Event::checkout().signed()).await;
        desk
    }

    async fn reconcile(&self, words: &[&str]) -> Said {
        self.operator.types(&[&["reconcile"], words].concat()).await
    }

    /// Creates an event that Stripe could not deliver.
    fn missed(&self, kind: &str, size: usize) -> String {
        let event =
            self.stripe.emit_undelivered(kind, json!({ "id": "in_1", "object": "invoice", "note": "x".repeat(size) }));
        event["id"].as_str().unwrap().to_owned()
    }
}

fn last(said: &Said) -> &str {
    said.out.lines().last().unwrap_or_default()
}

on_each_ledger! {
    fresh_install_finds_nothing_and_does_not_call_stripe,
    missing_events_are_listed_and_apply_imports_each_once,
    event_that_failed_inline_is_missing_and_a_delivered_one_is_not,
}

async fn fresh_install_finds_nothing_and_does_not_call_stripe(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let desk = Desk::open(setup.delivery("queued")).await;
    let id = desk.missed("invoice.paid", 0);
    for words in [&[][..], &["--apply"]] {
        let said = desk.reconcile(words).await;
        assert!(said.code == 0 && said.out.contains("has no record"), "{said:?}");
    }
    assert!(desk.stripe.calls().is_empty());
    let said = desk.reconcile(&["--since", "1h"]).await;
    assert!(said.code == 0 && said.out.contains(&id), "{said:?}");
    assert_eq!(backend.count(), 0);
}

async fn missing_events_are_listed_and_apply_imports_each_once(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let setup = setup.delivery("queued").set("webhook.types", vec!["checkout.session.*", "invoice.*"]);
    let seen = backend.count() + 1;
    let desk = Desk::begun(setup).await;
    backend.await_request(seen).await;
    // The events fill three pages, with events of an unwanted type among them.
    let mut missed = BTreeSet::new();
    for n in 0..230 {
        missed.insert(desk.missed("invoice.paid", 0));
        if n % 10 == 0 {
            desk.missed("charge.refunded", 0);
        }
    }
    let said = desk.reconcile(&[]).await;
    assert!(said.code == 0 && said.out.contains("230 events are missing at /webhooks/stripe"), "{said:?}");
    assert_eq!(said.err, "", "progress is for terminals");
    assert_eq!(missed.iter().filter(|id| said.out.contains(*id)).count(), 230);
    let calls = desk.stripe.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.target.contains("delivery_success=false")), "{calls:?}");
    assert_eq!(backend.count(), seen, "nothing was taken in yet");

    let said = desk.reconcile(&["--apply"]).await;
    assert_eq!((said.code, last(&said)), (0, "230 of 230 taken in."), "{said:?}");
    backend.await_request(seen + 230).await;
    let got: BTreeSet<_> = backend.requests()[seen..]
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(got, missed);
    let payload: Value = serde_json::from_slice(&backend.requests().pop().unwrap().body.bytes).unwrap();
    assert_eq!((&payload["object"], &payload["type"]), (&json!("event"), &json!("invoice.paid")));

    let said = desk.reconcile(&["--apply"]).await;
    assert!(said.code == 0 && last(&said).starts_with("Nothing is missing at /webhooks/stripe"), "{said:?}");
    assert_eq!(backend.count(), seen + 230);
}

async fn event_that_failed_inline_is_missing_and_a_delivered_one_is_not(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let desk = Desk::open(setup).await;
    desk.stripe.deliver_to(&format!("http://{}/webhooks/stripe", desk.program.proxy().text()), SECRET);
    let invoice = || json!({ "id": "in_1", "object": "invoice" });
    backend.answers(Answer::ok());
    let came = desk.stripe.emit("invoice.paid", invoice()).await;
    backend.answers(Answer::status(500));
    let failed = desk.stripe.emit("invoice.paid", invoice()).await;
    let missed = desk.missed("invoice.paid", 0);
    backend.answers(Answer::ok());
    let said = desk.reconcile(&["--apply"]).await;
    assert!(said.code == 0 && !said.out.contains(&came), "{said:?}");
    let line = |id: &str| said.out.lines().find(|line| line.starts_with(id)).unwrap_or_default();
    assert!(line(&failed).contains(" failed ") && line(&missed).contains(" missing "), "{said:?}");
    assert_eq!(last(&said), "2 of 2 taken in.");
    // Stripe's own retry of the imported event is a copy.
    let event = desk.stripe.events().into_iter().find(|event| event["id"] == failed.as_str()).unwrap();
    let body = event.to_string();
    let signature = sign(&[SECRET], now(), body.as_bytes());
    let again = webhook(body.as_bytes()).header("Stripe-Signature", &signature);
    desk.program.send(&again).await.expect_received("duplicate");
    let said = desk.reconcile(&[]).await;
    assert!(last(&said).starts_with("Nothing is missing"), "{said:?}");
}

#[tokio::test]
async fn rate_limits_are_respected_and_an_oversized_page_is_fetched_in_parts() {
    let backend = Backend::start().await;
    let desk = Desk::begun(Setup::new(&backend).delivery("queued").set("webhook.max_body", "64KiB")).await;
    for _ in 0..60 {
        desk.missed("invoice.paid", 30_000);
    }
    desk.stripe.next(Fault::named("rate_limited"));
    desk.stripe.next(Fault::error(Error::named("rate_limited").unwrap().header("Retry-After", "1")));
    let started = tokio::time::Instant::now();
    let said = desk.reconcile(&[]).await;
    assert!(said.code == 0 && said.out.contains("60 events are missing"), "{said:?}");
    assert!(started.elapsed() >= std::time::Duration::from_millis(1500));
    let said = desk.reconcile(&["--apply"]).await;
    assert_eq!((said.code, last(&said)), (0, "60 of 60 taken in."));
}

#[tokio::test]
async fn failed_reconcile_says_why() {
    let backend = Backend::start().await;
    let desk = Desk::begun(Setup::new(&backend).delivery("queued")).await;
    desk.stripe.next(Fault::named("permission"));
    let said = desk.reconcile(&[]).await;
    assert!(said.code == 1 && said.err.contains("may read events"), "{said:?}");
    desk.stripe.always(|| Some(Fault::named("api_error_no_retry")));
    let said = desk.reconcile(&[]).await;
    assert!(said.code == 1 && said.err.contains("Stripe answered 500"), "{said:?}");
    assert!(!said.err.contains(KEY));
    let said = desk.reconcile(&["--endpoint", "other"]).await;
    assert!(said.code == 2 && said.err.contains("/webhooks/stripe"), "{said:?}");
    let said = desk.reconcile(&["--query", "version=2"]).await;
    assert!(said.code == 2 && said.err.contains("--query"), "{said:?}");
    let said = desk.reconcile(&["--since", "soon"]).await;
    assert_eq!(said.code, 2);
    let Desk { operator, program, stripe } = desk;
    drop(stripe);
    let said = operator.types(&["reconcile"]).await;
    assert!(
        said.code == 1 && said.err.contains("http://127.0.0.1:") && said.err.contains("refused"),
        "{said:?}"
    );
    let operator = operator.env("STRIPE_SECRET_KEY", "");
    let said = operator.types(&["reconcile"]).await;
    assert!(said.code == 78 && said.err.contains("STRIPE_SECRET_KEY"), "{said:?}");

    let setup =
        administered(Setup::new(&backend)).webhook("/webhooks/connect", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let operator = Operator::of(&program, &setup).env("STRIPE_SECRET_KEY", KEY);
    let said = operator.types(&["reconcile"]).await;
    assert!(said.code == 2 && said.err.contains("/webhooks/connect"), "{said:?}");
    let operator = Operator::of(&program, &setup.no_ledger()).env("STRIPE_SECRET_KEY", KEY);
    assert_eq!(operator.types(&["reconcile"]).await.code, 78);
}

#[tokio::test]
async fn expired_events_are_not_listed_however_far_back_since_reaches() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).delivery("queued").set("ledger.retention", "1h");
    let desk = Desk::begun(setup).await;
    let id = desk.missed("invoice.paid", 0);
    let said = desk.reconcile(&["--since", "30d"]).await;
    assert!(said.code == 0 && said.out.contains(&id) && said.err.contains("1h only"), "{said:?}");
    let call = desk.stripe.calls().pop().unwrap();
    let since: i64 = call.target.split("created%5Bgte%5D=").nth(1).map_or_else(
        || call.target.split("created[gte]=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap(),
        |rest| rest.split('&').next().unwrap().parse().unwrap(),
    );
    assert!((now() - since - 3600).abs() < 60, "{}", call.target);
}
