//! The responses of the checkout: redirects, errors, the session's status and refusals.

use super::{Shop, form, order};
use crate::fake_stripe::Fault;
use crate::harness::{Request, until};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn form_gets_a_redirect_and_a_script_gets_the_url() {
    let shop = Shop::open().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (request, status) in [
        (form("price=pro"), 303),
        (form("price=pro").header("Accept", browser), 303),
        (order(r#"{"price": "pro"}"#).header("Accept", browser), 303),
        (order(r#"{"price": "pro"}"#).header("Accept", "application/json"), 200),
        (order(r#"{"price": "pro"}"#).header("Accept", "*/*"), 200),
    ] {
        let response = shop.program.send(&request).await;
        assert_eq!((response.status, response.outcome()), (status, "created"), "{}", response.text());
        let body = response.json();
        assert_eq!(response.header("location"), body["url"].as_str().filter(|_| status == 303));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn errors_are_html_for_a_browser_and_json_for_a_script() {
    let shop = Shop::open().await;
    let response = shop.program.send(&form("price=gold").header("Accept", "text/html")).await;
    assert_eq!((response.status, response.outcome()), (400, "price_unknown"));
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(response.text().contains("Unknown price."), "{}", response.text());
    shop.program.send(&form("price=gold")).await.expect_error(400, "price_unknown");
}

#[tokio::test]
async fn session_status_contains_no_personal_data() {
    let shop = Shop::open().await;
    let created = shop.order(r#"{"price": "pro", "customer_email": "ada@shop.example"}"#).await.json();
    let id = created["id"].as_str().unwrap();
    let status = Request::get(&format!("/api/checkout/{id}"));
    let response = shop.program.send(&status).await;
    assert_eq!(
        (response.status, response.outcome(), response.header("cache-control")),
        (200, "status", Some("no-store"))
    );
    assert_eq!(response.json(), json!({"status": "open", "payment_status": "unpaid"}));
    shop.stripe.pay(id, "ada@shop.example").await.unwrap();
    let asked = status.clone().target(&format!("/api/create-checkout-session/{id}?x"));
    until("the payment to show, a second later at most", async || {
        let response = shop.program.send(&asked).await.json();
        (response == json!({"status": "complete", "payment_status": "paid"})).then_some(())
    })
    .await;
    let none = shop.program.send(&status.method("HEAD")).await;
    assert_eq!((none.status, none.body.length, none.outcome()), (200, 0, "status"));

    let calls = shop.stripe.calls().len();
    for target in ["cs_test_gone", "cs_prod_1", "1", "", "cs_test_1/expire", "..%2faccounts", "cs_test_1%3fx"]
    {
        let response = shop.program.send(&Request::get(&format!("/api/checkout/{target}"))).await;
        response.expect_error(404, "session_unknown");
    }
    assert_eq!(shop.stripe.calls().len(), calls + 1, "only what can be a session's id is asked for");
    assert_eq!(shop.backend.count(), 0);
}

#[tokio::test]
async fn other_methods_types_and_encodings_are_refused_and_the_connection_stays_open() {
    let shop = Shop::open_with(|s| s.set("checkout.max_body", "1KiB")).await;
    let mut client = shop.program.connect().await;
    let json = order(r#"{"price": "pro"}"#);
    for (request, status, code, allow) in [
        (Request::get("/api/checkout"), 405, "method_not_allowed", Some("POST, OPTIONS")),
        (json.clone().method("PUT"), 405, "method_not_allowed", Some("POST, OPTIONS")),
        (
            json.clone().target("/api/checkout/cs_test_1"),
            405,
            "method_not_allowed",
            Some("GET, HEAD, OPTIONS"),
        ),
        (json.clone().without("Content-Type"), 415, "content_type_unsupported", None),
        (json.clone().with("Content-Type", "text/plain"), 415, "content_type_unsupported", None),
        (
            json.clone().with("Content-Type", "multipart/form-data; boundary=x"),
            415,
            "content_type_unsupported",
            None,
        ),
        (json.clone().header("Content-Type", "text/plain"), 415, "content_type_unsupported", None),
        (json.clone().header("Content-Encoding", "gzip"), 415, "body_encoded", None),
        (
            json.clone().header("Idempotency-Key", "a").header("Idempotency-Key", "b"),
            400,
            "field_invalid",
            None,
        ),
    ] {
        let response = client.send(&request).await;
        response.expect_error(status, code);
        assert_eq!((response.header("allow"), response.header("cache-control")), (allow, Some("no-store")));
    }
    let fine = client.send(&json.header("Content-Encoding", "identity")).await;
    assert_eq!(fine.outcome(), "created");
    let long = format!(r#"{{"price": "pro", "locale": "{}"}}"#, "x".repeat(1024));
    shop.program.send(&order(&long)).await.expect_error(413, "body_too_large");
    shop.program.send(&order(&long).chunked(100)).await.expect_error(413, "body_too_large");
    shop.program
        .send(&order("zz\r\n").with("Transfer-Encoding", "chunked").without("Content-Length"))
        .await
        .expect_error(400, "body_malformed");
    assert_eq!(shop.stripe.calls().len(), 1);
}

#[tokio::test]
async fn expect_100_continue_gets_100_or_the_refusal() {
    let shop = Shop::open().await;
    let expecting = order(r#"{"price": "pro"}"#).header("Expect", "100-continue");
    let mut client = shop.program.connect().await;
    client.write(expecting.head_bytes()).await;
    assert_eq!(client.response_head().await.status, 100);
    client.write(expecting.body_bytes()).await;
    assert_eq!(client.response().await.outcome(), "created");
    let refused = expecting.with("Content-Type", "text/plain");
    let mut client = shop.program.connect().await;
    client.write(refused.head_bytes()).await;
    client.response().await.expect_error(415, "content_type_unsupported");
}

#[tokio::test]
async fn slow_order_body_gets_408_after_ten_seconds() {
    let shop = Shop::open().await;
    let mut client = shop.program.connect().await;
    let request = order(r#"{"price": "pro"}"#);
    let (head, body) = (request.head_bytes(), request.body_bytes());
    client.write(head).await;
    let response = client.drip(&body[..body.len() - 1], Duration::from_secs(1)).await.unwrap();
    response.expect_error(408, "body_too_slow");
    client.closed().await;
    assert_eq!(shop.stripe.calls().len(), 0);
}

#[tokio::test]
async fn order_beyond_the_1024th_in_flight_gets_503() {
    const ORDERS: usize = 1024;
    let shop = Shop::open().await;
    shop.stripe.always(|| Some(Fault::slow(Duration::from_secs(60))));
    let mut clients = Vec::new();
    for _ in 0..ORDERS {
        let mut client = shop.program.connect().await;
        client.write(order(r#"{"price": "pro"}"#).bytes()).await;
        clients.push(client);
    }
    shop.program.await_metric("inflight", ORDERS as f64).await;
    let response = shop.order(r#"{"price": "pro"}"#).await;
    response.expect_error(503, "overloaded");
    assert_eq!(response.header("retry-after"), Some("1"));
    // Requests that need no call to Stripe, and pages, are still served.
    let preflight = shop.program.send(&Request::new("OPTIONS", "/api/checkout")).await;
    assert_eq!(preflight.outcome(), "preflight");
    assert_eq!(shop.program.send(&Request::get("/posts/1")).await.text(), r#"{"applied":true}"#);
}

#[tokio::test]
async fn client_that_disconnects_mid_body_is_counted_and_orders_nothing() {
    let shop = Shop::open().await;
    let mut client = shop.program.connect().await;
    let request = order(r#"{"price": "pro"}"#);
    client.write(request.head_bytes()).await;
    client.write(&request.body_bytes()[..5]).await;
    drop(client);
    until("it to be counted", async || (shop.count("body_malformed").await == 1.0).then_some(())).await;
    assert_eq!(shop.stripe.calls().len(), 0);
}
