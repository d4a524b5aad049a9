//! How the backend is reached: by name, over Unix sockets, and after an outage.

use crate::harness::{Backend, Event, Gate, Program, Reply, Request, Setup, at_most, until, within};
use crate::tools::have;
use futures_util::{SinkExt, StreamExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn idle_backend_connections_close_after_idle_timeout() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("backend.idle_timeout", "1s")).await;
    program.send(&Request::get("/posts/1")).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert!(backend.open() > 0, "nothing was kept");
    backend.await_open(0).await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
}

#[tokio::test]
async fn unreachable_backend_gets_502_in_json_or_html_and_is_used_again_at_once() {
    let mut backend = Backend::start().await;
    let program = Program::start(&backend).await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    backend.stop().await;

    for accept in [None, Some("application/json"), Some("*/*"), Some("application/json, text/html;q=0.5")] {
        let request = Request::get("/posts/1");
        let request = accept.map_or(request.clone(), |accept| request.header("Accept", accept));
        program.send(&request).await.expect_error(502, "backend_unreachable");
    }
    program.send(&Request::post("/api/x", "a=b")).await.expect_error(502, "backend_unreachable");
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = program.send(&Request::get("/posts/1").header("Accept", browser)).await;
    assert_eq!((page.status, page.outcome()), (502, "backend_unreachable"));
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().to_lowercase().starts_with("<!doctype html>"), "{}", page.text());
    program.await_metric(r#"proxy_requests_total{class="5xx"}"#, 6.0).await;

    backend.restart().await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    backend.stop().await;
    backend.restart().await;
    assert_eq!(program.send(&Request::post("/api/x", "a=b")).await.status, 200);
    backend.stop().await;
    backend.restart().await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
}

#[tokio::test]
async fn changed_address_of_the_backends_name_is_used_within_seconds() {
    // The wrapper makes getaddrinfo read a file that the test can change.
    let wrapper = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/libnss_wrapper.so"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    if wrapper.is_none() && !have("libnss-wrapper") {
        return;
    }
    let mut old = Backend::start().await;
    let new = Backend::start_beside(&old).await;
    let folder = tempfile::TempDir::new().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 shop.test\n").unwrap();
    let setup = Setup::to(&format!("http://shop.test:{}", old.address().port()))
        .env("LD_PRELOAD", &wrapper.unwrap())
        .env("NSS_WRAPPER_HOSTS", hosts.to_str().unwrap());
    let program = Program::start(setup).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!((old.count(), new.count()), (1, 0));

    old.stop().await;
    let names = |address: &str, later: u64| {
        std::fs::write(&hosts, format!("{address} shop.test\n")).unwrap();
        // The wrapper compares times in whole seconds.
        let later = countersign::clock::wall() + Duration::from_secs(later);
        std::fs::File::options().append(true).open(&hosts).unwrap().set_modified(later).unwrap();
    };
    names("127.0.0.2", 2);
    let since = Instant::now();
    let event = Event::checkout();
    until("the new address", async || (program.send(&event.signed()).await.status == 200).then_some(()))
        .await;
    assert!(since.elapsed() < at_most(Duration::from_secs(5)), "{:?}", since.elapsed());
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    assert_eq!((old.count(), new.count()), (1, 2));

    // A backend at an address that the name no longer has gets no more requests, although it is up and pooled
    // connections to it exist.
    old.restart().await;
    names("127.0.0.1", 4);
    until("the address before", async || {
        program.send(&Request::get("/posts/1")).await;
        (old.count() > 1).then_some(())
    })
    .await;
    let seen = new.count();
    program.send(&Request::get("/posts/1")).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!((old.count(), new.count()), (4, seen));
}

#[tokio::test]
async fn truncated_backend_response_is_truncated_for_the_client() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    backend.reply_always(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").then_close());
    let mut client = program.connect().await;
    client.write(Request::get("/posts/1").bytes()).await;
    let head = client.response_head().await;
    assert_eq!(head.header("content-length"), Some("10"));
    assert_eq!(client.some().await, b"half");
    client.closed().await;

    backend.reply_always(Reply::close());
    program.send(&Request::post("/api/x", "a=b")).await.expect_error(502, "backend_unreachable");
}

#[tokio::test]
async fn get_on_a_closing_connection_is_retried_and_post_is_not() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    // Only a new connection that fails says something about the backend.
    backend.reply_next(Reply::close());
    program.send(&Request::get("/posts/1")).await.expect_error(502, "backend_unreachable");
    let mut client = program.connect().await;
    assert_eq!(client.send(&Request::get("/posts/2")).await.status, 200);
    backend.reply_next(Reply::close());
    assert_eq!(client.send(&Request::get("/posts/3")).await.status, 200);
    backend.reply_next(Reply::close());
    client.send(&Request::post("/api/x", "a=b")).await.expect_error(502, "backend_unreachable");
    assert_eq!(
        backend.targets(),
        ["GET /posts/1", "GET /posts/2", "GET /posts/3", "GET /posts/3", "POST /api/x"]
    );
}

