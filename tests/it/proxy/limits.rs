//! Requests that are too large, too slow or malformed.

use crate::harness::{Backend, Client, Event, Program, Request, Setup, at_most, until};
use std::time::Duration;
use tokio::time::Instant;

/// The pause between bytes: so short that a deadline per read would never pass.
const DRIP: Duration = Duration::from_millis(100);

#[tokio::test]
async fn body_over_max_body_gets_413_by_its_length_and_while_reading_chunks() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("webhook.max_body", "10KiB")).await;
    program.send(&Event::checkout().sized(10_240).signed()).await.expect_delivered(200);
    program.send(&Event::checkout().sized(10_240).signed().chunked(1_000)).await.expect_delivered(200);

    let large = Event::checkout().sized(10_241).signed();
    program.send(&large).await.expect_error(413, "body_too_large");
    program.send(&large.clone().chunked(1_000)).await.expect_error(413, "body_too_large");
    // The length alone refuses it, without waiting for the body.
    let mut client = program.connect().await;
    client.write(large.clone().with("Content-Length", "1000000000000").head_bytes()).await;
    client.response().await.expect_error(413, "body_too_large");
    // Reading refuses it, without waiting for the last chunk.
    let mut client = program.connect().await;
    client.write(large.chunked(1).head_bytes()).await;
    for _ in 0..11 {
        client.write([&b"400\r\n"[..], &[b'x'; 1024], b"\r\n"].concat()).await;
    }
    client.response().await.expect_error(413, "body_too_large");
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn dripping_body_gets_408_after_body_timeout_in_total() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("webhook.body_timeout", "1s")).await;
    let request = Event::checkout().signed();
    for request in [request.clone(), request.chunked(1)] {
        let mut client = program.connect().await;
        let since = Instant::now();
        client.write(request.head_bytes()).await;
        client.drip(request.body_bytes(), DRIP).await.unwrap().expect_error(408, "body_too_slow");
        let waited = since.elapsed();
        assert!(waited >= Duration::from_secs(1) && waited < at_most(Duration::from_secs(6)), "{waited:?}");
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn dripping_head_ends_after_header_timeout_in_total_on_new_and_reused_connections() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.header_timeout", "1s")).await;
    let head = Request::get("/posts/1").header("X-Long", &"x".repeat(1_000)).head_bytes();
    for reused in [false, true] {
        let mut client = program.connect().await;
        if reused {
            assert_eq!(client.send(&Request::get("/posts/1")).await.status, 200);
        }
        let since = Instant::now();
        // A response names the reason, and closing without one is allowed.
        if let Ok(response) = client.drip(&head, DRIP).await {
            response.expect_error(408, "header_too_slow");
            client.closed().await;
        }
        let waited = since.elapsed();
        assert!(
            waited >= Duration::from_millis(900) && waited < at_most(Duration::from_secs(6)),
            "kept: {reused}, {waited:?}"
        );
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn idle_and_half_sent_connections_are_closed() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("server.idle_timeout", "1s").set("server.header_timeout", "1s");
    let program = Program::start(setup).await;
    // This connection sends nothing.
    let mut silent = program.connect().await;
    // This one sends half a head.
    let mut half = program.connect().await;
    half.write("GET /posts/1 HTT").await;
    // This one got a response and sends no more.
    let mut done = program.connect().await;
    assert_eq!(done.send(&Request::get("/posts/1")).await.status, 200);
    let since = Instant::now();
    done.closed().await;
    assert!(since.elapsed() < at_most(Duration::from_secs(6)), "{:?}", since.elapsed());
    silent.closed().await;
    if let Ok(response) = half.try_response().await {
        response.expect_error(408, "header_too_slow");
    }
    assert!(since.elapsed() < at_most(Duration::from_secs(10)), "{:?}", since.elapsed());
}

#[tokio::test]
async fn reused_connection_may_idle_longer_than_header_timeout() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.header_timeout", "500ms")).await;
    let mut client = program.connect().await;
    for _ in 0..2 {
        assert_eq!(client.send(&Request::get("/posts/1")).await.status, 200);
        // Time itself is tested: the connection idles for three times the header timeout.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
}

#[tokio::test]
async fn endless_head_is_refused_and_does_not_grow_memory() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    program.send(&Request::get("/posts/1")).await;
    let before = program.rss_kib();
    for head in [
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8 << 20)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(8 << 20)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(100_000)),
    ] {
        let mut client = program.connect().await;
        let sent = async { client.try_write(&head).await };
        let _ = sent.await;
        // A reset may overtake the response, since most of the request is left unread.
        if let Ok(response) = client.try_response().await {
            response.expect_error(431, "header_too_large");
        }
    }
    assert_eq!(backend.count(), 1);
    let grown = program.rss_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "grew by {grown} KiB");
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn expect_100_continue_gets_100_before_a_webhook_body() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let request = Event::checkout().signed().header("Expect", "100-continue");
    let mut client = program.connect().await;
    client.write(request.head_bytes()).await;
    assert_eq!(client.response_head().await.status, 100);
    client.write(request.body_bytes()).await;
    client.response().await.expect_delivered(200);
    assert_eq!(backend.only().header("expect"), None);

    // There is no 100 if the body would be refused.
    client.write(request.with("Content-Length", "100000000").head_bytes()).await;
    let refused = client.response().await;
    refused.expect_error(413, "body_too_large");
    assert!(refused.interim.is_empty());
}

