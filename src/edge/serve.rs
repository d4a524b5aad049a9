//! A connection from its first request to its last: reads each head, routes it, and hands the request to the part that
//! answers it. It reads no body but a short form, and decides no response but the refusal of a malformed request or such a
//! form.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

use super::Context;
use super::checkout;
use super::connection::{Connection, ReadHeadError};
use super::exchange::{ConnectionAction, Exchange, Handling};
use super::headers::{self, RequestId, RewrittenHead};
use super::proxy::{FormCheck, ForwardedRequest, PassThrough};
use super::response::{self, Response};
use super::route::{CheckoutRoute, Route, WebhookRoute};
use super::webhook;
use crate::checkout::Checkout;
use crate::endpoint::Endpoint;
use crate::guard::{UnreadableForm, is_target};
use crate::http1::accept;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::metrics::RefusalReason;
use crate::outcome::Outcome;

/// The longest form that is judged before its request is forwarded, in bytes. A longer one is judged while it streams.
const MAX_SHORT_FORM: u64 = 16 * 1024;
/// How long the rest of a short form is awaited. After that the form streams.
const SHORT_FORM_TIMEOUT: Duration = Duration::from_secs(1);

/// The part that answers a request. It owns what it needs, since the routes may be replaced before the request ends.
enum Destination {
    /// The webhook endpoint, the values of the path's variable segments, and whether a failed verification rejects.
    Webhook(Arc<Endpoint>, Box<str>, bool),
    /// The checkout, and what the path asks of it.
    Checkout(Arc<Checkout>, CheckoutRoute),
    /// Nothing: the request is refused.
    Refuse(Outcome),
    /// The backend, through pingora, with a verdict in a dry run.
    Backend(Option<Outcome>),
}

/// Serves a connection to its end.
pub(super) async fn serve(context: &Context, pass_through: &PassThrough, mut connection: Box<Connection>) {
    loop {
        let head = match connection.read_head().await {
            Ok(head) => head,
            Err(ReadHeadError::Closed) => return,
            Err(ReadHeadError::Rejected(outcome)) => return reject_and_close(&mut connection, outcome).await,
        };
        let action = match handle(context, &mut connection, head).await {
            Handling::Responded(action) => action,
            Handling::Forward(head, request_id, verdict) => {
                match forward(context, pass_through, connection, head, &request_id, verdict).await {
                    Some((back, action)) => {
                        connection = back;
                        action
                    }
                    None => return,
                }
            }
        };
        match action {
            ConnectionAction::KeepAlive => connection.begin_idle(),
            ConnectionAction::Close => return connection.close().await,
            ConnectionAction::LingeringClose => return connection.linger_and_close().await,
        }
    }
}

/// Has the part that answers a request handle it.
async fn handle(context: &Context, connection: &mut Connection, head: RequestHead) -> Handling {
    match route(context, &head) {
        Destination::Webhook(endpoint, segments, enforce) => {
            webhook::handle(Exchange::new(context, connection, head), &endpoint, &segments, enforce).await
        }
        Destination::Checkout(checkout, checkout_route) => {
            let exchange = Exchange::new(context, connection, head);
            Handling::Responded(checkout::handle(exchange, &checkout, checkout_route).await)
        }
        Destination::Refuse(outcome) => Handling::Responded(reject(context, connection, head, outcome).await),
        Destination::Backend(verdict) => {
            let request_id = RequestId::new(&head, connection.peer(), &context.routes.load().trusted_proxies);
            Handling::Forward(head, request_id, verdict)
        }
    }
}

/// Decides which part answers a request.
fn route(context: &Context, head: &RequestHead) -> Destination {
    let routes = context.routes.load();
    match routes.route(head.target()) {
        // CONNECT asks for a tunnel to another host, and other forms of a target are paths to some backends.
        Route::Pass if !is_target(head.method(), head.target()) || head.method() == b"CONNECT" => {
            Destination::Refuse(Outcome::RequestMalformed)
        }
        Route::Pass => Destination::Backend(None),
        Route::Webhook(WebhookRoute { endpoint, segments, enforce }) => {
            Destination::Webhook(endpoint.clone(), segments, enforce)
        }
        Route::Checkout(checkout, checkout_route) => Destination::Checkout(checkout.clone(), checkout_route),
        Route::Ambiguous { reason, enforce } => {
            context.metrics.guard_rejected(reason.as_str());
            if enforce {
                Destination::Refuse(Outcome::AmbiguousPath)
            } else {
                Destination::Backend(Some(Outcome::AmbiguousPath))
            }
        }
    }
}

