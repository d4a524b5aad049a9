//! The customer's identity, idempotency keys and rate limits.

use super::{Shop, form, order, setup, table};
use crate::fake_stripe::FakeStripe;
use crate::harness::{Backend, Program, Request, Setup, until};
use crate::tools::{Caddy, have};
use sha2::{Digest, Sha256};

fn identity(setup: Setup) -> Setup {
    let headers = [
        ("client_reference_id", "X-User-Id"),
        ("customer_email", "X-User-Email"),
        ("customer", "X-Customer-Id"),
    ];
    setup.set("checkout.identity", table(&headers))
}

const BODY: &str = r#"{"price": "pro", "locale": "de"}"#;

#[tokio::test]
async fn field_that_an_identity_header_fills_is_refused_in_the_order() {
    let only_reference =
        |s: Setup| s.set("checkout.identity", table(&[("client_reference_id", "X-User-Id")]));
    let shop = Shop::open_with(only_reference).await;
    let claims = r#"{"price": "pro", "client_reference_id": "victim"}"#;
    for request in [
        order(claims),
        order(claims).header("X-User-Id", "42"),
        order(claims).header("X-User-Id", ""),
        form("price=pro&client_reference_id=victim"),
    ] {
        let response = shop.program.send(&request).await;
        response.expect_error(400, "field_unknown");
        let error = &response.json()["error"];
        assert_eq!(error["param"], "client_reference_id");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("[checkout.identity]") && !message.contains("victim"), "{message}");
    }
    assert_eq!(shop.stripe.calls().len(), 0);
    // No header fills the address, so the order may have one.
    let response = shop.order(r#"{"price": "pro", "customer_email": "said@shop.example"}"#).await;
    assert_eq!(response.outcome(), "created", "{}", response.text());
    let call = shop.stripe.only_call();
    assert_eq!(call.param("customer_email").as_deref(), Some("said@shop.example"));
    assert_eq!(call.param("client_reference_id"), None);
}

#[tokio::test]
async fn header_of_an_untrusted_proxy_does_not_open_the_field_to_the_order() {
    let shop = Shop::open_with(|s| identity(s).set("server.trusted_proxies", vec!["192.0.2.1"])).await;
    let claims = order(r#"{"price": "pro", "client_reference_id": "victim"}"#).header("X-User-Id", "victim");
    shop.program.send(&claims).await.expect_error(400, "field_unknown");
    assert_eq!(shop.stripe.calls().len(), 0);
}

#[tokio::test]
async fn identity_headers_fill_the_session_and_a_repeated_header_is_refused() {
    let shop = Shop::open_with(identity).await;
    type Case = (&'static [(&'static str, &'static str)], [Option<&'static str>; 3]);
    let cases: [Case; 4] = [
        (&[], [None, None, None]),
        (&[("x-user-id", "42")], [Some("42"), None, None]),
        (
            &[("X-User-Id", "42"), ("X-User-Email", "ada@shop.example")],
            [Some("42"), Some("ada@shop.example"), None],
        ),
        (
            &[("X-Customer-Id", "cus_1Ada"), ("X-User-Email", "ada@shop.example")],
            [None, None, Some("cus_1Ada")],
        ),
    ];
    for (at, (headers, expected)) in cases.into_iter().enumerate() {
        let request = headers.iter().fold(order(BODY), |request, (name, value)| request.header(name, value));
        let response = shop.program.send(&request).await;
        assert_eq!(response.outcome(), "created", "{}", response.text());
        let call = shop.stripe.await_calls(at + 1).await.remove(at);
        let found = ["client_reference_id", "customer_email", "customer"].map(|name| call.param(name));
        assert_eq!(found.each_ref().map(Option::as_deref), expected, "{headers:?}");
    }
    let calls = shop.stripe.calls().len();
    for twice in [["42", "42"], ["42", "43"], ["", "42"]] {
        let request = order(BODY).header("X-User-Id", twice[0]).header("x-user-id", twice[1]);
        let response = shop.program.send(&request).await;
        response.expect_error(400, "identity_invalid");
        assert_eq!(response.json()["error"]["param"], "X-User-Id");
    }
    assert_eq!(shop.stripe.calls().len(), calls);
}

