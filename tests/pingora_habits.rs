//! Two private habits of pingora on which `src/edge` relies. No documentation of pingora promises them, so `Cargo.toml`
//! pins its exact version, and these tests fail when a new version gives a habit up.
//!
//! Each test proxies real requests through pingora, over a scripted backend connection that records every read and
//! write. It never starts Countersign. The rule of each habit is a function of its own, and a table shows that the
//! rule rejects what it must.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop at once")]

use async_trait::async_trait;
use pingora::apps::HttpServerApp;
use pingora::connectors::l4::Connect;
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::proxy::{ProxyHttp, Session};
use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

/// What the failure message of the first habit says.
const PROBE_HABIT: &str = "\
pingora no longer reads exactly one byte, and only then, to ask whether a finished connection is still open.
The adapter that lends our pooled connections to pingora (src/edge, `impl AsyncRead` beside the `Connect` of the
backend) takes a read buffer of capacity 1 for that question: it answers \"closed\" and returns the connection to our
own pool. Without the habit, connections to the backend are not pooled any more, or a response loses bytes.
Read `test_reusable_stream` in pingora-core and change the adapter before you move the pin in Cargo.toml.";

/// What the failure message of the second habit says.
const HEAD_HABIT: &str = "\
pingora no longer writes a request's head in one piece.
The adapter that lends our pooled connections to pingora (src/edge, `impl AsyncWrite` beside the `Connect` of the
backend) appends our own headers to the first write, and takes it for the whole head. Without the habit every request
fails with `InvalidInput`, or our headers land in its body.
Read `write_request_header` in pingora-core and change the adapter before you move the pin in Cargo.toml.";

/// A body that is longer than every buffer of pingora's.
const LONG_BODY: usize = 200_000;

