//! The checkout during a reload and at shutdown.

use super::{Shop, form, order, prices, setup};
use crate::fake_stripe::{Fault, PRICE};
use crate::harness::{Setup, until, within};
use toml::toml;

const PRO: &str = r#"{"price": "pro"}"#;

pub(super) async fn reload(shop: &Shop, setup: &Setup, reloads: usize) {
    shop.program.reconfigure(setup);
    shop.program.sighup();
    until("the reload", async || {
        (shop.log().matches(r#""message":"configuration reloaded""#).count() == reloads).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reload_applies_prices_and_keys_and_keeps_connections_open() {
    let shop =
        Shop::open_with(|s| s.file("key", "sk_test_one\n").set("stripe.secret_key", "{file.key}")).await;
    let base = || setup(&shop.backend, &shop.stripe).set("stripe.secret_key", "{file.key}");
    assert_eq!(shop.order(PRO).await.outcome(), "created");

    std::fs::write(shop.program.path("key"), "sk_test_two\n").unwrap();
    let other = toml! {
        [[price]]
        id = PRICE
        name = "gold"
    };
    reload(&shop, &base().set("checkout.price", other["price"].clone()), 1).await;
    shop.order(PRO).await.expect_error(400, "price_unknown");
    assert_eq!(shop.order(r#"{"price": "gold"}"#).await.outcome(), "created");
    let calls = shop.stripe.calls();
    let keys: Vec<_> = calls.iter().filter_map(|call| call.header("authorization")).collect();
    assert_eq!(keys, ["Bearer sk_test_one", "Bearer sk_test_two"]);
    assert_eq!(shop.stripe.connections(), 1);

    // Turned off and on again.
    reload(&shop, &Setup::new(&shop.backend), 2).await;
    assert_eq!(shop.order(PRO).await.text(), r#"{"applied":true}"#);
    reload(&shop, &base().set("checkout.price", prices()), 3).await;
    assert_eq!(shop.order(PRO).await.outcome(), "created");
    // An invalid file leaves the old configuration active.
    shop.program.reconfigure(&base().set("checkout.success_url", ""));
    shop.program.sighup();
    shop.program.wait_for_log("the fault", |line| line["errors"].is_string()).await;
    assert_eq!(shop.order(PRO).await.outcome(), "created");
}

#[tokio::test]
async fn reload_keeps_rate_limit_counts() {
    let limited =
        |s: Setup| s.set("checkout.rate_limit", "1/h").set("server.trusted_proxies", vec!["127.0.0.1"]);
    let shop = Shop::open_with(limited).await;
    let request = form("price=pro").header("X-Forwarded-For", "203.0.113.1");
    assert_eq!(shop.program.send(&request).await.outcome(), "created");
    reload(&shop, &limited(setup(&shop.backend, &shop.stripe)), 1).await;
    shop.program.send(&request).await.expect_error(429, "rate_limited");
    let other = limited(setup(&shop.backend, &shop.stripe)).set("checkout.rate_limit", "9/h");
    reload(&shop, &other, 2).await;
    assert_eq!(shop.program.send(&request).await.outcome(), "created", "another limit counts anew");
}

#[tokio::test]
async fn shutdown_finishes_an_order_in_flight_and_refuses_a_late_one() {
    let mut shop =
        Shop::open_with(|s| s.set("stripe.timeout", "1s").set("server.shutdown_grace", "4s")).await;
    let (held, release) = Fault::held();
    shop.stripe.next(held);
    let mut client = shop.program.connect().await;
    client.write(order(PRO).bytes()).await;
    within("Stripe to be asked", shop.stripe.await_calls(1)).await;
    // The order arrives before the shutdown but its body ends after it. Three attempts of a second, with the waits
    // between them, do not fit into the grace period.
    let mut late = shop.program.connect().await;
    late.write(&order(PRO).bytes()[..20]).await;
    shop.program.sigterm();
    shop.program
        .wait_for_log("the drain", |line| line["message"] == "shutting down: draining requests in flight")
        .await;
    release.now();
    let response = client.response().await;
    assert_eq!((response.outcome(), response.header("connection")), ("created", Some("close")));
    late.write(&order(PRO).bytes()[20..]).await;
    late.response().await.expect_error(503, "shutting_down");
    assert!(shop.program.wait_exit().await.success());
}
