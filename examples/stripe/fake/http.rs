//! HTTP/1.1 for the fake: accepts connections, reads each call to its end, sends the response or hangs up. This module
//! knows no endpoint.

use super::api;
use super::call::Call;
use super::connections::OpenConnection;
use super::fault::Fault;
use super::response::{Response, ResponseAction};
use super::state::State;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{self, HeaderName, Request, StatusCode};
use futures_util::stream;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The longest body that is read, in bytes.
const MAX_BODY: usize = 4 << 20;

/// Accepts connections until dropped. Dropping closes every connection.
pub async fn serve(state: Arc<State>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        connections.spawn(serve_connection(state.clone(), state.connections.count(), stream));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(state: Arc<State>, connection: OpenConnection, stream: TcpStream) {
    let service = service_fn(|request| serve_call(state.clone(), connection.number, request));
    // An error means that the client left or that a fault closed the connection. Both are expected.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn serve_call(
    state: Arc<State>,
    connection: usize,
    mut request: Request<Incoming>,
) -> Result<http::Response<Body>, HangUpError> {
    if request.headers().contains_key("upgrade") {
        return Ok(state.listeners.accept(&mut request).await);
    }
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let fault = state.take_fault(&target);
    if fault.as_ref().is_some_and(Fault::drops_unread) {
        return Err(HangUpError);
    }
    let Ok(body) = to_bytes(Body::new(body), MAX_BODY).await else { return Err(HangUpError) };
    let body = String::from_utf8_lossy(&body).into_owned();
    let call = Call { connection, method: head.method.to_string(), target, headers: head.headers, body };
    // Stripe finishes the work that it began even if the client leaves, so a task of its own does it.
    let action = tokio::spawn(async move { api::handle(&state, call, fault).await });
    match action.await {
        Ok(ResponseAction::Send(response)) => Ok(http_response(&response, Body::from(response.body.clone()))),
        Ok(ResponseAction::SendHalf(response)) => Ok(half_response(&response)),
        Ok(ResponseAction::HangUp) | Err(_) => Err(HangUpError),
    }
}

fn http_response(response: &Response, body: Body) -> http::Response<Body> {
    let mut result = http::Response::new(body);
    *result.status_mut() = StatusCode::from_u16(response.status).unwrap_or_default();
    for (name, value) in &response.headers {
        let (name, value) = (name.parse::<HeaderName>(), value.parse());
        if let (Ok(name), Ok(value)) = (name, value) {
            result.headers_mut().append(name, value);
        }
    }
    result
}

/// Returns a response whose `Content-Length` promises the whole body, and whose body breaks off after half of it.
fn half_response(response: &Response) -> http::Response<Body> {
    let first = Bytes::copy_from_slice(&response.body[..response.body.len() / 2]);
    let parts = stream::unfold(Some(first), |first| async {
        match first {
            Some(first) => Some((Ok(first), None)),
            None => {
                // hyper flushes when the body has nothing ready, and drops its buffer on an error. The yield lets it
                // flush first.
                tokio::task::yield_now().await;
                Some((Err(HangUpError), None))
            }
        }
    });
    let length = response.body.len().to_string();
    http_response(&response.clone().header("Content-Length", &length), Body::from_stream(parts))
}

/// The error that makes hyper close a connection.
#[derive(Debug)]
struct HangUpError;

impl std::fmt::Display for HangUpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a fault closed the connection")
    }
}

impl std::error::Error for HangUpError {}
