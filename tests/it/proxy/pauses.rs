//! Waits that are longer than any time limit of pingora's, which are 60 s: nothing ends an exchange whose sides keep their
//! connections. The pauses are real, and the tests run side by side.

use crate::harness::{Program, RawBackend, RawStream, Setup};
use std::time::Duration;

/// The pause of one side in the middle of a body.
const PAUSE: Duration = Duration::from_secs(70);
/// The silence of both sides of a WebSocket.
const SILENCE: Duration = Duration::from_secs(75);

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Each limit that the configuration names is far below the pauses, but the one for a client's body.
async fn impatient(backend: &RawBackend) -> Program {
    let setup = Setup::to(&backend.url());
    let setup = setup.set("server.header_timeout", "2s").set("server.idle_timeout", "2s");
    let setup = setup.set("backend.response_timeout", "2s").set("backend.idle_timeout", "2s");
    Program::start(setup).await
}

#[tokio::test]
async fn silent_web_socket_stays_open() {
    let backend = RawBackend::start().await;
    let program = impatient(&backend).await;
    let mut client = RawStream::connect(&program).await;
    client.write(UPGRADE).await;
    let (mut server, _) = backend.accept_head().await;
    server.write(SWITCHED).await;
    client.head().await;
    assert!(client.is_silent(SILENCE).await, "something came out of a silent tunnel");
    client.write("late").await;
    assert_eq!(server.exact(4).await, b"late");
    server.write("echo").await;
    assert_eq!(client.exact(4).await, b"echo");
}

#[tokio::test]
async fn web_socket_whose_client_does_not_read_stays_open() {
    let backend = RawBackend::start().await;
    let program = impatient(&backend).await;
    let mut client = RawStream::connect_with_buffer(&program, Some(16 * 1024)).await;
    client.write(UPGRADE).await;
    let (mut server, _) = backend.accept_head().await;
    server.write(SWITCHED).await;
    client.head().await;
    let sent = server.fill(64 << 20).await;
    tokio::time::sleep(PAUSE).await;
    assert_eq!(client.exact(sent).await.len(), sent);
}

#[tokio::test]
async fn silent_event_stream_stays_open() {
    let backend = RawBackend::start().await;
    let program = impatient(&backend).await;
    let mut client = RawStream::connect(&program).await;
    client.write("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut server, _) = backend.accept_head().await;
    server
        .write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    assert!(client.is_silent(SILENCE).await, "something came out of a silent stream");
    server.write("9\r\ndata: 1\n\n\r\n").await;
    assert_eq!(client.exact(14).await, b"9\r\ndata: 1\n\n\r\n");
}

#[tokio::test]
async fn upload_may_pause() {
    let backend = RawBackend::start().await;
    let program = impatient(&backend).await;
    let mut client = RawStream::connect(&program).await;
    client.write("PUT /file HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfour").await;
    let (mut server, _) = backend.accept_head().await;
    assert_eq!(server.exact(4).await, b"four");
    assert!(client.is_silent(PAUSE).await, "a paused upload was answered");
    client.write("more").await;
    assert_eq!(server.exact(4).await, b"more");
    server.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn download_may_pause_on_either_side() {
    let backend = RawBackend::start().await;
    let program = impatient(&backend).await;
    let mut client = RawStream::connect_with_buffer(&program, Some(16 * 1024)).await;
    client.write("GET /file HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut server, _) = backend.accept_head().await;
    server.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30)).await;
    client.head().await;
    let sent = server.fill(64 << 20).await;
    // The client reads nothing.
    tokio::time::sleep(PAUSE).await;
    assert_eq!(client.exact(sent).await.len(), sent);
    // The backend sends nothing.
    assert!(client.is_silent(PAUSE).await, "a paused download went on by itself");
    server.write("more").await;
    assert_eq!(client.exact(4).await, b"more");
}

#[tokio::test]
async fn response_may_take_long_to_begin() {
    let backend = RawBackend::start().await;
    let program = impatient(&backend).await;
    let mut client = RawStream::connect(&program).await;
    client.write("GET /report HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut server, _) = backend.accept_head().await;
    assert!(client.is_silent(PAUSE).await, "a slow page was answered");
    server.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}
