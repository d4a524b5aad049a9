//! Requests for a session's status, which anybody may send: they share calls to Stripe, and orders do not wait for them.

use super::{Shop, order};
use crate::fake_stripe::{FakeStripe, Fault, Release};
use crate::harness::{Client, Request, Response, until};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

const PRO: &str = r#"{"price": "pro"}"#;

/// Holds the calls to a fake Stripe back.
pub(super) struct Held {
    is_on: Arc<AtomicBool>,
    releases: Arc<Mutex<Vec<Release>>>,
}

impl Held {
    /// Holds every call from now on.
    pub(super) fn hold(stripe: &FakeStripe) -> Self {
        let held = Self { is_on: Arc::new(AtomicBool::new(true)), releases: Arc::default() };
        let (is_on, releases) = (held.is_on.clone(), held.releases.clone());
        stripe.always(move || {
            is_on.load(Ordering::Relaxed).then(|| {
                let (fault, release) = Fault::held();
                releases.lock().unwrap().push(release);
                fault
            })
        });
        held
    }

    /// Lets later calls through. Those that are held stay held.
    pub(super) fn hold_no_more(&self) {
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// Lets every held call go on.
    pub(super) fn release(&self) {
        self.hold_no_more();
        self.releases.lock().unwrap().drain(..).for_each(Release::now);
    }
}

pub(super) fn status(id: &str) -> Request {
    Request::get(&format!("/api/checkout/{id}"))
}

/// Sends each request on a connection of its own, and waits until the program handles all of them.
pub(super) async fn send_all(shop: &Shop, requests: impl Iterator<Item = Request>) -> JoinSet<Response> {
    let mut polls = JoinSet::new();
    for request in requests {
        let address = shop.program.proxy().clone();
        polls.spawn(async move { Client::connect(&address).await.send(&request).await });
    }
    shop.program.await_metric("inflight", polls.len() as f64).await;
    polls
}

fn polls_of_stripe(shop: &Shop) -> usize {
    shop.stripe.calls().iter().filter(|call| call.method == "GET").count()
}

#[tokio::test]
async fn order_waits_for_none_of_hundreds_of_anonymous_status_requests() {
    let shop = Shop::open().await;
    let held = Held::hold(&shop.stripe);
    let from = |n: u8| format!("203.0.113.{n}");
    let requests = (0..400_u32).map(|n| {
        status(&format!("cs_test_gone{n}")).header("X-Forwarded-For", &from(u8::try_from(n % 250).unwrap()))
    });
    let polls = send_all(&shop, requests).await;
    until("a held call", async || (!shop.stripe.calls().is_empty()).then_some(())).await;
    held.hold_no_more();
    for _ in 0..3 {
        let response = shop.order(PRO).await;
        assert_eq!(response.outcome(), "created", "{}", response.text());
    }
    assert_eq!(polls.len(), 400, "every poll still waits");
    assert!(polls_of_stripe(&shop) <= 2, "{} calls at once", polls_of_stripe(&shop));
    held.release();
    let outcomes: BTreeSet<_> =
        polls.join_all().await.iter().map(|response| response.outcome().to_owned()).collect();
    // A poll that waited five seconds for its turn is told to come back.
    assert!(outcomes.is_subset(&BTreeSet::from(["session_unknown".to_owned(), "overloaded".to_owned()])));
    assert!(outcomes.contains("session_unknown"), "{outcomes:?}");
}

#[tokio::test]
async fn concurrent_status_requests_for_one_session_share_one_call() {
    let shop = Shop::open().await;
    let id = shop.order(PRO).await.json()["id"].as_str().unwrap().to_owned();
    let held = Held::hold(&shop.stripe);
    let polls = send_all(&shop, (0..40).map(|_| status(&id))).await;
    until("the call", async || (polls_of_stripe(&shop) == 1).then_some(())).await;
    held.release();
    for response in polls.join_all().await {
        assert_eq!((response.outcome(), &response.json()["status"]), ("status", &"open".into()));
    }
    assert_eq!(polls_of_stripe(&shop), 1);
    // Another session has a call of its own.
    assert_eq!(shop.program.send(&status("cs_test_gone")).await.outcome(), "session_unknown");
    assert_eq!(polls_of_stripe(&shop), 2);
}

#[tokio::test]
async fn status_is_asked_again_after_a_second() {
    let shop = Shop::open_with(|setup| setup.set("checkout.status_rate_limit", "")).await;
    let id = shop.order(PRO).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(shop.program.send(&status(&id)).await.json()["status"], "open");
    shop.stripe.pay(&id, "buyer@shop.example").await.unwrap();
    let response = until("the new status", async || {
        let response = shop.program.send(&status(&id)).await;
        (response.json()["status"] == "complete").then_some(response)
    });
    assert_eq!(response.await.json()["payment_status"], "paid");
}

#[tokio::test]
async fn failure_goes_to_every_status_request_that_waited_and_to_no_later_one() {
    let shop = Shop::open().await;
    let id = shop.order(PRO).await.json()["id"].as_str().unwrap().to_owned();
    let (fault, release) = Fault::named("api_error_no_retry").until_released();
    shop.stripe.next(fault);
    let polls = send_all(&shop, (0..20).map(|_| status(&id))).await;
    until("the call", async || (polls_of_stripe(&shop) == 1).then_some(())).await;
    release.now();
    for response in polls.join_all().await {
        response.expect_error(502, "stripe_failed");
    }
    assert_eq!(polls_of_stripe(&shop), 1);
    assert_eq!(shop.program.send(&status(&id)).await.outcome(), "status");
    assert_eq!(polls_of_stripe(&shop), 2);
}

#[tokio::test]
async fn status_has_a_rate_limit_of_its_own_by_default_and_orders_do_not_count() {
    let shop = Shop::open_with(|setup| setup.set("checkout.rate_limit", "1/h")).await;
    let from = |request: Request, address: &str| request.header("X-Forwarded-For", address);
    let (one, other) = ("203.0.113.1", "203.0.113.2");
    for _ in 0..60 {
        let response = shop.program.send(&from(status("cs_test_gone"), one)).await;
        assert_eq!(response.outcome(), "session_unknown");
    }
    let limited = shop.program.send(&from(status("cs_test_gone"), one)).await;
    limited.expect_error(429, "rate_limited");
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert_eq!(shop.program.send(&from(status("cs_test_gone"), other)).await.outcome(), "session_unknown");
    assert_eq!(shop.program.send(&from(order(PRO), one)).await.outcome(), "created");
    shop.program.send(&from(order(PRO), one)).await.expect_error(429, "rate_limited");
}
