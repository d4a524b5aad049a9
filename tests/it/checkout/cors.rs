//! Requests from pages of other origins: which may order, and which CORS headers they get.

use super::{Shop, form, order};
use crate::harness::{Request, Response};

fn preflight(origin: &str) -> Request {
    Request::new("OPTIONS", "/api/checkout")
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type,idempotency-key")
}

/// Returns whether the response lets this origin read it and varies by `Origin`.
fn readable(response: &Response, origin: &str) -> bool {
    assert_eq!(response.header("vary"), Some("Origin"));
    response.header("access-control-allow-origin") == Some(origin)
        && response.header("access-control-allow-credentials") == Some("true")
}

#[tokio::test]
async fn only_the_pages_own_origin_may_order() {
    let shop = Shop::open().await;
    let own = format!("https://{}", Request::HOST);
    let json = order(r#"{"price": "pro"}"#);
    let cases = [
        (json.clone().header("Origin", &own).header("Sec-Fetch-Site", "same-origin"), true),
        (json.clone(), true),
        (json.clone().header("Sec-Fetch-Site", "same-origin"), true),
        (
            json.clone()
                .header("X-Forwarded-Host", "www.other.example")
                .header("Origin", "https://www.other.example"),
            true,
        ),
        (json.clone().header("X-Forwarded-Host", "www.other.example").header("Origin", &own), false),
        (json.clone().header("Origin", "https://evil.example"), false),
        (json.clone().header("Origin", "null"), false),
        (json.clone().header("Origin", &format!("{own}.evil.example")), false),
        (json.clone().header("Sec-Fetch-Site", "cross-site"), false),
        (form("price=pro").header("Origin", "https://evil.example"), false),
        (Request::get("/api/checkout/cs_test_1").header("Origin", "https://evil.example"), false),
        (preflight("https://evil.example"), false),
    ];
    let mut orders = 0;
    for (request, fine) in cases {
        let response = shop.program.send(&request).await;
        if fine {
            orders += 1;
            assert_eq!(response.outcome(), "created", "{request:?}");
        } else {
            response.expect_error(403, "origin_forbidden");
            assert_eq!(response.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(shop.stripe.calls().len(), orders);
    let response = shop.program.send(&json.header("Origin", &own)).await;
    assert!(readable(&response, &own));
}

#[tokio::test]
async fn listed_origin_may_order_and_passes_preflight() {
    let (app, evil) = ("https://app.shop.example", "https://evil.example");
    let shop = Shop::open_with(|s| s.set("checkout.allowed_origins", vec![app])).await;
    let response = shop.program.send(&preflight(app)).await;
    assert_eq!((response.status, response.outcome(), response.body.length), (204, "preflight", 0));
    assert!(readable(&response, app));
    assert_eq!(response.header("access-control-allow-methods"), Some("POST, OPTIONS"));
    let headers = response.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
    assert!(headers.contains("content-type") && headers.contains("idempotency-key"), "{headers}");

    let ordered = shop.program.send(&order(r#"{"price": "pro"}"#).header("Origin", app)).await;
    assert_eq!(ordered.outcome(), "created");
    assert!(readable(&ordered, app));
    let refused = shop.program.send(&order(r#"{"price": "x"}"#).header("Origin", app)).await;
    refused.expect_error(400, "price_unknown");
    assert!(readable(&refused, app), "the page can read what was wrong");
    for origin in [evil, &format!("https://{}", Request::HOST)] {
        shop.program.send(&preflight(origin)).await.expect_error(403, "origin_forbidden");
    }
    // Tracing adds its headers to every request of a page.
    let traced = Request::new("OPTIONS", "/api/checkout")
        .header("Origin", app)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "baggage,content-type,sentry-trace,traceparent");
    let asked = shop.program.send(&traced).await;
    assert_eq!(
        asked.header("access-control-allow-headers"),
        Some("Accept, Content-Type, Idempotency-Key, baggage, sentry-trace, traceparent")
    );
    let status = Request::new("OPTIONS", "/api/checkout/cs_test_1").header("Origin", app);
    let response = shop.program.send(&status).await;
    assert_eq!(response.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn app_with_a_scheme_of_its_own_may_order_if_it_is_listed() {
    let app = "capacitor://localhost";
    let shop = Shop::open_with(|s| s.set("checkout.allowed_origins", vec![app])).await;
    let json = order(r#"{"price": "pro"}"#).header("Sec-Fetch-Site", "cross-site");
    let ordered = shop.program.send(&json.clone().header("Origin", app)).await;
    assert_eq!(ordered.outcome(), "created");
    assert!(readable(&ordered, app) && readable(&shop.program.send(&preflight(app)).await, app));
    let other = json.header("Origin", "capacitor://other");
    shop.program.send(&other).await.expect_error(403, "origin_forbidden");
}

#[tokio::test]
async fn form_of_the_own_page_with_origin_null_may_order_with_a_list_and_without() {
    for list in [vec![], vec!["https://app.shop.example"]] {
        let shop = Shop::open_with(|s| s.set("checkout.allowed_origins", list.clone())).await;
        let null = form("price=pro").header("Origin", "null");
        let own = shop.program.send(&null.clone().header("Sec-Fetch-Site", "same-origin")).await;
        assert_eq!((own.status, own.outcome()), (303, "created"), "{list:?}");
        for request in [null.clone(), null.header("Sec-Fetch-Site", "cross-site")] {
            shop.program.send(&request).await.expect_error(403, "origin_forbidden");
        }
        let named = form("price=pro").header("Origin", &format!("https://{}", Request::HOST));
        let named = shop.program.send(&named.header("Sec-Fetch-Site", "same-origin")).await;
        assert_eq!((named.status, named.outcome()), (303, "created"), "{list:?}");
    }
}

#[tokio::test]
async fn forwarded_host_of_an_untrusted_peer_is_not_the_pages_own() {
    let shop = Shop::open_with(|s| s.set("server.trusted_proxies", vec!["192.0.2.1"])).await;
    let forged = order(r#"{"price": "pro"}"#)
        .header("X-Forwarded-Host", "evil.example")
        .header("Origin", "https://evil.example");
    shop.program.send(&forged).await.expect_error(403, "origin_forbidden");
    let own = order(r#"{"price": "pro"}"#).header("Origin", &format!("https://{}", Request::HOST));
    assert_eq!(shop.program.send(&own).await.outcome(), "created");
}

#[tokio::test]
async fn malformed_host_gets_an_error_that_a_listed_origin_can_read_and_head_gets_no_body() {
    let app = "https://app.shop.example";
    let shop = Shop::open_with(|s| s.set("checkout.allowed_origins", vec![app])).await;
    let malformed = order(r#"{"price": "pro"}"#).header("Host", "b").header("Origin", app);
    let response = shop.program.send(&malformed).await;
    response.expect_error(400, "request_malformed");
    assert!(readable(&response, app));
    assert_eq!(response.header("cache-control"), Some("no-store"));

    for target in ["/api/checkout/cs_test_1", "/webhooks/stripe", "/posts/1"] {
        let mut client = shop.program.connect().await;
        client.write(Request::new("HEAD", target).header("Host", "b").bytes()).await;
        let head = client.response_head().await;
        assert_eq!((head.status, head.outcome()), (400, "request_malformed"), "{target}");
        let rest = client.some().await;
        assert!(rest.is_empty(), "{target}: {}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(shop.stripe.calls().len(), 0);

    // Without a list the host decides, and an ambiguous one lets no page read the error.
    let shop = Shop::open().await;
    let own = format!("https://{}", Request::HOST);
    let response = shop.program.send(&order("{}").header("Host", "b").header("Origin", &own)).await;
    response.expect_error(400, "request_malformed");
    assert_eq!(response.header("access-control-allow-origin"), None);
}