/// Has pingora forward the request. Returns the connection if another request or a closing can follow.
async fn forward(
    context: &Context,
    pass_through: &PassThrough,
    mut connection: Box<Connection>,
    head: RequestHead,
    request_id: &RequestId,
    verdict: Option<Outcome>,
) -> Option<(Box<Connection>, ConnectionAction)> {
    let Some(permit) = context.passing.acquire().await else {
        context.refusals.record(RefusalReason::MaxPassthrough);
        let action = reject(context, &mut connection, head, Outcome::Overloaded).await;
        return Some((connection, action));
    };
    let (rewritten, form) =
        match prepare_to_forward(context, &mut connection, &head, request_id, verdict).await {
            Ok(prepared) => prepared,
            Err(outcome) => {
                let action = reject(context, &mut connection, head, outcome).await;
                return Some((connection, action));
            }
        };
    if rewritten.is_signed && verdict.is_none() && head.method() == b"POST" {
        context.unguarded.record(head.target(), &context.metrics);
    }
    let request = ForwardedRequest::new(&head, rewritten, form);
    connection.reuse_buffer(head.into_buffer());
    let connection = pass_through.serve(connection, request, permit).await?;
    Some((connection, ConnectionAction::KeepAlive))
}

/// Returns the head for the backend, and the check of a form that has to be judged while it streams.
///
/// # Errors
/// The outcome with which the request is refused.
async fn prepare_to_forward(
    context: &Context,
    connection: &mut Connection,
    head: &RequestHead,
    request_id: &RequestId,
    verdict: Option<Outcome>,
) -> Result<(RewrittenHead, Option<FormCheck>), Outcome> {
    head.validate().map_err(|_| Outcome::RequestMalformed)?;
    let (rewritten, form, reason) = {
        let routes = context.routes.load();
        // A dry run forwards whatever would not reach an enforced endpoint.
        let form = match verdict {
            Some(_) => routes.enforced_form_check(head),
            None => routes.form_check(head),
        };
        let verdict = verdict.map(Outcome::as_str);
        let rewritten =
            headers::rewrite(head, connection.peer(), &routes.trusted_proxies, request_id, verdict);
        let rewritten = rewritten.ok_or(Outcome::RequestMalformed)?;
        let reason =
            if rewritten.has_empty_host { routes.tells_webhook_behind_host(head.target()) } else { None };
        (rewritten, form, reason)
    };
    if let Some(reason) = reason {
        context.metrics.guard_rejected(reason.as_str());
        return Err(Outcome::AmbiguousPath);
    }
    let form = form.map_err(|UnreadableForm| Outcome::BodyEncoded)?;
    Ok((rewritten, check_short_form(context, connection, head, form).await?))
}

/// Judges a form whose whole body is here, or comes at once: the backend learns nothing of one that is refused. Returns the
/// check of a longer or slower form, which streams.
///
/// # Errors
/// The outcome with which the request is refused.
async fn check_short_form(
    context: &Context,
    connection: &mut Connection,
    head: &RequestHead,
    form: Option<FormCheck>,
) -> Result<Option<FormCheck>, Outcome> {
    let Some(form) = form else { return Ok(None) };
    // A client that expects 100 sends nothing before the backend's answer.
    let waits = head.values("expect").next().is_some();
    let length = match head.framing() {
        Framing::Length(length) if length <= MAX_SHORT_FORM && !waits => length as usize,
        Framing::Length(_) | Framing::Chunked => return Ok(Some(form)),
    };
    let rest = async {
        while connection.buffered().len() < length {
            let missing = length - connection.buffered().len();
            if !matches!(connection.fill(missing).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = timeout(SHORT_FORM_TIMEOUT, rest).await;
    match connection.buffered().get(..length) {
        Some(body) if form.rejects(body, &context.metrics) => Err(Outcome::AmbiguousPath),
        Some(_) => Ok(None),
        None => Ok(Some(form)),
    }
}

/// Refuses a request by its head, with an HTML page for a client that prefers one.
async fn reject(
    context: &Context,
    connection: &mut Connection,
    head: RequestHead,
    outcome: Outcome,
) -> ConnectionAction {
    let html = accept::prefers_html(&head.values("accept").collect::<Vec<_>>());
    let response = Response::from_outcome(outcome);
    let response = if html { response.into_html() } else { response };
    Exchange::new(context, connection, head).reject(&response).await
}

/// Answers a head that cannot be read and ends the connection: where the next request begins is not known.
async fn reject_and_close(connection: &mut Connection, outcome: Outcome) {
    let _ = connection.send(&response::closing_response(outcome), b"").await;
    connection.linger_and_close().await;
}
