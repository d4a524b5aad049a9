//! The head of a request: what passes as it came, and how a head is refused that does not.

use crate::harness::{Program, RawBackend, RawStream, Setup};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a head, given as Latin-1, and returns the head that the backend gets. The backend answers 200.
async fn pass(program: &Program, backend: &RawBackend, head: &str) -> String {
    let mut client = RawStream::connect(program).await;
    client.write(latin1(head)).await;
    let (mut server, got) = backend.accept_head().await;
    server.write(OK).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{head:.80}: {answer}");
    got
}

/// Sends bytes and returns all that comes back, without the program's waiting for more.
async fn refused(program: &Program, sent: &[u8]) -> String {
    let mut client = RawStream::connect(program).await;
    client.write(sent).await;
    String::from_utf8(client.rest().await.0).expect("text")
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).expect("Latin-1")).collect()
}

#[track_caller]
fn expect_refusal(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!("\r\nCountersign-Outcome: {code}\r\n")), "{answer}");
    assert!(!answer.to_lowercase().contains("pingora"), "{answer}");
}

#[tokio::test]
async fn targets_pass_byte_for_byte() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url()).set("backend.idle_timeout", "1ms")).await;
    for target in [
        "/api/v1/query?query=up{job=\"x\"}",
        "/items?filter={\"where\":{\"a\":1}}",
        "/q?expr=a<5&b>6",
        "/q?name=M\u{fc}ller",
        "/m\u{fc}sli/\"x\"",
        "/a|b^c`d\\e",
        "/%zz?%",
        "/x?http://b/y",
        "http://shop.example/abs?x",
    ] {
        let got =
            pass(&program, &backend, &format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n\r\n")).await;
        assert!(got.starts_with(&format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n")), "{got}");
    }
}

#[tokio::test]
async fn headers_pass_in_their_order_and_spelling() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let lines = "hOST:shop.example\r\nX-b:  2 \r\nx-A: 1\r\nCookie: a=\u{fc}\r\nX-B: 3\r\nX_c:\r\nx-request-ID: 1\r\n";
    let hop =
        "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: x\r\n";
    let got = pass(&program, &backend, &format!("PATCH /x HTTP/1.0\r\n{lines}{hop}\r\n")).await;
    let added = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\nTE: trailers\r\n";
    assert_eq!(got, format!("PATCH /x HTTP/1.1\r\n{lines}{added}\r\n"));
}

#[tokio::test]
async fn a_thousand_headers_pass_and_one_more_gets_431() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let head = |count: usize| {
        let more: String = (1..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
        format!("GET /x HTTP/1.1\r\nHost: a\r\n{more}\r\n")
    };
    let got = pass(&program, &backend, &head(1000)).await;
    assert!(got.contains("\r\nX-999: 999\r\n"), "{got}");
    let answer = refused(&program, head(1001).as_bytes()).await;
    expect_refusal(&answer, 431, "header_too_large");
    assert!(answer.contains("1,000 headers"), "{answer}");
}

#[tokio::test]
async fn max_head_limits_the_head() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url()).set("server.max_head", "256KiB")).await;
    let head = |length: usize| {
        let frame = "GET /x HTTP/1.1\r\nHost: a\r\nCookie: \r\n\r\n".len();
        format!("GET /x HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(length - frame))
    };
    let got = pass(&program, &backend, &head(256 << 10)).await;
    assert!(got.len() > 256 << 10);
    let answer = refused(&program, head((256 << 10) + 1).as_bytes()).await;
    expect_refusal(&answer, 431, "header_too_large");
    assert!(answer.contains("max_head"), "{answer}");
}

#[tokio::test]
async fn bytes_that_can_become_no_head_are_refused_at_once() {
    let backend = RawBackend::start().await;
    // The refusal comes although the head is never complete.
    let program = Program::start(Setup::to(&backend.url()).set("server.header_timeout", "10m")).await;
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET / HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/3",
        b"{\"jsonrpc\": \"2.0\"}",
        b"\x05\x01\x00",
    ] {
        expect_refusal(&refused(&program, sent).await, 400, "request_malformed");
    }
}

#[tokio::test]
async fn every_refusal_of_a_head_is_ours() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for head in [
        "GET /x#y HTTP/1.1\r\nHost: a\r\n",
        "GET http://b/x HTTP/1.1\r\nHost: a\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX\x01: b\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nno colon\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX : b\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nA: b\r\n folded\r\n",
        "GET /x HTTP/1.1\r\n",
        "GET /x HTTP/1.2\r\nHost: a\r\n",
        "G\u{e9}T /x HTTP/1.1\r\nHost: a\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n",
        &format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: {}x\r\n", "x,".repeat(32)),
    ] {
        let sent = latin1(&format!("{head}Connection: close\r\n\r\n"));
        expect_refusal(&refused(&program, &sent).await, 400, "request_malformed");
    }
    let page =
        refused(&program, b"GET /x#y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: text/html\r\n\r\n")
            .await;
    expect_refusal(&page, 400, "request_malformed");
    assert!(page.contains("\r\nContent-Type: text/html"), "{page}");
}

#[tokio::test]
async fn upgrade_to_any_protocol_but_http_and_tls_opens_a_tunnel() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for (method, protocol) in [("POST", "tcp"), ("GET", "derp"), ("GET", "SPDY/3.1"), ("GET", "WebSocket")] {
        let mut client = RawStream::connect(&program).await;
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        let head = format!(
            "{method} /attach HTTP/1.1\r\nHost: a\r\n{length}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        client.write(head).await;
        let (mut server, got) = backend.accept_head().await;
        assert!(got.contains(&format!("\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n")), "{got}");
        server
            .write(format!(
                "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\nhello"
            ))
            .await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{answer}");
        assert!(answer.contains(&format!("\r\nUpgrade: {protocol}\r\n")), "{answer}");
        assert_eq!(client.exact(5).await, b"hello");
        client.write(b"\x00\xffany bytes").await;
        assert_eq!(server.exact(11).await, b"\x00\xffany bytes");
        server.finish().await;
        assert_eq!(client.rest().await.0, b"");
    }
}

#[tokio::test]
async fn switch_of_protocols_that_nobody_asked_for_is_an_error() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for upgrade in ["", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "Upgrade: websocket\r\n"] {
        let mut client = RawStream::connect(&program).await;
        client.write(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{upgrade}\r\n")).await;
        let (mut server, got) = backend.accept_head().await;
        assert!(!got.to_lowercase().contains("upgrade"), "{got}");
        server
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        let answer = String::from_utf8(client.rest().await.0).unwrap();
        expect_refusal(&answer, 502, "backend_invalid");
    }
}
