//! A client's connection: a read buffer in front of the socket, and the deadlines of its requests.
//!
//! It reads the head of every request, before anything decides who answers:
//!
//! ```text
//!  idle ──first byte────▶ head ──complete──▶ a webhook or an order: `take`, `fill` and `send` move body and response
//!   │ idle_timeout, drain   │ header_timeout: 408   └─ all else: `proxy` lends the connection to pingora
//!   │ or eviction: closed   │ max_head: 431
//! ```
//!
//! It knows neither routes nor responses, and it never decides who answers.

use bytes::{Buf, Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::admission::AdmissionPermit;
use super::limits::Limits;
use crate::http1::framing::HeadError;
use crate::http1::head::{self, RequestHead};
use crate::outcome::Outcome;
use crate::socket::{self, Socket};

/// How many bytes one read takes while a head is awaited, and how many of a later request are buffered ahead.
pub const READ_SIZE: usize = 4096;
/// How long a closing connection discards what its client still sends, and how long a body is discarded to keep one.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How many bytes a closing connection discards at most.
const LINGER_MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long an idle connection stays open once the program drains, since a request may be on its way.
pub const DRAIN_IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a new connection is safe from eviction: its first request is on its way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(200);
/// How long a client may take to read a response of Countersign's own, which is a head and 64 KiB at most.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection has no further request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadHeadError {
    /// The client closed the connection, or it was idle for too long, or while another client needed its place.
    Closed,
    /// The head is too slow, too large or malformed, and the client is to be told so.
    Rejected(Outcome),
}

/// A connection of a client.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    peer: Option<IpAddr>,
    limits: Arc<Limits>,
    /// What has been read from the socket and not been taken.
    read_buf: BytesMut,
    /// The deadline of whatever is awaited now: a head or the next request.
    deadline: Pin<Box<Sleep>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Set once the drain has shortened the deadline of this idle connection.
    drain_deadline_set: bool,
    /// True until the first request, or the end of the grace for it.
    is_new: bool,
    /// The connection's place among all. It is evictable between two requests.
    permit: AdmissionPermit,
}

impl Connection {
    /// Creates the connection for an accepted socket. `peer` is `None` over a Unix socket.
    pub(super) fn new(
        socket: Socket,
        peer: Option<IpAddr>,
        limits: Arc<Limits>,
        permit: AdmissionPermit,
    ) -> Self {
        let deadline = Box::pin(sleep(limits.header_timeout.min(FIRST_REQUEST_GRACE)));
        let draining = Box::pin(limits.drain.clone().cancelled_owned());
        Self {
            socket,
            peer,
            limits,
            read_buf: BytesMut::new(),
            deadline,
            draining,
            drain_deadline_set: false,
            is_new: true,
            permit,
        }
    }

    /// The address of the peer; `None` over a Unix socket.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// The socket, for a user that writes to it or reads past the buffer.
    pub(super) fn socket(&mut self) -> Pin<&mut Socket> {
        Pin::new(&mut self.socket)
    }

    /// The socket's file descriptor, as a number to tell connections apart.
    pub(super) fn fd(&self) -> i32 {
        socket::raw_fd(&self.socket)
    }

    /// Waits for the head of the next request, takes it out of the buffer and parses it.
    pub async fn read_head(&mut self) -> Result<RequestHead, ReadHeadError> {
        let length = self.buffer_head().await?;
        // Most requests are nothing but a head: their buffer moves into it without a reference count.
        let bytes = if self.read_buf.len() == length {
            std::mem::take(&mut self.read_buf)
        } else {
            self.read_buf.split_to(length)
        };
        RequestHead::parse(bytes).map_err(|error| {
            ReadHeadError::Rejected(match error {
                HeadError::TooManyHeaders => Outcome::HeaderTooLarge,
                HeadError::BareLineFeed | HeadError::Syntax | HeadError::TwoLengths | HeadError::Length => {
                    Outcome::RequestMalformed
                }
            })
        })
    }

