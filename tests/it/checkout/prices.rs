//! Prices that are metered, and prices that other accounts sell.

use super::{Shop, check, form, order, setup};
use crate::fake_stripe::{FakeStripe, METERED_PRICE, MONTHLY_PRICE, OTHER_PRICE, PRICE};
use crate::harness::{Backend, Program, Request};
use toml::{Value, toml};

/// A metered price beside a monthly one.
fn metered() -> Value {
    let table = toml! {
        [[price]]
        id = MONTHLY_PRICE
        name = "monthly"
        mode = "subscription"
        [[price]]
        id = METERED_PRICE
        name = "use"
        mode = "subscription"
        metered = true
    };
    table["price"].clone()
}

#[tokio::test]
async fn metered_price_is_sold_without_a_quantity() {
    let shop = Shop::open_with(|s| s.set("checkout.price", metered())).await;
    for (request, quantities) in [
        (order(r#"{"price": "use"}"#), vec![None]),
        (form("price=use&quantity="), vec![None]),
        (
            order(r#"{"items": [{"price": "monthly"}, {"price": "use"}, {"price": "use"}]}"#),
            vec![Some("1"), None],
        ),
    ] {
        let response = shop.program.send(&request).await;
        assert_eq!(response.outcome(), "created", "{request:?}: {}", response.text());
        let call = shop.stripe.calls().pop().unwrap();
        for (at, quantity) in quantities.iter().enumerate() {
            assert_eq!(call.param(&format!("line_items[{at}][quantity]")).as_deref(), *quantity);
        }
        assert_eq!(call.param(&format!("line_items[{}][price]", quantities.len())), None);
    }
    let asked = shop.stripe.calls().len();
    for (request, param) in [
        (order(r#"{"price": "use", "quantity": 2}"#), "quantity"),
        (form("price=use&quantity=1"), "quantity"),
        (
            order(r#"{"items": [{"price": "monthly"}, {"price": "use", "quantity": 1}]}"#),
            "items[1][quantity]",
        ),
    ] {
        let response = shop.program.send(&request).await;
        response.expect_error(400, "quantity_metered");
        assert_eq!(response.json()["error"]["param"], param);
    }
    assert_eq!(shop.stripe.calls().len(), asked);
}

#[tokio::test]
async fn metered_price_without_the_flag_is_the_operators_fault_and_not_the_buyers() {
    let table = toml! {
        [[price]]
        id = METERED_PRICE
        name = "use"
        mode = "subscription"
    };
    let shop = Shop::open_with(|s| s.set("checkout.price", table["price"].clone())).await;
    let response = shop.order(r#"{"price": "use"}"#).await;
    assert_eq!((response.status, response.outcome()), (400, "stripe_refused"));
    assert!(!response.text().contains("usage_type"), "{}", response.text());
    shop.program.wait_for_log("the error", |line| line["level"] == "ERROR").await;
}

/// Prices of two sellers, and one of the platform.
fn sellers() -> Value {
    let table = toml! {
        [[price]]
        id = PRICE
        name = "mug"
        account = "acct_1SellerA"
        [[price]]
        id = OTHER_PRICE
        name = "plate"
        account = "acct_1SellerB"
        [[price]]
        id = MONTHLY_PRICE
        name = "club"
        mode = "subscription"
    };
    table["price"].clone()
}

#[tokio::test]
async fn account_of_a_price_sells_it_and_one_order_has_one_account() {
    for default in [None, Some("acct_1Default")] {
        let shop = Shop::open_with(|s| {
            s.set("checkout.price", sellers()).set("stripe.account", default.unwrap_or_default())
        })
        .await;
        for (price, account) in
            [("mug", Some("acct_1SellerA")), ("plate", Some("acct_1SellerB")), ("club", default)]
        {
            let response = shop.order(&format!(r#"{{"price": "{price}"}}"#)).await;
            assert_eq!(response.outcome(), "created", "{}", response.text());
            let call = shop.stripe.calls().pop().unwrap();
            assert_eq!(call.header("stripe-account"), account, "{price}");
        }
        let response = shop.order(r#"{"items": [{"price": "mug"}, {"price": "plate"}]}"#).await;
        response.expect_error(400, "accounts_mixed");
        assert_eq!(shop.stripe.calls().len(), 3);
    }
}

#[tokio::test]
async fn status_of_a_session_is_asked_of_the_account_that_sold_it() {
    let shop = Shop::open_with(|s| s.set("checkout.price", sellers())).await;
    let id = shop.order(r#"{"price": "plate"}"#).await.json()["id"].as_str().unwrap().to_owned();
    let status = Request::get(&format!("/api/checkout/{id}"));
    assert_eq!(shop.program.send(&status).await.json()["status"], "open");
    let calls = shop.stripe.calls();
    let accounts: Vec<_> = calls[1..].iter().map(|call| call.header("stripe-account")).collect();
    assert_eq!(accounts, [Some("acct_1SellerB")], "the seller is remembered");

    // Another process does not know who sold it, and asks every account.
    let other = setup(&shop.backend, &shop.stripe).set("checkout.price", sellers());
    let other = Program::start(other).await;
    assert_eq!(other.send(&status).await.json()["status"], "open");
    other.send(&Request::get("/api/checkout/cs_test_unknown")).await.expect_error(404, "session_unknown");
}

#[tokio::test]
async fn check_probe_asks_stripe_for_every_price() {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let shop =
        |prices: Value| setup(&backend, &stripe).set("ledger.url", "none").set("checkout.price", prices);

    let (code, output) = check(&shop(sellers()), &stripe, &["--probe"]).await;
    assert!(code == Some(0) && output.contains("accepts the key and has every price"), "{output}");
    let asked: Vec<_> = stripe
        .calls()
        .iter()
        .filter(|call| call.target.starts_with("/v1/prices/"))
        .map(|call| (call.target.clone(), call.header("stripe-account").map(str::to_owned)))
        .collect();
    let expected =
        [(PRICE, Some("acct_1SellerA")), (OTHER_PRICE, Some("acct_1SellerB")), (MONTHLY_PRICE, None)];
    assert_eq!(asked, expected.map(|(id, account)| (format!("/v1/prices/{id}"), account.map(str::to_owned))));

    let faulty = toml! {
        [[price]]
        id = "price_1Gone"
        [[price]]
        id = MONTHLY_PRICE
        [[price]]
        id = METERED_PRICE
        mode = "subscription"
        [[price]]
        lookup_key = "plate_eur"
    };
    let (code, output) = check(&shop(faulty["price"].clone()), &stripe, &["--probe"]).await;
    assert_eq!(code, Some(1), "{output}");
    for part in [
        "price \"price_1Gone\": Stripe has no such price",
        &format!("price \"{MONTHLY_PRICE}\": it is recurring"),
        &format!("price \"{METERED_PRICE}\": it is metered"),
        "price \"plate_eur\": no active price at Stripe has this lookup_key",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    assert_eq!(stripe.sessions(), 0);
}
