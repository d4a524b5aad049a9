//! The limits on connections and webhooks, which must not let other traffic block Stripe.

use crate::harness::{
    Backend, Client, Event, Gate, Program, RawBackend, RawStream, Reply, Request, Response, Setup, at_most,
    until,
};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// The series of what `max_passthrough` refuses.
const REFUSED: &str = r#"connections_refused_total{reason="max_passthrough"}"#;

#[track_caller]
fn expect_busy(response: &Response) {
    response.expect_error(503, "overloaded");
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn webhook_beyond_max_webhooks_gets_503_and_pages_still_pass() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.max_webhooks", 2)).await;
    let gate = Gate::new();
    backend.reply_at("/webhooks/stripe", Reply::ok().when(&gate));
    let mut busy = vec![];
    for n in 1..=2 {
        let mut client = program.connect().await;
        client.write(Event::checkout().signed().bytes()).await;
        backend.await_request(n).await;
        busy.push(client);
    }
    let event = Event::checkout();
    for _ in 0..3 {
        expect_busy(&program.send(&event.signed()).await);
    }
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    assert_eq!(backend.targets().last().unwrap(), "GET /posts/1");
    gate.open();
    for client in &mut busy {
        client.response().await.expect_delivered(200);
    }
    let freed = until("a slot to be free", async || {
        let response = program.send(&event.signed()).await;
        (response.status != 503).then_some(response)
    });
    freed.await.expect_delivered(200);
}

#[tokio::test]
async fn half_sent_webhooks_are_evicted_for_whole_ones_and_end_after_body_timeout() {
    let backend = Backend::start().await;
    // The timeout is longer than the bound below, so the webhooks cannot have waited for it.
    let body_timeout = at_most(Duration::from_secs(2));
    let setup = Setup::new(&backend)
        .set("server.max_webhooks", 4)
        .set("webhook.body_timeout", format!("{}ms", body_timeout.as_millis()));
    let program = Program::start(setup).await;
    let mut half = vec![];
    for _ in 0..4 {
        let mut client = program.connect().await;
        client.write(Event::checkout().signed().head_bytes()).await;
        half.push(client);
    }
    program.await_metric("inflight", 4.0).await;
    let since = Instant::now();
    for _ in 0..3 {
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
    }
    assert!(since.elapsed() < at_most(Duration::from_millis(1_500)), "{:?}", since.elapsed());
    let responses = join_all(half.iter_mut().map(Client::response)).await;
    let (sent_away, slow): (Vec<_>, Vec<_>) = responses.iter().partition(|a| a.status == 503);
    // The permit of a webhook that just got its response may not be free yet when the next one arrives.
    assert!((1..=3).contains(&sent_away.len()), "{} sent away", sent_away.len());
    for response in sent_away {
        expect_busy(response);
    }
    for response in slow {
        response.expect_error(408, "body_too_slow");
    }
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn open_websockets_and_half_sent_uploads_do_not_block_webhooks() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.max_webhooks", 2)).await;
    let mut sockets = vec![];
    let mut uploads: Vec<Client> = vec![];
    // They are opened together, because one by one takes too long.
    for _ in 0..10 {
        let batch = (0..30).map(|_| async {
            let socket = program.connect().await.web_socket("/ws").await;
            let mut upload = program.connect().await;
            upload.write(Request::post("/upload", "x").with("Content-Length", "1000").bytes()).await;
            (socket, upload)
        });
        for (socket, upload) in join_all(batch).await {
            sockets.push(socket);
            uploads.push(upload);
        }
    }
    backend.await_head(600).await;
    for _ in 0..5 {
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
    }
}

