//! Responses: their bytes leave when they come, and their heads say what the client's connection is about.

use crate::harness::{Program, RawBackend, RawStream, Setup};

/// Sends a request and brings it to the backend.
async fn ask(program: &Program, backend: &RawBackend, request: &str) -> (RawStream, RawStream) {
    let mut client = RawStream::connect(program).await;
    client.write(format!("{request}\r\nHost: a\r\n\r\n")).await;
    let (server, _) = backend.accept_head().await;
    (client, server)
}

/// Splits what came into head and body.
fn split(all: &[u8]) -> (String, Vec<u8>) {
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    (String::from_utf8_lossy(&all[..at]).into_owned(), all[at..].to_vec())
}

#[tokio::test]
async fn head_and_each_piece_of_a_body_leave_when_they_come() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for framing in ["Content-Length: 6", "Transfer-Encoding: chunked", "X-Framing: none"] {
        let (mut client, mut server) = ask(&program, &backend, "GET /drip HTTP/1.1").await;
        server.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")).await;
        // Each step waits for the one before: a piece that is held back stops the test.
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        for piece in ["*", "+", "*", "+", "*", "+"] {
            match framing {
                "Transfer-Encoding: chunked" => server.write(format!("1\r\n{piece}\r\n")).await,
                _ => server.write(piece).await,
            }
            let coded = format!("1\r\n{piece}\r\n");
            let expected = if framing.starts_with("Content-Length") { piece } else { coded.as_str() };
            assert_eq!(client.exact(expected.len()).await, expected.as_bytes(), "{framing}");
        }
    }
}

#[tokio::test]
async fn pieces_leave_while_the_upload_goes_on() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let mut client = RawStream::connect(&program).await;
    client.write("POST /both HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    let (mut server, _) = backend.accept_head().await;
    assert_eq!(server.exact(6).await, b"1\r\na\r\n");
    server.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
    client.head().await;
    server.write("x").await;
    assert_eq!(client.exact(1).await, b"x");
    client.write("1\r\nb\r\n").await;
    assert_eq!(server.exact(6).await, b"1\r\nb\r\n");
    server.write("y").await;
    assert_eq!(client.exact(1).await, b"y");
}

#[tokio::test]
async fn trailers_pass() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let (mut client, mut server) =
        ask(&program, &backend, "GET /t HTTP/1.1\r\nTE: trailers\r\nConnection: TE, close").await;
    server
        .write(
            "HTTP/1.1 200 OK\r\nTrailer: Digest\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n",
        )
        .await;
    server.write("Digest: abc\r\nX-Two: 2\r\nContent-Length: 5\r\n\r\n").await;
    let (head, body) = split(&client.rest().await.0);
    assert!(head.contains("\r\nTrailer: Digest\r\n"), "{head}");
    let expected = b"5\r\n0\r\n\r\n\r\n0\r\nDigest: abc\r\nX-Two: 2\r\n\r\n";
    assert_eq!(body.escape_ascii().to_string(), expected.escape_ascii().to_string());
    drop(server);
    // An old client has no place for them.
    let (mut client, mut server) = ask(&program, &backend, "GET /t HTTP/1.0").await;
    server
        .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nDigest: abc\r\n\r\n")
        .await;
    let (_, body) = split(&client.rest().await.0);
    assert_eq!(body, b"ok");
}

#[tokio::test]
async fn headers_of_the_backends_connection_do_not_pass() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let (mut client, mut server) = ask(&program, &backend, "GET /x HTTP/1.1").await;
    let hop = "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n";
    server.write(format!("HTTP/1.1 200 Fine\r\nX-one: 1\r\n{hop}Set-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 Fine\r\nX-one: 1\r\n"), "{head}");
    assert!(head.contains("Set-Cookie: a\r\nset-cookie: b\r\n"), "{head}");
    assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
    for gone in ["X-Hop", "Keep-Alive", "Proxy-Connection", "close"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

#[tokio::test]
async fn client_of_http_1_0_gets_neither_chunks_nor_interim_responses() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for (framing, body) in [
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("X-Framing: none", "hello"),
        ("Content-Length: 5", "hello"),
    ] {
        let (mut client, mut server) =
            ask(&program, &backend, "GET /c HTTP/1.0\r\nConnection: Keep-Alive").await;
        server.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
        server.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}")).await;
        server.finish().await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        if framing.starts_with("Content-Length") {
            assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
            assert_eq!(client.exact(5).await, b"hello");
        } else {
            assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
            assert_eq!(client.rest().await.0, b"hello");
        }
    }
}

