//! A client's connection: a buffer in front of the socket, the deadlines that pingora does not have, and for pingora
//! a stream that holds exactly one request.
//!
//! A request's head is read here, by [`Connection::head`], before anyone decides who answers it:
//!
//! ```text
//!  idle ──first byte──▶ head ──whole──▶ a webhook or an order: body and answer go through `take`, `fill`, `send`
//!   │ idle_timeout,      │ header_timeout: 408       └─ all else: `pass`, and pingora reads a head from here
//!   │ or drain: closed   │ 64 KiB: 431
//! ```
//!
//! What pingora reads ends with the request's body: what a client has sent beyond it stays in the buffer for the next
//! request, and the client's leaving is still seen. Only an answer without end (a WebSocket, an event stream) lifts
//! that bound, and such a connection is closed at once when the program drains.

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::forwarded::Rewritten;
use crate::http1::chunked::{Decoder, Step};
use crate::http1::head::{self, Framing};
use crate::outcome::Outcome;
use crate::socket::{self, Socket};

/// A request's head may be as long as this, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// What is read at once while a head is awaited, and what is kept of a client that sends ahead.
const READ: usize = 4096;
/// Writes shorter than this wait for the next one or a flush, so that a head and its body leave together.
const COALESCE: usize = 1460;
/// How long an idle connection stays open once the program drains. A request that its client had already sent is
/// answered; closing at once would lose it.
const LINGER: Duration = Duration::from_secs(1);
/// How long a client may take to read an answer of ours, which is a head and 64 KiB at most.
const SEND: Duration = Duration::from_secs(10);

/// An answer with an end of its own.
const ORDINARY: u8 = 0;
/// One without: it is closed at once when the program drains.
const ENDLESS: u8 = 1;
/// The same, and what the client sends belongs to it and to no next request.
const UPGRADED: u8 = 2;

/// What every connection of a listener has in common.
#[derive(Debug)]
pub struct Limits {
    /// For the whole head of a request, from its first byte; before the first request from the connection's begin.
    pub header_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// The program's end.
    pub drain: CancellationToken,
}

/// Why there is no further request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client has left, or the connection has idled long enough.
    Closed,
    /// The client is to be told why.
    Refused(Outcome),
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    peer: Option<IpAddr>,
    limits: Arc<Limits>,
    inbox: BytesMut,
    deadline: Pin<Box<Sleep>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    lingering: bool,
    /// What pingora may still read of the request it has.
    bound: Bound,
    /// The head that pingora reads first, in place of the one that came.
    ahead: Bytes,
    /// The lines that its head gets on the way to the backend.
    added: Bytes,
    /// What kind of answer pingora gives: one of the constants above.
    answer: AtomicU8,
    outbox: Vec<u8>,
    /// The client takes nothing at present; the deadline says until when it may.
    stalled: bool,
    /// Gives the connection's place back when it is dropped.
    _permit: OwnedSemaphorePermit,
}

/// How much of a request's body has yet to be handed over.
#[derive(Debug)]
enum Bound {
    /// So many bytes.
    Length(u64),
    /// What the decoder takes.
    Chunked(Decoder),
}

impl Connection {
    /// A connection from `peer` (`None`: over a Unix socket).
    pub fn new(
        socket: Socket,
        peer: Option<IpAddr>,
        limits: Arc<Limits>,
        permit: OwnedSemaphorePermit,
    ) -> Connection {
        let deadline = Box::pin(sleep(limits.header_timeout));
        let draining = Box::pin(limits.drain.clone().cancelled_owned());
        Connection {
            socket,
            peer,
            limits,
            inbox: BytesMut::new(),
            deadline,
            draining,
            lingering: false,
            bound: Bound::Length(0),
            ahead: Bytes::new(),
            added: Bytes::new(),
            answer: AtomicU8::new(ORDINARY),
            outbox: Vec::new(),
            stalled: false,
            _permit: permit,
        }
    }

    /// The connection under a session, if it is one of ours.
    pub fn under(stream: Option<&Stream>) -> Option<&Connection> {
        stream.and_then(|stream| (**stream).as_any().downcast_ref())
    }

