//! The lists that `reconcile` reads: those of connected accounts, that of thin events. Its output for scripts.

use super::reconcile::{Fixture, last_line};
use crate::fake_stripe::{Error, Fault};
use crate::harness::{Backend, Event, Setup, TestLedger, on_each_ledger};
use serde_json::{Value, json};
use std::collections::BTreeSet;

on_each_ledger! {
    json_and_the_exit_status_tell_what_is_missing_and_what_became_of_it,
    events_of_connected_accounts_are_read_from_their_lists,
    thin_events_are_compared_page_by_page,
}

fn thin(n: usize) -> Value {
    json!({
        "id": format!("evt_1Thin{n:04}"),
        "object": "v2.core.event",
        "type": "v2.core.account.created",
        "created": humantime::format_rfc3339_millis(std::time::SystemTime::UNIX_EPOCH + countersign::clock::unix()).to_string(),
        "livemode": false,
        "related_object": { "id": "acct_1New", "type": "v2.core.account", "url": "/v2/core/accounts/acct_1New" },
    })
}

async fn json_and_the_exit_status_tell_what_is_missing_and_what_became_of_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued").set("webhook.max_body", "64KiB");
    let fixture = Fixture::start(setup).await;
    let object = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let output = fixture.reconcile(&["--json"]).await;
    let nothing = object(&output.out);
    assert_eq!((output.code, &nothing["since"], &nothing["missing"]), (0, &Value::Null, &json!([])));

    fixture.program.send(&Event::checkout().signed()).await.expect_received("queued");
    let output = fixture.reconcile(&["--json"]).await;
    let nothing = object(&output.out);
    assert_eq!((output.code, nothing["missing"].as_array().unwrap().len()), (0, 0), "{nothing}");
    assert!(humantime::parse_rfc3339(nothing["since"].as_str().unwrap()).is_ok(), "{nothing}");

    let [id, large] = [fixture.undelivered("invoice.paid", 0), fixture.undelivered("invoice.paid", 70_000)];
    let output = fixture.reconcile(&["--json", "--since", "1h"]).await;
    let listed = object(&output.out);
    assert_eq!((output.code, output.err.as_str()), (3, ""), "{output:?}");
    let ids: BTreeSet<_> =
        listed["missing"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from([&*id, &*large]));
    let first = &listed["missing"][0];
    let fields = ["type", "state", "account"].map(|name| &first[name]);
    assert_eq!(fields, [&json!("invoice.paid"), &json!("missing"), &Value::Null], "{first}");
    assert!(humantime::parse_rfc3339(first["created"].as_str().unwrap()).is_ok(), "{first}");
    assert_eq!((&listed["applied"], &listed["imported"]), (&json!(false), &json!(0)), "{listed}");
    assert_eq!((&listed["endpoint"], &listed["all"]), (&json!("/webhooks/stripe"), &json!(false)));

    // The endpoint takes no body as long as the second's.
    let output = fixture.reconcile(&["--json", "--since", "1h", "--apply"]).await;
    let applied = object(&output.out);
    assert_eq!((output.code, &applied["applied"], &applied["imported"]), (1, &json!(true), &json!(1)));
    assert_eq!(applied["rejected"][0]["id"], json!(large), "{applied}");
    assert!(applied["rejected"][0]["message"].as_str().unwrap().contains("65536"), "{applied}");
    let got = backend.await_request(2).await;
    assert_eq!(got.header("idempotency-key"), Some(&*id));
}

async fn events_of_connected_accounts_are_read_from_their_lists(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued");
    let setup = setup.set("webhook.accounts", vec!["none", "acct_1Shop", "acct_1Other"]);
    let fixture = Fixture::with_one_event(setup).await;
    backend.await_request(1).await;
    let record = |event: &Event| {
        fixture.stripe.record(&serde_json::from_slice(&event.body()).unwrap(), false);
        event.id.clone()
    };
    let own = record(&Event::new("invoice.paid"));
    let shop = record(&Event::new("invoice.paid").account("acct_1Shop"));
    let other = record(&Event::new("invoice.paid").account("acct_1Other"));
    let stranger = record(&Event::new("invoice.paid").account("acct_1Stranger"));

    let output = fixture.reconcile(&["--account", "acct_1Stranger"]).await;
    assert!(output.code == 2 && output.err.contains("acct_1Shop"), "{output:?}");
    let output = fixture.reconcile(&["--account", "cus_1"]).await;
    assert_eq!(output.code, 2, "{output:?}");
    let output = fixture.reconcile(&["--account", "acct_1Shop", "--json"]).await;
    let listed: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((output.code, &listed["missing"][0]["account"]), (3, &json!("acct_1Shop")), "{output:?}");
    assert_eq!(listed["missing"].as_array().unwrap().len(), 1);

    let output = fixture.reconcile(&["--apply"]).await;
    assert_eq!((output.code, last_line(&output)), (0, "3 of 3 imported."), "{output:?}");
    assert!(!output.out.contains(&stranger), "{output:?}");
    backend.await_request(4).await;
    let mut got: Vec<(String, Value)> = backend.requests()[1..]
        .iter()
        .map(|request| {
            let payload: Value = serde_json::from_slice(&request.body.bytes).unwrap();
            (payload["id"].as_str().unwrap().to_owned(), payload["account"].clone())
        })
        .collect();
    let mut expected = vec![(own, Value::Null), (shop, json!("acct_1Shop")), (other, json!("acct_1Other"))];
    got.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(got, expected, "a webhook says whose event it is");
}

async fn thin_events_are_compared_page_by_page(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued");
    let setup = setup.set("webhook.types", vec!["v2.core.account.created"]);
    let fixture = Fixture::start(setup).await;
    for n in 0..150 {
        fixture.stripe.record(&thin(n), true);
    }
    let mut other = thin(999);
    other["type"] = json!("v2.core.account.closed");
    fixture.stripe.record(&other, true);
    // A rate limit in the middle: it goes on where it was.
    let mut calls = 0;
    let limited = std::sync::Mutex::new(move || {
        calls += 1;
        (calls == 2).then(|| Fault::error(Error::named("rate_limited").unwrap().header("Retry-After", "0")))
    });
    fixture.stripe.always(move || (limited.lock().unwrap())());
    let output = fixture.reconcile(&["--since", "1h"]).await;
    assert!(output.code == 3 && output.out.contains("150 events are missing"), "{output:?}");
    let calls = fixture.stripe.calls();
    let targets: Vec<&str> = calls.iter().map(|call| &*call.target).collect();
    assert_eq!(targets.len(), 3, "{targets:?}");
    assert!(targets.iter().all(|target| target.starts_with("/v2/core/events?")), "{targets:?}");
    assert_eq!(targets[1], targets[2], "the page that was refused is asked for again");

    let output = fixture.reconcile(&["--since", "1h", "--apply"]).await;
    assert_eq!((output.code, last_line(&output)), (0, "150 of 150 imported."), "{output:?}");
    backend.await_request(150).await;
    let ids: BTreeSet<String> =
        backend.requests().iter().map(|got| got.header("idempotency-key").unwrap().to_owned()).collect();
    assert!(ids.len() == 150 && ids.contains("evt_1Thin0149"));
    let output = fixture.reconcile(&["--all"]).await;
    assert!(output.code == 0 && last_line(&output).starts_with("Nothing is missing"), "{output:?}");
}
