//! Calls to Stripe: their headers, errors, retries, connections, and what must never be visible.

use super::{Shop, check, form, order, setup};
use crate::fake_stripe::{Error, FakeStripe, Fault, PRICE};
use crate::harness::{Backend, Client, Program, Request, until, within};
use crate::tools::{Tool, free_port, have, is_listening};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const PRO: &str = r#"{"price": "pro"}"#;

#[tokio::test]
async fn requests_to_stripe_carry_user_agent_version_and_key() {
    let shop = Shop::open_with(|s| s.env("STRIPE_SECRET_KEY", "rk_test_restricted")).await;
    assert_eq!(shop.order(PRO).await.outcome(), "created");
    let call = shop.stripe.only_call();
    let version = env!("CARGO_PKG_VERSION");
    for (name, value) in [
        ("authorization", "Bearer rk_test_restricted"),
        ("stripe-version", "2026-10-28.endive"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "application/json"),
        ("user-agent", &format!("Countersign/{version}")),
    ] {
        assert_eq!(call.header(name), Some(value), "{name}");
    }
    let client: Value = serde_json::from_str(call.header("x-stripe-client-user-agent").unwrap()).unwrap();
    assert_eq!(client["application"]["name"], "Countersign");
    assert_eq!(client["application"]["version"], version);
    assert!(call.header("idempotency-key").unwrap().starts_with("countersign-"));
    assert_eq!(call.header("stripe-account"), None);
}

/// A fault of the fake, the client's status, `error.code` and `error.param`, and how many calls Stripe gets.
type Case = (&'static str, u16, &'static str, &'static str, &'static str, usize);

#[tokio::test]
async fn each_stripe_error_has_its_response_and_number_of_retries() {
    let cases: [Case; 16] = [
        ("resource_missing_price", 400, "stripe_refused", "resource_missing", "line_items[0][price]", 1),
        ("parameter_missing", 400, "stripe_refused", "parameter_missing", "line_items", 1),
        ("parameter_unknown", 400, "stripe_refused", "parameter_unknown", "colour", 1),
        ("idempotency_params_mismatch", 400, "stripe_refused", "idempotency_error", "", 1),
        ("no_such_session", 400, "stripe_refused", "resource_missing", "session", 1),
        ("bad_key", 502, "stripe_key_refused", "stripe_key_refused", "", 1),
        ("permission", 502, "stripe_key_refused", "stripe_key_refused", "", 1),
        ("card_declined", 402, "stripe_card_refused", "card_declined", "", 1),
        ("idempotency_key_in_use", 409, "stripe_conflict", "stripe_conflict", "", 3),
        ("lock_conflict", 409, "stripe_conflict", "stripe_conflict", "", 3),
        ("lock_timeout", 409, "stripe_conflict", "stripe_conflict", "", 3),
        ("rate_limited", 429, "stripe_rate_limited", "stripe_rate_limited", "", 1),
        ("api_error", 502, "stripe_failed", "stripe_failed", "", 3),
        ("api_error_no_retry", 502, "stripe_failed", "stripe_failed", "", 1),
        ("api_error_replayed", 502, "stripe_failed", "stripe_failed", "", 1),
        ("unavailable", 502, "stripe_failed", "stripe_failed", "", 3),
    ];
    for (name, status, outcome, code, param, attempts) in cases {
        let shop = Shop::open().await;
        let error_of_stripe = Error::named(name).unwrap();
        shop.stripe.always(move || Some(Fault::named(name)));
        let response = shop.order(PRO).await;
        let error = response.json()["error"].clone();
        let seen = (response.status, response.outcome(), error["code"].as_str().unwrap());
        assert_eq!(seen, (status, outcome, code), "{name}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{name}");
        assert_eq!(response.header("retry-after").is_some(), matches!(status, 409 | 429), "{name}");
        let calls = shop.stripe.calls();
        assert_eq!(calls.len(), attempts, "{name}");
        let keys: Vec<_> = calls.iter().map(|call| (call.header("idempotency-key"), &call.body)).collect();
        assert!(keys.windows(2).all(|two| two[0] == two[1]), "{name}: every attempt is the same");
        // A declined card's message is for its owner. Messages about the configuration or the key must not leave the
        // program.
        let shown = error["message"].as_str().unwrap() == "Your card has insufficient funds.";
        assert_eq!(shown, name == "card_declined", "{name}: {error} {error_of_stripe:?}");
        let line = shop
            .program
            .wait_for_log(name, |line| {
                line["message"] == "checkout request handled"
                    && line["outcome"] == outcome
                    && line["stripe.attempts"] == attempts as u64
                    && line["status"] == status
            })
            .await;
        let ours = matches!(outcome, "stripe_key_refused" | "stripe_refused") && code != "idempotency_error";
        assert_eq!(line["level"] == "ERROR", ours, "{name}: {line}");
        assert!(
            line["stripe.request_id"].as_str().is_some_and(|id| id.starts_with("req_")),
            "{name}: {line}"
        );
        assert_eq!(shop.stripe.sessions(), 0, "{name}");
    }
}

