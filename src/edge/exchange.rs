//! One request that Countersign answers itself, from its parsed head to its response: reject it before its body is read,
//! read the body, respond. Webhooks and the checkout use it alike; what a request means is theirs.

use bytes::Bytes;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;

use super::Context;
use super::admission::AdmissionPermit;
use super::body::{self, BodyError, ReadLimits};
use super::connection::{Connection, LINGER_TIMEOUT};
use super::headers::RequestId;
use super::response::Response;
use crate::clock;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::outcome::Outcome;

/// The longest body, in bytes, that is discarded to keep its connection. For a longer one the connection is closed.
const MAX_DISCARDED_BODY: u64 = 64 * 1024;

/// What happens to a connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionAction {
    /// The connection waits for another request.
    KeepAlive,
    /// The connection is closed; the client has nothing on its way.
    Close,
    /// The connection is closed once the client stops sending, so that the response is not lost.
    LingeringClose,
}

/// What the handler of a request leaves to be done.
pub(super) enum Handling {
    /// The request has its response, or no one is left to read one.
    Responded(ConnectionAction),
    /// The request goes to the backend as it came, with this id. In a dry run a verdict goes with it.
    Forward(RequestHead, RequestId, Option<Outcome>),
}

/// How an exchange ended. `O` is the outcome and `R` the result of the webhook or of the checkout.
pub(super) struct ExchangeResult<O, R> {
    /// What happens to the connection.
    pub action: ConnectionAction,
    /// The outcome for the log and the metrics.
    pub outcome: O,
    /// The status of the response; `None` if none was written.
    pub status: Option<u16>,
    /// What the work on the body brought; `None` if it was not begun.
    pub result: Option<R>,
}

/// One request and the connection that it came on.
pub(super) struct Exchange<'a> {
    /// What every connection is served with.
    pub context: &'a Context,
    /// The head of the request.
    pub head: RequestHead,
    /// When the head was complete.
    pub started: Instant,
    connection: &'a mut Connection,
}

impl<'a> Exchange<'a> {
    /// Begins the exchange for the request whose head has just been taken from `connection`.
    pub(super) fn new(context: &'a Context, connection: &'a mut Connection, head: RequestHead) -> Self {
        Exchange { context, head, started: clock::instant(), connection }
    }

    /// The address of the peer; `None` over a Unix socket.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.connection.peer()
    }

    /// Returns the id of the request: that of a trusted peer, else a new one each time.
    pub(super) fn new_request_id(&self) -> RequestId {
        RequestId::new(&self.head, self.peer(), &self.context.routes.load().trusted_proxies)
    }

    /// Returns true if the program still has time for work that may take `time`.
    pub(super) fn has_time_for(&self, time: Duration) -> bool {
        self.context.drain.has_time_for(time)
    }

    /// Responds before the body is read. A short body is discarded to keep the connection.
    pub(super) async fn reject(&mut self, response: &Response) -> ConnectionAction {
        // Where the next request begins is not known after an invalid head.
        if self.head.validate().is_err() {
            let _ = self.send(response, false).await;
            return ConnectionAction::LingeringClose;
        }
        let discarded = self.discarded_length();
        let keep = discarded.is_some() && self.keeps_alive();
        if self.send(response, keep).await.is_err() {
            return ConnectionAction::Close;
        }
        match discarded {
            Some(length) if keep => match timeout(LINGER_TIMEOUT, self.connection.skip(length)).await {
                Ok(Ok(())) => ConnectionAction::KeepAlive,
                Ok(Err(_)) | Err(_) => ConnectionAction::Close,
            },
            Some(0) => ConnectionAction::Close,
            Some(_) | None => ConnectionAction::LingeringClose,
        }
    }

    /// Returns the length of the body if discarding it is worth a connection; `None` if the connection has to be closed.
    fn discarded_length(&self) -> Option<usize> {
        // A client that sent `Expect: 100-continue` may or may not send its body after a final response, so the
        // connection cannot be reused.
        if self.head.value("expect").is_some() {
            return None;
        }
        match self.head.framing() {
            Framing::Length(length) => (length <= MAX_DISCARDED_BODY).then_some(length as usize),
            Framing::Chunked => None,
        }
    }

    /// Reads the whole body. Afterwards `work_time` must be left before the program ends.
    pub(super) async fn read_body(
        &mut self,
        limits: ReadLimits,
        work_time: Duration,
        permit: &mut AdmissionPermit,
    ) -> Result<Bytes, BodyError> {
        let body = body::read(self.connection, &self.head, limits, permit).await?;
        // The body may have taken what time there was.
        if self.has_time_for(work_time) { Ok(body) } else { Err(BodyError::ShuttingDown) }
    }

    /// Responds after the body was read. The connection stays open if the client and the program go on.
    pub(super) async fn respond(&mut self, response: &Response) -> ConnectionAction {
        let keep = self.keeps_alive();
        let sent = self.send(response, keep).await;
        if keep && sent.is_ok() { ConnectionAction::KeepAlive } else { ConnectionAction::Close }
    }

    /// Ends an exchange whose body could not be read. The connection ends with it: where the next request begins is not known.
    pub(super) async fn fail_body<O, R>(
        &mut self,
        error: BodyError,
        outcome: O,
        response: &Response,
    ) -> ExchangeResult<O, R> {
        // A client that is gone gets no response.
        if error == BodyError::Disconnected {
            return ExchangeResult { action: ConnectionAction::Close, outcome, status: None, result: None };
        }
        let action = match self.send(response, false).await {
            Ok(()) => ConnectionAction::LingeringClose,
            Err(_) => ConnectionAction::Close,
        };
        ExchangeResult { action, outcome, status: Some(response.status), result: None }
    }

    async fn send(&mut self, response: &Response, keep_alive: bool) -> std::io::Result<()> {
        // A response to HEAD has no body (RFC 9110, section 9.3.2).
        let body = if self.head.method() == b"HEAD" { &b""[..] } else { &response.body };
        self.connection.send(&response.head(keep_alive), body).await
    }

    fn keeps_alive(&self) -> bool {
        self.head.keep_alive() && !self.context.drain.is_draining()
    }
}
