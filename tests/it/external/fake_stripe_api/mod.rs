//! The fake Stripe can be relied on: it refuses what Stripe refuses, stores idempotency keys as Stripe does, and
//! fails as scripted.

mod buying;
mod faults;
mod keys;

use crate::fake_stripe::{FakeStripe, KEY, METERED_PRICE, MONTHLY_PRICE, OTHER_PRICE, PRICE, Settings};
use crate::harness::{Address, Client, Request, Response, within};
use serde_json::{Value, json};
use std::io;

const SESSIONS: &str = "/v1/checkout/sessions";

/// Builds an API call with the usual key.
fn call(method: &str, target: &str, body: &str) -> Request {
    Request::new(method, target)
        .header("Authorization", &format!("Bearer {KEY}"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body)
}

fn create(body: &str) -> Request {
    call("POST", SESSIONS, body)
}

/// Returns the shortest body that creates a session.
fn least() -> String {
    format!(
        "mode=payment&success_url=https%3A%2F%2Fshop.test%2Fthanks&line_items[0][price]={PRICE}&line_items[0][quantity]=2"
    )
}

async fn client(stripe: &FakeStripe) -> Client {
    Client::connect(&Address::parse(stripe.api_base().strip_prefix("http://").unwrap())).await
}

async fn send(stripe: &FakeStripe, request: &Request) -> Response {
    client(stripe).await.send(request).await
}

async fn try_send(stripe: &FakeStripe, request: &Request) -> io::Result<Response> {
    let mut client = client(stripe).await;
    client.write(request.bytes()).await;
    client.try_response().await
}

/// Returns the status, `error.code` and `error.param`.
fn fault(response: &Response) -> (u16, Value, Value) {
    let json = response.json();
    (response.status, json["error"]["code"].clone(), json["error"]["param"].clone())
}

#[tokio::test]
async fn session_is_created_retrieved_and_expired() {
    let stripe = FakeStripe::start().await;
    let made =
        send(&stripe, &create(&format!("{}&metadata[shelf]=spring&client_reference_id=member-7", least())))
            .await;
    assert_eq!(made.status, 200, "{}", made.text());
    assert!(made.header("request-id").unwrap().starts_with("req_"));
    let session = made.json();
    let id = session["id"].as_str().unwrap();
    assert!(id.strip_prefix("cs_test_").unwrap().bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(session["url"], format!("{}/c/pay/{id}", stripe.api_base()));
    assert_eq!((&session["amount_total"], &session["currency"]), (&json!(2400), &json!("eur")));
    assert_eq!((&session["status"], &session["payment_status"]), (&json!("open"), &json!("unpaid")));
    assert_eq!(
        (&session["metadata"], &session["client_reference_id"]),
        (&json!({ "shelf": "spring" }), &json!("member-7"))
    );

    let shown = send(&stripe, &call("GET", &format!("{SESSIONS}/{id}?expand[]=line_items"), "")).await.json();
    assert_eq!(shown["line_items"]["data"][0]["price"]["id"], PRICE);
    let expired = send(&stripe, &call("POST", &format!("{SESSIONS}/{id}/expire"), "")).await.json();
    assert_eq!((&expired["status"], &expired["url"]), (&json!("expired"), &Value::Null));
    let missing = send(&stripe, &call("GET", &format!("{SESSIONS}/cs_test_gone"), "")).await;
    assert_eq!(fault(&missing), (404, json!("resource_missing"), json!("session")));
}

#[tokio::test]
async fn ui_mode_values_depend_on_the_version() {
    let stripe = FakeStripe::start().await;
    let body = |ui_mode: &str| {
        format!(
            "mode=payment&ui_mode={ui_mode}&return_url=https://shop.test/back&line_items[0][price]={PRICE}&line_items[0][quantity]=1"
        )
    };
    for (version, ui_mode, status) in [
        ("2026-10-28.endive", "embedded_page", 200),
        ("2026-03-25.dahlia", "embedded", 400),
        ("2025-09-30.clover", "embedded", 200),
        ("2025-09-30.clover", "embedded_page", 400),
    ] {
        let response = send(&stripe, &create(&body(ui_mode)).header("Stripe-Version", version)).await;
        assert_eq!(response.status, status, "{version} {ui_mode}: {}", response.text());
        if status == 200 {
            let session = response.json();
            assert!(session["client_secret"].as_str().unwrap().starts_with(session["id"].as_str().unwrap()));
            assert_eq!(session["url"], Value::Null);
        }
    }
}

#[tokio::test]
async fn invalid_requests_are_refused_with_code_and_param() {
    refuses_what_stripe_would(Settings { schema: None, ..Settings::default() }).await;
}

#[tokio::test]
async fn invalid_requests_are_refused_with_its_own_description_too() {
    let settings = Settings::default();
    if settings.schema.is_none() {
        eprintln!("SKIPPED: no copy of Stripe's description of its API beside the project");
        return;
    }
    refuses_what_stripe_would(settings.clone()).await;
    let stripe = FakeStripe::start_with(settings).await.unwrap();
    for (more, param) in [
        ("automatic_tax[enabled]=maybe", "automatic_tax[enabled]"),
        ("automatic_tax[colour]=red", "automatic_tax[colour]"),
        ("allow_promotion_codes[0]=true", "allow_promotion_codes"),
        ("locale=tlh", "locale"),
        (
            "shipping_address_collection[allowed_countries][0]=Atlantis",
            "shipping_address_collection[allowed_countries][0]",
        ),
    ] {
        let response = send(&stripe, &create(&format!("{}&{more}", least()))).await;
        assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!(param)), "{more}");
    }
}