#[tokio::test]
async fn both_sides_may_be_unix_sockets() {
    let folder = tempfile::TempDir::new().unwrap();
    let backend = Backend::start_unix(folder.path().join("app.sock")).await;
    let listen = format!("unix/{}", folder.path().join("countersign.sock").display());
    let program = Program::start(Setup::new(&backend).set("server.listen", listen.as_str())).await;
    assert_eq!(program.proxy().text(), listen);

    let event = Event::checkout();
    program.send(&event.signed().header("X-Forwarded-For", "203.0.113.7")).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
    let page = Request::get("/posts/1")
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Forwarded-Proto", "https");
    assert_eq!(program.send(&page).await.status, 200);
    let mut socket = program.connect().await.web_socket("/ws").await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("hello"));

    // A peer on a Unix socket is trusted and has no address to add.
    for got in &backend.requests()[..2] {
        assert_eq!(got.header("x-forwarded-for"), Some("203.0.113.7"), "{}", got.target);
        assert_eq!(got.header("host"), Some(Request::HOST));
    }
    assert_eq!(backend.requests()[1].header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn unix_socket_has_the_configured_mode() {
    let folder = tempfile::TempDir::new().unwrap();
    let backend = Backend::start().await;
    let path = folder.path().join("countersign.sock");
    for mode in ["0600", "0660"] {
        let listen = format!("unix/{}|{mode}", path.display());
        let program = Program::start(Setup::new(&backend).set("server.listen", listen.as_str())).await;
        assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
        let permissions = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(format!("{:04o}", permissions.mode() & 0o7777), mode);
    }
}

#[tokio::test]
async fn stale_unix_socket_is_replaced() {
    let folder = tempfile::TempDir::new().unwrap();
    let backend = Backend::start().await;
    let listen = format!("unix/{}", folder.path().join("countersign.sock").display());
    let mut program = Program::start(Setup::new(&backend).set("server.listen", listen.as_str())).await;
    program.kill9();
    let program = program.restart().await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
}

#[tokio::test]
async fn backend_name_is_resolved() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::to(&format!("http://localhost:{}", backend.address().port()))).await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn unknown_backend_name_gets_502_and_does_not_prevent_the_start() {
    let program = Program::start(Setup::to("http://no-such-host.invalid:8081")).await;
    program.ready().await;
    program.send(&Request::get("/posts/1")).await.expect_error(502, "backend_unreachable");
    program.send(&Event::checkout().signed()).await.expect_error(502, "backend_unreachable");
}

#[tokio::test]
async fn restart_of_the_backend_is_bridged() {
    let mut backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("backend.connect_retry", "30s")).await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    backend.stop().await;
    let mut clients = vec![];
    let event = Event::checkout().signed();
    for request in [Request::get("/posts/1"), Request::post("/api/x", "a=b"), event] {
        let mut client = program.connect().await;
        client.write(request.bytes()).await;
        clients.push(client);
    }
    until("all three to wait", async || (program.metric("inflight").await == 3.0).then_some(())).await;
    backend.restart().await;
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(backend.count(), 4);
}

#[tokio::test]
async fn backend_that_stays_away_gets_502_after_connect_retry() {
    let mut backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("backend.connect_retry", "700ms")).await;
    backend.stop().await;
    for request in [Request::post("/api/x", "a=b"), Event::checkout().signed()] {
        let since = Instant::now();
        program.send(&request).await.expect_error(502, "backend_unreachable");
        let waited = since.elapsed();
        assert!(
            waited >= Duration::from_millis(500) && waited < at_most(Duration::from_secs(5)),
            "{waited:?}"
        );
    }
}

#[tokio::test]
async fn least_busy_of_several_backends_is_used_and_a_refusing_one_left_out() {
    let (mut one, two) = (Backend::start().await, Backend::start().await);
    let setup = Setup::new(&one).set("backend.url", vec![one.url(), two.url()]);
    let program = Program::start(setup).await;
    let gate = Gate::new();
    for backend in [&one, &two] {
        backend.reply_at("/slow", Reply::ok().when(&gate));
    }
    let mut clients = vec![];
    for n in 1..=4 {
        let mut client = program.connect().await;
        client.write(Request::get("/slow").bytes()).await;
        clients.push(client);
        until("the request at a backend", async || (one.count() + two.count() == n).then_some(())).await;
        assert!(one.count().abs_diff(two.count()) <= 1, "{} and {}", one.count(), two.count());
    }
    assert_eq!((one.count(), two.count()), (2, 2));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    one.stop().await;
    for n in 3..10 {
        assert_eq!(program.send(&Request::post("/api/x", "a=b")).await.status, 200);
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        assert_eq!(two.count(), 2 * (n - 1), "requests at the other backend");
    }
    // The first one is back in use a second after it was refused.
    one.restart().await;
    until("the first backend", async || {
        program.send(&Request::get("/posts/1")).await;
        (one.count() > 2).then_some(())
    })
    .await;
}
