//! The shipped Caddyfile in a real Caddy, in front of the program and a backend double.

use crate::harness::{Backend, Client, Event, OTHER_SECRET, Program, Request, Setup, until};
use crate::tools::{Caddy, have};

/// Starts a backend, the program and Caddy.
async fn stack() -> Option<(Caddy, Program, Backend)> {
    if !have("caddy") {
        return None;
    }
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let caddy = Caddy::start(program.proxy()).await;
    Some((caddy, program, backend))
}

#[tokio::test]
async fn backend_paths_pass_through_the_program_and_other_paths_are_files() {
    let Some((caddy, _program, backend)) = stack().await else { return };

    let through = [
        "/api/access",
        "/api/",
        "/api/a%2Fb?c=/webhooks/stripe",
        "/posts/1",
        "/posts/a/b",
        "/webhooks/github",
    ];
    for target in through {
        let response = caddy.send(&Request::get(target)).await;
        assert_eq!((response.status, response.text().as_str()), (200, r#"{"applied":true}"#), "{target}");
    }
    let posted = caddy.send(&Request::post("/api/checkout-basket", "x")).await;
    assert_eq!(posted.status, 200);
    let seen = backend.targets();
    let expected = through.map(|target| format!("GET {target}"));
    assert_eq!(seen, [&expected[..], &["POST /api/checkout-basket".to_owned()]].concat());

    for (target, status) in [("/", 200), ("/posts/", 404), ("/posts", 404), ("/api", 404), ("/x", 404)] {
        let response = caddy.send(&Request::get(target)).await;
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.text().contains("The sample site"), status == 200, "{target}");
    }
    assert_eq!(backend.targets(), seen, "files are not the backend's");
}

#[tokio::test]
async fn webhook_through_caddy_is_verified_and_never_gets_the_file_servers_405() {
    let Some((caddy, _program, backend)) = stack().await else { return };

    let event = Event::checkout();
    caddy.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.only().body.bytes, event.body());
    caddy.send(&event.signed()).await.expect_received("duplicate");
    let chunked = Event::checkout();
    caddy.send(&chunked.signed().chunked(300)).await.expect_delivered(200);
    let large = Event::checkout().sized(1_000_500);
    caddy.send(&large.signed()).await.expect_delivered(200);
    let forged = Event::checkout().signed_by(&[OTHER_SECRET]);
    caddy.send(&forged).await.expect_error(400, "signature_mismatch");
    caddy.send(&Event::checkout().unsigned()).await.expect_error(400, "signature_missing");
    let got = caddy.send(&Request::get("/webhooks/stripe")).await;
    got.expect_error(405, "method_not_allowed");
    assert_eq!(got.header("allow"), Some("POST"));
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn no_spelling_of_the_webhook_path_passes_caddy_and_the_program_unsigned() {
    let Some((caddy, _program, backend)) = stack().await else { return };

    // The program refuses a spelling that Caddy routes to the backend. Any other spelling ends at the file server.
    let by_the_program = [
        "//webhooks/stripe",
        "/Webhooks/Stripe",
        "/webhooks//stripe",
        "/webhooks/stripe/",
        "/webhooks/stripe.json",
        "/webhooks/%73tripe",
        "/webhooks%2fstripe",
        "/%77ebhooks/stripe",
        "/webhooks/stripe;a=b",
        "/webhooks/stripe%0a",
        "/webhooks/%C5%BFtripe",
        "/x/../webhooks/stripe",
        "/api/../webhooks/stripe",
        "/posts/../webhooks/stripe",
    ];
    let by_the_file_server = [
        "/index.php/webhooks/stripe",
        "/webhooks\\stripe",
        "/x/%2e%2e/%2e%2e/webhooks",
        "/%2577ebhooks/stripe",
        "/posts.php/webhooks/stripe",
    ];
    for target in by_the_program {
        let response = caddy.send(&Event::checkout().unsigned().target(target)).await;
        response.expect_error(400, "ambiguous_path");
    }
    for target in by_the_file_server {
        let response = caddy.send(&Event::checkout().unsigned().target(target)).await;
        assert!(matches!(response.status, 404 | 405), "{target}: {}", response.status);
        assert_eq!(response.outcome(), "", "{target} got to the program");
    }
    assert_eq!(backend.count(), 0, "{:?}", backend.targets());
}

#[tokio::test]
async fn clients_cannot_set_identity_or_countersign_headers() {
    let Some((caddy, _program, backend)) = stack().await else { return };

    let mut request = Request::get("/api/access");
    let stems = [["X", "User", "Id"], ["X", "User", "Email"], ["X", "Customer", "Id"]];
    for [a, b, c] in stems {
        for (left, right) in [("-", "-"), ("-", "_"), ("_", "-"), ("_", "_")] {
            let name = format!("{a}{left}{b}{right}{c}");
            request = request.header(&name, "forged").header(&name.to_uppercase(), "forged");
        }
    }
    for name in ["Countersign-Event", "countersign-type", "COUNTERSIGN_VERDICT", "Countersign_Attempt"] {
        request = request.header(name, "forged");
    }
    request = request.header("X-Forwarded-For", "203.0.113.9");
    request = request.header("X-Forwarded-Proto", "https").header("X-Forwarded-Host", "forged");
    for (name, value) in
        [("X-User-Agent", "grpc-web"), ("X-Customer", "kept"), ("Authorization", "Bearer kept")]
    {
        request = request.header(name, value);
    }
    assert_eq!(caddy.send(&request).await.status, 200);

    let seen = backend.only();
    let forged: Vec<_> = seen.headers.0.iter().filter(|(_, value)| value.contains("forged")).collect();
    assert!(forged.is_empty(), "{forged:?}");
    for (name, value) in [
        ("X-User-Agent", "grpc-web"),
        ("X-Customer", "kept"),
        ("Authorization", "Bearer kept"),
        ("Host", Request::HOST),
        ("X-Forwarded-Host", Request::HOST),
        ("X-Forwarded-Proto", "http"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let hops = seen.header("X-Forwarded-For").unwrap_or_default();
    assert!(hops.starts_with("127.0.0.1") && !hops.contains("203.0.113.9"), "{hops}");
}

#[tokio::test]
async fn caddy_notices_neither_odd_targets_nor_a_restart_of_the_backend() {
    if !have("caddy") {
        return;
    }
    let mut backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("backend.connect_retry", "30s")).await;
    let caddy = Caddy::start(program.proxy()).await;
    for target in ["/api/query?q=up{job=\"x\"}", "/api/q?expr=a<5", "/api/q?name=M%FCller&x=|"] {
        assert_eq!(caddy.send(&Request::get(target)).await.status, 200, "{target}");
        assert_eq!(backend.requests().pop().unwrap().target, target);
    }
    backend.stop().await;
    let mut client = Client::connect(caddy.address()).await;
    client.write(Request::post("/api/x", "a=b").bytes()).await;
    until("the request to wait", async || (program.metric("inflight").await == 1.0).then_some(())).await;
    backend.restart().await;
    assert_eq!(client.response().await.status, 200);
}
