//! The backend double: responds as scripted on a real socket, and records every request byte for byte.

use super::reply::{Reply, Step};
use super::tls::ServerCertificate;
use super::wire::{Address, Body, Headers, Pattern, Wire, parse_head};
use super::within;
use futures_util::{SinkExt, StreamExt};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// One request as received.
#[derive(Debug, Clone)]
pub struct Received {
    /// The number of its connection, from 1.
    pub connection: usize,
    /// The head with its blank line.
    pub head: Vec<u8>,
    /// The method of the request line.
    pub method: String,
    /// The raw target of the request line.
    pub target: String,
    /// The headers in their order and spelling.
    pub headers: Headers,
    /// The body without its framing.
    pub body: Body,
    /// Whether the body arrived completely.
    pub whole: bool,
}

impl Received {
    /// Returns the value of a header. Panics if it occurs more than once.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.one(name)
    }
}

/// A backend double. It upgrades to WebSocket and echoes messages.
pub struct Backend {
    address: Address,
    /// The TLS of its connections, and the host of its URL.
    tls: Option<(TlsAcceptor, String)>,
    state: Arc<watch::Sender<State>>,
    listening: Option<JoinHandle<()>>,
}

struct State {
    requests: Vec<Received>,
    heads: Vec<String>,
    connections: usize,
    open: usize,
    next: VecDeque<Reply>,
    routes: Vec<(String, Reply)>,
    usual: Reply,
}

impl Backend {
    /// Listens on a free port and responds with [`Reply::ok`] by default.
    pub async fn start() -> Self {
        Self::at(Address::parse("127.0.0.1:0"), None).await
    }

    /// Listens on a free port with TLS. Its URL names the first name of the certificate.
    pub async fn start_tls(certificate: &ServerCertificate) -> Self {
        let tls = (certificate.acceptor(), certificate.name().to_owned());
        Self::at(Address::parse("127.0.0.1:0"), Some(tls)).await
    }

    /// Listens on a Unix socket.
    pub async fn start_unix(path: impl AsRef<Path>) -> Self {
        Self::at(Address::Unix(path.as_ref().into()), None).await
    }

    /// Listens on the port of another backend at the loopback address 127.0.0.2, like a container with a new address.
    pub async fn start_beside(other: &Self) -> Self {
        Self::at(Address::parse(&format!("127.0.0.2:{}", other.address.port())), None).await
    }

    async fn at(address: Address, tls: Option<(TlsAcceptor, String)>) -> Self {
        let (requests, heads, next, routes) = (vec![], vec![], VecDeque::new(), vec![]);
        let state = State { requests, heads, connections: 0, open: 0, next, routes, usual: Reply::ok() };
        let state = Arc::new(watch::Sender::new(state));
        let mut backend = Self { address, tls, state, listening: None };
        backend.restart().await;
        backend
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns its address as `[backend] url` takes it.
    pub fn url(&self) -> String {
        match &self.tls {
            Some((_, host)) => format!("https://{host}:{}", self.address.port()),
            None => self.address.url(),
        }
    }

    /// Sets the response to every request from now on.
    pub fn reply_always(&self, reply: Reply) {
        self.state.send_modify(|s| s.usual = reply);
    }

    /// Adds a response to a queue; each is used for one request.
    pub fn reply_next(&self, reply: Reply) {
        self.state.send_modify(|s| s.next.push_back(reply));
    }

    /// Sets the response to requests for this target.
    pub fn reply_at(&self, target: &str, reply: Reply) {
        self.state.send_modify(|s| s.routes.insert(0, (target.into(), reply)));
    }

    /// Returns every request so far.
    pub fn requests(&self) -> Vec<Received> {
        self.state.borrow().requests.clone()
    }

    /// Returns how many requests arrived, complete or truncated.
    pub fn count(&self) -> usize {
        self.state.borrow().requests.len()
    }

    /// Returns the only request. Panics if there are more or none.
    #[track_caller]
    pub fn only(&self) -> Received {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the backend: {:?}", self.targets());
        requests.remove(0)
    }

    /// Returns method and target of every request so far.
    pub fn targets(&self) -> Vec<String> {
        self.state.borrow().requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }

    /// Returns how many connections were ever made to it.
    pub fn connections(&self) -> usize {
        self.state.borrow().connections
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.state.borrow().open
    }

    /// Waits for the `n`th request, from 1, with its body.
    #[track_caller]
    pub fn await_request(&self, n: usize) -> impl Future<Output = Received> {
        let mut seen = self.state.subscribe();
        within(format!("the backend's request no. {n}"), async move {
            let state = seen.wait_for(|s| s.requests.len() >= n).await.expect("the backend lives");
            state.requests[n - 1].clone()
        })
    }

    /// Waits for the head of the `n`th request, from 1. Its body may still be in transit.
    #[track_caller]
    pub fn await_head(&self, n: usize) -> impl Future<Output = String> {
        let mut seen = self.state.subscribe();
        within(format!("the backend's head no. {n}"), async move {
            let state = seen.wait_for(|s| s.heads.len() >= n).await.expect("the backend lives");
            state.heads[n - 1].clone()
        })
    }

    /// Waits until at most `n` connections are open.
    #[track_caller]
    pub fn await_open(&self, n: usize) -> impl Future<Output = ()> {
        let mut seen = self.state.subscribe();
        within(format!("no more than {n} connections open at the backend"), async move {
            seen.wait_for(|s| s.open <= n).await.expect("the backend lives");
        })
    }

    /// Stops listening and drops every connection. Connecting is refused from then on.
    pub async fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
        self.await_open(0).await;
    }