#[tokio::test]
async fn hung_pages_leave_the_reserve_of_max_connections_to_webhooks() {
    let backend = Backend::start().await;
    // Three quarters of the connections may hold requests that pass through.
    let program = Program::start(Setup::new(&backend).set("server.max_connections", 8)).await;
    let gate = Gate::new();
    backend.reply_at("/slow", Reply::ok().when(&gate));
    let mut hung = vec![];
    for n in 1..=6 {
        let mut client = program.connect().await;
        client.write(Request::get("/slow").bytes()).await;
        backend.await_head(n).await;
        hung.push(client);
    }
    let mut visitor = program.connect().await;
    expect_busy(&visitor.send(&Request::get("/posts/1")).await);
    let page = visitor.send(&Request::get("/posts/1").with("Accept", "text/html")).await;
    assert_eq!(page.status, 503);
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{page:?}");
    assert_eq!(page.header("countersign-outcome"), Some("overloaded"));
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(program.metric(REFUSED).await, 2.0);
    program.ready().await;
    let warned = |line: &serde_json::Value| line["reason"] == "max_passthrough" && line["level"] == "WARN";
    program.wait_for_log("a warning", warned).await;
    assert_eq!(
        program.log().iter().filter(|line| line.contains("server.max_passthrough is reached")).count(),
        1
    );
    gate.open();
    for client in &mut hung {
        assert_eq!(client.response().await.status, 200);
    }
    until("a place to be free", async || {
        (visitor.send(&Request::get("/posts/1")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_waits_for_its_client_is_ended_for_a_page_when_max_passthrough_is_reached() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.max_passthrough", 3)).await;
    let gate = Gate::new();
    backend.reply_at("/slow", Reply::ok().when(&gate));
    let mut page = program.connect().await;
    page.write(Request::get("/slow").bytes()).await;
    backend.await_head(1).await;
    // One body of known length, and one chunked.
    let (mut known, mut chunked) = (program.connect().await, program.connect().await);
    let head = "POST /upload HTTP/1.1\r\nHost: a.example\r\n";
    known.write(format!("{head}Content-Length: 2\r\n\r\nx")).await;
    backend.await_head(2).await;
    chunked.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")).await;
    backend.await_head(3).await;
    // An upload may not wait yet when the first of these comes.
    until("a place for a page", async || {
        (program.send(&Request::get("/posts/1")).await.status == 200).then_some(())
    })
    .await;
    let (ended, mut other, rest) = tokio::select! {
        response = known.response() => (response, chunked, "0\r\n\r\n"),
        response = chunked.response() => (response, known, "x"),
    };
    expect_busy(&ended);
    assert!(program.metric(REFUSED).await >= 1.0);
    other.write(rest).await;
    assert_eq!(other.response().await.status, 200);
    gate.open();
    assert_eq!(page.response().await.status, 200);
}

#[tokio::test]
async fn a_download_that_its_client_does_not_read_is_ended_for_a_page_and_a_tunnel_is_not() {
    let backend = RawBackend::start().await;
    let setup = Setup::to(&backend.url()).set("server.max_passthrough", 3);
    let program = Program::start(setup).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (tunnel, download) =
        (format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}"), "HTTP/1.1 200 OK\r\n\r\n");
    let mut stuck = vec![];
    for (end, head) in [(upgrade, tunnel.as_str()), ("\r\n", download), ("\r\n", download)] {
        let mut client = RawStream::connect_with_buffer(&program, Some(16 * 1024)).await;
        client.write(format!("GET /file HTTP/1.1\r\nHost: a\r\n{end}")).await;
        let (mut server, _) = backend.accept_head().await;
        server.write(head).await;
        client.head().await;
        let sent = server.fill(64 << 20).await;
        stuck.push((client, server, sent));
    }
    let page = async {
        let (mut server, _) = backend.accept_head().await;
        server.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        server
    };
    let visitor = until("a place for a page", async || {
        (program.send(&Request::get("/posts/1")).await.status == 200).then_some(())
    });
    let ((), _server) = tokio::join!(visitor, page);
    assert!(program.metric(REFUSED).await >= 1.0);
    // The first download has waited longest. The tunnel is older than both.
    let (mut client, _, sent) = stuck.remove(1);
    assert!(client.rest().await.0.len() < sent, "the first download is whole");
    for (client, _, sent) in &mut stuck {
        assert_eq!(client.exact(*sent).await.len(), *sent);
    }
}

#[tokio::test]
async fn an_upload_ends_after_passthrough_read_timeout_and_a_silent_websocket_does_not() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("server.passthrough_read_timeout", "200ms");
    let program = Program::start(setup).await;
    let mut socket = program.connect().await.web_socket("/ws").await;
    for upload in ["Content-Length: 2\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"] {
        let mut client = program.connect().await;
        client.write(format!("POST /upload HTTP/1.1\r\nHost: a.example\r\n{upload}")).await;
        client.response().await.expect_error(408, "body_too_slow");
        client.closed().await;
    }
    backend.await_open(1).await;
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
    assert_eq!(program.metric(REFUSED).await, 0.0);
}

#[tokio::test]
async fn connection_beyond_max_connections_gets_503_and_busy_ones_continue() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("server.max_connections", 4).set("server.max_passthrough", 4);
    let program = Program::start(setup).await;
    let gate = Gate::new();
    backend.reply_at("/slow", Reply::ok().when(&gate));
    let mut busy = vec![];
    for n in 1..=4 {
        let mut client = program.connect().await;
        client.write(Request::get("/slow").bytes()).await;
        backend.await_head(n).await;
        busy.push(client);
    }
    for request in [Request::get("/posts/1"), Event::checkout().signed()] {
        expect_busy(&program.send(&request).await);
    }
    assert_eq!(program.metric(r#"connections_refused_total{reason="max_connections"}"#).await, 2.0);
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn the_connection_that_has_idled_longest_is_closed_for_a_newcomer() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.max_connections", 3)).await;
    let page = Request::get("/posts/1");
    let mut clients = vec![];
    for _ in 0..3 {
        let mut client = program.connect().await;
        assert_eq!(client.send(&page).await.status, 200);
        clients.push(client);
    }
    for n in [0, 2] {
        assert_eq!(clients[n].send(&page).await.status, 200);
    }
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    clients[1].closed().await;
    for n in [0, 2] {
        assert_eq!(clients[n].send(&page).await.status, 200);
    }
    assert_eq!(program.metric(r#"connections_refused_total{reason="max_connections"}"#).await, 0.0);
}

#[tokio::test]
async fn connections_that_never_send_anything_give_way_to_a_webhook() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("server.max_connections", 2)).await;
    let mut silent = [program.connect().await, program.connect().await];
    // A new connection has a moment for its first request.
    until("a place for a webhook", async || {
        (program.send(&Event::checkout().signed()).await.status == 200).then_some(())
    })
    .await;
    silent[0].closed().await;
}