#[tokio::test]
async fn response_not_from_stripe_is_retried_and_then_502() {
    let shop = Shop::open().await;
    shop.stripe.always(|| Some(Fault::bad_gateway()));
    shop.order(PRO).await.expect_error(502, "stripe_failed");
    assert_eq!(shop.stripe.calls().len(), 3);
    let failed = shop.program.metric(r#"stripe_api_seconds_count{outcome="failed"}"#).await;
    assert_eq!(failed, 3.0);
}

#[tokio::test]
async fn order_with_a_lost_response_is_retried_and_creates_one_session() {
    type Loss = (&'static str, fn() -> Fault);
    let lost: [Loss; 4] = [
        ("unread", Fault::drop_unread),
        ("read", Fault::drop_read),
        ("done", Fault::drop_after_work),
        ("cut", Fault::truncate),
    ];
    for (what, fault) in lost {
        let shop = Shop::open().await;
        shop.stripe.next(fault());
        let response = shop.order(PRO).await;
        assert_eq!(response.outcome(), "created", "{what}: {}", response.text());
        assert_eq!(shop.stripe.sessions(), 1, "{what}");
        let calls = shop.stripe.calls();
        let keys: Vec<_> = calls.iter().map(|call| call.header("idempotency-key").unwrap()).collect();
        assert!(keys.windows(2).all(|two| two[0] == two[1]), "{what}: {keys:?}");
    }
}

#[tokio::test]
async fn two_failures_are_retried_and_the_third_is_returned() {
    let shop = Shop::open().await;
    for _ in 0..2 {
        shop.stripe.next(Fault::named("unavailable"));
    }
    assert_eq!(shop.order(PRO).await.outcome(), "created");
    for _ in 0..3 {
        shop.stripe.next(Fault::drop_read());
    }
    shop.order(PRO).await.expect_error(502, "stripe_unreachable");
    assert_eq!(shop.stripe.sessions(), 1);
}

#[tokio::test]
async fn retry_after_of_stripe_is_respected_or_passed_on() {
    let shop = Shop::open().await;
    let asks = |seconds| Error::named("unavailable").unwrap().header("Retry-After", seconds);
    shop.stripe.next(Fault::error(asks("1")));
    let started = tokio::time::Instant::now();
    assert_eq!(shop.order(PRO).await.outcome(), "created");
    assert!(started.elapsed() >= Duration::from_secs(1));
    // A wait of half a minute is too long for a buyer, so it is passed on to the client.
    shop.stripe.next(Fault::error(asks("30")));
    shop.order(PRO).await.expect_error(502, "stripe_failed");
    shop.stripe.next(Fault::error(Error::named("rate_limited").unwrap().header("Retry-After", "30")));
    let response = shop.order(PRO).await;
    response.expect_error(429, "stripe_rate_limited");
    assert_eq!(response.header("retry-after"), Some("30"));
}

#[tokio::test]
async fn unresponsive_or_unreachable_stripe_is_reported() {
    let shop = Shop::open_with(|s| s.set("stripe.timeout", "200ms")).await;
    shop.stripe.always(|| Some(Fault::slow(Duration::from_secs(60))));
    shop.order(PRO).await.expect_error(504, "stripe_timeout");
    assert_eq!(shop.stripe.calls().len(), 3);
    let status = Request::get("/api/checkout/cs_test_1");
    shop.program.send(&status).await.expect_error(504, "stripe_timeout");

    let backend = Backend::start().await;
    let stopped = FakeStripe::start().await;
    let setup = setup(&backend, &stopped);
    drop(stopped);
    let program = Program::start(setup).await;
    let order = order(PRO).header("X-Request-Id", "r-1");
    program.send(&order).await.expect_error(502, "stripe_unreachable");
    let line =
        program.wait_for_log("the checkout", |line| line["message"] == "checkout request handled").await;
    assert!(line["reason"].as_str().unwrap().contains("onnection refused"), "{line}");
    assert_eq!(line["request_id"], "r-1");
}

#[tokio::test]
async fn slow_response_does_not_block_other_orders() {
    let shop = Shop::open().await;
    let (held, release) = Fault::held();
    shop.stripe.next(held);
    let mut first = shop.program.connect().await;
    first.write(order(PRO).bytes()).await;
    within("the first to be asked", shop.stripe.await_calls(1)).await;
    assert_eq!(shop.order(PRO).await.outcome(), "created");
    release.now();
    assert_eq!(first.response().await.outcome(), "created");
}

#[tokio::test]
async fn thousand_simultaneous_orders_open_at_most_sixteen_connections_and_none_is_lost() {
    const ORDERS: usize = 1000;
    let shop = Shop::open().await;
    shop.stripe.always(|| Some(Fault::slow(Duration::from_millis(20))));
    let mut clients = JoinSet::new();
    for _ in 0..ORDERS {
        let address = shop.program.proxy().clone();
        clients.spawn(async move {
            let mut client = Client::connect(&address).await;
            client.send(&form("price=pro")).await.outcome().to_owned()
        });
    }
    let outcomes = clients.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "created").count(), ORDERS);
    assert_eq!(shop.stripe.sessions(), ORDERS);
    assert!(shop.stripe.connections() <= 16, "{} connections", shop.stripe.connections());
}

