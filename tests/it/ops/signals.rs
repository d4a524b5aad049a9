//! Shutdown on SIGTERM, reload on SIGHUP.

use crate::harness::{
    Address, Backend, Client, Event, Gate, OTHER_SECRET, Program, Reply, Request, SECRET, Setup, at_most,
    until, within,
};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

async fn refuses_connections(address: &Address) -> bool {
    let Address::Tcp(address) = address else { panic!("a TCP address") };
    tokio::net::TcpStream::connect(address).await.is_err()
}

#[tokio::test]
async fn sigterm_ends_readiness_then_the_listener_and_finishes_work_in_flight() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    let (event, gate) = (Event::checkout(), Gate::new());
    backend.reply_always(Reply::ok().when(&gate));
    let mut stripe = program.connect().await;
    stripe.write(event.signed().bytes()).await;
    backend.await_request(1).await;
    let mut page = program.connect().await;
    page.write(Request::get("/posts/1").bytes()).await;
    backend.await_request(2).await;

    program.sigterm();
    let body = program.not_ready().await;
    assert_eq!(body["ready"], false, "{body}");
    until("new connections to be refused", async || refuses_connections(program.proxy()).await.then_some(()))
        .await;
    assert_eq!(program.get_admin("/readyz").await.status, 503);
    assert_eq!(program.get_admin("/livez").await.status, 200);

    gate.open();
    stripe.response().await.expect_delivered(200);
    assert_eq!(page.response().await.status, 200);
    let since = Instant::now();
    assert_eq!(program.wait_exit().await.code(), Some(0));
    assert!(
        since.elapsed() < at_most(Duration::from_secs(5)),
        "ended {:?} after the last answer",
        since.elapsed()
    );

    let program = program.restart().await;
    program.send(&event.signed()).await.expect_received("duplicate");
}

#[tokio::test]
async fn sigterm_ends_an_idle_program_at_once_with_status_0() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    let mut idle = program.connect().await;
    assert_eq!(idle.send(&Request::get("/posts/1")).await.status, 200);
    let since = Instant::now();
    program.sigterm();
    assert_eq!(program.wait_exit().await.code(), Some(0));
    assert!(since.elapsed() < at_most(Duration::from_secs(5)), "{:?}", since.elapsed());
    idle.closed().await;
}

#[tokio::test]
async fn sigterm_closes_idle_websockets_and_event_streams_at_once() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    let mut socket = program.connect().await.web_socket("/ws").await;
    backend.reply_always(Reply::events().chunk("data: 0\n\n").pause(&Gate::new()));
    let mut stream: Client = program.connect().await;
    stream.write(Request::get("/events").bytes()).await;
    assert_eq!(stream.response_head().await.status, 200);
    assert_eq!(stream.chunk().await.unwrap(), b"data: 0\n\n");

    let since = Instant::now();
    program.sigterm();
    let end = within("the socket to be closed", socket.next()).await;
    assert!(!matches!(end, Some(Ok(ref message)) if !message.is_close()), "{end:?}");
    assert_eq!(stream.chunk().await, None);
    assert_eq!(program.wait_exit().await.code(), Some(0));
    assert!(since.elapsed() < at_most(Duration::from_secs(5)), "{:?}", since.elapsed());
}

