//! Payments, and the events they create.

use super::{call, create, least, send};
use crate::fake_stripe::FakeStripe;
use crate::harness::{Backend, OTHER_SECRET, Reply, Request, SECRET, sign, within};
use serde_json::{Value, json};

#[tokio::test]
async fn payment_page_redirects_once_the_webhook_has_answered() {
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
async fn payment_page_redirects_if_the_webhook_fails_and_lists_the_event_as_undelivered() {
    let backend = Backend::start().await;
    backend.reply_always(Reply::status(503));
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
            0..3 => stripe.emit_undelivered(kind, object)["id"].as_str().unwrap().to_owned(),
            _ => stripe.emit(kind, object).await,
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
