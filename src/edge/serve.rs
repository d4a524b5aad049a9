//! A connection from its first request to its last: who answers each.

use pingora::apps::HttpServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Edge;
use super::checkout;
use super::connection::{Connection, End};
use super::forwarded::{self, Rewritten};
use super::proxy::PassThrough;
use super::reply::{self, Response};
use super::route::{Errand, Route};
use super::webhook::{self, Handled};
use crate::checkout::Checkout;
use crate::endpoint::Endpoint;
use crate::guard::is_target;
use crate::http1::head::{self, Framing, Headers, Outline};
use crate::outcome::Outcome;

/// How long, and how much of, what a client is still sending is read away after an early answer.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST: usize = 4 * 1024 * 1024;
/// A body up to this long is read away for the sake of its connection; for a longer one it is closed.
const WORTH_SKIPPING: u64 = 64 * 1024;

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It can carry another request.
    Keep,
    /// It ends here.
    Close,
    /// It ends here, and more may be on its way.
    Part,
}

/// A request's head, in the connection's buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    /// How long it is.
    pub length: usize,
    /// How its body is framed.
    pub framing: Framing,
    /// It is a POST.
    pub post: bool,
}

enum Routed {
    Webhook(Arc<Endpoint>),
    Checkout(Arc<Checkout>, Errand),
    Refused(Outcome),
    Pass(Option<Outcome>),
}

/// Serves it to its end.
pub(super) async fn serve(
    edge: &Edge,
    pingora: &Arc<HttpProxy<PassThrough>>,
    mut connection: Box<Connection>,
) {
    let draining = edge.drain.watch();
    loop {
        let length = match connection.head().await {
            Ok(length) => length,
            Err(End::Closed) => return,
            Err(End::Refused(outcome)) => return turn_away(&mut connection, outcome).await,
        };
        let Ok((arrived, routed)) =
            head::outline(&connection.buffered()[..length]).map(|o| route(edge, length, o))
        else {
            return turn_away(&mut connection, Outcome::RequestMalformed).await;
        };
        let handled = match routed {
            Routed::Webhook(endpoint) => webhook::handle(edge, &endpoint, &mut connection, arrived).await,
            Routed::Checkout(shop, errand) => {
                Handled::Answered(checkout::handle(edge, &shop, errand, &mut connection, arrived).await)
            }
            Routed::Refused(outcome) => Handled::Answered(
                early(edge, &mut connection, arrived, &Response::from_outcome(outcome)).await,
            ),
            Routed::Pass(verdict) => Handled::Pass(verdict),
        };
        let next = match handled {
            Handled::Answered(next) => next,
            Handled::Pass(verdict) => match for_backend(edge, &connection, arrived, verdict) {
                Some(head) => {
                    connection.pass(arrived.length, arrived.framing, head);
                    match pass(pingora, connection, &draining).await {
                        Some(back) => connection = back,
                        None => return,
                    }
                    Next::Keep
                }
                None => {
                    early(edge, &mut connection, arrived, &Response::from_outcome(Outcome::RequestMalformed))
                        .await
                }
            },
        };
        match next {
            Next::Keep => connection.rest(),
            Next::Close => return connection.part(PATIENCE, 0).await,
            Next::Part => return connection.part(PATIENCE, MOST).await,
        }
    }
}

fn route(edge: &Edge, length: usize, outline: Outline<'_>) -> (Arrived, Routed) {
    let arrived = Arrived { length, framing: outline.framing, post: outline.method == b"POST" };
    let routes = edge.routes.load();
    let routed = match routes.route(outline.target) {
        Route::Pass if !is_target(outline.method, outline.target) || outline.method == b"CONNECT" => {
            Routed::Refused(Outcome::RequestMalformed)
        }
        Route::Pass => Routed::Pass(None),
        Route::Webhook(endpoint) => Routed::Webhook(endpoint.clone()),
        Route::Checkout(checkout, errand) => Routed::Checkout(checkout.clone(), errand),
        Route::Ambiguous { reason, enforce } => {
            edge.metrics.guard_rejected(reason.as_str());
            if enforce {
                Routed::Refused(Outcome::AmbiguousPath)
            } else {
                Routed::Pass(Some(Outcome::AmbiguousPath))
            }
        }
    };
    (arrived, routed)
}

/// The head that the backend gets of a request that passes through; `None` if it has none to get.
fn for_backend(
    edge: &Edge,
    connection: &Connection,
    arrived: Arrived,
    verdict: Option<Outcome>,
) -> Option<Rewritten> {
    let head = &connection.buffered()[..arrived.length];
    let routes = edge.routes.load();
    forwarded::rewrite(head, connection.peer(), &routes.trusted_proxies, verdict.map(Outcome::as_str))
}

/// Has pingora proxy the request; the connection comes back if it can carry another.
async fn pass(
    pingora: &Arc<HttpProxy<PassThrough>>,
    connection: Box<Connection>,
    draining: &watch::Receiver<bool>,
) -> Option<Box<Connection>> {
    let stream: Stream = connection;
    let reused = pingora.process_new_http(ServerSession::new_http1(stream), draining).await?;
    let (stream, _) = reused.consume();
    stream.into_any().downcast().ok()
}

/// Answers before the body was read. The head is taken; the body is read away where that is cheap.
pub(super) async fn early(
    edge: &Edge,
    connection: &mut Connection,
    arrived: Arrived,
    reply: &Response,
) -> Next {
    let head = connection.take(arrived.length);
    let Ok(fields) = Headers::parse(&head) else {
        let _ = connection.send(&reply::raw(Outcome::RequestMalformed), b"").await;
        return Next::Part;
    };
    let skip = match arrived.framing {
        // Who waits for a 100 sends nothing until he is answered, and may then send or not.
        _ if fields.value(&head, "expect").is_some() => None,
        Framing::Length(length) => (length <= WORTH_SKIPPING).then_some(length as usize),
        Framing::Chunked => None,
    };
    let keep = skip.is_some() && fields.keep_alive() && !edge.drain.begun();
    let body = if head.starts_with(b"HEAD ") { &b""[..] } else { &reply.body };
    if connection.send(&reply.head(keep), body).await.is_err() {
        return Next::Close;
    }
    match skip {
        Some(length) if keep => match timeout(PATIENCE, connection.skip(length)).await {
            Ok(Ok(())) => Next::Keep,
            Ok(Err(_)) | Err(_) => Next::Close,
        },
        Some(0) => Next::Close,
        Some(_) | None => Next::Part,
    }
}

/// Ends a connection over a head that no one can make anything of.
async fn turn_away(connection: &mut Connection, outcome: Outcome) {
    let _ = connection.send(&reply::raw(outcome), b"").await;
    connection.part(PATIENCE, MOST).await;
}
