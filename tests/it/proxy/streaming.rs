//! Long exchanges: WebSockets, event streams and bodies of a gigabyte. Nothing is delayed, and no buffer grows.

use crate::harness::{Backend, Client, Gate, Pattern, Program, Reply, Request, until, within};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

/// How much memory a gigabyte in transit may cost: buffers, never the body.
const FLAT_KIB: u64 = 32 << 10;

#[tokio::test]
async fn interim_responses_pass_before_the_final_one() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let gate = Gate::new();
    backend.reply_always(
        Reply::chunked(200).interim(103, &[("Link", "</style.css>; rel=preload")]).chunk("a").pause(&gate),
    );
    let mut client = program.connect().await;
    client.write(Request::get("/posts/1").bytes()).await;
    let early = client.response_head().await;
    assert_eq!((early.status, early.header("link")), (103, Some("</style.css>; rel=preload")));
    gate.open();
    assert_eq!(client.response().await.text(), "a");
}

#[tokio::test]
async fn websocket_passes_in_both_directions() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut socket = program.connect().await.web_socket("/ws").await;
    for size in [0, 1, 125, 126, 70_000, 1_000_000] {
        let sent = Message::binary(Pattern::bytes(size));
        socket.send(sent.clone()).await.unwrap();
        let got = within("an echo", socket.next()).await.unwrap().unwrap();
        assert!(got == sent, "{size} bytes came back as {}", got.len());
    }
    socket.send(Message::text("grüße")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("grüße"));
    socket.close(None).await.unwrap();
    backend.await_open(0).await;
}

#[tokio::test]
async fn each_server_sent_event_arrives_before_the_next_is_sent() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let gate = Gate::new();
    let mut stream = Reply::events();
    for n in 0..5 {
        stream = stream.chunk(format!("data: {n}\n\n")).pause(&gate);
    }
    backend.reply_always(stream);
    let mut client = program.connect().await;
    client.write(Request::get("/events").header("Accept", "text/event-stream").bytes()).await;
    let head = client.response_head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    for n in 0..5 {
        assert_eq!(client.chunk().await.unwrap(), format!("data: {n}\n\n").into_bytes());
        gate.let_one();
    }
    assert_eq!(client.chunk().await, None);
}

#[tokio::test]
async fn gigabyte_upload_and_download_do_not_grow_memory() {
    const GIB: u64 = 1 << 30;
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    program.send(&Request::get("/posts/1")).await;
    let before = program.peak_rss_kib();

    let mut up: Client = program.connect().await;
    up.write(Request::post("/upload", "").with("Content-Length", &GIB.to_string()).head_bytes()).await;
    let mut sent = 0;
    while sent < GIB {
        let block = Pattern::at(sent);
        let take = (GIB - sent).min(block.len() as u64);
        up.try_write(&block[..take as usize]).await.unwrap();
        sent += take;
    }
    assert_eq!(up.response().await.status, 200);
    let got = backend.requests().pop().unwrap();
    assert_eq!((got.body.length, got.body.patterned), (GIB, true));

    backend.reply_always(Reply::pattern(GIB));
    let down = up.send(&Request::get("/download")).await;
    assert_eq!((down.body.length, down.body.patterned), (GIB, true));
    let grown = program.peak_rss_kib() - before;
    assert!(grown < FLAT_KIB, "grew by {grown} KiB");
}

#[tokio::test]
async fn slow_reader_stops_the_backend_and_does_not_grow_memory() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    program.send(&Request::get("/posts/1")).await;
    let before = program.peak_rss_kib();
    backend.reply_always(Reply::pattern(1 << 30));
    let mut clients = vec![];
    for _ in 0..8 {
        let mut client = program.connect().await;
        client.write(Request::get("/download").bytes()).await;
        // The client reads only the head.
        client.response_head().await;
        clients.push(client);
    }
    // Pages still pass during that time.
    backend.reply_always(Reply::ok());
    for _ in 0..20 {
        assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    }
    let grown = program.peak_rss_kib() - before;
    assert!(grown < FLAT_KIB, "grew by {grown} KiB");
}

#[tokio::test]
async fn client_disconnect_cancels_the_request_at_the_backend() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    backend.reply_always(Reply::events().chunk("data: 0\n\n").pause(&Gate::new()));
    let mut client = program.connect().await;
    client.write(Request::get("/events").bytes()).await;
    client.response_head().await;
    assert_eq!(backend.open(), 1);
    drop(client);
    until("the abort to be counted", async || {
        (program.metric(r#"proxy_requests_total{class="aborted"}"#).await == 1.0).then_some(())
    })
    .await;
    until("nothing to be in flight", async || (program.metric("inflight").await == 0.0).then_some(())).await;
}
