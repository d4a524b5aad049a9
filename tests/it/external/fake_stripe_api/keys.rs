//! Idempotency keys behave as Stripe's do.

use super::{client, create, least, send};
use crate::fake_stripe::{FakeStripe, Fault};
use crate::harness::{until, within};
use serde_json::json;

#[tokio::test]
async fn idempotency_key_returns_the_first_response_only() {
    let stripe = FakeStripe::start().await;
    let keyed = |body: &str| create(body).header("Idempotency-Key", "order-1");
    let first = send(&stripe, &keyed(&least())).await;
    let again = send(&stripe, &keyed(&least())).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(first.body.bytes, again.body.bytes);
    let other = send(&stripe, &keyed(&format!("{}&locale=de", least()))).await;
    assert_eq!((other.status, &other.json()["error"]["type"]), (400, &json!("idempotency_error")));
    let elsewhere = send(&stripe, &keyed(&least()).header("Stripe-Account", "acct_1")).await;
    assert_eq!((elsewhere.status, elsewhere.header("idempotent-replayed")), (200, None));
    assert_eq!(stripe.sessions(), 2);
}

#[tokio::test]
async fn idempotency_key_stores_a_500_but_no_refusal_and_no_503() {
    let stripe = FakeStripe::start().await;
    let keyed = |key: &str, body: &str| create(body).header("Idempotency-Key", key);
    stripe.next(Fault::named("api_error"));
    for replayed in [None, Some("true")] {
        let response = send(&stripe, &keyed("a", &least())).await;
        assert_eq!((response.status, response.header("idempotent-replayed")), (500, replayed));
    }
    stripe.next(Fault::named("unavailable"));
    assert_eq!(send(&stripe, &keyed("b", &least())).await.status, 503);
    assert_eq!(send(&stripe, &keyed("b", &least())).await.status, 200);
    assert_eq!(send(&stripe, &keyed("c", "mode=payment")).await.status, 400);
    assert_eq!(send(&stripe, &keyed("c", &least())).await.status, 200);
}

#[tokio::test]
async fn idempotency_key_in_use_conflicts_until_the_request_ends() {
    let stripe = FakeStripe::start().await;
    let keyed = create(&least()).header("Idempotency-Key", "order-2");
    let (held, release) = Fault::held();
    stripe.next(held);
    let mut first = client(&stripe).await;
    first.write(keyed.bytes()).await;
    within("the first call", stripe.await_calls(1)).await;
    let second = send(&stripe, &keyed).await;
    assert_eq!((second.status, second.header("stripe-should-retry")), (409, Some("true")));
    // The caller disconnects, and Stripe continues.
    drop(first);
    release.now();
    let replayed = until("the first call's end", async || {
        let response = send(&stripe, &keyed).await;
        (response.status == 200).then_some(response)
    });
    assert_eq!(replayed.await.header("idempotent-replayed"), Some("true"));
    assert_eq!(stripe.sessions(), 1);
}