#[tokio::test]
async fn identity_headers_count_only_from_a_trusted_proxy() {
    let shop = Shop::open_with(|s| identity(s).set("server.trusted_proxies", vec!["192.0.2.1"])).await;
    let forged = order(r#"{"price": "pro"}"#).header("X-User-Id", "victim");
    assert_eq!(shop.program.send(&forged).await.outcome(), "created");
    assert_eq!(shop.stripe.only_call().param("client_reference_id"), None);
}

#[tokio::test]
async fn client_cannot_forge_identity_headers_through_caddy() {
    if !have("caddy") {
        return;
    }
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let program = Program::start(identity(setup(&backend, &stripe))).await;
    let caddy = Caddy::start(program.proxy()).await;
    let mut forged = form("price=pro");
    for [a, b, c] in [["X", "User", "Id"], ["X", "User", "Email"], ["X", "Customer", "Id"]] {
        for (left, right) in [("-", "-"), ("-", "_"), ("_", "-"), ("_", "_")] {
            let name = format!("{a}{left}{b}{right}{c}");
            forged = forged.header(&name, "forged").header(&name.to_lowercase(), "forged");
        }
    }
    let response = caddy.send(&forged).await;
    assert_eq!((response.status, response.outcome()), (303, "created"), "{}", response.text());
    let call = stripe.only_call();
    assert!(!call.body.contains("forged"), "{}", call.body);
    // Behind Caddy, the page's own origin is the host that Caddy was asked for.
    let own = format!("http://{}", Request::HOST);
    let response = caddy.send(&form("price=pro").header("Origin", &own)).await;
    assert_eq!(response.outcome(), "created");
    let evil =
        form("price=pro").header("Origin", "http://evil.example").header("X-Forwarded-Host", "evil.example");
    caddy.send(&evil).await.expect_error(403, "origin_forbidden");
}

#[tokio::test]
async fn idempotency_key_gives_one_session_and_is_separate_for_each_customer() {
    let shop = Shop::open_with(identity).await;
    let send = async |user: Option<&str>, key: &str| {
        let mut request = order(r#"{"price": "pro"}"#).header("Idempotency-Key", key);
        if let Some(user) = user {
            request = request.header("X-User-Id", user);
        }
        let response = shop.program.send(&request).await;
        assert_eq!(response.outcome(), "created", "{}", response.text());
        response.json()["id"].as_str().unwrap().to_owned()
    };
    let long = "2f1c7f0e-5c52-4b0e-9b0a-6a3f1f0c9d11";
    let ada = send(Some("ada"), "order-1").await;
    assert_eq!(send(Some("ada"), "order-1").await, ada, "the same order");
    assert_ne!(send(Some("bob"), "order-1").await, ada, "another's");
    assert_ne!(send(Some("ada"), "order-2").await, ada, "another order");
    assert_ne!(send(None, "order-1").await, ada, "nobody's");
    assert_ne!(send(None, "order-1").await, send(None, "order-1").await, "too short to be anybody's own");
    assert_eq!(send(None, long).await, send(None, long).await, "long enough");

    let derived: String = Sha256::digest(b"ada\0order-1").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shop.stripe.calls()[0].header("idempotency-key"), Some(&*derived));
    until("both replays being logged", async || {
        (shop.log().matches(r#""stripe.replayed":true"#).count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn idempotency_key_with_another_order_is_refused() {
    let shop = Shop::open_with(identity).await;
    let with = |json: &str| order(json).header("X-User-Id", "ada").header("Idempotency-Key", "1");
    assert_eq!(shop.program.send(&with(r#"{"price": "pro"}"#)).await.outcome(), "created");
    let other = shop.program.send(&with(r#"{"price": "pro", "quantity": 2}"#)).await;
    assert_eq!(
        (other.status, other.outcome(), other.code().as_str()),
        (400, "stripe_refused", "idempotency_error")
    );
}

fn limited(setup: Setup) -> Setup {
    // The test itself is the trusted proxy, so it can name any client.
    identity(setup)
        .set("checkout.rate_limit", "2/h")
        .set("checkout.status_rate_limit", "1/h")
        .set("server.trusted_proxies", vec!["127.0.0.1"])
}

#[tokio::test]
async fn rate_limits_are_per_customer_or_address_and_apart_for_orders_and_status() {
    let shop = Shop::open_with(limited).await;
    let from = |address: &str| order(r#"{"price": "pro"}"#).header("X-Forwarded-For", address);
    let asks = |address: &str| Request::get("/api/checkout/cs_test_gone").header("X-Forwarded-For", address);
    let user = |name: &str| from("203.0.113.9").header("X-User-Id", name);
    for (request, outcome) in [
        (from("203.0.113.1"), "created"),
        (asks("203.0.113.1"), "session_unknown"),
        (asks("203.0.113.1"), "rate_limited"),
        (from("203.0.113.1"), "created"),
        (from("203.0.113.1"), "rate_limited"),
        (asks("203.0.113.1"), "rate_limited"),
        (from("198.51.100.7, 203.0.113.1"), "rate_limited"),
        (from("203.0.113.2"), "created"),
        (from("203.0.113.1, 127.0.0.1"), "rate_limited"),
        (from("2001:db8:0:1::1"), "created"),
        (from("2001:db8:0:1::2"), "created"),
        (from("2001:db8:0:1:ffff::3"), "rate_limited"),
        (from("2001:db8:0:2::1"), "created"),
        (user("ada"), "created"),
        (user("ada"), "created"),
        (user("ada"), "rate_limited"),
        (user("bob"), "created"),
        (from("203.0.113.9"), "created"),
    ] {
        let response = shop.program.send(&request).await;
        assert_eq!(response.outcome(), outcome, "{request:?}");
        if outcome == "rate_limited" {
            response.expect_error(429, outcome);
            let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=3600).contains(&wait), "{wait}");
        }
    }
    let preflight = Request::new("OPTIONS", "/api/checkout").header("X-Forwarded-For", "203.0.113.1");
    assert_eq!(shop.program.send(&preflight).await.status, 204, "asking costs nothing");
}

#[tokio::test]
async fn without_a_client_address_there_is_no_limit_and_one_warning() {
    let shop = Shop::open_with(limited).await;
    for _ in 0..4 {
        assert_eq!(shop.order(r#"{"price": "pro"}"#).await.outcome(), "created");
    }
    let warnings = || shop.log().matches("does not limit clients without a known address").count();
    let orders = || shop.log().matches(r#""outcome":"created""#).count();
    until("every order being logged", async || (orders() == 4).then_some(())).await;
    assert_eq!(warnings(), 1);
}
