//! The fake Stripe is one that tests can lean on: it refuses what Stripe refuses, keeps idempotency keys as Stripe does,
//! and breaks as it is told to.

use crate::fake_stripe::{FakeStripe, Fault, KEY, MONTHLY_PRICE, OTHER_PRICE, PRICE, Settings};
use crate::harness::{
    Address, Answer, Backend, Client, OTHER_SECRET, Request, Response, SECRET, sign, within,
};
use serde_json::{Value, json};
use std::io;

const SESSIONS: &str = "/v1/checkout/sessions";

/// A call to the API, with the usual key.
fn call(method: &str, target: &str, body: &str) -> Request {
    Request::new(method, target)
        .header("Authorization", &format!("Bearer {KEY}"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body)
}

fn create(body: &str) -> Request {
    call("POST", SESSIONS, body)
}

/// The least that makes a session.
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
    client.try_answer().await
}

/// `error.code` and `error.param` beside the status.
fn fault(answer: &Response) -> (u16, Value, Value) {
    let json = answer.json();
    (answer.status, json["error"]["code"].clone(), json["error"]["param"].clone())
}

#[tokio::test]
async fn a_session_is_created_shown_again_and_expired() {
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
    let gone = send(&stripe, &call("GET", &format!("{SESSIONS}/cs_test_gone"), "")).await;
    assert_eq!(fault(&gone), (404, json!("resource_missing"), json!("session")));
}

#[tokio::test]
async fn the_words_for_where_the_buyer_pays_depend_on_the_version() {
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
        let answer = send(&stripe, &create(&body(ui_mode)).header("Stripe-Version", version)).await;
        assert_eq!(answer.status, status, "{version} {ui_mode}: {}", answer.text());
        if status == 200 {
            let session = answer.json();
            assert!(session["client_secret"].as_str().unwrap().starts_with(session["id"].as_str().unwrap()));
            assert_eq!(session["url"], Value::Null);
        }
    }
}

#[tokio::test]
async fn what_stripe_would_refuse_is_refused_with_code_and_param() {
    refuses_what_stripe_would(Settings { schema: None, ..Settings::default() }).await;
}

#[tokio::test]
async fn what_stripe_would_refuse_is_refused_where_its_own_description_is_at_hand_too() {
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
        let answer = send(&stripe, &create(&format!("{}&{more}", least()))).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)), "{more}");
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
    ] {
        let answer = send(&stripe, &create(&body)).await;
        assert_eq!(fault(&answer), (400, code, json!(param)), "{body}");
    }
    assert_eq!(stripe.sessions(), 0);
}

