//! Which orders are accepted, and which parameters Stripe gets for them.

use super::{Shop, form, order, prices, setup, table};
use crate::fake_stripe::{Call, FakeStripe, KEY, MONTHLY_PRICE, OTHER_PRICE, PRICE};
use crate::harness::{Backend, Program, Request, Setup};
use toml::{Value, toml};

#[tokio::test]
async fn order_becomes_a_session_and_never_reaches_the_backend() {
    let shop = Shop::open().await;
    let response = shop.order(r#"{"price": "pro", "quantity": 3}"#).await;
    assert_eq!((response.status, response.outcome()), (200, "created"), "{}", response.text());
    let body = response.json();
    let session = shop.stripe.session(body["id"].as_str().unwrap()).unwrap();
    assert_eq!(body["url"], session["url"]);
    assert_eq!(body.as_object().unwrap().len(), 2);

    let call = shop.stripe.only_call();
    assert_eq!((&*call.method, &*call.target), ("POST", "/v1/checkout/sessions"));
    assert_eq!(
        sent(&call),
        [
            "mode=payment",
            &format!("line_items[0][price]={PRICE}"),
            "line_items[0][quantity]=3",
            "success_url=https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}",
        ]
    );
    assert_eq!(shop.backend.count(), 0);
    assert_eq!(shop.count("created").await, 1.0);
    assert_eq!(shop.program.metric(r#"stripe_api_seconds_count{outcome="ok"}"#).await, 1.0);
}

#[tokio::test]
async fn every_order_encoding_gives_the_same_line_items() {
    let shop = Shop::open().await;
    let lines = |lines: &[(&str, u32)]| -> Vec<String> {
        let line = |(at, (price, quantity)): (usize, &(&str, u32))| {
            [format!("line_items[{at}][price]={price}"), format!("line_items[{at}][quantity]={quantity}")]
        };
        lines.iter().enumerate().flat_map(line).collect()
    };
    let both = lines(&[(OTHER_PRICE, 4), (PRICE, 1)]);
    let cases = [
        (order(&format!(r#"{{"price": "{PRICE}"}}"#)), lines(&[(PRICE, 1)])),
        (form("price=pro&quantity=2"), lines(&[(PRICE, 2)])),
        (form("price=pro&quantity=2").target("/api/create-checkout-session"), lines(&[(PRICE, 2)])),
        (order(r#"{"price": "pro"}"#).target("/api/checkout?utm=x"), lines(&[(PRICE, 1)])),
        (order(r#"{"price": "monthly"}"#), lines(&[(MONTHLY_PRICE, 1)])),
        (order(r#"{"items": [{"price": "chapter", "quantity": 4}, {"price": "pro"}]}"#), both.clone()),
        (form("items[0][price]=chapter&items[0][quantity]=4&items[1][price]=pro"), both.clone()),
        (
            order(
                r#"{"items": [{"price": "chapter"}, {"price": "pro"}, {"price": "chapter", "quantity": 3}]}"#,
            ),
            both,
        ),
        (order(r#"{"price": "pro"}"#).chunked(5), lines(&[(PRICE, 1)])),
    ];
    for (at, (request, expected)) in cases.iter().enumerate() {
        let response = shop.program.send(request).await;
        assert_eq!(response.outcome(), "created", "{at}: {}", response.text());
        let call = shop.stripe.await_calls(at + 1).await.remove(at);
        let found: Vec<String> = sent(&call).into_iter().filter(|p| p.starts_with("line_items")).collect();
        assert_eq!(&found, expected, "{at}");
    }
}

#[tokio::test]
async fn unsellable_order_is_refused_with_its_field_and_stripe_is_not_called() {
    let shop = Shop::open_with(|s| s.set("checkout.max_body", 512)).await;
    let long = format!(r#"{{"price": "pro", "client_reference_id": "{}"}}"#, "x".repeat(201));
    for (request, code, param) in [
        (order(r#"{"price": "gold"}"#), "price_unknown", "price"),
        (order(r#"{"price": "price_1NotSoldHere"}"#), "price_unknown", "price"),
        (order(r#"{"price": "pro", "quantity": 6}"#), "quantity_out_of_range", "quantity"),
        (order(r#"{"price": "chapter"}"#), "quantity_out_of_range", "quantity"),
        (
            order(r#"{"items": [{"price": "pro", "quantity": 3}, {"price": "pro", "quantity": 3}]}"#),
            "quantity_out_of_range",
            "items[0][quantity]",
        ),
        (order(r#"{"items": [{"price": "pro"}, {"price": "monthly"}]}"#), "modes_mixed", "items"),
        (order(r#"{"price": "pro", "currency": "usd"}"#), "field_unknown", "currency"),
        (order(r#"{"price": "pro", "unit_amount": 1}"#), "field_unknown", "unit_amount"),
        (order(r#"{"price": "pro", "success_url": "https://evil.example"}"#), "field_unknown", "success_url"),
        (order(r#"{"price": "pro", "mode": "setup"}"#), "field_unknown", "mode"),
        (order(r#"{"price": "pro", "metadata": {"admin": "1"}}"#), "field_unknown", "metadata[admin]"),
        (form("price=pro&discounts[0][coupon]=FREE"), "field_unknown", "discounts[0][coupon]"),
        (order(r#"{"price": "pro", "customer": "cus_1"}"#), "field_unknown", "customer"),
        (order(r#"{"price": "pro", "customer_email": "nobody"}"#), "field_invalid", "customer_email"),
        (order(&long), "field_invalid", "client_reference_id"),
        (order("{}"), "field_missing", "price"),
        (order("nothing"), "order_malformed", ""),
    ] {
        let response = shop.program.send(&request).await;
        response.expect_error(400, code);
        let error = response.json()["error"].clone();
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{error}");
    }
    assert_eq!((shop.stripe.calls().len(), shop.backend.count()), (0, 0));
    assert_eq!(shop.count("field_unknown").await, 7.0);
}

#[tokio::test]
async fn configuration_adds_any_parameter_and_clients_only_allowed_ones() {
    let params = toml! {
        allow_promotion_codes = true
        automatic_tax = { enabled = true }
        metadata = { shop = "north" }
    };
    let shop = Shop::open_with(|s| {
        s.set("checkout.params", Value::Table(params))
            .set("checkout.metadata", vec!["campaign"])
            .set("checkout.cancel_url", "https://shop.example/cart")
            .set("stripe.account", "acct_1Connected")
    })
    .await;
    let response = shop
        .order(
            r#"{"price": "pro", "customer_email": "ada@shop.example", "client_reference_id": "42", "locale": "de",
                "metadata": {"campaign": "Ünal & Söhne"}}"#,
        )
        .await;
    assert_eq!(response.outcome(), "created", "{}", response.text());
    let call = shop.stripe.only_call();
    for (name, value) in [
        ("cancel_url", "https://shop.example/cart"),
        ("customer_email", "ada@shop.example"),
        ("client_reference_id", "42"),
        ("locale", "de"),
        ("metadata[campaign]", "Ünal & Söhne"),
        ("metadata[shop]", "north"),
        ("allow_promotion_codes", "true"),
        ("automatic_tax[enabled]", "true"),
    ] {
        assert_eq!(call.param(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(call.header("stripe-account"), Some("acct_1Connected"));
}

#[tokio::test]
async fn embedded_checkout_uses_the_ui_mode_of_the_api_version() {
    for (ui_mode, version) in [("embedded_page", "2026-10-28.endive"), ("custom", "2025-09-30.clover")] {
        let shop = Shop::open_with(|s| {
            s.set("checkout.success_url", "")
                .set("checkout.return_url", "https://shop.example/back")
                .set("checkout.ui_mode", ui_mode)
                .set("stripe.api_version", version)
        })
        .await;
        // A form gets JSON, too: an embedded checkout has no URL to redirect to.
        for request in [order(r#"{"price": "pro"}"#), form("price=pro")] {
            let response = shop.program.send(&request).await;
            assert_eq!((response.status, response.outcome()), (200, "created"), "{}", response.text());
            let body = response.json();
            let session = shop.stripe.session(body["id"].as_str().unwrap()).unwrap();
            assert_eq!(body["clientSecret"], session["client_secret"]);
            assert_eq!(body.as_object().unwrap().len(), 2);
        }
        let call = shop.stripe.calls().remove(0);
        assert_eq!(call.param("ui_mode").as_deref(), Some(ui_mode));
        assert_eq!(call.param("return_url").as_deref(), Some("https://shop.example/back"));
        assert_eq!((call.param("success_url"), call.header("stripe-version")), (None, Some(version)));
    }
}

#[tokio::test]
async fn setup_mode_needs_no_price() {
    let params = table(&[("currency", "eur")]);
    let shop = Shop::open_with(|s| s.set("checkout.mode", "setup").set("checkout.params", params)).await;
    let response = shop.order("{}").await;
    assert_eq!(response.outcome(), "created", "{}", response.text());
    let call = shop.stripe.only_call();
    assert_eq!((call.param("mode").as_deref(), call.param("line_items[0][price]")), (Some("setup"), None));
}

#[tokio::test]
async fn without_a_key_or_a_price_the_paths_pass_to_the_backend_and_the_log_says_why() {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let keyless = Setup::new(&backend).set("checkout.price", prices());
    let priceless =
        Setup::new(&backend).env("STRIPE_SECRET_KEY", KEY).env("STRIPE_API_BASE", &stripe.api_base());
    for (setup, why) in
        [(keyless, "secret_key"), (priceless, "[[checkout.price]]"), (Setup::new(&backend), "neither")]
    {
        let program = Program::start(setup).await;
        for request in [order(r#"{"price": "pro"}"#), Request::get("/api/checkout/cs_test_1")] {
            let response = program.send(&request).await;
            assert_eq!((response.status, response.text().as_str()), (200, r#"{"applied":true}"#));
        }
        program
            .wait_for_log("that the checkout is off", |line| {
                let message = line["message"].as_str().unwrap_or_default();
                message.starts_with("checkout is off")
                    && line["why"].as_str().unwrap_or_default().contains(why)
            })
            .await;
    }
    assert_eq!((backend.count(), stripe.calls().len()), (6, 0));
}

#[tokio::test]
async fn other_paths_pass_to_the_backend_and_odd_spellings_create_no_session() {
    let shop = Shop::open().await;
    let others =
        ["/api/checkouts", "/api/checkout.json", "//api/checkout", "/API/checkout", "/api/%63heckout"];
    for target in others {
        let response = shop.program.send(&order(r#"{"price": "pro"}"#).target(target)).await;
        assert_eq!(response.text(), r#"{"applied":true}"#, "{target}");
    }
    assert_eq!((shop.backend.count(), shop.stripe.calls().len()), (others.len(), 0));
}

#[tokio::test]
async fn webhook_path_may_lie_below_a_checkout_path() {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let setup = setup(&backend, &stripe).set("webhook.path", "/api/checkout/webhook");
    let program = Program::start(setup).await;
    let event = crate::harness::Event::checkout();
    program.send(&event.signed().target("/api/checkout/webhook")).await.expect_delivered(200);
    program
        .send(&event.unsigned().target("/api/checkout/webhook"))
        .await
        .expect_error(400, "signature_missing");
    assert_eq!(program.send(&order(r#"{"price": "pro"}"#)).await.outcome(), "created");
}

/// Returns the parameters of a call, one per line, in their order.
fn sent(call: &Call) -> Vec<String> {
    call.params().iter().map(|(name, value)| format!("{name}={value}")).collect()
}
