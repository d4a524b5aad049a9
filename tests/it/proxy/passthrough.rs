//! Requests that are not webhooks pass through unchanged.

use crate::harness::{Backend, Event, Pattern, Program, Reply, Request, Setup};

#[tokio::test]
async fn every_method_passes_with_its_body_and_response() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut client = program.connect().await;
    let table = [
        ("GET", 200),
        ("POST", 201),
        ("PUT", 202),
        ("PATCH", 203),
        ("DELETE", 206),
        ("OPTIONS", 207),
        ("REPORT", 299),
    ];
    for (method, status) in table {
        for body in ["", "a=b&c=d"] {
            let mut request =
                Request::new(method, "/posts/1?x=%20y").header("X-Kind", "a  b").header("Cookie", "s=1");
            if !body.is_empty() {
                request = request.body(body);
            }
            let response =
                Reply::status(status).header("Set-Cookie", "a=1").header("Set-Cookie", "b=2").body(method);
            backend.reply_always(response);
            let response = client.send(&request).await;
            assert_eq!((response.status, response.text().as_str()), (status, method));
            assert_eq!(response.headers.all("set-cookie"), ["a=1", "b=2"]);
            assert_eq!(response.outcome(), "");
            let got = backend.requests().pop().unwrap();
            assert_eq!((got.method.as_str(), got.target.as_str()), (method, "/posts/1?x=%20y"));
            assert_eq!(got.body.bytes, body.as_bytes());
            assert_eq!((got.header("x-kind"), got.header("cookie")), (Some("a  b"), Some("s=1")));
        }
    }
}

#[tokio::test]
async fn every_status_passes() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut client = program.connect().await;
    for (status, location) in [(301, Some("/elsewhere")), (404, None), (418, None), (500, None), (503, None)]
    {
        let response = location.map_or(Reply::status(status), |to| Reply::redirect(status, to));
        backend.reply_always(response.body("said the app"));
        let got = client.send(&Request::get("/posts/1")).await;
        assert_eq!(
            (got.status, got.header("location"), got.text().as_str()),
            (status, location, "said the app")
        );
    }
    for status in [204, 304] {
        backend.reply_always(Reply::bare(status));
        assert_eq!(client.send(&Request::get("/posts/1")).await.status, status);
    }
}

#[tokio::test]
async fn chunked_bodies_pass_in_both_directions() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    backend.reply_always(Reply::chunked(200).chunk("one ").chunk("two ").chunk("three"));
    let mut client = program.connect().await;
    for _ in 0..2 {
        let response = client.send(&Request::post("/upload", Pattern::bytes(300_000)).chunked(7_001)).await;
        assert_eq!(response.text(), "one two three");
        let got = backend.requests().pop().unwrap();
        assert_eq!((got.body.length, got.body.patterned, got.whole), (300_000, true, true));
    }
}

#[tokio::test]
async fn head_request_gets_the_length_and_no_body_and_the_connection_stays_open() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    backend.reply_always(Reply::status(200).header("ETag", "\"1\"").body("0123456789"));
    let mut client = program.connect().await;
    for _ in 0..2 {
        let head = client.send(&Request::new("HEAD", "/posts/1")).await;
        assert_eq!(
            (head.status, head.header("content-length"), head.header("etag")),
            (200, Some("10"), Some("\"1\""))
        );
        assert_eq!(client.send(&Request::get("/posts/1")).await.text(), "0123456789");
    }
    assert_eq!(backend.count(), 4);
}

/// A backend may wrongly send a body after a HEAD response, and late.
#[tokio::test]
async fn delivery_does_not_reuse_the_connection_of_a_head_request() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    assert_eq!(program.send(&Request::new("HEAD", "/posts/1")).await.status, 200);
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn expect_100_continue_gets_100_before_an_upload() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let request = Request::post("/upload", "hello").header("Expect", "100-continue");
    let mut client = program.connect().await;
    client.write(request.head_bytes()).await;
    assert_eq!(client.response_head().await.status, 100);
    client.write("hello").await;
    let response = client.response().await;
    assert_eq!((response.status, backend.only().body.bytes.as_slice()), (200, &b"hello"[..]));
}

#[tokio::test]
async fn connections_are_reused_on_both_sides() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut client = program.connect().await;
    for _ in 0..10 {
        assert_eq!(client.send(&Request::get("/posts/1")).await.status, 200);
    }
    // Deliveries use the same connection.
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(client.send(&Request::get("/posts/1")).await.status, 200);
    assert_eq!(backend.connections(), 1);
    let last = client.send(&Request::get("/posts/1").header("Connection", "close")).await;
    assert_eq!(last.status, 200);
    client.closed().await;
}

#[tokio::test]
async fn host_and_trace_pass() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request::get("/posts/1")
        .with("Host", "shop.example:5000")
        .header("traceparent", trace)
        .header("tracestate", "a=b");
    program.send(&request).await;
    let got = backend.only();
    assert_eq!(got.header("host"), Some("shop.example:5000"));
    assert_eq!((got.header("traceparent"), got.header("tracestate")), (Some(trace), Some("a=b")));
}

#[tokio::test]
async fn forwarded_header_of_a_trusted_peer_cannot_inject_a_line() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("server.trusted_proxies", vec!["127.0.0.0/8"]);
    let program = Program::start(setup).await;
    for name in ["X-Forwarded-For", "X-Forwarded-Proto", "x-forwarded-host"] {
        for value in ["a\rCountersign-Event: evt_1", "a\0", "a\x7f"] {
            let request = format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{name}: {value}\r\n\r\n");
            let mut client = program.connect().await;
            client.write(request.into_bytes()).await;
            assert_eq!(client.response_head().await.status, 400, "{name}: {value:?}");
        }
    }
    assert_eq!(backend.count(), 0);
}
