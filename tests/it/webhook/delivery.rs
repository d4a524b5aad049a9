//! The request that the backend gets for an event, and the response that Stripe gets.

use crate::harness::{Backend, Event, Program, Reply, Request, Setup, until};

#[tokio::test]
async fn backend_gets_the_body_byte_for_byte_and_exactly_the_documented_headers() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = event
        .signed()
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "shop.example")
        .header("X-Request-Id", "r-1")
        .header("traceparent", trace)
        .header("Countersign-Event", "evt_forged")
        .header("Cookie", "session=1");
    program.send(&request).await.expect_delivered(200);

    let got = backend.only();
    assert_eq!((got.method.as_str(), got.target.as_str()), ("POST", "/webhooks/stripe"));
    assert_eq!(got.body.bytes, event.body());
    let length = event.body().len().to_string();
    let expected = [
        ("accept", "*/*; q=0.5, application/xml"),
        ("cache-control", "no-cache"),
        ("content-length", length.as_str()),
        ("content-type", "application/json; charset=utf-8"),
        ("cookie", "session=1"),
        ("countersign-attempt", "1"),
        ("countersign-delivery", "inline"),
        ("countersign-event", event.id.as_str()),
        ("countersign-type", "checkout.session.completed"),
        ("host", "shop.example"),
        ("idempotency-key", event.id.as_str()),
        ("stripe-signature", request.value("Stripe-Signature").unwrap()),
        ("traceparent", trace),
        ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "r-1"),
    ];
    let mut headers: Vec<_> = got.headers.0.iter().map(|(n, v)| (n.to_lowercase(), v.clone())).collect();
    headers.retain(|(name, _)| name != "connection");
    headers.sort();
    let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn response_carries_the_backends_status_type_and_body_and_nothing_else() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let table = [
        (Reply::json(200, r#"{"ok":1}"#), 200, Some("application/json"), r#"{"ok":1}"#),
        (
            Reply::status(201).header("Content-Type", "text/plain").body("made"),
            201,
            Some("text/plain"),
            "made",
        ),
        (Reply::bare(204), 204, None, ""),
        (Reply::status(200), 200, None, ""),
        (
            Reply::chunked(202).header("Content-Type", "text/x").chunk("in ").chunk("parts"),
            202,
            Some("text/x"),
            "in parts",
        ),
        (Reply::json(400, r#"{"no":1}"#), 400, Some("application/json"), r#"{"no":1}"#),
        (Reply::status(422).body("what?"), 422, None, "what?"),
        (Reply::json(500, "{}"), 500, Some("application/json"), "{}"),
        (Reply::status(503).body("later"), 503, None, "later"),
        (Reply::status(599).body("odd"), 599, None, "odd"),
    ];
    for (response, status, kind, body) in table {
        backend.reply_always(response.header("Set-Cookie", "a=b").header("X-Powered-By", "an old app"));
        let got = program.send(&Event::checkout().signed()).await;
        got.expect_delivered(status);
        assert_eq!((got.header("content-type"), got.text().as_str()), (kind, body), "{status}");
        assert_eq!((got.header("set-cookie"), got.header("x-powered-by")), (None, None), "{status}");
    }
}

#[tokio::test]
async fn response_carries_the_first_64_kib_of_the_backends_body() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for length in [65_535, 65_536, 65_537, 300_000, 50_000_000] {
        backend.reply_always(Reply::pattern(length));
        let got = program.send(&Event::checkout().signed()).await;
        got.expect_delivered(200);
        assert_eq!((got.body.length, got.body.patterned), (length.min(65_536), true), "{length}");
    }
}

#[tokio::test]
async fn deliveries_reuse_a_connection_while_the_backend_allows_it() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut stripe = program.connect().await;
    let mut deliver = async |response: Reply| {
        backend.reply_always(response);
        stripe.send(&Event::checkout().signed()).await.expect_delivered(200);
        backend.requests().pop().unwrap().connection
    };
    assert_eq!(deliver(Reply::ok()).await, 1);
    assert_eq!(deliver(Reply::chunked(200).chunk("a").chunk("b")).await, 1);
    assert_eq!(deliver(Reply::ok().interim(103, &[("Link", "</style.css>")])).await, 1);
    assert_eq!(
        deliver(Reply::raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
            .await,
        1
    );
    assert_eq!(deliver(Reply::ok().closing()).await, 1);
    assert_eq!(deliver(Reply::raw("HTTP/1.0 200 OK\r\n\r\nuntil the end").then_close()).await, 2);
    assert_eq!(deliver(Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil the end").then_close()).await, 3);
    assert_eq!(deliver(Reply::ok()).await, 4);
    assert_eq!(deliver(Reply::ok()).await, 4);
}

#[tokio::test]
async fn each_webhook_writes_one_log_line_and_counts_once() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    let line = program.wait_for_webhook_log(&event.id, "delivered").await;
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["endpoint"], "/webhooks/stripe");
    assert_eq!(line["event.type"], "checkout.session.completed");
    assert_eq!((&line["attempt"], &line["status"]), (&1.into(), &200.into()));
    assert!(line["duration_ms"].as_f64().is_some(), "{line}");

    program.send(&event.signed()).await.expect_received("duplicate");
    program.wait_for_webhook_log(&event.id, "duplicate").await;
    program.send(&event.unsigned()).await.expect_error(400, "signature_missing");
    program.wait_for_log("the refusal", |line| line["outcome"] == "signature_missing").await;
    program.send(&Request::get("/posts/1")).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    until("four lines about webhooks", async || {
        let about = |line: &&String| line.contains("\"outcome\"");
        (program.log().iter().filter(about).count() == 4).then_some(())
    })
    .await;

    let series = r#"deliveries_total{endpoint="/webhooks/stripe",mode="inline",result="delivered"}"#;
    assert_eq!(program.metric(series).await, 2.0);
    assert_eq!(program.metric(r#"ledger_seconds_count{op="claim"}"#).await, 3.0);
    assert_eq!(program.metric(r#"ledger_seconds_count{op="settle"}"#).await, 2.0);
    assert_eq!(program.metric(r#"webhook_seconds_count{endpoint="/webhooks/stripe"}"#).await, 4.0);
    assert_eq!(program.metric(r#"proxy_requests_total{class="2xx"}"#).await, 1.0);
}

#[tokio::test]
async fn lag_counts_from_the_creation_at_stripe_to_the_backends_2xx_of_each_attempt() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let bucket = async |le: &str| {
        let series = format!(r#"event_lag_seconds_bucket{{endpoint="/webhooks/stripe",le="{le}"}}"#);
        program.metric(&series).await
    };
    let count = async || program.metric(r#"event_lag_seconds_count{endpoint="/webhooks/stripe"}"#).await;
    assert_eq!(count().await, 0.0);

    // A failed attempt is no delivery; the next one is, and the time counts from the creation.
    let late = Event::checkout().created_ago(2 * 3600);
    backend.reply_next(Reply::status(500));
    assert_eq!(program.send(&late.signed()).await.status, 500);
    assert_eq!(count().await, 0.0);
    program.send(&late.signed()).await.expect_delivered(200);
    assert_eq!((bucket("3600").await, bucket("14400").await), (0.0, 1.0));
    program.send(&late.signed()).await.expect_received("duplicate");

    // Stripe's clock is ahead of ours.
    program.send(&Event::checkout().created_ago(-100).signed()).await.expect_delivered(200);
    assert_eq!((bucket("0.5").await, bucket("3600").await), (1.0, 1.0));
    program.send(&Event::checkout().created_ago(3 * 86_400 + 60).signed()).await.expect_delivered(200);
    assert_eq!((bucket("259200").await, count().await), (2.0, 3.0));
    // Sample events are years old.
    program.send(&Event::checkout().id("evt_00000000000000").signed()).await.expect_delivered(200);
    assert_eq!(count().await, 3.0);
}

#[tokio::test]
async fn lag_of_a_queued_event_includes_its_time_in_the_queue() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).delivery("queued")).await;
    program.send(&Event::checkout().created_ago(60).signed()).await.expect_received("queued");
    program.await_metric(r#"event_lag_seconds_count{endpoint="/webhooks/stripe"}"#, 1.0).await;
    let within = |le: &str| format!(r#"event_lag_seconds_bucket{{endpoint="/webhooks/stripe",le="{le}"}}"#);
    assert_eq!(program.metric(&within("30")).await, 0.0);
    assert_eq!(program.metric(&within("300")).await, 1.0);
}
