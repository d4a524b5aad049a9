//! Requests that pass through to the backend, by way of pingora. Only the files here name pingora.
//!
//! `client_stream` lends pingora the client's connection for one `forwarded_request`, within its `body_limit` and its
//! `body_wait`; `stream_traits` has what else pingora asks of it. `upstream` connects it to the backend, `form_check` judges
//! the fields of forms, `pooled_stream` lends it a pooled connection, `response_watch` reads the response before pingora does,
//! and `tunnel` delays an upgrade by one poll. `response_head` makes the head that the client gets,
//! `response_writes` puts it in the place of pingora's, and `client_framing` tells it the end of the body. This file implements pingora's hooks. Webhooks never come here, and pingora never reads a head as
//! it came.

mod body_limit;
mod body_wait;
mod client_framing;
mod client_stream;
mod form_check;
mod forwarded_request;
mod pooled_stream;
mod response_head;
mod response_watch;
mod response_writes;
mod stream_traits;
mod tunnel;
mod upstream;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::HttpServerApp;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

use super::admission::AdmissionPermit;
use super::connection::Connection;
use super::refusals::Refusals;
use super::response::Response;
use crate::backend::Backend;
use crate::clock;
use crate::metrics::{InFlight, Metrics, RefusalReason, StatusClass};
use crate::outcome::Outcome;
use body_wait::BodyWait;
use client_framing::BodyEnd;
use client_stream::ClientStream;
use form_check::FormAttempt;
use upstream::{BackendConnector, Upstream};

pub(super) use form_check::FormCheck;
pub(super) use forwarded_request::ForwardedRequest;

/// How long the rest of a request's body is discarded so that its connection can be used again.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Forwards requests to the backend. Cheap to clone.
#[derive(Clone)]
pub(super) struct PassThrough {
    proxy: Arc<HttpProxy<ProxyHooks>>,
    draining: watch::Receiver<bool>,
    read_timeout: Duration,
}

impl PassThrough {
    /// Creates the proxy to `backend`. `draining` turns true when connections are to end with their request. `read_timeout` is
    /// how long the next bytes of a request's body are awaited.
    pub(super) fn new(
        backend: Backend,
        metrics: Arc<Metrics>,
        draining: watch::Receiver<bool>,
        read_timeout: Duration,
        refusals: Arc<Refusals>,
    ) -> Self {
        let hooks = ProxyHooks { upstream: Upstream::new(backend), metrics, refusals };
        Self { proxy: Arc::new(pingora::proxy::http_proxy(&Arc::default(), hooks)), draining, read_timeout }
    }

    /// Forwards this request, whose body the connection's buffer begins with. `permit` is held until the response has ended.
    /// Returns the connection if it can carry another request.
    pub(super) async fn serve(
        &self,
        connection: Box<Connection>,
        request: ForwardedRequest,
        permit: AdmissionPermit,
    ) -> Option<Box<Connection>> {
        let stream = ClientStream::new(connection, request, BodyWait::new(permit, self.read_timeout));
        let session = ServerSession::new_http1(Box::new(stream));
        let reused = self.proxy.process_new_http(session, &self.draining).await?;
        let (stream, _) = reused.consume();
        ClientStream::into_connection(stream).await
    }
}

/// What pingora calls on the way of a request.
struct ProxyHooks {
    upstream: Upstream,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
}

/// What a request carries from hook to hook.
struct RequestCtx {
    started: Instant,
    /// The connector of the last attempt; `None` before the first.
    connector: Option<Arc<BackendConnector>>,
    /// The check of the body in the last attempt; `None` if it is no form, or none can tell a webhook.
    form: Option<FormAttempt>,
    /// True if the client was sent an error response of Countersign's own.
    error_sent: bool,
    _in_flight: InFlight,
}

