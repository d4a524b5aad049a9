//! HTTP/1.1 for the fake: accepts, counts connections, reads calls whole, answers or hangs up. Knows no endpoint.

use super::door;
use super::fault::Fault;
use super::state::Stripe;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use futures_util::stream;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The longest body that is read, in bytes.
const LONGEST: usize = 4 << 20;

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which connection brought it, from 1.
    pub connection: usize,
    /// `POST`.
    pub method: String,
    /// Path and query, raw.
    pub target: String,
    /// The headers, names in lower case.
    pub headers: HeaderMap,
    /// The body, raw.
    pub body: String,
}

impl Call {
    /// The value of a header, if it came once and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok();
        value.filter(|_| values.next().is_none())
    }

    /// The parameters of the body, decoded, in their order.
    pub fn params(&self) -> Vec<(String, String)> {
        super::form::pairs(&self.body)
    }

    /// One parameter by its whole name: `line_items[0][price]`.
    pub fn param(&self, name: &str) -> Option<String> {
        self.params().into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query without its question mark.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map(|(_, query)| query).unwrap_or_default()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer with this status, content type and body.
    pub fn new(status: u16, content_type: &str, body: Vec<u8>) -> Reply {
        Reply { status, headers: vec![("Content-Type".into(), content_type.into())], body }
    }

    /// An answer with this status and JSON in Stripe's layout.
    pub fn json(status: u16, value: &Value) -> Reply {
        Reply::new(status, "application/json", format!("{value:#}").into_bytes())
    }

    /// A page.
    pub fn html(status: u16, page: &str) -> Reply {
        Reply::new(status, "text/html; charset=utf-8", page.as_bytes().to_vec())
    }

    /// Sends a browser elsewhere.
    pub fn see_other(location: &str) -> Reply {
        Reply::html(303, "").header("Location", location)
    }

    /// With this header.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// How a call ends.
pub enum Outcome {
    /// With an answer.
    Reply(Reply),
    /// With the first half of one.
    Half(Reply),
    /// With the connection closed.
    HangUp,
}

/// How many connections there were.
#[derive(Debug, Default)]
pub struct Traffic {
    opened: AtomicUsize,
    open: Arc<AtomicUsize>,
    most: AtomicUsize,
}

/// A connection that is open, for as long as this lives.
struct Open {
    number: usize,
    open: Arc<AtomicUsize>,
}

impl Traffic {
    /// How many there ever were.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// How many are open.
    pub fn open_now(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many were open at once, at most.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    fn open(&self) -> Open {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        Open { number: self.opened.fetch_add(1, Ordering::SeqCst) + 1, open: self.open.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why a connection was closed: hyper wants an error for it.
#[derive(Debug)]
struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up, as scripted")
    }
}

impl std::error::Error for HungUp {}

/// Accepts until dropped, and drops the connections then.
pub async fn serve(stripe: Arc<Stripe>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        connections.spawn(converse(stripe.clone(), stripe.traffic.open(), stream));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stripe: Arc<Stripe>, open: Open, stream: TcpStream) {
    let service = service_fn(|request| answer(stripe.clone(), open.number, request));
    // How it ends is the client's affair, or the script's.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn answer(
    stripe: Arc<Stripe>,
    connection: usize,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HungUp> {
    if request.headers().contains_key("upgrade") {
        return Ok(stripe.listeners.accept(&mut request).await);
    }
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let fault = stripe.take_fault(&target);
    if fault.as_ref().is_some_and(Fault::is_unread) {
        return Err(HungUp);
    }
    let Ok(body) = to_bytes(Body::new(body), LONGEST).await else { return Err(HungUp) };
    let body = String::from_utf8_lossy(&body).into_owned();
    let call = Call { connection, method: head.method.to_string(), target, headers: head.headers, body };
    // Stripe finishes what it began, even if the caller leaves.
    let outcome = tokio::spawn(async move { door::enter(&stripe, call, fault).await });
    match outcome.await {
        Ok(Outcome::Reply(reply)) => Ok(response(&reply, Body::from(reply.body.clone()))),
        Ok(Outcome::Half(reply)) => Ok(half(&reply)),
        Ok(Outcome::HangUp) | Err(_) => Err(HungUp),
    }
}

fn response(reply: &Reply, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    for (name, value) in &reply.headers {
        let (name, value) = (name.parse::<axum::http::HeaderName>(), value.parse());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// The head and half of the body that it promises.
fn half(reply: &Reply) -> Response<Body> {
    let first = Bytes::copy_from_slice(&reply.body[..reply.body.len() / 2]);
    let parts = stream::unfold(Some(first), |first| async {
        match first {
            Some(first) => Some((Ok(first), None)),
            None => {
                // hyper sends what it has when it finds nothing more for the moment, and nothing at all on an error.
                tokio::task::yield_now().await;
                Some((Err(HungUp), None))
            }
        }
    });
    let body = Body::from_stream(parts);
    response(&reply.clone().header("Content-Length", &reply.body.len().to_string()), body)
}
