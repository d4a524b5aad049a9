//! Which configured parameters Stripe gets with which order.

use super::{Shop, check, form, order, prices, setup, table};
use crate::fake_stripe::{Call, FakeStripe, METERED_PRICE, MONTHLY_PRICE, PRICE};
use crate::harness::Backend;
use toml::{Value, toml};

/// Returns the names of a call's parameters, without what follows a bracket.
fn names(call: &Call) -> Vec<String> {
    call.params().iter().map(|(name, _)| name.split('[').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn parameter_of_one_mode_or_buyer_goes_to_stripe_there_only() {
    let params = toml! {
        allow_promotion_codes = true
        subscription_data = { trial_period_days = 14 }
        payment_method_collection = "if_required"
        payment_intent_data = { description = "a book" }
        invoice_creation = { enabled = true }
        submit_type = "pay"
        customer_creation = "always"
        customer_update = { name = "auto" }
        saved_payment_method_options = { payment_method_save = "enabled" }
        setup_intent_data = { description = "a card" }
        currency = "eur"
    };
    let card = toml! {
        [[price]]
        id = "price_1Card"
        name = "card"
        mode = "setup"
    };
    let mut all = prices();
    all.as_array_mut().unwrap().extend(card["price"].as_array().unwrap().clone());
    let shop = Shop::open_with(|s| {
        s.set("checkout.price", all)
            .set("checkout.params", Value::Table(params))
            .set("checkout.identity", table(&[("customer", "X-Customer-Id")]))
    })
    .await;
    let payment = ["payment_intent_data", "invoice_creation", "submit_type"];
    let subscription = ["subscription_data", "payment_method_collection"];
    for (price, customer, own, others) in [
        (
            "pro",
            None,
            [&payment[..], &["customer_creation"]].concat(),
            [&subscription[..], &["customer_update", "setup_intent_data"]].concat(),
        ),
        (
            "pro",
            Some("cus_1"),
            [&payment[..], &["customer_update"]].concat(),
            [&subscription[..], &["customer_creation"]].concat(),
        ),
        (
            "monthly",
            None,
            subscription.to_vec(),
            [&payment[..], &["customer_update", "customer_creation", "setup_intent_data"]].concat(),
        ),
        ("monthly", Some("cus_1"), [&subscription[..], &["customer_update"]].concat(), payment.to_vec()),
        (
            "card",
            None,
            vec!["setup_intent_data"],
            [&payment[..], &subscription, &["customer_creation", "saved_payment_method_options"]].concat(),
        ),
    ] {
        let mut request = form(&format!("price={price}"));
        if let Some(customer) = customer {
            request = request.header("X-Customer-Id", customer);
        }
        let response = shop.program.send(&request).await;
        assert_eq!(response.outcome(), "created", "{price} {customer:?}: {}", response.text());
        let found = names(&shop.stripe.calls().pop().unwrap());
        assert!(found.contains(&"allow_promotion_codes".to_owned()), "{found:?}");
        for name in own {
            assert!(found.iter().any(|n| n == name), "{price} {customer:?} lacks {name}: {found:?}");
        }
        for name in others {
            assert!(!found.iter().any(|n| n == name), "{price} {customer:?} has {name}: {found:?}");
        }
    }
}

#[tokio::test]
async fn check_names_each_parameter_that_no_price_can_use() {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let params = toml! {
        setup_intent_data = { description = "a card" }
        subscription_data = { trial_period_days = 14 }
        customer_update = { name = "auto" }
        customer_creation = "always"
        allow_promotion_codes = true
    };
    let setup = setup(&backend, &stripe)
        .set("ledger.url", "none")
        .set("checkout.copy_metadata", vec!["payment_intent_data", "setup_intent_data"])
        .set("checkout.params", Value::Table(params));
    let (code, output) = check(&setup, &stripe, &[]).await;
    assert_eq!(code, Some(0), "{output}");
    let warned: Vec<&str> = output.lines().filter(|line| line.contains("is never sent")).collect();
    assert_eq!(warned.len(), 3, "{output}");
    for name in ["params.setup_intent_data", "params.customer_update", "copy_metadata: setup_intent_data"] {
        assert!(
            warned.iter().any(|line| line.contains(&format!("checkout.{name} is never sent"))),
            "{output}"
        );
    }
}

#[tokio::test]
async fn metadata_of_an_order_is_also_copied_to_payment_and_subscription() {
    let shop = Shop::open_with(|s| {
        s.set("checkout.copy_metadata", vec!["payment_intent_data", "subscription_data"])
            .set("checkout.metadata", vec!["campaign"])
            .set("checkout.params", Value::Table(toml! { metadata = { shop = "north" } }))
    })
    .await;
    for (price, target, other) in [
        ("pro", "payment_intent_data", "subscription_data"),
        ("monthly", "subscription_data", "payment_intent_data"),
    ] {
        let body = format!(r#"{{"price": "{price}", "metadata": {{"campaign": "may"}}}}"#);
        assert_eq!(shop.order(&body).await.outcome(), "created");
        let call = shop.stripe.calls().pop().unwrap();
        for (key, value) in [("campaign", "may"), ("shop", "north")] {
            assert_eq!(call.param(&format!("metadata[{key}]")).as_deref(), Some(value));
            assert_eq!(call.param(&format!("{target}[metadata][{key}]")).as_deref(), Some(value));
        }
        assert!(!names(&call).contains(&other.to_owned()));
    }
}

#[tokio::test]
async fn expiry_is_counted_from_the_order_and_is_the_same_for_a_repeated_one() {
    for (after, seconds) in [("30m", 1800), ("35m", 2100), ("24h", 86400)] {
        let shop = Shop::open_with(|s| s.set("checkout.expires_after", after)).await;
        let request = order(r#"{"price": "pro"}"#).header("Idempotency-Key", "0123456789012345678901");
        let first = shop.program.send(&request).await;
        assert_eq!(first.outcome(), "created", "{after}: {}", first.text());
        let call = shop.stripe.only_call();
        let expires_at: u64 = call.param("expires_at").unwrap().parse().unwrap();
        let from_now = expires_at.abs_diff(countersign::clock::unix().as_secs());
        assert!(from_now.abs_diff(seconds) <= 70, "{after}: {from_now}");
        let again = shop.program.send(&request).await;
        assert_eq!((again.outcome(), again.json()), ("created", first.json()), "{after}");
    }
}

#[tokio::test]
async fn locale_that_stripe_lacks_becomes_the_nearest_or_auto() {
    let shop = Shop::open_with(|s| s.set("checkout.params", table(&[("locale", "de-AT")]))).await;
    for (locale, sent) in [
        ("en-US", "en"),
        ("fr_BE", "fr"),
        ("zh-Hant-TW", "zh-TW"),
        ("no", "nb"),
        ("uk", "auto"),
        ("pt-BR", "pt-BR"),
        ("auto", "auto"),
        ("de_DE.UTF-8", "de"),
        ("uk-UA,uk;q=0.9,fr;q=0.8", "fr"),
        ("C", "auto"),
        ("../x", "auto"),
    ] {
        let response = shop.order(&format!(r#"{{"price": "pro", "locale": "{locale}"}}"#)).await;
        assert_eq!(response.outcome(), "created", "{locale}: {}", response.text());
        let call = shop.stripe.calls().pop().unwrap();
        assert_eq!(call.param("locale").as_deref(), Some(sent), "{locale}");
    }
    assert_eq!(shop.order(r#"{"price": "pro"}"#).await.outcome(), "created");
    let call = shop.stripe.calls().pop().unwrap();
    assert_eq!(call.param("locale").as_deref(), Some("de"), "the configured locale, too");
    shop.order(r#"{"price": "pro", "locale": 5}"#).await.expect_error(400, "field_invalid");
}

#[tokio::test]
async fn params_of_a_price_go_into_its_own_line_item_only() {
    let table = toml! {
        [[price]]
        id = PRICE
        name = "pro"
        [price.params]
        adjustable_quantity = { enabled = true, minimum = 1, maximum = 10 }
        tax_rates = ["txr_1Example"]
        [[price]]
        id = MONTHLY_PRICE
        [[price]]
        id = METERED_PRICE
        metered = true
    };
    let shop = Shop::open_with(|s| {
        s.set("checkout.mode", "subscription").set("checkout.price", table["price"].clone())
    })
    .await;
    let body = format!(
        r#"{{"items": [{{"price": "{MONTHLY_PRICE}"}}, {{"price": "pro"}}, {{"price": "{METERED_PRICE}"}}]}}"#
    );
    let response = shop.order(&body).await;
    assert_eq!(response.outcome(), "created", "{}", response.text());
    let call = shop.stripe.only_call();
    let items: Vec<String> = call
        .params()
        .iter()
        .filter(|(name, _)| name.starts_with("line_items"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        items,
        [
            &format!("line_items[0][price]={MONTHLY_PRICE}"),
            "line_items[0][quantity]=1",
            &format!("line_items[1][price]={PRICE}"),
            "line_items[1][quantity]=1",
            "line_items[1][adjustable_quantity][enabled]=true",
            "line_items[1][adjustable_quantity][maximum]=10",
            "line_items[1][adjustable_quantity][minimum]=1",
            "line_items[1][tax_rates][0]=txr_1Example",
            &format!("line_items[2][price]={METERED_PRICE}"),
        ]
    );
}
