//! `impl ProxyHttp` for what passes through: each hook is a call or two into the rooms beside it. Webhooks never come
//! here, and a request's head is what the backend shall get before pingora reads it.

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::forwarded;
use super::reply::Response;
use super::upstream::{Connector, Upstream};
use crate::clock;
use crate::metrics::{InFlight, Metrics, StatusClass};
use crate::outcome::Outcome;

/// How long what is left of a request's body may be read away so that its connection can be used again.
const PATIENCE: Duration = Duration::from_secs(2);

/// The proxy as pingora sees it.
pub struct PassThrough {
    /// Where it goes.
    pub upstream: Upstream,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// What a request carries through the hooks.
pub struct Passage {
    started: Instant,
    /// What took it to the backend last.
    connector: Option<Connector>,
    /// The client was told of a fault.
    told: bool,
    _in_flight: InFlight,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        Passage {
            started: clock::instant(),
            connector: None,
            told: false,
            _in_flight: self.metrics.in_flight(),
        }
    }

    /// Without pingora's compression module, which would touch what passes.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, passage: &mut Passage) -> Result<Box<HttpPeer>> {
        // What is left of a body that no one reads any more is waited for only so long.
        session.set_total_drain_timeout(Some(PATIENCE));
        let connection = Connection::under(session.downstream_session.stream());
        let added = connection.map(Connection::added).unwrap_or_default();
        let connector = self.upstream.connector(session.is_upgrade_req(), added);
        let peer = self.upstream.peer(&connector);
        passage.connector = Some(connector);
        Ok(peer)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Passage,
    ) -> Result<()> {
        let connection = Connection::under(session.downstream_session.stream());
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            connection.inspect(|connection| connection.mark_upgraded());
        } else if is_event_stream(response) {
            connection.inspect(|connection| connection.mark_endless());
        }
        Ok(())
    }

    /// As pingora does it, but that it takes every connection for a new one.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        passage: &mut Passage,
        _: bool,
    ) -> Box<Error> {
        let kept = passage.connector.as_ref().is_some_and(Connector::kept);
        if session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated() {
            e.retry.decide_reuse(kept);
        } else {
            e.set_retry(false);
        }
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, passage: &mut Passage) -> FailToProxy {
        let Some(outcome) = fault(session, e) else {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let reply = Response::from_outcome(outcome);
        let accept = session.req_header().headers.get_all(http::header::ACCEPT);
        let html = forwarded::wants_html(&accept.iter().map(|value| value.as_bytes()).collect::<Vec<_>>());
        let reply = if html { reply.for_people() } else { reply };
        // pingora ends the connection after this, whatever it is told.
        session.set_keepalive(None);
        // The client may have left: there is no one else to tell.
        passage.told = write(session, &reply).await.is_ok();
        FailToProxy { error_code: reply.status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, passage: &mut Passage) {
        let answered = session.response_written().map(|head| StatusClass::from_status(head.status.as_u16()));
        // A WebSocket that either side drops has had its answer.
        let cut = error.is_some() && !passage.told && !session.was_upgraded();
        let class = if cut { StatusClass::Aborted } else { answered.unwrap_or(StatusClass::Aborted) };
        self.metrics.proxied(class, passage.started.elapsed());
    }

    /// Nothing of a passed-through request is logged.
    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        true
    }
}

/// What to tell the client; `None` if it is too late, or no one is there.
fn fault(session: &Session, e: &Error) -> Option<Outcome> {
    use ErrorType::{ConnectionClosed, InvalidHTTPHeader, ReadError, WriteError};
    let begun = session.response_written().is_some_and(|head| !head.status.is_informational());
    match (e.esource(), e.etype()) {
        (ErrorSource::Downstream, WriteError | ReadError | ConnectionClosed) => None,
        _ if begun => None,
        (ErrorSource::Upstream, InvalidHTTPHeader) => Some(Outcome::BackendInvalid),
        (ErrorSource::Upstream, _) => Some(Outcome::BackendUnreachable),
        (ErrorSource::Downstream, _) => Some(Outcome::RequestMalformed),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Outcome::InternalError),
    }
}

async fn write(session: &mut Session, reply: &Response) -> Result<()> {
    session.write_response_header(Box::new(reply.header()?), false).await?;
    session.write_response_body(Some(reply.body.clone()), true).await
}

/// An answer that has no end of its own.
fn is_event_stream(response: &ResponseHeader) -> bool {
    let content_type = response.headers.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