#[tokio::test]
async fn pingora_reads_a_single_byte_only_to_ask_whether_a_finished_connection_is_still_open() {
    let long = "x".repeat(LONG_BODY);
    let get = "GET /page HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let head = "HEAD /page HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let responses = [
        ("no body", get, "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        ("a HEAD", head, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_owned()),
        ("an empty body", get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("one byte", get, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_owned()),
        ("a long body", get, format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG_BODY}\r\n\r\n{long}")),
        (
            "one chunk",
            get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a long chunk",
            get,
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{LONG_BODY:x}\r\n{long}\r\n0\r\n\r\n"
            ),
        ),
    ];
    for (name, request, response) in responses {
        // In one piece, in two of which the second is the last byte, and in pieces that cut every part of the head.
        for piece in [response.len(), response.len() - 1, response.len().min(977), 7] {
            if piece == 7 && response.len() > 1_000 {
                continue;
            }
            let recording = proxy(request, &response, piece).await;
            check_probe(&recording).unwrap_or_else(|found| {
                panic!("{PROBE_HABIT}\nFound, with {name} in pieces of {piece} bytes: {found}");
            });
        }
    }
}

#[tokio::test]
async fn pingora_writes_a_request_head_in_one_piece() {
    let long = "x".repeat(LONG_BODY);
    let many: String = (0..120).map(|n| format!("X-Header-{n}: {}\r\n", "v".repeat(400))).collect();
    let requests = [
        ("a GET", "GET /page HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned()),
        ("a HEAD", "HEAD /page HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned()),
        ("a head of 50 KB", format!("GET /page HTTP/1.1\r\nHost: shop.example\r\n{many}\r\n")),
        ("a short body", "POST /form HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\na=b".to_owned()),
        (
            "a long body",
            format!("POST /form HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {LONG_BODY}\r\n\r\n{long}"),
        ),
        (
            "a chunked body",
            "POST /form HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "an upgrade",
            "GET /live HTTP/1.1\r\nHost: shop.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                .to_owned(),
        ),
    ];
    for (name, request) in requests {
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let recording = proxy(&request, response, response.len()).await;
        check_head(&recording).unwrap_or_else(|found| panic!("{HEAD_HABIT}\nFound, with {name}: {found}"));
    }
}

/// The rules fail on each way in which a later pingora could break its habits.
#[test]
fn each_rule_rejects_a_connection_without_its_habit() {
    let read = |capacity, finished| Step::Read { capacity, finished };
    let cases: [(&str, &[Step]); 4] = [
        ("no probe", &[read(4096, false)]),
        ("a probe of another size", &[read(4096, false), read(2, true)]),
        ("a response read into one byte", &[read(1, false), read(4096, false), read(1, true)]),
        ("a probe that is not the last read", &[read(4096, false), read(1, true), read(4096, true)]),
    ];
    for (name, steps) in cases {
        assert!(check_probe(steps).is_err(), "{name}");
    }
    assert_eq!(check_probe(&[read(4096, false), read(1, true)]), Ok(()));

    let write = |piece: &str| Step::Write(piece.as_bytes().to_vec());
    let cases: [(&str, &[Step]); 4] = [
        ("no write", &[read(4096, false)]),
        ("a head in two pieces", &[write("GET / HTTP/1.1\r\n"), write("Host: a\r\n\r\n")]),
        ("a head without its last line", &[write("GET / HTTP/1.1\r\nHost: a\r\n"), write("\r\n")]),
        (
            "a head together with its body",
            &[write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na=b")],
        ),
    ];
    for (name, steps) in cases {
        assert!(check_head(steps).is_err(), "{name}");
    }
    assert_eq!(check_head(&[write("POST / HTTP/1.1\r\nHost: a\r\n\r\n"), write("a=b")]), Ok(()));
}

/// Checks that the only read into one byte is the last one, after the response was read to its end.
fn check_probe(steps: &[Step]) -> std::result::Result<(), String> {
    let reads: Vec<(usize, bool)> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Read { capacity, finished } => Some((*capacity, *finished)),
            Step::Write(_) => None,
        })
        .collect();
    match reads.split_last() {
        Some((&(1, true), before)) if before.iter().all(|&(capacity, _)| capacity > 1) => Ok(()),
        _ => Err(format!("the buffers of its reads, each with \"the response was finished\": {reads:?}")),
    }
}

/// Checks that the first write is one whole request head and nothing else.
fn check_head(steps: &[Step]) -> std::result::Result<(), String> {
    let first = steps.iter().find_map(|step| match step {
        Step::Write(piece) => Some(String::from_utf8_lossy(piece)),
        Step::Read { .. } => None,
    });
    let Some(first) = first else { return Err("no write".to_owned()) };
    match first.find("\r\n\r\n") {
        Some(end) if end + 4 == first.len() => Ok(()),
        _ => Err(format!("a first write of {} bytes: {:.300}", first.len(), first)),
    }
}

/// Proxies one request to a backend that sends `response` in pieces of `piece` bytes. Returns what pingora did to the
/// backend's connection.
async fn proxy(request: &str, response: &str, piece: usize) -> Vec<Step> {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let script = Script { response: response.into(), piece, steps: steps.clone() };
    let proxy = Arc::new(http_proxy(&Arc::default(), Forward(Arc::new(script))));

    let (mut client, server) = tokio::io::duplex(1 << 20);
    let stream = Stream::from(VirtualSocketStream::new(Box::new(Pipe(server))));
    let (_shutdown, draining) = tokio::sync::watch::channel(false);
    let serving = tokio::spawn(async move {
        proxy.process_new_http(ServerSession::new_http1(Box::new(stream)), &draining).await;
    });
    client.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let exchange = async {
        while !received.ends_with(b"\r\n") {
            received.push(client.read_u8().await.unwrap());
        }
        // The rest is read until pingora has finished with the request.
        let mut rest = Vec::new();
        let _ = tokio::join!(client.read_to_end(&mut rest), serving);
    };
    tokio::time::timeout(Duration::from_secs(30), exchange).await.expect("pingora answers");
    let status = response.get(..12).unwrap();
    assert!(received.starts_with(status.as_bytes()), "{}", String::from_utf8_lossy(&received));
    let steps = steps.lock().unwrap();
    steps.clone()
}

/// What pingora did to the connection to the backend.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A read into a buffer of this capacity, before or after the response was `finished`.
    Read { capacity: usize, finished: bool },
    /// A write of these bytes.
    Write(Vec<u8>),
}

/// The proxy: every request goes to the scripted backend.
struct Forward(Arc<Script>);

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        // The client's connection ends with the request, so that the test knows when pingora has finished.
        session.set_keepalive(None);
        let mut peer = Box::new(HttpPeer::new((Ipv4Addr::UNSPECIFIED, 0), false, String::new()));
        peer.options.custom_l4 = Some(self.0.clone());
        Ok(peer)
    }
}

/// The backend's behaviour, for each connection.
#[derive(Debug)]
struct Script {
    response: Vec<u8>,
    piece: usize,
    steps: Arc<Mutex<Vec<Step>>>,
}

#[async_trait]
impl Connect for Script {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let pieces = self.response.chunks(self.piece).map(<[u8]>::to_vec).collect();
        let connection = Backend { pieces, written: false, steps: self.steps.clone() };
        Ok(Stream::from(VirtualSocketStream::new(Box::new(connection))))
    }
}

/// The backend's connection. It answers once something was written, and records each step.
#[derive(Debug)]
struct Backend {
    pieces: VecDeque<Vec<u8>>,
    written: bool,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl AsyncRead for Backend {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.written {
            // A backend says nothing before it was asked. pingora polls again together with its writes.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let finished = self.pieces.is_empty();
        self.steps.lock().unwrap().push(Step::Read { capacity: buf.capacity(), finished });
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        // After the response this says "closed", as our adapter does.
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Backend {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        self.steps.lock().unwrap().push(Step::Write(buf.to_vec()));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl VirtualSocket for Backend {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

/// The client's connection, as pingora sees it.
#[derive(Debug)]
struct Pipe(DuplexStream);

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl VirtualSocket for Pipe {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