    /// Reads until the buffer begins with a complete head, and returns the head's length.
    async fn buffer_head(&mut self) -> Result<usize, ReadHeadError> {
        let (mut scanned, mut timing) = (0, false);
        loop {
            if scanned == 0 {
                let blank = head::leading_blank(&self.read_buf);
                self.read_buf.advance(blank);
            }
            if let Some(length) = head::find_end(&self.read_buf, &mut scanned) {
                return if length > self.limits.max_head {
                    Err(ReadHeadError::Rejected(Outcome::HeaderTooLarge))
                } else {
                    Ok(length)
                };
            }
            if self.read_buf.len() > self.limits.max_head {
                return Err(ReadHeadError::Rejected(Outcome::HeaderTooLarge));
            }
            // A client that speaks another protocol waits for an answer, and never ends its head.
            if !head::can_begin_a_head(&self.read_buf) {
                return Err(ReadHeadError::Rejected(Outcome::RequestMalformed));
            }
            let begun = !self.read_buf.is_empty();
            // The deadline of a head runs from its first byte and is not extended by further ones.
            if begun && !timing {
                timing = true;
                self.set_deadline(self.limits.header_timeout);
            }
            match poll_fn(|cx| self.poll_more_head(begun, cx)).await {
                Ok(0) => return Err(ReadHeadError::Closed),
                Ok(_) => {
                    self.is_new = false;
                    self.permit.pin();
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn poll_more_head(&mut self, begun: bool, cx: &mut Context<'_>) -> Poll<Result<usize, ReadHeadError>> {
        if let Poll::Ready(read) = self.poll_fill(cx) {
            return Poll::Ready(read.map_err(|_| ReadHeadError::Closed));
        }
        if !begun && !self.drain_deadline_set && self.poll_draining(cx).is_ready() {
            self.drain_deadline_set = true;
            let end = self.deadline.deadline().min(Instant::now() + DRAIN_IDLE_TIMEOUT);
            self.deadline.as_mut().reset(end);
        }
        if !begun && self.is_new && self.poll_deadline(cx).is_ready() {
            self.is_new = false;
            let left = self.limits.header_timeout.saturating_sub(FIRST_REQUEST_GRACE);
            self.set_deadline(if self.drain_deadline_set { left.min(DRAIN_IDLE_TIMEOUT) } else { left });
        }
        if !begun && !self.is_new && self.permit.poll_evicted(cx).is_ready() {
            return Poll::Ready(Err(ReadHeadError::Closed));
        }
        ready!(self.poll_deadline(cx));
        let too_slow = ReadHeadError::Rejected(Outcome::HeaderTooSlow);
        Poll::Ready(Err(if begun { too_slow } else { ReadHeadError::Closed }))
    }

    /// Starts to wait for the next request.
    pub fn begin_idle(&mut self) {
        self.set_deadline(self.limits.idle_timeout);
        // Frees a large buffer: an idle connection holds one of READ_SIZE bytes, which its next read reserves.
        if self.read_buf.is_empty() {
            self.read_buf = BytesMut::new();
        }
    }

    /// Takes over the buffer of a head that is not needed any more, unless this connection has a buffer.
    pub(super) fn reuse_buffer(&mut self, mut buffer: BytesMut) {
        if self.read_buf.capacity() == 0 {
            buffer.clear();
            self.read_buf = buffer;
        }
    }

    fn set_deadline(&mut self, after: Duration) {
        self.deadline.as_mut().reset(Instant::now() + after);
    }

    /// Is ready once the deadline has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.deadline.as_mut().poll(cx)
    }

    /// Is ready once the program drains.
    pub(super) fn poll_draining(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.draining.as_mut().poll(cx)
    }

    /// The bytes that have been read and not been taken.
    pub fn buffered(&self) -> &[u8] {
        &self.read_buf
    }

    /// Takes the first `n` buffered bytes, without copying them.
    pub fn take(&mut self, n: usize) -> Bytes {
        self.read_buf.split_to(n).freeze()
    }

    /// Discards the first `n` buffered bytes.
    pub fn consume(&mut self, n: usize) {
        self.read_buf.advance(n);
    }

    /// Reads more into the buffer, which gets space for at least `additional` more bytes.
    pub async fn fill(&mut self, additional: usize) -> io::Result<usize> {
        self.read_buf.reserve(additional);
        self.socket.read_buf(&mut self.read_buf).await
    }

    /// Reads more into the buffer, one read's worth.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read_buf.reserve(READ_SIZE);
        pin!(self.socket.read_buf(&mut self.read_buf)).poll(cx)
    }

    /// Reads and discards `n` bytes.
    pub async fn skip(&mut self, n: usize) -> io::Result<()> {
        let mut left = n;
        loop {
            let now = left.min(self.read_buf.len());
            self.read_buf.advance(now);
            left -= now;
            if left == 0 {
                return Ok(());
            }
            if self.fill(READ_SIZE).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes a head and a body. A client that does not read them in time is given up.
    pub async fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let mut both = Buf::chain(head, body);
        match timeout(SEND_TIMEOUT, self.socket.write_all_buf(&mut both)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Shuts down the write side. The connection is closed when it is dropped.
    pub async fn close(&mut self) {
        let _ = timeout(LINGER_TIMEOUT, AsyncWriteExt::shutdown(&mut self.socket)).await;
    }

    /// Lingering close: shuts down the write side and discards what the client still sends, within [`LINGER_TIMEOUT`].
    /// Closing with unread data makes the kernel send RST, which can destroy the response before the client reads it.
    pub async fn linger_and_close(&mut self) {
        let discard = async {
            let _ = AsyncWriteExt::shutdown(&mut self.socket).await;
            let mut left = LINGER_MAX_BYTES;
            while left > 0 {
                self.read_buf.clear();
                match self.fill(READ_SIZE).await {
                    Ok(n) if n > 0 => left = left.saturating_sub(n),
                    Ok(_) | Err(_) => return,
                }
            }
        };
        let _ = timeout(LINGER_TIMEOUT, discard).await;
    }
}