#[async_trait]
impl ProxyHttp for ProxyHooks {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx {
            started: clock::instant(),
            connector: None,
            form: None,
            error_sent: false,
            _in_flight: self.metrics.in_flight(),
        }
    }

    /// Registers no module: pingora's compression would change what passes.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
        session.set_total_drain_timeout(Some(DISCARD_TIMEOUT));
        // pingora would wait 60 s for the next bytes. `ClientStream` keeps the configured limit.
        session.set_read_timeout(None);
        // HTTP/1.0 knows no interim responses.
        let is_old_client = session.req_header().version == http::Version::HTTP_10;
        session.set_ignore_info_resp(is_old_client);
        let request = request(session)?;
        // A further attempt sends the body from its beginning.
        ctx.form = request.form.as_ref().map(FormCheck::begin);
        let connector = self.upstream.connector(session.is_upgrade_req(), request);
        let peer = self.upstream.peer(&connector);
        ctx.connector = Some(connector);
        Ok(peer)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        match &mut ctx.form {
            Some(form) if !session.was_upgraded() => {
                let is_last = end_of_stream || body.is_none();
                form.check(body, is_last, &self.metrics)
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut RequestCtx,
    ) -> Result<()> {
        let is_old_client = session.req_header().version == http::Version::HTTP_10;
        if is_old_client && client_framing::for_old_client(response) == BodyEnd::Close {
            session.set_keepalive(None);
        }
        let stream = ClientStream::downcast_ref(session.downstream_session.stream());
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            stream.inspect(|stream| stream.mark_upgraded());
        } else if client_framing::is_event_stream(response) {
            stream.inspect(|stream| stream.mark_streaming());
        }
        Ok(())
    }

    /// Decides about a retry as pingora does, except that pingora takes every connection for a new one.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        ctx: &mut RequestCtx,
        _: bool,
    ) -> Box<Error> {
        if ctx.form_is_rejected() {
            e.set_retry(false);
            return e;
        }
        // A backend that has begun to respond is at work on the request.
        let has_come = request(session).is_ok_and(|request| request.notes.has_come());
        let reused = !has_come && ctx.connector.as_ref().is_some_and(|connector| connector.is_reused());
        if session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated() {
            e.retry.decide_reuse(reused);
        } else {
            e.set_retry(false);
        }
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        let ended =
            ClientStream::downcast_ref(session.downstream_session.stream()).and_then(ClientStream::ended);
        if ended == Some(Outcome::Overloaded) {
            self.refusals.record(RefusalReason::MaxPassthrough);
        }
        let own = if ctx.form_is_rejected() { Some(Outcome::AmbiguousPath) } else { ended };
        let outcome = match own {
            Some(outcome) => unless_begun(session, outcome),
            None => error_outcome(session, e),
        };
        let Some(outcome) = outcome else {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let response = Response::from_outcome(outcome);
        let html = request(session).is_ok_and(ForwardedRequest::prefers_html);
        let response = if html { response.into_html() } else { response };
        // pingora ends the connection after this, whatever it is told.
        session.set_keepalive(None);
        // A client that has left is no error: there is nobody else to tell.
        ClientStream::downcast_ref(session.downstream_session.stream())
            .inspect(|stream| stream.mark_own_response());
        ctx.error_sent = write(session, &response).await.is_ok();
        FailToProxy { error_code: response.status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut RequestCtx) {
        let responded = session.response_written().map(|head| StatusClass::from_status(head.status.as_u16()));
        // A WebSocket that either side drops has had its response.
        let aborted = error.is_some() && !ctx.error_sent && !session.was_upgraded();
        let class = if aborted { StatusClass::Aborted } else { responded.unwrap_or(StatusClass::Aborted) };
        self.metrics.record_proxied(class, ctx.started.elapsed());
    }

    /// Suppresses pingora's log lines: forwarded requests are not logged.
    fn suppress_error_log(&self, _: &Session, _: &RequestCtx, _: &Error) -> bool {
        true
    }
}

impl RequestCtx {
    fn form_is_rejected(&self) -> bool {
        self.form.as_ref().is_some_and(FormAttempt::is_rejected)
    }
}

/// The request under a session of pingora's.
fn request(session: &Session) -> Result<&ForwardedRequest> {
    let stream = ClientStream::downcast_ref(session.downstream_session.stream());
    stream.map(ClientStream::request).or_err(ErrorType::InternalError, "no client stream under the session")
}

/// Returns the outcome; `None` if the backend's response has begun.
fn unless_begun(session: &Session, outcome: Outcome) -> Option<Outcome> {
    (!has_begun(session)).then_some(outcome)
}

/// Returns what to tell the client; `None` if it is too late, or nobody is there.
fn error_outcome(session: &Session, e: &Error) -> Option<Outcome> {
    use ErrorType::{ConnectionClosed, InvalidHTTPHeader, ReadError, WriteError};
    match (e.esource(), e.etype()) {
        (ErrorSource::Downstream, WriteError | ReadError | ConnectionClosed) => None,
        _ if has_begun(session) => None,
        (ErrorSource::Upstream, InvalidHTTPHeader) => Some(Outcome::BackendInvalid),
        _ if request(session).is_ok_and(|request| request.notes.is_invalid()) => {
            Some(Outcome::BackendInvalid)
        }
        (ErrorSource::Upstream, _) => Some(Outcome::BackendUnreachable),
        (ErrorSource::Downstream, _) => Some(Outcome::RequestMalformed),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Outcome::InternalError),
    }
}

/// Returns true if the client was sent the head of a final response, or of a switch of protocols. Nothing of ours may follow
/// it.
fn has_begun(session: &Session) -> bool {
    let status = session.response_written().map(|head| head.status);
    status.is_some_and(|status| status == http::StatusCode::SWITCHING_PROTOCOLS || !status.is_informational())
}

async fn write(session: &mut Session, response: &Response) -> Result<()> {
    let mut header = ResponseHeader::build(response.status, Some(8))?;
    for (name, value) in response.headers() {
        header.insert_header(name, value.as_ref())?;
    }
    session.write_response_header(Box::new(header), false).await?;
    session.write_response_body(Some(response.body.clone()), true).await
}