#[tokio::test]
async fn encoded_body_gets_415() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for encoding in ["gzip", "br", "identity, gzip"] {
        let request = Event::checkout().signed().header("Content-Encoding", encoding);
        program.send(&request).await.expect_error(415, "body_encoded");
    }
    assert_eq!(backend.count(), 0);
    program
        .send(&Event::checkout().signed().header("Content-Encoding", "identity"))
        .await
        .expect_delivered(200);
}

#[tokio::test]
async fn methods_other_than_post_get_405_with_allow_post() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "post", "STRIPE"] {
        let response = program.send(&Request::new(method, "/webhooks/stripe")).await;
        response.expect_error(405, "method_not_allowed");
        assert_eq!(response.header("allow"), Some("POST"), "{method}");
    }
    let head = program.send(&Request::new("HEAD", "/webhooks/stripe?a=b")).await;
    assert_eq!(
        (head.status, head.outcome(), head.header("allow")),
        (405, "method_not_allowed", Some("POST"))
    );
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn ambiguous_framing_gets_400_on_every_route() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let framings = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Content-Length: 5\nX-Bare: line feed\r\n",
    ];
    for target in ["/webhooks/stripe", "/posts/1"] {
        for framing in framings {
            let mut client = program.connect().await;
            client
                .write(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n5\r\nhello\r\n0\r\n\r\n"))
                .await;
            let response = client.response().await.case(format!("{target} {framing:?}"));
            response.expect_error(400, "request_malformed");
            client.closed().await;
        }
    }
    assert_eq!(backend.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn truncated_or_misframed_body_is_never_delivered() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    let request = event.signed();
    let mut leaving = program.connect().await;
    leaving.write(&request.bytes()[..request.bytes().len() - 1]).await;
    drop(leaving);
    until("the break to be counted", async || {
        (program.outcomes("body_malformed").await == 1.0).then_some(())
    })
    .await;

    let mut wrong = program.connect().await;
    wrong.write(request.clone().chunked(10).head_bytes()).await;
    wrong.write("zz\r\nhello\r\n0\r\n\r\n").await;
    wrong.response().await.expect_error(400, "body_malformed");
    assert_eq!(backend.count(), 0);
    program.send(&request).await.expect_delivered(200);
    assert_eq!(backend.only().header("countersign-attempt"), Some("1"));
}

#[tokio::test]
async fn refused_webhook_leaves_its_connection_open() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut client = program.connect().await;
    client.send(&Event::checkout().unsigned()).await.expect_error(400, "signature_missing");
    client.send(&Request::get("/webhooks/stripe")).await.expect_error(405, "method_not_allowed");
    client.send(&Event::checkout().signed()).await.expect_delivered(200);
    client.send(&Request::get("/Webhooks/stripe")).await.expect_error(400, "ambiguous_path");
    client.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn clients_that_never_read_their_responses_do_not_hold_webhook_permits() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.max_webhooks", 2)).await;
    // There are more responses than the buffers on the way hold.
    let forged = Event::checkout().unsigned().bytes().repeat(50_000);
    let (mut first, mut second) = (program.connect().await, program.connect().await);
    let stuck = async |client: &mut Client| {
        tokio::time::timeout(Duration::from_secs(4), client.try_write(&forged)).await.is_err()
    };
    assert_eq!(tokio::join!(stuck(&mut first), stuck(&mut second)), (true, true), "it reads on without end");
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}