#[tokio::test]
async fn parameters_of_another_mode_and_times_out_of_bounds_are_refused_in_stripes_words() {
    let stripe = FakeStripe::start_with(Settings { schema: None, ..Settings::default() }).await.unwrap();
    let now = countersign::clock::unix().as_secs();
    let club = format!(
        "mode=subscription&success_url=https://shop.test&line_items[0][price]={MONTHLY_PRICE}&line_items[0][quantity]=1"
    );
    let least = least();
    for (body, message) in [
        (format!("{club}&submit_type=pay"), "You can not pass `submit_type` in `subscription` mode."),
        (
            format!("{club}&payment_intent_data[description]=x"),
            "You can not pass `payment_intent_data` in `subscription` mode.",
        ),
        (
            format!("{least}&setup_intent_data[description]=x"),
            "You can not pass `setup_intent_data` in `payment` mode.",
        ),
        (
            format!("{least}&locale=en-US"),
            "Invalid locale: must be one of auto, bg, cs, da, de, el, en, en-GB,",
        ),
        (
            format!("{least}&expires_at={}", now + 1700),
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.",
        ),
        (
            format!("{least}&expires_at={}", now + 90_000),
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
        ),
        (
            format!(
                "mode=subscription&success_url=https://shop.test&line_items[0][price]={METERED_PRICE}&line_items[0][quantity]=1"
            ),
            "Quantity should not be specified where usage_type is `metered`. Remove quantity from `line_items[0]`",
        ),
    ] {
        let response = send(&stripe, &create(&body)).await;
        let text = response.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(response.status == 400 && text.starts_with(message), "{body}: {text}");
    }
    assert_eq!(stripe.sessions(), 0);
}

