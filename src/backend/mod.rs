//! The HTTP client for the backend: one request, one response, over a small pool of idle connections. It never follows a
//! redirect, never decompresses and never repeats a request: once a byte may have left, a failure is the caller's to
//! record.
//!
//! ```text
//!  request    the head's builder, the bytes on their way out    pool      idle connections
//!  response   the parser of the response                        resolve   addresses of the backend, connecting
//!  error      why there is no response                          place     one place to connect to, and their order
//!  stream     a plain socket or TLS                             tls       trusted authorities, the handshake
//!                                                               dns       one lookup of the backend's name
//! ```
//!
//! A general client would cost throughput: here head and body leave in one write and the response arrives in one read.
//! `docs/benchmarks.md` has the figures.

mod dns;
mod error;
mod place;
mod pool;
mod request;
mod resolve;
mod response;
mod stream;
mod tls;

pub use error::BackendError;
pub use pool::PooledConnection;
pub use request::RequestHeadBuilder;
pub use resolve::Resolver;
pub use response::{BackendResponse, MAX_RETAINED_BODY, ResponseHead};
pub use stream::BackendStream;
pub use tls::BackendTls;

use bytes::Bytes;
use pool::Pool;
use request::OutgoingRequest;
use resolve::ConnectError;
use response::{BodyProgress, ResponseReader};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config;
use crate::socket::{self, Socket};

/// The pause before a backend that refused a connection is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    shared: Arc<BackendState>,
}

/// The parts that the clones of a client share.
struct BackendState {
    resolver: Resolver,
    /// The TLS of each URL, in their order; `None` without TLS.
    tls: Vec<Option<BackendTls>>,
    pool: Pool,
    connect_timeout: Duration,
    connect_retry: Duration,
    response_timeout: Duration,
    /// The keep-alive of TCP connections.
    tcp_keepalive: Duration,
}

/// A response whose head has arrived. [`PendingResponse::finish`] reads its body.
pub struct PendingResponse {
    backend: Backend,
    connection: PooledConnection,
    reader: ResponseReader,
    /// The end of the response timeout, for head and body together.
    deadline: Instant,
}

impl Backend {
    /// Returns a client for the addresses of `resolver`, with at most `max_idle` pooled connections.
    ///
    /// # Errors
    /// A sentence if the backend has TLS, and there are no authorities to verify its certificate with.
    pub fn new(
        config: &config::BackendConfig,
        resolver: Resolver,
        max_idle: usize,
        tcp_keepalive: Duration,
    ) -> Result<Self, String> {
        let tls = config.urls.iter().map(|url| BackendTls::new(url, config.ca.as_ref()));
        Ok(Self {
            shared: Arc::new(BackendState {
                resolver,
                tls: tls.collect::<Result<_, _>>()?,
                pool: Pool::new(max_idle, config.idle_timeout),
                connect_timeout: config.connect_timeout,
                connect_retry: config.connect_retry,
                response_timeout: config.response_timeout,
                tcp_keepalive,
            }),
        })
    }

    /// Returns the longest time that one attempt can take. A lease must be longer.
    pub fn attempt_timeout(&self) -> Duration {
        self.shared.connect_timeout + self.shared.response_timeout
    }

    /// Closes connections that have been idle for too long, forever. The caller spawns it.
    pub async fn evict_idle(self) {
        loop {
            tokio::time::sleep(self.shared.pool.idle_timeout()).await;
            self.shared.pool.evict_idle();
        }
    }

    /// Takes a pooled connection to the least busy place that is still open.
    pub fn take_idle(&self) -> Option<PooledConnection> {
        self.shared.pool.take(&self.shared.resolver.places().first()?)
    }

    /// Opens a connection, with TLS to an `https://` backend. While the backend refuses connections, or its name does not
    /// resolve, it is tried again for `backend.connect_retry`: it may be restarting.
    ///
    /// # Errors
    /// No place accepts a connection, or the TLS handshake fails or is not over within `backend.connect_timeout`.
    pub async fn connect(&self) -> Result<PooledConnection, BackendError> {
        self.connect_until(Instant::now() + self.shared.connect_retry).await
    }

    /// Opens a connection as [`Backend::connect`] does, and tries again until `retry_end`.
    async fn connect_until(&self, retry_end: Instant) -> Result<PooledConnection, BackendError> {
        let (socket, place, deadline) = loop {
            let deadline = Instant::now() + self.shared.connect_timeout;
            match self.shared.resolver.connect(self.shared.connect_timeout).await {
                Ok((socket, place)) => break (socket, place, deadline),
                Err(ConnectError::Refused(_)) if Instant::now() + RETRY_INTERVAL <= retry_end => {
                    sleep(RETRY_INTERVAL).await;
                }
                Err(ConnectError::Refused(reason) | ConnectError::Failed(reason)) => {
                    return Err(BackendError::Unreachable(reason));
                }
            }
        };
        if let Socket::Left(tcp) = &socket {
            // A connection without it works, too.
            let _ = socket::set_keepalive(tcp, self.shared.tcp_keepalive);
        }
        let stream = match (&self.shared.tls[place.place().url], socket) {
            // Boxed, so that a task has no room for a handshake that few requests need.
            (Some(tls), Socket::Left(tcp)) => {
                Box::pin(self.start_tls(tls, tcp, deadline)).await.inspect_err(|_| {
                    // Another place of the backend may be in order.
                    self.shared.resolver.report_failure(place.place());
                })?
            }
            (_, socket) => BackendStream::Plain(socket),
        };
        Ok(PooledConnection { stream, place })
    }

