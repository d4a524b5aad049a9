//! Request boundaries: nothing in a body, behind an upgrade or behind an early response becomes a request that the
//! guard has not seen.

use crate::harness::{
    Backend, Client, Event, Gate, Program, RawBackend, RawStream, Reply, Request, Setup, within,
};

/// A forged webhook as bytes. It would reach the backend if it passed as a request.
fn forged() -> Vec<u8> {
    Event::checkout().unsigned().header("Stripe-Signature", "t=1,v1=00").bytes()
}

const SWITCH_TO_H2C: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// Expects 502 `backend_invalid` and the end of the connection.
async fn expect_no_tunnel(client: &mut RawStream) {
    let all = String::from_utf8_lossy(&client.rest().await.0).into_owned();
    assert!(all.starts_with("HTTP/1.1 502 "), "{all}");
    assert!(all.contains("\r\nCountersign-Outcome: backend_invalid\r\n"), "{all}");
}

/// Reads responses until the connection ends or `n` have arrived.
async fn responses(client: &mut Client, n: usize) -> Vec<u16> {
    let mut statuses = vec![];
    while statuses.len() < n
        && let Ok(response) = client.try_response().await
    {
        statuses.push(response.status);
    }
    statuses
}

#[tokio::test]
async fn pipelined_requests_are_each_classified_and_answered_in_order() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let (first, second) = (Event::checkout(), Event::checkout());
    let ahead = [
        first.signed().bytes(),
        Request::post("/upload", "x".repeat(10_000)).chunked(999).bytes(),
        forged(),
        Request::get("/posts/1").bytes(),
        second.signed().chunked(100).bytes(),
        Request::new("HEAD", "/webhooks/stripe").bytes(),
        first.signed().bytes(),
        Request::get("/Webhooks/stripe").bytes(),
        Request::get("/posts/2").bytes(),
    ];
    let mut client = program.connect().await;
    client.write(ahead.concat()).await;
    let mut seen = vec![];
    for n in 0..ahead.len() {
        let response = if n == 5 { client.response_head().await } else { client.response().await };
        seen.push((response.status, response.outcome().to_owned()));
    }
    let expected = [
        (200, "delivered"),
        (200, ""),
        (400, "signature_mismatch"),
        (200, ""),
        (200, "delivered"),
        (405, "method_not_allowed"),
        (200, "duplicate"),
        (400, "ambiguous_path"),
        (200, ""),
    ];
    assert_eq!(seen, expected.map(|(status, outcome)| (status, outcome.to_owned())));
    let reached =
        ["POST /webhooks/stripe", "POST /upload", "GET /posts/1", "POST /webhooks/stripe", "GET /posts/2"];
    assert_eq!(backend.targets(), reached);
}

/// A request line that looks like one of the headers that clients may not send.
#[tokio::test]
async fn request_line_that_looks_like_a_stripped_header_is_refused() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for line in
        ["Countersign-:x /posts HTTP/1.1", "X-Original-URL:x /posts HTTP/1.1", "Forwarded: /posts HTTP/1.1"]
    {
        let mut client = program.connect().await;
        client.write([line.as_bytes(), b"\r\n", &forged()].concat()).await;
        client.response().await.expect_error(400, "request_malformed");
    }
    assert_eq!(backend.count(), 0);
}

/// Some routers guess where the path begins: Fastify's reads `*webhooks/stripe` as `/webhooks/stripe`, and a URL
/// parser given `http://`, host and target reads a path from the host.
#[tokio::test]
async fn path_in_place_of_a_host_or_of_no_valid_form_is_refused() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let refused = |head: String| {
        let program = &program;
        async move {
            let mut client = program.connect().await;
            client.write(format!("POST {head}Content-Length: 0\r\n\r\n")).await;
            client.response().await.expect_error(400, "request_malformed");
        }
    };
    for target in
        ["*webhooks/stripe", "*%77ebhooks/stripe?x", "*", "x/y", "http://a@b/posts", "b:80", "/posts#x"]
    {
        refused(format!("{target} HTTP/1.1\r\nHost: a\r\n")).await;
    }
    for host in
        ["a/webhooks/stripe?", "a\\webhooks\\stripe?", "a/webhooks/stripe#", "a%2fwebhooks", ":", "", "a\"b"]
    {
        refused(format!("/x HTTP/1.1\r\nHost: {host}\r\n")).await;
        // An empty one names no host.
        if !host.is_empty() {
            refused(format!("/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: {host}\r\n")).await;
        }
        refused(format!("/x HTTP/1.1\r\nHost: a\r\nForwarded: host=\"{host}\"\r\n")).await;
    }
    refused("/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n".to_owned()).await;
    refused("/x HTTP/1.1\r\n".to_owned()).await;
    refused("/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http://b/webhooks/stripe?\r\n".to_owned()).await;
    assert_eq!(backend.count(), 0);
    let all = Request::new("OPTIONS", "*").header("X-Forwarded-Host", "a.example, b.example:80");
    assert_eq!(program.send(&all).await.status, 200);
}

