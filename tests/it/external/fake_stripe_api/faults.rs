//! Scripted faults happen as asked, and look like Stripe's.

use super::{beside_the_description, create, least, send, try_send};
use crate::fake_stripe::{FakeStripe, Fault};
use serde_json::{Value, json};

#[tokio::test]
async fn connections_break_as_scripted_and_finished_work_remains() {
    let stripe = FakeStripe::start().await;
    for (fault, read, done) in [
        (Fault::drop_unread(), 0, 0),
        (Fault::drop_read(), 1, 0),
        (Fault::drop_after_work(), 1, 1),
        (Fault::truncate(), 1, 1),
    ] {
        let name = format!("{fault:?}");
        let (calls, sessions) = (stripe.calls().len(), stripe.sessions());
        let keyed = create(&least()).header("Idempotency-Key", &name);
        stripe.next(fault);
        assert!(try_send(&stripe, &keyed).await.is_err(), "{name}");
        assert_eq!((stripe.calls().len() - calls, stripe.sessions() - sessions), (read, done), "{name}");
        let again = send(&stripe, &keyed).await;
        assert_eq!((again.status, again.header("idempotent-replayed").is_some()), (200, done == 1), "{name}");
    }
    assert_eq!(stripe.connections(), 8);
}

#[tokio::test]
async fn scripted_errors_equal_those_seen_of_stripe() {
    let Some(seen) = beside_the_description("stripe_errors.jsonl") else { return };
    let stripe = FakeStripe::start().await;
    let mut count = 0;
    for line in seen.lines() {
        let seen: Value = serde_json::from_str(line).unwrap();
        let name = seen["name"].as_str().unwrap();
        stripe.next(if name == "html_502_not_json" { Fault::bad_gateway() } else { Fault::named(name) });
        let response = send(&stripe, &create(&least())).await;
        assert_eq!(json!(response.status), seen["status"], "{name}");
        for header in [
            "Content-Type",
            "Idempotent-Replayed",
            "Stripe-Rate-Limited-Reason",
            "Stripe-Should-Retry",
            "WWW-Authenticate",
        ] {
            let theirs = seen["headers"].get(header).and_then(Value::as_str);
            assert_eq!(response.header(&header.to_lowercase()), theirs, "{name}: {header}");
        }
        if let Ok(theirs) = serde_json::from_str::<Value>(seen["body"].as_str().unwrap()) {
            let ours = response.json();
            for member in ["type", "code", "decline_code"] {
                assert_eq!(ours["error"][member], theirs["error"][member], "{name}: {member}");
            }
            assert_eq!(
                ours["error"]["param"].is_string(),
                theirs["error"]["param"].is_string(),
                "{name}: param"
            );
        }
        count += 1;
    }
    assert!(count > 10, "only {count} were seen");
}

#[tokio::test]
async fn every_scripted_error_has_the_shape_of_a_stripe_error() {
    let stripe = FakeStripe::start().await;
    for (name, status, kind) in [
        ("resource_missing_price", 400, "invalid_request_error"),
        ("parameter_missing", 400, "invalid_request_error"),
        ("parameter_unknown", 400, "invalid_request_error"),
        ("idempotency_params_mismatch", 400, "idempotency_error"),
        ("idempotency_key_in_use", 409, "idempotency_error"),
        ("bad_key", 401, "invalid_request_error"),
        ("card_declined", 402, "card_error"),
        ("permission", 403, "invalid_request_error"),
        ("no_such_session", 404, "invalid_request_error"),
        ("rate_limited", 429, "invalid_request_error"),
        ("lock_timeout", 429, "invalid_request_error"),
        ("lock_conflict", 409, "invalid_request_error"),
        ("api_error", 500, "api_error"),
        ("api_error_no_retry", 500, "api_error"),
        ("api_error_replayed", 500, "api_error"),
        ("unavailable", 503, "api_error"),
    ] {
        stripe.next(Fault::named(name));
        let response = send(&stripe, &create(&least())).await;
        assert_eq!((response.status, &response.json()["error"]["type"]), (status, &json!(kind)), "{name}");
        assert!(response.json()["error"]["message"].as_str().unwrap().len() > 10, "{name}");
    }
    stripe.next(Fault::bad_gateway());
    let response = send(&stripe, &create(&least())).await;
    assert_eq!((response.status, response.header("content-type")), (502, Some("text/html")));
}
