//! The HTTP client to the app: one request, one answer, over a small pool of kept connections.
//!
//! Why not a general client: head and body leave in one write and come back in one read, which decides how many
//! events a core delivers (see `docs/benchmarks.md`). It never follows a redirect, never decompresses, and never
//! sends a request twice: a request of which any byte may have left is over, and its failure is the caller's to record.

mod answer;
mod pool;
mod request;
mod resolve;

pub use answer::{BackendResponse, MAX_RETAINED_BODY, ResponseHead};
pub use pool::PooledConnection;
pub use request::RequestHeadBuilder;
pub use resolve::Resolver;

use answer::Reading;
use bytes::{Buf, Bytes};
use pool::Pool;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::config;
use crate::socket::Socket;

/// Up to here head and body are joined and leave in one write; longer bodies are not copied.
const JOIN: usize = 16 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The name does not resolve, or no connection comes about.
    #[error("the backend cannot be reached: {0}")]
    Unreachable(String),
    /// It was sent something, and closed the connection without a byte of an answer.
    #[error("the backend gave no answer: {0}")]
    Unanswered(String),
    /// Sending, or the answer's head, took longer than it may.
    #[error("the backend did not answer in time")]
    Timeout,
    /// What came back is not an HTTP/1 answer, or broke off in its head.
    #[error("the backend's answer is not HTTP: {0}")]
    Invalid(String),
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    shared: Arc<Shared>,
}

struct Shared {
    resolver: Resolver,
    pool: Pool,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// An answer whose head is here; the body is read with [`PendingResponse::finish`].
pub struct PendingResponse {
    backend: Backend,
    kept: PooledConnection,
    reading: Reading,
    deadline: Instant,
}

impl Backend {
    /// A client of the app that `resolver` knows; `max_idle` connections are kept at most.
    pub fn new(config: &config::BackendConfig, resolver: Resolver, max_idle: usize) -> Backend {
        Backend {
            shared: Arc::new(Shared {
                resolver,
                pool: Pool::new(max_idle, config.idle_timeout),
                connect_timeout: config.connect_timeout,
                response_timeout: config.response_timeout,
            }),
        }
    }

    /// The longest that one attempt can take before it is given up: what a lease has to outlive.
    pub fn attempt_timeout(&self) -> Duration {
        self.shared.connect_timeout + self.shared.response_timeout
    }

    /// Closes connections that have idled too long, once in a while, for as long as the program runs.
    pub async fn reap(self) {
        loop {
            tokio::time::sleep(self.shared.pool.idle_timeout()).await;
            self.shared.pool.prune();
        }
    }

    /// A kept connection that is still good, if there is one.
    pub fn kept(&self) -> Option<PooledConnection> {
        self.shared.pool.take(self.shared.resolver.generation())
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<PooledConnection, BackendError> {
        let generation = self.shared.resolver.generation();
        let socket = self.shared.resolver.connect(self.shared.connect_timeout).await?;
        Ok(PooledConnection { socket, generation })
    }

    /// Keeps a connection that can carry another request.
    pub fn keep(&self, kept: PooledConnection) {
        self.shared.pool.put(kept);
    }

    /// Sends one request and waits for the answer's head. `head` is the whole head, blank line included.
    pub async fn send(&self, head: Vec<u8>, body: Bytes) -> Result<PendingResponse, BackendError> {
        let shared = &self.shared;
        let mut message = Message::new(head, body);
        let latest = Instant::now() + self.attempt_timeout();
        let mut deadline = Instant::now() + shared.response_timeout;
        let mut kept = loop {
            let Some(mut kept) = self.kept() else {
                let new = self.connect().await?;
                deadline = latest.min(Instant::now() + shared.response_timeout);
                break new;
            };
            match timeout_at(deadline, message.write_first(&mut kept.socket)).await {
                Ok(Ok(())) => break kept,
                // Not a byte was taken: the connection had died in the pool, and nothing is sent twice.
                Ok(Err(_)) if message.untouched() => continue,
                Ok(Err(e)) => return Err(BackendError::Unanswered(e.to_string())),
                Err(_) => return Err(BackendError::Timeout),
            }
        };
        let exchange = exchange(&mut message, &mut kept.socket);
        let reading = timeout_at(deadline, exchange).await.map_err(|_| BackendError::Timeout)??;
        Ok(PendingResponse { backend: self.clone(), kept, reading, deadline })
    }
}

impl PendingResponse {
    /// The answer's status and content type.
    pub fn head(&self) -> &ResponseHead {
        self.reading.head()
    }

    /// Reads the body, as much of it as is passed on, and gives the connection back if it can be used again. A body
    /// that breaks off or comes too late is cut where it stopped: the head has already said what happened.
    pub async fn finish(mut self) -> BackendResponse {
        let complete = loop {
            match self.reading.body_arrived() {
                Some(complete) => break complete,
                None => {
                    match timeout_at(self.deadline, self.kept.socket.read_buf(self.reading.buffer())).await {
                        Ok(Ok(0)) => break self.reading.ended(),
                        Ok(Ok(_)) => {}
                        Ok(Err(_)) | Err(_) => break false,
                    }
                }
            }
        };
        if complete && self.reading.reusable() {
            self.backend.keep(self.kept);
        }
        self.reading.into_answer()
    }
}

/// Sends what is left and waits for the answer's head. A backend may answer before it has read everything, and may
/// read no more after that: so it is listened to while there is still something to say.
async fn exchange(message: &mut Message, socket: &mut Socket) -> Result<Reading, BackendError> {
    let mut reading = Reading::new();
    while !reading.head_arrived()? {
        let read = poll_fn(|cx| {
            while message.unsent() > 0 {
                match message.poll_write(socket, cx) {
                    Poll::Ready(Ok(())) => {}
                    // It takes no more; what it had to say may have arrived before.
                    Poll::Ready(Err(_)) => message.give_up(),
                    Poll::Pending => break,
                }
            }
            pin!(socket.read_buf(reading.buffer())).poll(cx)
        });
        match read.await {
            Ok(0) => return Err(reading.broke_off()),
            Ok(_) => {}
            Err(e) => return Err(BackendError::Unanswered(e.to_string())),
        }
    }
    if !message.sent_whole() {
        reading.spoil();
    }
    Ok(reading)
}

/// A request on its way out; it knows whether any of it has left.
struct Message {
    head: Bytes,
    body: Bytes,
    length: usize,
    given_up: bool,
}

impl Message {
    fn new(mut head: Vec<u8>, mut body: Bytes) -> Message {
        let length = head.len() + body.len();
        if body.len() <= JOIN {
            head.extend_from_slice(&body);
            body = Bytes::new();
        }
        Message { head: head.into(), body, length, given_up: false }
    }

    fn untouched(&self) -> bool {
        self.unsent() == self.length
    }

    /// How much of it shall still leave.
    fn unsent(&self) -> usize {
        self.head.len() + self.body.len()
    }

    fn sent_whole(&self) -> bool {
        self.unsent() == 0 && !self.given_up
    }

    fn give_up(&mut self) {
        (self.head, self.body, self.given_up) = (Bytes::new(), Bytes::new(), true);
    }

    fn poll_write(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut both = (&mut self.head).chain(&mut self.body);
        pin!(socket.write_buf(&mut both)).poll(cx).map_ok(|_| ())
    }

    async fn write_first(&mut self, socket: &mut Socket) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(socket, cx)).await
    }
}