#[tokio::test]
async fn webhook_request_inside_a_body_stays_body() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut client = program.connect().await;
    let forged = forged();
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        let request = Request::post("/upload", &forged).method(method);
        for request in [request.clone(), request.chunked(7)] {
            assert_eq!(client.send(&request).await.status, 200);
            let got = backend.requests().pop().unwrap();
            assert_eq!(got.target, "/upload");
            assert!(got.body.bytes == forged, "{method}: another body arrived");
        }
    }
    assert_eq!(backend.count(), 8);
}

#[tokio::test]
async fn rest_of_a_body_after_our_early_response_is_no_request() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("webhook.max_body", "4KiB")).await;
    let padded = [forged(), vec![b'x'; 100_000]].concat();
    // Their heads refuse these requests while the body is in flight.
    for refused in [
        Request::post("/webhooks/stripe", &padded).header("Stripe-Signature", "t=1,v1=00"),
        Request::post("/webhooks/stripe", &padded),
        Request::post("/webhooks/stripe", forged()).method("PUT"),
        Request::post("/Webhooks/stripe", &padded),
        Request::post("/Webhooks/stripe", forged()),
        Request::post("/webhooks/stripe", &padded).chunked(50_000).method("PUT"),
        Request::post("/webhooks/stripe", &padded).chunked(50_000),
    ] {
        let mut client = program.connect().await;
        client.write(refused.bytes()).await;
        let status = client.response().await.status;
        assert!((400..500).contains(&status), "{status}");
        // Either the connection ends, or it carries the next request.
        client.write(Request::get("/posts/1").bytes()).await;
        let more = responses(&mut client, 1).await;
        assert!(more.is_empty() || more == [200], "{more:?}");
    }
    assert!(backend.targets().iter().all(|target| target == "GET /posts/1"), "{:?}", backend.targets());
}

#[tokio::test]
async fn rest_of_a_body_after_the_backends_early_response_is_no_request() {
    let body = [vec![b'x'; 100], forged()].concat();
    // The double reads whole bodies, so this backend responds as soon as it has the head.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hasty = format!("http://{}", listener.local_addr().unwrap());
    let received = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 256];
        let mut all = vec![];
        while !all.windows(4).any(|four| four == b"\r\n\r\n") {
            let n = stream.read(&mut buffer).await.unwrap();
            all.extend_from_slice(&buffer[..n]);
        }
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut all).await;
        all
    });
    let program = Program::start(Setup::to(&hasty)).await;
    let mut client = program.connect().await;
    let request = Request::post("/upload", &body);
    client.write([request.head_bytes(), body[..100].to_vec()].concat()).await;
    assert_eq!(client.response().await.status, 413);
    client.write(&body[100..]).await;
    // No part of the body gets a response of its own.
    assert_eq!(responses(&mut client, 1).await, Vec::<u16>::new());
    drop((client, program));
    let received = within("the backend's end", received).await.unwrap();
    let head = received.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(received.starts_with(b"POST /upload "), "{}", String::from_utf8_lossy(&received));
    assert!(body.starts_with(&received[head..]), "{}", String::from_utf8_lossy(&received));
}

#[tokio::test]
async fn upgrade_refused_by_the_backend_opens_no_tunnel() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for (status, extra) in [(200, ""), (400, ""), (426, "websocket")] {
        let mut response = Reply::json(status, "{}");
        if !extra.is_empty() {
            response = response.header("Upgrade", extra);
        }
        backend.reply_always(response);
        // The double does not upgrade a request without a key.
        let upgrade = Request::get("/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");
        let mut client = program.connect().await;
        client.write([upgrade.bytes(), forged()].concat()).await;
        assert_eq!(client.response().await.status, status);
        let after = responses(&mut client, 1).await;
        assert!(after.is_empty() || after == [400], "{after:?}");
        client.write(forged()).await;
        let after = responses(&mut client, 1).await;
        assert!(after.is_empty() || after == [400], "{after:?}");
    }
    assert!(backend.targets().iter().all(|target| target == "GET /ws"), "{:?}", backend.targets());
}

#[tokio::test]
async fn upgrades_to_http2_and_tls_do_not_reach_the_backend() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for (name, value) in [("Upgrade", "h2c"), ("Upgrade", "TLS/1.0"), ("Upgrade", "h2c, websocket")] {
        let request = Request::get("/posts/1")
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("HTTP2-Settings", "AAMAAABkAAQAAP__")
            .header(name, value);
        let response = program.send(&request).await;
        if response.status == 200 {
            let got = backend.requests().pop().unwrap();
            let offered = got.header("upgrade").unwrap_or_default();
            assert!(!offered.contains("h2c") && !offered.contains("TLS"), "{offered}");
            assert_eq!(got.header("http2-settings"), None);
        }
    }
    let mut preface: Client = program.connect().await;
    preface.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(responses(&mut preface, 1).await.iter().all(|&status| status == 400));
    assert!(backend.targets().iter().all(|target| target == "GET /posts/1"), "{:?}", backend.targets());
}

