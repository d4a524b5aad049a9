//! `impl ProxyHttp`: each hook is a call or two into the rooms beside it.

use async_trait::async_trait;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::forwarded;
use super::reply::Reply;
use super::route::Route;
use super::webhook::{self, Handled};
use super::{Edge, upstream};
use crate::clock;
use crate::metrics::{Class, InFlight};
use crate::outcome::Outcome;

/// How long what is left of a body may be read away so that its connection can be used again.
const DRAIN_BODY: Duration = Duration::from_secs(2);

/// What a request carries through the hooks.
pub struct Passage {
    started: Instant,
    /// Answered here: not a passed-through request.
    ours: bool,
    /// A dry run's verdict on its way to the backend.
    verdict: Option<Outcome>,
    connects: usize,
    _in_flight: InFlight,
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        let in_flight = self.metrics.in_flight();
        Passage { started: clock::instant(), ours: false, verdict: None, connects: 0, _in_flight: in_flight }
    }

    /// Without pingora's compression module, which would touch what passes.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        let peer = connection(session).and_then(|connection| {
            connection.busy();
            connection.peer()
        });
        session.set_pipelining_enabled(true);
        if let Some(_fault) = forwarded::framing_fault(session) {
            session.set_keepalive(None);
            return self.reply(session, passage, Reply::of(Outcome::RequestMalformed)).await;
        }
        let routes = self.routes.load();
        forwarded::prepare(session.req_header_mut(), peer, &routes.trusted_proxies);
        match routes.route(session.req_header().raw_path()) {
            Route::Pass => Ok(false),
            Route::Ambiguous { reason, enforce } => {
                self.metrics.guard_rejected(reason.code());
                if enforce {
                    return self.reply(session, passage, Reply::of(Outcome::AmbiguousPath)).await;
                }
                passage.verdict = Some(Outcome::AmbiguousPath);
                Ok(false)
            }
            Route::Webhook(endpoint) => match webhook::handle(self, endpoint, session).await {
                Handled::Replied(reply) => self.reply(session, passage, reply).await,
                Handled::Gone => {
                    passage.ours = true;
                    session.set_keepalive(None);
                    Ok(true)
                }
                Handled::Pass(verdict) => {
                    passage.verdict = Some(verdict);
                    Ok(false)
                }
            },
        }
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Passage) -> Result<Box<HttpPeer>> {
        self.upstream.peer().ok_or_else(|| upstream::unresolved())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        if let Some(verdict) = passage.verdict {
            request.insert_header("Countersign-Verdict", verdict.code())?;
        }
        Ok(())
    }

    async fn response_filter(&self, session: &mut Session, response: &mut ResponseHeader, _: &mut Passage) -> Result<()> {
        if endless(response)
            && let Some(connection) = connection(session)
        {
            connection.streaming();
        }
        Ok(())
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, passage: &mut Passage, mut e: Box<Error>) -> Box<Error> {
        passage.connects += 1;
        e.set_retry(self.upstream.failed(passage.connects));
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, passage: &mut Passage) -> FailToProxy {
        let reply = match (e.esource(), e.etype()) {
            _ if session.response_written().is_some_and(|head| !head.status.is_informational()) => None,
            (ErrorSource::Upstream, ErrorType::ConnectTimedout | ErrorType::ReadTimedout) => {
                Some(Outcome::BackendUnreachable)
            }
            (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader) => Some(Outcome::BackendInvalid),
            (ErrorSource::Upstream, _) => Some(Outcome::BackendUnreachable),
            (ErrorSource::Downstream, ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed) => None,
            (ErrorSource::Downstream, _) => Some(Outcome::RequestMalformed),
            (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Outcome::InternalError),
        };
        session.set_keepalive(None);
        let Some(outcome) = reply else { return FailToProxy { error_code: 0, can_reuse_downstream: false } };
        let html = forwarded::wants_html(&session.req_header().headers);
        let reply = if html { Reply::of(outcome).for_people() } else { Reply::of(outcome) };
        let error_code = reply.status;
        let _ = write(session, passage, reply).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, passage: &mut Passage) {
        if let Some(connection) = connection(session) {
            connection.idle();
        }
        if !passage.ours {
            let class = session.response_written().map_or(Class::Aborted, |head| Class::of(head.status.as_u16()));
            self.metrics.proxied(class, passage.started.elapsed());
        }
    }

    /// Nothing of a passed-through request is logged.
    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        true
    }
}

impl Edge {
    async fn reply(&self, session: &mut Session, passage: &mut Passage, reply: Reply) -> Result<bool> {
        passage.ours = true;
        write(session, passage, reply).await.map(|()| true)
    }
}

async fn write(session: &mut Session, _: &Passage, reply: Reply) -> Result<()> {
    // An early answer keeps the connection if what is left of the body comes soon.
    session.set_close_on_response_before_downstream_finish(false);
    session.set_total_drain_timeout(Some(DRAIN_BODY));
    let downstream: &mut ServerSession = &mut session.downstream_session;
    downstream.write_response_header(Box::new(reply.head()?)).await?;
    downstream.write_response_body(reply.body, true).await
}

/// The connection under a session.
fn connection(session: &Session) -> Option<&Connection> {
    Connection::under(session.downstream_session.stream())
}

/// An answer that has no end of its own: what follows it is closed when the program drains.
fn endless(response: &ResponseHeader) -> bool {
    response.status == http::StatusCode::SWITCHING_PROTOCOLS
        || response.headers.get(http::header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"))
}