#[tokio::test]
async fn sigterm_finishes_an_upload_on_a_connection_that_had_an_event_stream() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    backend.reply_at("/events", Reply::events().chunk("data: 0\n\n"));
    let mut client = program.connect().await;
    assert_eq!(client.send(&Request::get("/events")).await.text(), "data: 0\n\n");
    let upload = Request::post("/upload", "half of it, and the other half");
    client.write(upload.head_bytes()).await;
    backend.await_head(2).await;
    client.write(&upload.body_bytes()[..11]).await;
    program.sigterm();
    program.not_ready().await;
    client.write(&upload.body_bytes()[11..]).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(backend.await_request(2).await.body.bytes, upload.body_bytes());
    assert_eq!(program.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_finishes_a_download_and_an_upload_in_flight() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    let gate = Gate::new();
    backend.reply_at("/download", Reply::chunked(200).chunk("one").pause(&gate).chunk("two"));
    let mut down = program.connect().await;
    down.write(Request::get("/download").bytes()).await;
    assert_eq!(down.response_head().await.status, 200);
    assert_eq!(down.chunk().await.unwrap(), b"one");
    let mut up = program.connect().await;
    up.write(Request::post("/upload", "x").with("Content-Length", "2").bytes()).await;
    backend.await_head(2).await;

    program.sigterm();
    program.not_ready().await;
    gate.open();
    assert_eq!(down.chunk().await.unwrap(), b"two");
    assert_eq!(down.chunk().await, None);
    up.write("y").await;
    assert_eq!(up.response().await.status, 200);
    assert_eq!(program.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn work_beyond_shutdown_grace_is_aborted() {
    let backend = Backend::start().await;
    let mut program = Program::start(Setup::new(&backend).set("server.shutdown_grace", "1s")).await;
    backend.reply_always(Reply::never());
    let mut stripe = program.connect().await;
    stripe.write(Event::checkout().signed().bytes()).await;
    backend.await_request(1).await;
    let since = Instant::now();
    program.sigterm();
    program.wait_exit().await;
    let waited = since.elapsed();
    assert!(waited >= Duration::from_millis(900) && waited < at_most(Duration::from_secs(6)), "{waited:?}");
}

#[tokio::test]
async fn webhook_received_while_draining_is_still_delivered() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let (gate, mut idle, mut busy) = drains_with_one_in_flight(&program, &backend).await;
    let sent = idle.try_write(Event::checkout().signed().bytes()).await;
    gate.open();
    busy.response().await.expect_delivered(200);
    // The connection may have ended only because the drain closes idle connections.
    if sent.is_ok()
        && let Ok(response) = idle.try_response().await
    {
        response.expect_delivered(200);
        assert_eq!(response.header("connection"), Some("close"));
    }
}

#[tokio::test]
async fn webhook_without_enough_time_left_while_draining_is_refused() {
    let backend = Backend::start().await;
    // The time left is shorter than one attempt may take.
    let setup =
        Setup::new(&backend).set("server.shutdown_grace", "3s").set("backend.response_timeout", "20s");
    let program = Program::start(setup).await;
    let (gate, mut idle, mut busy) = drains_with_one_in_flight(&program, &backend).await;
    let _ = idle.try_write(Event::checkout().signed().bytes()).await;
    if let Ok(response) = idle.try_response().await {
        response.expect_error(503, "shutting_down");
        assert!(response.header("retry-after").is_some());
    }
    assert_eq!(backend.count(), 2);
    gate.open();
    busy.response().await.expect_delivered(200);
}

#[tokio::test]
async fn webhook_whose_body_ends_too_late_while_draining_is_refused() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("server.shutdown_grace", "5s")
        .set("backend.connect_timeout", "1s")
        .set("backend.response_timeout", "2s");
    let program = Program::start(setup).await;
    let request = Event::checkout().signed().bytes();
    let mut client = program.connect().await;
    // The grace that is left when the last byte arrives is below the 3 s that an attempt may take.
    let (first, last) = request.split_at(request.len() - 25);
    client.write(first).await;
    program.await_metric("inflight", 1.0).await;
    program.sigterm();
    program.not_ready().await;
    let response = client.drip(last, Duration::from_millis(100)).await.unwrap();
    response.expect_error(503, "shutting_down");
    assert_eq!(backend.count(), 0);
}

/// Makes a program drain, with an idle connection and one whose webhook waits at the gate.
async fn drains_with_one_in_flight(program: &Program, backend: &Backend) -> (Gate, Client, Client) {
    let gate = Gate::new();
    let mut idle = program.connect().await;
    idle.send(&Event::checkout().signed()).await.expect_delivered(200);
    backend.reply_always(Reply::ok().when(&gate));
    let mut busy = program.connect().await;
    busy.write(Event::checkout().signed().bytes()).await;
    backend.await_request(2).await;
    program.sigterm();
    program.not_ready().await;
    (gate, idle, busy)
}