#[tokio::test]
async fn every_mode_and_every_way_to_give_a_key_works() {
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
async fn a_key_brings_the_first_answer_back_and_nothing_else() {
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
async fn a_key_keeps_a_500_but_neither_a_refusal_nor_a_503() {
    let stripe = FakeStripe::start().await;
    let keyed = |key: &str, body: &str| create(body).header("Idempotency-Key", key);
    stripe.next(Fault::named("api_error"));
    for replayed in [None, Some("true")] {
        let answer = send(&stripe, &keyed("a", &least())).await;
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (500, replayed));
    }
    stripe.next(Fault::named("unavailable"));
    assert_eq!(send(&stripe, &keyed("b", &least())).await.status, 503);
    assert_eq!(send(&stripe, &keyed("b", &least())).await.status, 200);
    assert_eq!(send(&stripe, &keyed("c", "mode=payment")).await.status, 400);
    assert_eq!(send(&stripe, &keyed("c", &least())).await.status, 200);
}

#[tokio::test]
async fn a_key_in_use_is_a_conflict_until_the_work_is_done() {
    let stripe = FakeStripe::start().await;
    let keyed = create(&least()).header("Idempotency-Key", "order-2");
    let (held, release) = Fault::held();
    stripe.next(held);
    let mut first = client(&stripe).await;
    first.write(keyed.bytes()).await;
    within("the first call", stripe.await_calls(1)).await;
    let second = send(&stripe, &keyed).await;
    assert_eq!((second.status, second.header("stripe-should-retry")), (409, Some("true")));
    // The caller leaves; Stripe goes on.
    drop(first);
    release.now();
    let replayed = crate::harness::until("the first call's end", async || {
        let answer = send(&stripe, &keyed).await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(replayed.await.header("idempotent-replayed"), Some("true"));
    assert_eq!(stripe.sessions(), 1);
}

#[tokio::test]
async fn connections_break_as_scripted_and_work_that_was_done_is_kept() {
    let stripe = FakeStripe::start().await;
    for (fault, read, done) in [
        (Fault::drop_unread(), 0, 0),
        (Fault::drop_read(), 1, 0),
        (Fault::drop_done(), 1, 1),
        (Fault::cut(), 1, 1),
    ] {
        let name = format!("{fault:?}");
        let (calls, sessions) = (stripe.calls().len(), stripe.sessions());
        let keyed = create(&least()).header("Idempotency-Key", &name);
        stripe.next(fault);
        assert!(try_send(&stripe, &keyed).await.is_err(), "{name}");
        assert_eq!((stripe.calls().len() - calls, stripe.sessions() - sessions), (read, done), "{name}");
        let again = send(&stripe, &keyed).await;
        assert_eq!((again.status, again.header("idempotent-replayed").is_some()), (200, done == 1), "{name}");
    }
    assert_eq!(stripe.connections(), 8);
}

#[tokio::test]
async fn the_buyer_pays_on_a_page_and_goes_on_once_the_webhook_has_answered() {
    let backend = Backend::start().await;
    let stripe = FakeStripe::start().await;
    stripe.deliver_to(&format!("{}/hook", backend.url()), OTHER_SECRET);
    let url = "https://shop.test/thanks?session_id={CHECKOUT_SESSION_ID}&from=<shop>";
    let body =
        least().replace("https%3A%2F%2Fshop.test%2Fthanks", &url.replace('&', "%26").replace('<', "%3C"));
    let session = send(&stripe, &create(&body)).await.json();
    let id = session["id"].as_str().unwrap();

    let page = send(&stripe, &Request::get(&format!("/c/pay/{id}"))).await;
    assert!(
        page.text().contains("2 × The whole story") && page.text().contains("24.00 EUR"),
        "{}",
        page.text()
    );
    let pay = Request::post(&format!("/c/pay/{id}"), "email=ada%40example.com");
    let paid = send(&stripe, &pay).await;
    let back = url.replace("{CHECKOUT_SESSION_ID}", id);
    assert_eq!((paid.status, paid.header("location")), (303, Some(back.as_str())));
    let seen = backend.only();
    let event: Value = serde_json::from_slice(&seen.body.bytes).unwrap();
    assert_eq!(event["type"], "checkout.session.completed");
    assert_eq!(Some(&event["data"]["object"]), stripe.session(id).as_ref());
    assert_eq!(event["data"]["object"]["customer_details"]["email"], "ada@example.com");
    let time = seen.header("Stripe-Signature").unwrap()[2..].split(',').next().unwrap().parse().unwrap();
    assert_eq!(seen.header("Stripe-Signature"), Some(sign(&[OTHER_SECRET], time, &seen.body.bytes).as_str()));

    let again = send(&stripe, &pay).await;
    assert_eq!((again.status, backend.count()), (410, 1));
}

#[tokio::test]
async fn the_buyer_goes_on_when_the_webhook_fails_and_the_event_is_listed_as_not_delivered() {
    let backend = Backend::start().await;
    backend.answers(Answer::status(503));
    let stripe = FakeStripe::start().await;
    stripe.deliver_to(&backend.url(), SECRET);
    let session = send(&stripe, &create(&least())).await.json();
    let paid = within("the payment", stripe.pay(session["id"].as_str().unwrap(), "")).await.unwrap();
    assert_eq!(paid.location.as_deref(), Some("https://shop.test/thanks"));
    let failed = send(&stripe, &call("GET", "/v1/events?delivery_success=false", "")).await.json();
    assert_eq!(failed["data"][0]["id"], json!(paid.event));
    assert_eq!(failed["data"][0]["pending_webhooks"], 1);
}

#[tokio::test]
async fn events_are_listed_newest_first_page_by_page_and_filtered() {
    let stripe = FakeStripe::start().await;
    let mut ids = vec![];
    for n in 0..7 {
        let kind = if n % 2 == 0 { "invoice.paid" } else { "customer.created" };
        let object = json!({ "id": format!("obj_{n}") });
        ids.push(match n {
            0..3 => stripe.missed(kind, object)["id"].as_str().unwrap().to_owned(),
            _ => stripe.happens(kind, object).await,
        });
    }
    let list = async |query: &str| {
        let page = send(&stripe, &call("GET", &format!("/v1/events?{query}"), "")).await.json();
        let places: Vec<usize> = page["data"]
            .as_array()
            .unwrap_or_else(|| panic!("{query}: {page}"))
            .iter()
            .map(|event| ids.iter().position(|id| *id == event["id"]).unwrap())
            .collect();
        (places, page["has_more"] == true)
    };
    for (query, places, more) in [
        (String::new(), vec![6, 5, 4, 3, 2, 1, 0], false),
        ("limit=3".into(), vec![6, 5, 4], true),
        (format!("limit=3&starting_after={}", ids[4]), vec![3, 2, 1], true),
        (format!("limit=3&starting_after={}", ids[2]), vec![1, 0], false),
        (format!("limit=2&ending_before={}", ids[1]), vec![3, 2], true),
        ("delivery_success=false".into(), vec![2, 1, 0], false),
        ("delivery_success=true&types[]=invoice.paid".into(), vec![6, 4], false),
        ("types[0]=customer.*".into(), vec![5, 3, 1], false),
        ("type=invoice.paid&limit=1".into(), vec![6], true),
        ("created[gte]=4000000000".into(), vec![], false),
        ("created%5Bgte%5D=1".into(), vec![6, 5, 4, 3, 2, 1, 0], false),
    ] {
        assert_eq!(list(&query).await, (places, more), "{query}");
    }
    for query in
        ["limit=0", "limit=101", "starting_after=evt_gone", "colour=red", "created[at]=1", "type=a&types[]=b"]
    {
        assert_eq!(
            send(&stripe, &call("GET", &format!("/v1/events?{query}"), "")).await.status,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn scripted_errors_are_the_ones_that_were_seen_of_stripe() {
    let Some(seen) = beside_the_description("stripe_errors.jsonl") else { return };
    let stripe = FakeStripe::start().await;
    let mut count = 0;
    for line in seen.lines() {
        let seen: Value = serde_json::from_str(line).unwrap();
        let name = seen["name"].as_str().unwrap();
        stripe.next(if name == "html_502_not_json" { Fault::bad_gateway() } else { Fault::named(name) });
        let answer = send(&stripe, &create(&least())).await;
        assert_eq!(json!(answer.status), seen["status"], "{name}");
        for header in [
            "Content-Type",
            "Idempotent-Replayed",
            "Stripe-Rate-Limited-Reason",
            "Stripe-Should-Retry",
            "WWW-Authenticate",
        ] {
            let theirs = seen["headers"].get(header).and_then(Value::as_str);
            assert_eq!(answer.header(&header.to_lowercase()), theirs, "{name}: {header}");
        }
        if let Ok(theirs) = serde_json::from_str::<Value>(seen["body"].as_str().unwrap()) {
            let ours = answer.json();
            for member in ["type", "code", "decline_code"] {
                assert_eq!(ours["error"][member], theirs["error"][member], "{name}: {member}");
            }
            assert_eq!(
                ours["error"]["param"].is_string(),
                theirs["error"]["param"].is_string(),
                "{name}: param"
            );
        }
        count += 1;
    }
    assert!(count > 10, "only {count} were seen");
}

#[tokio::test]
async fn sessions_have_the_members_that_stripe_describes_and_no_others() {
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

/// A file from where Stripe's description lies; `None`, said aloud, where there is none.
fn beside_the_description(name: &str) -> Option<String> {
    let folder = Settings::default().schema.and_then(|path| Some(path.parent()?.to_owned()));
    let found = folder.and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
    if found.is_none() {
        eprintln!("SKIPPED: no copy of Stripe's {name} beside the project");
    }
    found
}

#[tokio::test]
async fn every_scripted_error_has_the_shape_of_stripes() {
    let stripe = FakeStripe::start().await;
    for (name, status, kind) in [
        ("resource_missing_price", 400, "invalid_request_error"),
        ("parameter_missing", 400, "invalid_request_error"),
        ("parameter_unknown", 400, "invalid_request_error"),
        ("idempotency_params_mismatch", 400, "idempotency_error"),
        ("idempotency_key_in_use", 409, "idempotency_error"),
        ("bad_key", 401, "invalid_request_error"),
        ("card_declined", 402, "card_error"),
        ("permission", 403, "invalid_request_error"),
        ("no_such_session", 404, "invalid_request_error"),
        ("rate_limited", 429, "invalid_request_error"),
        ("lock_timeout", 429, "invalid_request_error"),
        ("lock_conflict", 409, "invalid_request_error"),
        ("api_error", 500, "api_error"),
        ("api_error_no_retry", 500, "api_error"),
        ("api_error_replayed", 500, "api_error"),
        ("unavailable", 503, "api_error"),
    ] {
        stripe.next(Fault::named(name));
        let answer = send(&stripe, &create(&least())).await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &json!(kind)), "{name}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().len() > 10, "{name}");
    }
    stripe.next(Fault::bad_gateway());
    let answer = send(&stripe, &create(&least())).await;
    assert_eq!((answer.status, answer.header("content-type")), (502, Some("text/html")));
}
