//! Prices that are configured by their lookup key.

use super::lifecycle::reload;
use super::{Shop, setup};
use crate::fake_stripe::{FakeStripe, Fault, OTHER_PRICE, PRICE};
use crate::harness::{Backend, Program, Setup, until};
use toml::{Value, toml};

/// A price with a lookup key beside one with an id.
fn prices() -> Value {
    let table = toml! {
        [[price]]
        lookup_key = "mug_eur"
        name = "mug"
        max = 5
        [[price]]
        id = OTHER_PRICE
        name = "chapter"
    };
    table["price"].clone()
}

fn lookups(shop: &Shop) -> usize {
    shop.stripe.calls().iter().filter(|call| call.target.starts_with("/v1/prices?")).count()
}

/// Opens a shop whose lookup key belongs to a price, unless Stripe fails.
async fn open(prepare: impl FnOnce(&FakeStripe)) -> (Shop, Setup) {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    prepare(&stripe);
    let setup = setup(&backend, &stripe).set("checkout.price", prices());
    let program = Program::start(setup.clone()).await;
    (Shop { stripe, backend, program }, setup)
}

#[tokio::test]
async fn price_is_sold_by_its_lookup_key_and_a_reload_looks_it_up_again() {
    let (shop, setup) = open(|stripe| stripe.move_lookup_key("mug_eur", Some(PRICE))).await;
    for order in [r#"{"price": "mug"}"#, r#"{"price": "mug_eur", "quantity": 5}"#] {
        let response = shop.order(order).await;
        assert_eq!(response.outcome(), "created", "{}", response.text());
        let call = shop.stripe.calls().pop().unwrap();
        assert_eq!(call.param("line_items[0][price]").as_deref(), Some(PRICE));
    }
    assert_eq!(lookups(&shop), 1);
    let call = shop.stripe.calls().remove(0);
    assert_eq!(call.target, "/v1/prices?active=true&limit=100&lookup_keys[0]=mug_eur");

    shop.stripe.move_lookup_key("mug_eur", Some(OTHER_PRICE));
    reload(&shop, &setup, 1).await;
    assert_eq!(shop.order(r#"{"price": "mug"}"#).await.outcome(), "created");
    let call = shop.stripe.calls().pop().unwrap();
    assert_eq!(call.param("line_items[0][price]").as_deref(), Some(OTHER_PRICE));
}

#[tokio::test]
async fn price_that_cannot_be_looked_up_is_unavailable_and_the_rest_is_sold() {
    let (shop, setup) = open(|_| {}).await;
    for (order, param) in [
        (r#"{"price": "mug"}"#, "price"),
        (r#"{"items": [{"price": "chapter"}, {"price": "mug"}]}"#, "items[1][price]"),
    ] {
        let response = shop.order(order).await;
        response.expect_error(503, "price_unavailable");
        assert_eq!(response.json()["error"]["param"], param);
        assert_eq!(response.header("retry-after"), Some("60"));
    }
    assert_eq!(shop.order(r#"{"price": "chapter"}"#).await.outcome(), "created");
    assert_eq!(shop.count("price_unavailable").await, 2.0);
    shop.program
        .wait_for_log("the failed lookup", |line| line["level"] == "ERROR" && line["lookup_key"] == "mug_eur")
        .await;

    shop.stripe.move_lookup_key("mug_eur", Some(PRICE));
    reload(&shop, &setup, 1).await;
    assert_eq!(shop.order(r#"{"price": "mug"}"#).await.outcome(), "created");
}

#[tokio::test]
async fn program_starts_while_stripe_fails_and_a_failing_reload_keeps_the_price() {
    let (shop, setup) = open(|stripe| {
        stripe.move_lookup_key("mug_eur", Some(PRICE));
        stripe.next(Fault::named("permission"));
    })
    .await;
    shop.order(r#"{"price": "mug"}"#).await.expect_error(503, "price_unavailable");
    reload(&shop, &setup, 1).await;
    assert_eq!(shop.order(r#"{"price": "mug"}"#).await.outcome(), "created");

    shop.stripe.next(Fault::named("permission"));
    let before = lookups(&shop);
    reload(&shop, &setup, 2).await;
    until("the lookup", async || (lookups(&shop) > before).then_some(())).await;
    assert_eq!(
        shop.order(r#"{"price": "mug"}"#).await.outcome(),
        "created",
        "by the id that was found before"
    );
    shop.program
        .wait_for_log("the failed lookup", |line| line["level"] == "WARN" && line["lookup_key"] == "mug_eur")
        .await;
}