    /// Whose it is; `None` over a Unix socket.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Waits for the next request's head and tells its length; [`Connection::buffered`] begins with it.
    pub async fn head(&mut self) -> Result<usize, End> {
        let (mut scanned, mut timing) = (0, false);
        loop {
            if scanned == 0 {
                let blank = head::leading_blank(&self.inbox);
                self.inbox.advance(blank);
            }
            if let Some(length) = head::find_end(&self.inbox, &mut scanned) {
                return if length > MAX_HEAD {
                    Err(End::Refused(Outcome::HeaderTooLarge))
                } else {
                    Ok(length)
                };
            }
            if self.inbox.len() > MAX_HEAD {
                return Err(End::Refused(Outcome::HeaderTooLarge));
            }
            let begun = !self.inbox.is_empty();
            if begun && !timing {
                timing = true;
                self.set_deadline(self.limits.header_timeout);
            }
            self.inbox.reserve(READ);
            match poll_fn(|cx| self.poll_more_head(begun, cx)).await {
                Ok(0) => return Err(End::Closed),
                Ok(_) => {}
                Err(end) => return Err(end),
            }
        }
    }

    /// The next request is waited for from now on.
    pub fn rest(&mut self) {
        self.set_deadline(self.limits.idle_timeout);
        if self.inbox.is_empty() {
            // An idle connection holds no buffer: there may be thousands.
            self.inbox = BytesMut::new();
        }
    }

    fn poll_more_head(&mut self, begun: bool, cx: &mut Context<'_>) -> Poll<Result<usize, End>> {
        let read = {
            let mut reading = std::pin::pin!(self.socket.read_buf(&mut self.inbox));
            reading.as_mut().poll(cx)
        };
        if let Poll::Ready(read) = read {
            return Poll::Ready(read.map_err(|_| End::Closed));
        }
        if !begun && !self.lingering && self.draining.as_mut().poll(cx).is_ready() {
            self.lingering = true;
            let end = self.deadline.deadline().min(Instant::now() + LINGER);
            self.deadline.as_mut().reset(end);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(if begun { End::Refused(Outcome::HeaderTooSlow) } else { End::Closed }))
    }

    fn set_deadline(&mut self, after: Duration) {
        self.deadline.as_mut().reset(Instant::now() + after);
    }

    /// What has been read and not been taken.
    pub fn buffered(&self) -> &[u8] {
        &self.inbox
    }

    /// Takes the first `n` buffered bytes, without copying them.
    pub fn take(&mut self, n: usize) -> Bytes {
        self.inbox.split_to(n).freeze()
    }

    /// Reads more into the buffer, which is made to hold `room` more bytes at least.
    pub async fn fill(&mut self, room: usize) -> io::Result<usize> {
        self.inbox.reserve(room);
        self.socket.read_buf(&mut self.inbox).await
    }