#[tokio::test]
async fn over_tls_http2_is_used_and_a_burst_opens_at_most_sixteen_connections() {
    const ORDERS: usize = 1000;
    if !have("caddy") {
        return;
    }
    // Caddy terminates TLS in front of the fake Stripe and logs the protocol of each request.
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    stripe.always(|| Some(Fault::slow(Duration::from_millis(20))));
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = format!(
        "{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tstorage file_system {0}\n}}\n\
         https://localhost:{port} {{\n\ttls internal\n\treverse_proxy {1} {{\n\
         \t\theader_up X-Proto {{http.request.proto}}\n\t\theader_up X-Port {{http.request.remote.port}}\n\t}}\n}}\n",
        folder.path().display(),
        stripe.api_base().trim_start_matches("http://"),
    );
    let file = folder.path().join("Caddyfile");
    std::fs::write(&file, config).unwrap();
    let mut caddy =
        Tool::start(Command::new("caddy").args(["run", "--adapter", "caddyfile", "--config"]).arg(&file));
    let root = folder.path().join("pki/authorities/local/root.crt");
    until("caddy listening with a certificate", async || {
        assert!(!caddy.ended(), "{}", caddy.log());
        (is_listening(port) && root.exists()).then_some(())
    })
    .await;
    let setup = setup(&backend, &stripe)
        .env("STRIPE_API_BASE", &format!("https://localhost:{port}"))
        .env("SSL_CERT_FILE", root.to_str().unwrap());
    let program = Program::start(setup).await;
    let mut clients = JoinSet::new();
    for _ in 0..ORDERS {
        let address = program.proxy().clone();
        clients.spawn(async move {
            let mut client = Client::connect(&address).await;
            client.send(&form("price=pro")).await.outcome().to_owned()
        });
    }
    let outcomes = clients.join_all().await;
    assert_eq!(
        outcomes.iter().filter(|outcome| *outcome == "created").count(),
        ORDERS,
        "{:?}",
        program.log().last()
    );
    let calls = stripe.calls();
    let header_values =
        |name: &str| -> BTreeSet<&str> { calls.iter().filter_map(|call| call.header(name)).collect() };
    assert_eq!(header_values("x-proto"), BTreeSet::from(["HTTP/2.0"]));
    assert!(header_values("x-port").len() <= 16, "{:?}", header_values("x-port"));
}