    async fn start_tls(
        &self,
        tls: &BackendTls,
        tcp: TcpStream,
        deadline: Instant,
    ) -> Result<BackendStream, BackendError> {
        let handshake = timeout_at(deadline, tls.handshake(tcp)).await.unwrap_or_else(|_| {
            let limit = self.shared.connect_timeout;
            Err(format!("the TLS handshake was not over within {limit:?}: check that the backend speaks TLS"))
        });
        tls.log_result(handshake.as_ref().err().map(String::as_str));
        handshake.map(|stream| BackendStream::Tls(Box::new(stream))).map_err(BackendError::Unreachable)
    }

    /// Returns a connection to the pool. Its last exchange must be complete.
    pub fn put_idle(&self, connection: PooledConnection) {
        // A place whose address the name has lost is not where the backend is.
        if self.shared.resolver.places().contains(connection.place.place()) {
            self.shared.pool.put(connection);
        }
    }

    /// Sends one request and waits for the response's head. `head` is the complete head with its blank line.
    ///
    /// # Errors
    /// The backend cannot be reached, gives no valid response, or takes longer than `backend.response_timeout`.
    pub async fn send(&self, head: Vec<u8>, body: Bytes) -> Result<PendingResponse, BackendError> {
        let shared = &self.shared;
        let mut request = OutgoingRequest::new(head, body);
        let latest = Instant::now() + self.attempt_timeout();
        let mut deadline = Instant::now() + shared.response_timeout;
        let mut connection = loop {
            let Some(mut pooled) = self.take_idle() else {
                // The attempt as a whole has room for one more connection attempt after the last wait.
                let retry_end = Instant::now() + shared.connect_retry.min(shared.response_timeout);
                let new = timeout_at(latest, self.connect_until(retry_end)).await;
                let new = new.map_err(|_| BackendError::Timeout)??;
                // Connecting has a timeout of its own, so the response timeout starts again here.
                deadline = latest.min(Instant::now() + shared.response_timeout);
                break new;
            };
            match timeout_at(deadline, request.write_first(&mut pooled.stream)).await {
                Ok(Ok(())) => break pooled,
                // The backend closed the connection while it was pooled, and no byte has left. Another one is safe.
                Ok(Err(_)) if request.is_untouched() && pooled.stream.failed_write_sent_nothing() => continue,
                Ok(Err(e)) => return Err(BackendError::Unanswered(e.to_string())),
                Err(_) => return Err(BackendError::Timeout),
            }
        };
        let exchange = exchange(&mut request, &mut connection.stream);
        let reader = timeout_at(deadline, exchange).await.map_err(|_| BackendError::Timeout)??;
        Ok(PendingResponse { backend: self.clone(), connection, reader, deadline })
    }
}

impl PendingResponse {
    /// Returns the response's head.
    pub fn head(&self) -> &ResponseHead {
        self.reader.head()
    }

    /// Reads the body up to [`MAX_RETAINED_BODY`] and returns the connection to the pool if it can be reused. A body
    /// that breaks off or is late is cut there: the status in the head has already decided the outcome.
    pub async fn finish(mut self) -> BackendResponse {
        let complete = loop {
            match self.reader.parse_body() {
                BodyProgress::Complete => break true,
                BodyProgress::Unusable => break false,
                BodyProgress::Incomplete => {
                    let read = self.connection.stream.read_buf(self.reader.buffer());
                    match timeout_at(self.deadline, read).await {
                        Ok(Ok(0)) => break self.reader.is_complete_at_eof(),
                        Ok(Ok(_)) => {}
                        Ok(Err(_)) | Err(_) => break false,
                    }
                }
            }
        };
        if complete && self.reader.is_reusable() {
            self.backend.put_idle(self.connection);
        }
        self.reader.into_response()
    }
}

/// Sends the rest of the request and waits for the response's head.
async fn exchange(
    request: &mut OutgoingRequest,
    stream: &mut BackendStream,
) -> Result<ResponseReader, BackendError> {
    let mut reader = ResponseReader::new();
    while !reader.parse_head()? {
        // A backend may respond before it has read the whole request, and then stop reading. So each poll writes what
        // it can and reads as well.
        let read = poll_fn(|cx| {
            while request.unsent() > 0 {
                match request.poll_write(stream, cx) {
                    Poll::Ready(Ok(())) => {}
                    // The backend stopped reading. Its response may have arrived before.
                    Poll::Ready(Err(_)) => request.abandon(),
                    Poll::Pending => break,
                }
            }
            pin!(stream.read_buf(reader.buffer())).poll(cx)
        });
        match read.await {
            Ok(0) => return Err(reader.eof_error()),
            Ok(_) => {}
            Err(e) => return Err(BackendError::Unanswered(e.to_string())),
        }
    }
    if !request.is_fully_sent() {
        reader.disable_reuse();
    }
    Ok(reader)
}