#[tokio::test]
async fn sighup_loads_a_rotated_secret_and_drops_no_request() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .file("secret", &format!("{SECRET}\n"))
        .set("webhook.secrets", vec!["{file.secret}"]);
    let program = Program::start(setup).await;
    let mut client = program.connect().await;
    let gate = Gate::new();
    backend.reply_next(Reply::ok().when(&gate));
    client.write(Event::checkout().signed().bytes()).await;
    backend.await_request(1).await;
    let rolled = |event: &Event| event.signed_by(&[OTHER_SECRET]);
    program.send(&rolled(&Event::checkout())).await.expect_error(400, "signature_mismatch");

    std::fs::write(program.path("secret"), OTHER_SECRET).unwrap();
    program.sighup();
    let event = Event::checkout();
    let is_listening = until("the new secret to count", async || {
        let response = program.send(&rolled(&event)).await;
        (response.status != 400).then_some(response)
    });
    is_listening.await.expect_delivered(200);
    program.send(&Event::checkout().signed()).await.expect_error(400, "signature_mismatch");
    gate.open();
    client.response().await.expect_delivered(200);
    client.send(&rolled(&event)).await.expect_received("duplicate");
}

#[tokio::test]
async fn sighup_loads_endpoint_settings() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend);
    let program = Program::start(setup.clone()).await;
    program.send(&Event::new("invoice.paid").signed()).await.expect_delivered(200);

    // The file says port 0 for both listeners, and a reload does not reopen them.
    let changed = setup
        .set("webhook.types", vec!["checkout.*"])
        .set("webhook.max_body", "4KiB")
        .webhook("/hooks/second", &["{$STRIPE_WEBHOOK_SECRET}"]);
    program.reconfigure(&changed);
    program.sighup();
    until("the new settings to count", async || {
        let response = program.send(&Event::new("invoice.paid").signed()).await;
        (response.outcome() == "ignored").then_some(())
    })
    .await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    program.send(&Event::checkout().sized(5_000).signed()).await.expect_error(413, "body_too_large");
    program.send(&Event::checkout().signed().target("/hooks/second")).await.expect_delivered(200);
    program
        .send(&Event::checkout().signed().target("/Hooks/second"))
        .await
        .expect_error(400, "ambiguous_path");
}

#[tokio::test]
async fn sighup_with_an_invalid_file_keeps_the_old_configuration_and_logs_an_error() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend);
    let program = Program::start(setup.clone()).await;
    let bad = setup.set("webhook.secrets", vec!["{file.no-such-file}"]).set("webhook.max_body", "4KiB");
    program.reconfigure(&bad);
    program.sighup();
    let line = program.wait_for_log("what is wrong with the file", |line| line["level"] == "ERROR").await;
    let body = line.to_string();
    assert!(body.contains("no-such-file"), "{body}");
    program.send(&Event::checkout().sized(5_000).signed()).await.expect_delivered(200);
    program.ready().await;
}

#[tokio::test]
async fn metrics_say_when_the_configuration_was_reloaded_and_whether_it_was_refused() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend);
    let started = countersign::clock::unix().as_secs_f64();
    let program = Program::start(setup.clone()).await;
    let successful = "config_last_reload_successful";
    let timestamp = async || program.metric("config_last_reload_timestamp_seconds").await;
    let at_start = timestamp().await;
    assert!(at_start >= started && at_start <= countersign::clock::unix().as_secs_f64(), "{at_start}");
    assert_eq!(program.metric(successful).await, 1.0);

    program.reconfigure(&setup.clone().set("webhook.secrets", vec!["{file.no-such-file}"]));
    program.sighup();
    program.await_metric(successful, 0.0).await;
    let refused = timestamp().await;
    assert!(refused > at_start, "{refused} {at_start}");

    program.reconfigure(&setup);
    program.sighup();
    program.await_metric(successful, 1.0).await;
    assert!(timestamp().await > refused);
}