    /// Reads `n` bytes away.
    pub async fn skip(&mut self, n: usize) -> io::Result<()> {
        let mut left = n;
        loop {
            let now = left.min(self.inbox.len());
            self.inbox.advance(now);
            left -= now;
            if left == 0 {
                return Ok(());
            }
            if self.fill(READ).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes all of it; a client that does not read in time is given up.
    pub async fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let mut both = Buf::chain(head, body);
        match timeout(SEND, self.socket.write_all_buf(&mut both)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Says no more, and reads away what the client has still on its way, for a while: a connection closed over
    /// unread bytes takes back the answer that was written.
    pub async fn part(&mut self, patience: Duration, most: usize) {
        let parting = async {
            let _ = AsyncWriteExt::shutdown(&mut self.socket).await;
            let mut left = most;
            while left > 0 {
                self.inbox.clear();
                match self.fill(READ).await {
                    Ok(n) if n > 0 => left = left.saturating_sub(n),
                    Ok(_) | Err(_) => return,
                }
            }
        };
        let _ = timeout(patience, parting).await;
    }

    /// From here on pingora reads: the request whose head of `length` bytes begins the buffer, `rewritten`.
    pub fn pass(&mut self, length: usize, framing: Framing, rewritten: Rewritten) {
        self.inbox.advance(length);
        (self.ahead, self.added) = (rewritten.head.into(), rewritten.added.into());
        *self.answer.get_mut() = ORDINARY;
        self.bound = match framing {
            Framing::Length(body) => Bound::Length(body),
            Framing::Chunked => Bound::Chunked(Decoder::new()),
        };
    }

    /// The lines that the head of the request in hand gets on the way to the backend.
    pub fn added(&self) -> Bytes {
        self.added.clone()
    }

    /// The answer is a stream of events.
    pub fn mark_endless(&self) {
        self.answer.store(ENDLESS, Ordering::Relaxed);
    }

    /// The answer switches protocols.
    pub fn mark_upgraded(&self) {
        self.answer.store(UPGRADED, Ordering::Relaxed);
    }

    /// Moves what may be handed over and is here; how many bytes those were.
    fn hand_over(&mut self, to: &mut ReadBuf<'_>) -> usize {
        let of_head = self.ahead.len().min(to.remaining());
        to.put_slice(&self.ahead.split_to(of_head));
        if !self.ahead.is_empty() {
            return of_head;
        }
        let room = self.inbox.len().min(to.remaining());
        let n = match &mut self.bound {
            _ if *self.answer.get_mut() == UPGRADED => room,
            Bound::Length(left) => {
                let n = room.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                n
            }
            Bound::Chunked(decoder) => {
                let mut body = &self.inbox[..room];
                // What is not the coding is for pingora to refuse: it gets everything.
                match decoder.feed(&mut body, |_| {}) {
                    Step::More | Step::Done => room - body.len(),
                    Step::Faulty => room,
                }
            }
        };
        to.put_slice(&self.inbox[..n]);
        self.inbox.advance(n);
        of_head + n
    }

    /// All of the request has been handed over.
    fn handed_over(&mut self) -> bool {
        match &self.bound {
            _ if *self.answer.get_mut() == UPGRADED => false,
            Bound::Length(left) => *left == 0,
            Bound::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// pingora asks whether the client is still there: it is not told of bytes that belong to the next request.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.inbox.len() < READ {
            self.inbox.reserve(READ);
            let mut reading = std::pin::pin!(self.socket.read_buf(&mut self.inbox));
            match reading.as_mut().poll(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        self.poll_cut_off(cx)
    }

    /// An answer without end is over, for the client's side, when the program drains.
    fn poll_cut_off(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self.answer.get_mut() {
            ORDINARY => Poll::Pending,
            _ => self.draining.as_mut().poll(cx).map(Ok),
        }
    }

    /// Writes for pingora. A client that takes nothing holds its place for `idle_timeout` at most; the deadline is free
    /// for it, since no head is awaited meanwhile.
    fn poll_write_out(&mut self, also: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let both = [IoSlice::new(&self.outbox), IoSlice::new(also)];
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, &both);
        match written {
            Poll::Ready(Ok(0)) if !(self.outbox.is_empty() && also.is_empty()) => {
                Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
            }
            Poll::Ready(written) => {
                self.stalled = false;
                Poll::Ready(written)
            }
            Poll::Pending => {
                if !self.stalled {
                    self.stalled = true;
                    self.set_deadline(self.limits.idle_timeout);
                }
                self.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let n = ready!(self.poll_write_out(&[], cx))?;
            self.outbox.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hand_over(buf) > 0 {
            return Poll::Ready(Ok(()));
        }
        if this.handed_over() {
            return this.poll_leaving(cx);
        }
        // The buffer is empty. A body of known length, or one without end, need not go through it.
        let most = match &this.bound {
            _ if *this.answer.get_mut() == UPGRADED => usize::MAX,
            Bound::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Bound::Chunked(..) => {
                this.inbox.reserve(READ);
                let mut reading = std::pin::pin!(this.socket.read_buf(&mut this.inbox));
                if ready!(reading.as_mut().poll(cx))? > 0 {
                    this.hand_over(buf);
                }
                return Poll::Ready(Ok(()));
            }
        };
        let read = if most >= buf.remaining() {
            let before = buf.filled().len();
            Pin::new(&mut this.socket).poll_read(cx, buf).map_ok(|()| buf.filled().len() - before)
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            let read = Pin::new(&mut this.socket).poll_read(cx, &mut part).map_ok(|()| part.filled().len());
            if let Poll::Ready(Ok(n)) = read {
                buf.advance(n);
            }
            read
        };
        match read {
            Poll::Ready(Ok(n)) => {
                if let Bound::Length(left) = &mut this.bound {
                    *left = left.saturating_sub(n as u64);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => this.poll_cut_off(cx),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outbox.is_empty() && buf.len() < COALESCE {
            this.outbox.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        loop {
            let held = this.outbox.len();
            let n = ready!(this.poll_write_out(buf, cx))?;
            this.outbox.drain(..n.min(held));
            if n > held || buf.is_empty() {
                return Poll::Ready(Ok(n.saturating_sub(held)));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_outbox(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outbox(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        socket::raw_fd(&self.socket)
    }
}

impl Ssl for Connection {}
impl Peek for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
