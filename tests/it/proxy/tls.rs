//! A backend with TLS: everything passes as without it, and nothing passes to a backend that is not verified.

use crate::harness::{
    Backend, Event, Pattern, Program, Reply, Request, Setup, TestAuthority, at_most, within,
};
use futures_util::{SinkExt, StreamExt};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// Trusts this authority and no other.
fn trusting(authority: &TestAuthority, url: &str) -> Setup {
    Setup::to(url).set("backend.ca", "{file.ca.pem}").file("ca.pem", &authority.pem())
}

/// Starts a program that cannot verify its backend. Checks that webhooks and pages get 502, and that the log says why,
/// once.
async fn expect_unverified(setup: Setup, reason: &str) {
    let program = Program::start(setup).await;
    for _ in 0..2 {
        program.send(&Event::checkout().signed()).await.expect_error(502, "backend_unreachable");
        program.send(&Request::get("/posts/1")).await.expect_error(502, "backend_unreachable");
    }
    let failed = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message == "TLS handshake with the backend failed"
    };
    let line = program.wait_for_log("a failed handshake", failed).await;
    assert_eq!(line["level"], "WARN");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains(reason), "{error}");
    let failures = program.log().iter().filter(|line| failed(&serde_json::from_str(line).unwrap())).count();
    assert_eq!(failures, 1);
    let line = program.wait_for_log("a webhook", |line| line["message"] == "webhook handled").await;
    assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
}