/// Hypercorn trims these bytes in Latin-1 and then reads `h2c`.
#[tokio::test]
async fn upgrade_to_what_some_backend_reads_as_http2_is_not_offered() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for upgrade in [
        &b"h2c\xa0"[..],
        b"\xa0h2c",
        b"h2c\x85",
        b"\x85H2C",
        b"h2 c",
        b"h2\tc",
        b"\th2c\t",
        b"h2c/\xa0",
        b"h2c-14",
        b"H2",
        b"HTTP/2.0\xa0",
        b"TLS\x85/1.3",
        b"\"h2c\"",
    ] {
        let head = [b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ", upgrade, b"\r\n\r\n"];
        let mut client = RawStream::connect(&program).await;
        client.write(head.concat()).await;
        let (mut server, got) = backend.accept_head().await;
        assert!(!got.to_lowercase().contains("upgrade"), "{}: {got}", upgrade.escape_ascii());
        // A backend that switches all the same opens no tunnel.
        server.write(SWITCH_TO_H2C).await;
        expect_no_tunnel(&mut client).await;
    }
}

#[tokio::test]
async fn switch_to_a_protocol_that_was_not_offered_opens_no_tunnel() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let websocket = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n";
    let closing = format!("{websocket}Connection: close\r\n\r\n");
    let bare = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n";
    for switch in [SWITCH_TO_H2C, &closing, bare] {
        let mut client = RawStream::connect(&program).await;
        client
            .write("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n")
            .await;
        let (mut server, got) = backend.accept_head().await;
        assert!(got.contains("\r\nUpgrade: websocket\r\n"), "{got}");
        server.write(switch).await;
        expect_no_tunnel(&mut client).await;
    }
}

#[tokio::test]
async fn request_sent_during_an_event_stream_is_classified_like_any_other() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let gate = Gate::new();
    backend.reply_at("/events", Reply::events().chunk("data: 0\n\n").pause(&gate).chunk("data: 1\n\n"));
    let mut client = program.connect().await;
    client.write(Request::get("/events").bytes()).await;
    assert_eq!(client.response_head().await.status, 200);
    assert_eq!(client.chunk().await.unwrap(), b"data: 0\n\n");
    let spelled = Request::get("/Webhooks/stripe").bytes();
    let claimed = Request::get("/posts/1").header("Countersign-Event", "evt_forged").bytes();
    client.write([forged(), spelled, claimed].concat()).await;
    gate.open();
    // A client that writes during a stream may lose the stream.
    while client.chunk().await.is_some() {}
    let after = responses(&mut client, 3).await;
    assert!([400, 400, 200].starts_with(&after), "{after:?}");
    for got in backend.requests() {
        assert!(["/events", "/posts/1"].contains(&got.target.as_str()), "{}", got.target);
        assert_eq!((got.header("countersign-event"), got.body.length), (None, 0));
    }
}

#[tokio::test]
async fn request_sent_before_the_previous_response_is_classified_like_any_other() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let gate = Gate::new();
    backend.reply_next(Reply::ok().when(&gate));
    let mut client = program.connect().await;
    client.write(Request::get("/posts/1").bytes()).await;
    backend.await_request(1).await;
    client.write([forged(), Request::get("/posts/2").bytes()].concat()).await;
    gate.open();
    assert_eq!(responses(&mut client, 3).await, [200, 400, 200]);
    assert_eq!(backend.targets(), ["GET /posts/1", "GET /posts/2"]);
}

#[tokio::test]
async fn connect_and_heads_that_are_not_http_are_refused() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for line in [
        "CONNECT shop.example:443 HTTP/1.1",
        "CONNECT /webhooks/stripe HTTP/1.1",
        "POST  /webhooks/stripe HTTP/1.1",
        "POST /webhooks/stripe  HTTP/1.1",
        "POST /webhooks/stripe HTTP/1.1 ",
        " POST /webhooks/stripe HTTP/1.1",
        "POST\t/webhooks/stripe\tHTTP/1.1",
        "POST /webhooks/stripe",
        "POST /webhooks/stripe HTTP/9.9",
    ] {
        let mut client = program.connect().await;
        client.write(format!("{line}\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).await;
        let got = responses(&mut client, 1).await;
        assert!(got.iter().all(|&status| matches!(status, 400 | 405)), "{line:?}: {got:?}");
    }
    for field in [
        "Content-Length : 5",
        " Content-Length: 5",
        "Content-Length\t: 5",
        "Host: b",
        "X\x00Y: 1",
        "no colon",
    ] {
        let mut client = program.connect().await;
        client.write(format!("POST /posts/1 HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\nhello")).await;
        let got = responses(&mut client, 1).await;
        assert!(got.iter().all(|&status| status == 400), "{field:?}: {got:?}");
    }
    assert_eq!(backend.targets(), Vec::<String>::new());
}