    /// Listens again on the same address, with another certificate.
    pub async fn restart_with(&mut self, certificate: &ServerCertificate) {
        self.tls = Some((certificate.acceptor(), certificate.name().to_owned()));
        self.restart().await;
    }

    /// Listens again on the same address.
    pub async fn restart(&mut self) {
        self.stop().await;
        let state = self.state.clone();
        self.listening = Some(match &self.address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await.expect("the backend's port");
                self.address = Address::Tcp(listener.local_addr().expect("bound"));
                let acceptor = self.tls.as_ref().map(|(acceptor, _)| acceptor.clone());
                tokio::spawn(async move {
                    let mut connections = JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        let _ = stream.set_nodelay(true);
                        let state = state.clone();
                        match acceptor.clone() {
                            Some(acceptor) => connections.spawn(async move {
                                let Ok(stream) = acceptor.accept(stream).await else { return };
                                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                                serve(Wire::new(stream), state).await;
                            }),
                            None => connections.spawn(serve(Wire::new(stream), state)),
                        };
                    }
                })
            }
            Address::Unix(path) => {
                let _ = std::fs::remove_file(path);
                let listener = UnixListener::bind(path).expect("the backend's socket");
                tokio::spawn(async move {
                    let mut connections = JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        connections.spawn(serve(Wire::new(stream), state.clone()));
                    }
                })
            }
        });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
    }
}

/// Counts a connection as open until dropped.
struct Open(Arc<watch::Sender<State>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|s| s.open -= 1);
    }
}

async fn serve(wire: Wire, state: Arc<watch::Sender<State>>) {
    let mut number = 0;
    state.send_modify(|s| {
        s.connections += 1;
        s.open += 1;
        number = s.connections;
    });
    let open = Open(state.clone());
    // A client that disconnects is visible in the recorded requests.
    let _ = talk(wire, number, &state).await;
    drop(open);
}

async fn talk(mut wire: Wire, connection: usize, state: &watch::Sender<State>) -> io::Result<()> {
    while let Some(head) = wire.head().await? {
        let (line, headers) = parse_head(&head);
        state.send_modify(|s| s.heads.push(line.clone()));
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if headers.one("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Body::new();
        let read = match headers.framing() {
            Some(framing) => wire.body(framing, &mut body).await,
            None => Ok(()),
        };
        let socket = headers.one("upgrade").filter(|u| u.eq_ignore_ascii_case("websocket"));
        let socket = socket.and(headers.one("sec-websocket-key")).map(str::to_owned);
        let to_head = method == "HEAD";
        let whole = read.is_ok();
        let received = Received { connection, head, method, target, headers, body, whole };
        let mut response = Reply::ok();
        state.send_modify(|s| {
            let routed =
                s.routes.iter().find(|(target, _)| *target == received.target).map(|(_, a)| a.clone());
            response = routed.or_else(|| s.next.pop_front()).unwrap_or_else(|| s.usual.clone());
            s.requests.push(received);
        });
        read?;
        if let Some(key) = socket {
            return echo(wire, &key).await;
        }
        for step in response.steps(to_head) {
            match step {
                Step::Write(bytes) => wire.write(&bytes).await?,
                Step::Wait(gate) => gate.pass().await,
                Step::Pattern(length) => {
                    let mut at = 0;
                    while at < length {
                        let block = Pattern::at(at);
                        let take = (length - at).min(block.len() as u64);
                        wire.write(&block[..take as usize]).await?;
                        at += take;
                    }
                }
                Step::Close => return wire.shutdown().await,
                // This lasts until the peer closes; what it sends until then is not a request.
                Step::Hang => while !wire.some().await?.is_empty() {},
            }
        }
    }
    Ok(())
}

async fn echo(mut wire: Wire, key: &str) -> io::Result<()> {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    wire.write(head.as_bytes()).await?;
    let mut socket = WebSocketStream::from_raw_socket(wire.into_stream(), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}