#[tokio::test]
async fn prices_are_found_by_their_lookup_keys() {
    let stripe = FakeStripe::start().await;
    stripe.move_lookup_key("mug_eur", Some(PRICE));
    let find = async |query: &str| {
        let response = send(&stripe, &call("GET", &format!("/v1/prices?{query}"), "")).await.json();
        let ids = response["data"].as_array().unwrap().iter().map(|price| price["id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(find("lookup_keys[0]=mug_eur&lookup_keys[1]=x&active=true").await, [PRICE]);
    stripe.move_lookup_key("mug_eur", Some(OTHER_PRICE));
    assert_eq!(find("lookup_keys[0]=mug_eur").await, [OTHER_PRICE]);
    assert!(find("lookup_keys[0]=plate").await.is_empty());
    assert_eq!(find("limit=100").await.len(), 4);
}

#[tokio::test]
async fn every_mode_and_every_form_of_authentication_works() {
    let stripe = FakeStripe::start().await;
    let url = "success_url=https://shop.test/thanks";
    for body in [
        format!(
            "mode=subscription&{url}&line_items[0][price]={MONTHLY_PRICE}&line_items[0][quantity]=1&line_items[1][price]={PRICE}&line_items[1][quantity]=1"
        ),
        format!("mode=setup&{url}&currency=eur"),
        format!(
            "mode=payment&{url}&line_items[0][price]={PRICE}&line_items[0][quantity]=1&line_items[1][price]={OTHER_PRICE}&line_items[1][quantity]=3&automatic_tax[enabled]=true"
        ),
    ] {
        assert_eq!(send(&stripe, &create(&body)).await.status, 200, "{body}");
    }
    for (authorization, status) in [
        ("Bearer sk_test_abc", 200),
        ("Bearer rk_live_abc", 200),
        // sk_test_abc: and rk_test_a:
        ("Basic c2tfdGVzdF9hYmM6", 200),
        ("Basic cmtfdGVzdF9hOg==", 200),
        ("Bearer pk_test_abc", 401),
        ("Bearer sk_test_", 401),
        ("", 401),
    ] {
        let request = Request::new("POST", SESSIONS).header("Authorization", authorization).body(least());
        assert_eq!(send(&stripe, &request).await.status, status, "{authorization}");
    }
}

#[tokio::test]
async fn sessions_have_exactly_the_members_that_stripe_describes() {
    let Some(description) = beside_the_description("openapi_checkout_subset.json") else { return };
    let description: Value = serde_json::from_str(&description).unwrap();
    let described = &description["components"]["schemas"]["Checkout_Sessions_Session"];
    let stripe = FakeStripe::start().await;
    let item = format!("line_items[0][price]={MONTHLY_PRICE}&line_items[0][quantity]=1");
    for body in [
        least(),
        format!("mode=subscription&ui_mode=embedded_page&return_url=https://shop.test/back&{item}"),
        "mode=setup&success_url=https://shop.test/thanks&currency=eur".to_owned(),
    ] {
        let made = send(&stripe, &create(&body)).await.json();
        let id = made["id"].as_str().unwrap();
        within("the payment", stripe.pay(id, "")).await.unwrap();
        for session in [&made, &stripe.session(id).unwrap()] {
            for required in described["required"].as_array().unwrap() {
                assert!(session.get(required.as_str().unwrap()).is_some(), "{body}: no {required}");
            }
            for (name, value) in session.as_object().unwrap() {
                let property = &described["properties"][name];
                assert!(!property.is_null(), "{body}: {name} is not Stripe's");
                let fits = match property["type"].as_str() {
                    _ if value.is_null() => property["nullable"] == true,
                    Some("string") => value.is_string(),
                    Some("integer") => value.is_u64(),
                    Some("boolean") => value.is_boolean(),
                    Some("array") => value.is_array(),
                    _ => true,
                };
                let words = property["enum"].as_array();
                assert!(
                    fits && words.is_none_or(|w| value.is_null() || w.contains(value)),
                    "{body}: {name}: {value}"
                );
            }
        }
    }
}

async fn refuses_what_stripe_would(settings: Settings) {
    let stripe = FakeStripe::start_with(settings).await.unwrap();
    let none = Value::Null;
    let url = "success_url=https://shop.test/thanks";
    let item = format!("line_items[0][price]={PRICE}&line_items[0][quantity]=1");
    for (body, code, param) in [
        (format!("{url}&{item}"), json!("parameter_missing"), "mode"),
        (format!("mode=gift&{url}&{item}"), none.clone(), "mode"),
        (format!("mode=payment&{item}"), json!("parameter_missing"), "success_url"),
        (format!("mode=payment&success_url=thanks&{item}"), json!("url_invalid"), "success_url"),
        (format!("mode=payment&{url}"), json!("parameter_missing"), "line_items"),
        (format!("mode=payment&{url}&{item}&colour=red"), json!("parameter_unknown"), "colour"),
        (
            format!("mode=payment&{url}&{item}&line_items[0][size]=9"),
            json!("parameter_unknown"),
            "line_items[0][size]",
        ),
        (
            format!("mode=payment&{url}&line_items[0][price]=price_gone&line_items[0][quantity]=1"),
            json!("resource_missing"),
            "line_items[0][price]",
        ),
        (
            format!("mode=payment&{url}&line_items[0][price]={PRICE}&line_items[0][quantity]=x"),
            json!("parameter_invalid_integer"),
            "line_items[0][quantity]",
        ),
        (
            format!("mode=payment&{url}&line_items[0][price]={PRICE}&line_items[0][quantity]=0"),
            none.clone(),
            "line_items[0][quantity]",
        ),
        (
            format!("mode=payment&{url}&line_items[0][price]={MONTHLY_PRICE}&line_items[0][quantity]=1"),
            none.clone(),
            "line_items[0][price]",
        ),
        (format!("mode=subscription&{url}&{item}"), none.clone(), "mode"),
        (format!("mode=setup&{url}&currency=eur&{item}"), none.clone(), "line_items"),
        (format!("mode=payment&{url}&{item}&return_url=https://shop.test"), none.clone(), "return_url"),
        (
            format!("mode=payment&{url}&{item}&customer=cus_1&customer_email=a@b.test"),
            none.clone(),
            "customer",
        ),
        (
            format!("mode=payment&{url}&{item}&customer_email=nobody"),
            json!("email_invalid"),
            "customer_email",
        ),
        (
            format!("mode=payment&{url}&{item}&client_reference_id={}", "x".repeat(201)),
            none.clone(),
            "client_reference_id",
        ),
        (
            format!("mode=payment&{url}&{item}&metadata[{}]=1", "k".repeat(41)),
            none.clone(),
            &format!("metadata[{}]", "k".repeat(41)),
        ),
        (format!("mode=payment&{url}&{item}&expires_at=1"), none.clone(), "expires_at"),
        (
            format!("mode=payment&{url}&{item}&expires_at=35m"),
            json!("parameter_invalid_integer"),
            "expires_at",
        ),
        (
            format!("mode=payment&{url}&{item}&subscription_data[trial_period_days]=14"),
            none.clone(),
            "subscription_data",
        ),
        (format!("mode=payment&{url}&{item}&customer_update[name]=auto"), none.clone(), "customer_update"),
        (
            format!("mode=payment&{url}&{item}&customer=cus_1&customer_creation=always"),
            none.clone(),
            "customer",
        ),
        (format!("mode=payment&{url}&line_items[0][price]={PRICE}"), none.clone(), "line_items[0]"),
        (
            format!("mode=subscription&{url}&line_items[0][price]={METERED_PRICE}&line_items[0][quantity]=1"),
            none.clone(),
            "line_items[0][quantity]",
        ),
    ] {
        let response = send(&stripe, &create(&body)).await;
        assert_eq!(fault(&response), (400, code, json!(param)), "{body}");
    }
    assert_eq!(stripe.sessions(), 0);
}

/// Reads a file beside Stripe's API description. Prints a note and returns `None` if there is none.
fn beside_the_description(name: &str) -> Option<String> {
    let folder = Settings::default().schema.and_then(|path| Some(path.parent()?.to_owned()));
    let found = folder.and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
    if found.is_none() {
        eprintln!("SKIPPED: no copy of Stripe's {name} beside the project");
    }
    found
}