#[tokio::test]
async fn webhooks_pages_uploads_and_web_sockets_reach_a_tls_backend() {
    let authority = TestAuthority::new();
    let backend = Backend::start_tls(&authority.certificate("localhost")).await;
    let program = Program::start(trusting(&authority, &backend.url())).await;

    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.only().body.bytes, event.body());
    // More than a socket takes at once.
    let large = Event::checkout().sized(1 << 20);
    program.send(&large.signed()).await.expect_delivered(200);
    assert_eq!(backend.await_request(2).await.body.length, 1 << 20);

    backend.reply_next(Reply::json(200, r#"{"title":"a post"}"#));
    let page = program.send(&Request::get("/posts/1")).await;
    assert_eq!((page.status, page.text().as_str()), (200, r#"{"title":"a post"}"#));
    let got = backend.await_request(3).await;
    assert_eq!((got.header("host"), got.header("x-forwarded-proto")), (Some(Request::HOST), Some("http")));
    assert_eq!(backend.connections(), 1, "the connection is used again");

    const LENGTH: usize = 20 << 20;
    let upload = Request::post("/upload", Pattern::bytes(LENGTH));
    assert_eq!(program.send(&upload).await.status, 200);
    let got = backend.await_request(4).await;
    assert_eq!((got.body.length, got.body.patterned), (LENGTH as u64, true));
    assert_eq!(program.send(&upload.chunked(10_000)).await.status, 200);
    let got = backend.await_request(5).await;
    assert_eq!((got.body.length, got.body.patterned), (LENGTH as u64, true));
    backend.reply_next(Reply::pattern(LENGTH as u64));
    let down = program.send(&Request::get("/download")).await;
    assert_eq!((down.body.length, down.body.patterned), (LENGTH as u64, true));

    let mut socket = program.connect().await.web_socket("/ws").await;
    for size in [0, 1, 70_000, 1_000_000] {
        let sent = Message::binary(Pattern::bytes(size));
        socket.send(sent.clone()).await.unwrap();
        let got = within("an echo", socket.next()).await.unwrap().unwrap();
        assert!(got == sent, "{size} bytes came back as {}", got.len());
    }
}

#[tokio::test]
async fn queued_events_wait_for_a_tls_backend_and_reach_it() {
    let authority = TestAuthority::new();
    let mut backend = Backend::start_tls(&authority.certificate("localhost")).await;
    let setup = trusting(&authority, &backend.url()).delivery("queued");
    let program = Program::start(setup).await;
    backend.stop().await;
    let events: Vec<_> = (0..5).map(|_| Event::checkout()).collect();
    for event in &events {
        program.send(&event.signed()).await.expect_received("queued");
    }
    backend.restart().await;
    backend.await_request(events.len()).await;
    let mut got: Vec<_> =
        backend.requests().iter().map(|r| r.header("idempotency-key").unwrap().to_owned()).collect();
    got.sort_unstable();
    let mut expected: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    expected.sort_unstable();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn connection_that_a_tls_backend_closed_is_not_used_again() {
    let authority = TestAuthority::new();
    let mut backend = Backend::start_tls(&authority.certificate("localhost")).await;
    let program = Program::start(trusting(&authority, &backend.url())).await;
    for round in 1..=3 {
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        assert_eq!(program.send(&Request::post("/api/x", "a=b")).await.status, 200);
        assert_eq!(backend.connections(), round);
        backend.stop().await;
        backend.restart().await;
    }
}

#[tokio::test]
async fn certificate_may_be_for_an_address() {
    let authority = TestAuthority::new();
    let backend = Backend::start_tls(&authority.certificate("127.0.0.1")).await;
    let program = Program::start(trusting(&authority, &backend.url())).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn without_ca_the_systems_authorities_are_trusted() {
    let authority = TestAuthority::new();
    let backend = Backend::start_tls(&authority.certificate("localhost")).await;
    let setup = Setup::new(&backend).file("system.pem", &authority.pem()).env("SSL_CERT_FILE", "system.pem");
    let program = Program::start(setup).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn certificate_of_an_unknown_authority_is_refused_and_logged() {
    let backend = Backend::start_tls(&TestAuthority::new().certificate("localhost")).await;
    // An authority of the same name with another key is another authority.
    for other in [TestAuthority::named("Other authority"), TestAuthority::new()] {
        expect_unverified(trusting(&other, &backend.url()), "from an unknown authority").await;
    }
    let system = TestAuthority::named("System authority").pem();
    let setup = Setup::new(&backend).file("system.pem", &system).env("SSL_CERT_FILE", "system.pem");
    expect_unverified(setup, "it is not one of this system").await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn certificate_for_another_name_is_refused_and_logged() {
    let authority = TestAuthority::new();
    let backend = Backend::start_tls(&authority.certificate("other.example")).await;
    let url = format!("https://localhost:{}", backend.address().port());
    expect_unverified(trusting(&authority, &url), "not for the name localhost").await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn expired_certificate_is_refused_and_logged() {
    let authority = TestAuthority::new();
    let backend = Backend::start_tls(&authority.expired_certificate("localhost")).await;
    expect_unverified(trusting(&authority, &backend.url()), "has expired").await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn backend_without_tls_behind_an_https_url_is_refused_and_logged() {
    let backend = Backend::start().await;
    // A plain server takes the handshake for a head without an end, and waits for the rest.
    backend.reply_always(Reply::status(400));
    let url = format!("https://localhost:{}", backend.address().port());
    let setup = trusting(&TestAuthority::new(), &url).set("backend.connect_timeout", "300ms");
    expect_unverified(setup, "check that the backend speaks TLS").await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn response_without_tls_is_told_apart_from_other_failures() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let plain = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.writable().await.unwrap();
            stream.try_write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").unwrap();
            // The program closes the connection.
            tokio::spawn(async move {
                while stream.readable().await.is_ok() && stream.try_read(&mut [0; 512]).is_ok_and(|n| n > 0) {
                }
            });
        }
    });
    expect_unverified(trusting(&TestAuthority::new(), &url), "does not speak TLS on this port").await;
    plain.abort();
}

#[tokio::test]
async fn connect_timeout_covers_the_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let setup = trusting(&TestAuthority::new(), &url).set("backend.connect_timeout", "200ms");
    let program = Program::start(setup).await;
    let since = Instant::now();
    program.send(&Event::checkout().signed()).await.expect_error(502, "backend_unreachable");
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(200) && took < at_most(Duration::from_secs(2)), "{took:?}");
    let line = program.wait_for_log("a webhook", |line| line["message"] == "webhook handled").await;
    assert!(line["reason"].as_str().unwrap().contains("not over within 200ms"), "{line}");
}

#[tokio::test]
async fn recovery_after_a_failed_handshake_is_logged() {
    let authority = TestAuthority::new();
    let mut backend = Backend::start_tls(&TestAuthority::new().certificate("localhost")).await;
    let program = Program::start(trusting(&authority, &backend.url())).await;
    program.send(&Event::checkout().signed()).await.expect_error(502, "backend_unreachable");
    backend.restart_with(&authority.certificate("localhost")).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    let message = "TLS handshake with the backend succeeded again";
    program.wait_for_log(message, |line| line["message"] == message).await;
}

/// Runs `check --probe` with this configuration.
fn probe(setup: &Setup, authority: &TestAuthority) -> Output {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.path().join("c.toml"), setup.text()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["check", "--probe", "--config", "c.toml"])
        .current_dir(folder.path())
        .env_clear()
        .env("STRIPE_WEBHOOK_SECRET", "whsec_probe")
        .output()
        .unwrap()
}

#[test]
fn start_without_any_authority_is_refused() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("c.toml"), Setup::to("https://localhost:1").text()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["run", "--config", "c.toml"])
        .current_dir(folder.path())
        .env_clear()
        .envs([("STRIPE_WEBHOOK_SECRET", "whsec_probe"), ("SSL_CERT_FILE", "missing.pem")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("this system has no certificate authorities") && text.contains("set [backend] ca"),
        "{text}"
    );
    assert!(!output.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_probe_verifies_a_tls_backend() {
    let authority = TestAuthority::new();
    let backend = Backend::start_tls(&authority.certificate("localhost")).await;
    let setup = trusting(&authority, &backend.url());
    let output = probe(&setup, &authority);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("backend        ok: ") && text.contains("with a valid certificate"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");

    let output = probe(&setup, &TestAuthority::new());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("backend        FAILED: ") && text.contains("unknown authority"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}