#[tokio::test]
async fn log_and_responses_contain_no_api_key_or_personal_data() {
    let (key, other) = ("sk_test_hush1", "sk_test_hush2");
    let shop = Shop::open_with(|s| {
        s.env("STRIPE_SECRET_KEY", key)
            .env("OTHER", other)
            .set("log.level", "trace")
            .set("checkout.metadata", vec!["note"])
    })
    .await;
    let body = r#"{"price": "pro", "customer_email": "hush3@shop.example", "client_reference_id": "hush4",
        "metadata": {"note": "hush5"}}"#;
    let mut responses = String::new();
    let echo = "No such thing: hush3@shop.example sk_test_hush1";
    for fault in [
        None,
        Some(Fault::named("bad_key")),
        Some(Fault::named("permission")),
        Some(Fault::named("api_error_no_retry")),
        Some(Fault::error(Error::coded("line_items", "x", echo))),
        Some(Fault::error(Error::new(
            401,
            "invalid_request_error",
            "",
            "Invalid API Key provided: sk_test_hush1",
        ))),
        Some(Fault::bad_gateway()),
        Some(Fault::drop_read()),
    ] {
        if let Some(fault) = fault {
            shop.stripe.next(fault);
        }
        let request = order(body).header("Idempotency-Key", "hush6-which-is-long-enough-to-count");
        responses += &shop.program.send(&request).await.text();
    }
    let reloaded = setup(&shop.backend, &shop.stripe).set("stripe.secret_key", "{$OTHER}");
    shop.program.reconfigure(&reloaded);
    shop.program.sighup();
    shop.program.wait_for_log("the reload", |line| line["message"] == "configuration reloaded").await;
    shop.program.reconfigure(&setup(&shop.backend, &shop.stripe).set("stripe.secret_key", other));
    shop.program.sighup();
    shop.program.wait_for_log("the faulty reload", |line| line["errors"].is_string()).await;
    let all = responses + &shop.log() + &shop.program.metrics().await;
    assert!(all.contains("cs_test_") && all.contains("req_"), "something was logged");
    // An e-mail address appears in no response, and the session's URL only in the response to its order.
    for secret in ["hush1", "hush2", "hush3", "hush4", "hush5", "hush6"] {
        let at = all.find(secret).map(|at| &all[at.saturating_sub(200)..(at + 100).min(all.len())]);
        assert_eq!(at, None, "{secret}");
    }
}

#[tokio::test]
async fn order_writes_one_log_line_and_a_status_request_none() {
    let shop = Shop::open().await;
    let id = shop.order(PRO).await.json()["id"].as_str().unwrap().to_owned();
    shop.program.send(&Request::get(&format!("/api/checkout/{id}"))).await;
    shop.order(r#"{"price": "gold"}"#).await;
    let refused = shop.program.wait_for_log("the refusal", |line| line["outcome"] == "price_unknown").await;
    let lines: Vec<Value> =
        shop.program.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<_> = lines.iter().filter(|line| line["message"] == "checkout request handled").collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let created = lines[0];
    assert_eq!(
        (&created["outcome"], &created["status"], &created["session.id"], &created["stripe.attempts"]),
        (&"created".into(), &200.into(), &id.as_str().into(), &1.into())
    );
    assert!(created["duration_ms"].as_f64().is_some());
    assert_eq!((&refused["level"], refused.get("stripe.attempts")), (&"INFO".into(), Some(&0.into())));
    let call = shop.stripe.calls().remove(0);
    assert_eq!(call.param("line_items[0][price]").as_deref(), Some(PRICE));
}

#[tokio::test]
async fn check_probe_says_whether_stripe_accepts_the_key_and_creates_nothing() {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let setup = setup(&backend, &stripe).set("ledger.url", "none");
    let base = stripe.api_base();
    let check = async || check(&setup, &stripe, &["--probe"]).await;
    let (code, output) = check().await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&format!("stripe         ok: {base} accepts the key")), "{output}");
    stripe.next(Fault::named("bad_key"));
    let (code, output) = check().await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("stripe         FAILED: ") && output.contains("Stripe answered 401"), "{output}");
    // A restricted key may create sessions and not read prices.
    let calls = Arc::new(AtomicUsize::new(0));
    stripe.always(move || (calls.fetch_add(1, Ordering::Relaxed) > 0).then(|| Fault::named("permission")));
    let (code, output) = check().await;
    assert!(code == Some(0) && output.contains("may not read prices, so they were not checked"), "{output}");
    assert_eq!(stripe.sessions(), 0);
}