#[tokio::test]
async fn length_beside_a_foreign_transfer_coding_is_an_error() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for (framing, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: gzip", 502),
        ("Transfer-Encoding: identity, chunked\r\nContent-Length: 5", 502),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 200),
    ] {
        let (mut client, mut server) = ask(&program, &backend, "GET /x HTTP/1.1\r\nConnection: close").await;
        server.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        let (head, body) = split(&client.rest().await.0);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{framing}: {head}");
        if status == 502 {
            assert!(head.contains("\r\nCountersign-Outcome: backend_invalid\r\n"), "{head}");
        } else {
            assert!(!head.contains("Content-Length") && body == b"5\r\nhello\r\n0\r\n\r\n", "{head}");
        }
    }
}

#[tokio::test]
async fn a_thousand_headers_pass_and_more_are_an_error_that_names_the_limit() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for (count, status) in [(999, 200), (1000, 502)] {
        let (mut client, mut server) = ask(&program, &backend, "GET /x HTTP/1.1\r\nConnection: close").await;
        let cookies: String = (0..count).map(|n| format!("Set-Cookie: c{n}=v\r\n")).collect();
        server.write(format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 0\r\n\r\n")).await;
        let (head, body) = split(&client.rest().await.0);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{count}: {head}");
        if status == 502 {
            let body = String::from_utf8(body).unwrap();
            assert!(head.contains("backend_invalid") && body.contains("1,000 headers"), "{head}{body}");
        } else {
            assert!(head.contains(&cookies), "{head}");
        }
    }
}

#[tokio::test]
async fn head_of_a_response_passes_byte_for_byte() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let (mut client, mut server) = ask(&program, &backend, "GET /x HTTP/1.1\r\nConnection: close").await;
    let lines = "HTTP/1.1 299 Alles  gut\r\nx-ONE:1\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Two:  2 \r\ncontent-length: 2\r\nServer: a/1 \r\n";
    server.write(format!("{lines}\r\nok")).await;
    let (head, body) = split(&client.rest().await.0);
    assert_eq!(head, format!("{lines}Connection: close\r\n\r\n"));
    assert_eq!(body, b"ok");
}

#[tokio::test]
async fn connection_that_may_hold_the_rest_of_a_response_carries_no_further_request() {
    let backend = RawBackend::start().await;
    for (response, is_reused) in [
        ("204 No Content\r\n", true),
        ("304 Not Modified\r\nContent-Length: 0\r\n", true),
        ("204 No Content\r\nContent-Length: 5\r\n", false),
        ("204 No Content\r\nTransfer-Encoding: chunked\r\n", false),
        ("304 Not Modified\r\nContent-Length: 5\r\n", false),
    ] {
        let program = Program::start(Setup::to(&backend.url())).await;
        let (mut client, mut server) = ask(&program, &backend, "GET /a HTTP/1.1").await;
        server.write(format!("HTTP/1.1 {response}\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {}", &response[..4])), "{head}");
        // The client's next request begins after the connection has gone to the pool, or not.
        client.write("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut next = if is_reused { server } else { backend.accept().await };
        assert!(next.head().await.starts_with("GET /b "), "{response}");
        next.write("HTTP/1.1 200 Right\r\nContent-Length: 0\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 Right\r\n"), "{response}");
    }
}

#[tokio::test]
async fn get_is_not_sent_again_once_the_backend_has_begun_to_respond() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for begun in ["H", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let (mut client, mut server) = ask(&program, &backend, "GET /a HTTP/1.1").await;
        server.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        client.head().await;
        client.write("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(server.head().await.starts_with("GET /b "));
        server.write(begun).await;
        server.finish().await;
        // A second attempt would wait for a response.
        let all = String::from_utf8_lossy(&client.rest().await.0).into_owned();
        assert!(all.contains("HTTP/1.1 502 ") && all.contains("backend_unreachable"), "{begun}: {all}");
    }
}
