//! A client's connection: the deadlines that pingora does not have, and the closing of what would outlast the program.
//!
//! pingora bounds each read, not a head, and lets a kept-alive connection idle for ever. So the stream that it reads
//! from is this one, which knows in which phase the connection is; the proxy's hooks move it on.
//!
//! ```text
//!  IDLE ──first byte──▶ HEAD ──head whole──▶ BUSY ──answered──▶ IDLE
//!   │ idle_timeout,      │ header_timeout:    └─ 101, event stream ─▶ STREAMING, closed at once by a drain
//!   │ or drain: closed   │ 408; 64 KiB: 431
//! ```

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::reply;
use crate::outcome::Outcome;
use crate::socket::Socket;

/// A request's head may be as long as this, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Writes shorter than this wait for the next one or a flush, so that a head and its body leave together.
const COALESCE: usize = 1460;
/// How long an idle connection stays open once the program drains. A request that its client had already sent is
/// answered; closing at once would lose it.
const LINGER: Duration = Duration::from_secs(1);

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
const STREAMING: u8 = 3;
/// Idle since just now: the deadline is still that of the phase before.
const ANSWERED: u8 = 4;

/// What every connection of a listener has in common.
#[derive(Debug)]
pub struct Limits {
    /// For the whole head of a request, from its first byte, or from the connection's begin.
    pub header_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// The program's end.
    pub drain: CancellationToken,
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    peer: Option<IpAddr>,
    limits: Arc<Limits>,
    phase: AtomicU8,
    deadline: Pin<Box<Sleep>>,
    /// The deadline is that of the head under way.
    timing_head: bool,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    lingering: bool,
    head_bytes: usize,
    out: Vec<u8>,
    /// Gives the connection's place back when it is dropped.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// A connection from `peer` (`None`: over a Unix socket).
    pub fn new(socket: Socket, peer: Option<IpAddr>, limits: Arc<Limits>, permit: OwnedSemaphorePermit) -> Connection {
        let deadline = Box::pin(sleep(limits.header_timeout));
        let draining = Box::pin(limits.drain.clone().cancelled_owned());
        Connection {
            socket,
            peer,
            limits,
            phase: AtomicU8::new(IDLE),
            deadline,
            timing_head: false,
            draining,
            lingering: false,
            head_bytes: 0,
            out: Vec::new(),
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

    /// A request's head is whole: from here on its handler keeps the time.
    pub fn busy(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// Its answer is given: the next request may come.
    pub fn idle(&self) {
        self.phase.store(ANSWERED, Ordering::Relaxed);
    }

    /// Its answer is without end: a WebSocket, an event stream.
    pub fn streaming(&self) {
        self.phase.store(STREAMING, Ordering::Relaxed);
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn set_deadline(&mut self, after: Duration) {
        self.deadline.as_mut().reset(Instant::now() + after);
    }

    /// Bytes of a head arrived.
    fn took_head(&mut self, n: usize) -> io::Result<()> {
        if self.phase() != HEAD {
            self.phase.store(HEAD, Ordering::Relaxed);
            self.head_bytes = 0;
            self.timing_head = false;
        }
        self.head_bytes += n;
        if self.head_bytes > MAX_HEAD { Err(self.refuse(Outcome::HeaderTooLarge)) } else { Ok(()) }
    }

    /// No more bytes of a head for now. Ready once the rest has taken too long.
    fn poll_head_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.timing_head {
            self.timing_head = true;
            self.set_deadline(self.limits.header_timeout);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(self.refuse(Outcome::HeaderTooSlow)))
    }

    /// No request. Ready, as the end of the stream, once the connection has idled too long.
    fn poll_idle_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.phase() == ANSWERED {
            self.phase.store(IDLE, Ordering::Relaxed);
            self.set_deadline(self.limits.idle_timeout);
        }
        if !self.lingering && self.draining.as_mut().poll(cx).is_ready() {
            self.lingering = true;
            let end = self.deadline.deadline().min(Instant::now() + LINGER);
            self.deadline.as_mut().reset(end);
        }
        self.deadline.as_mut().poll(cx).map(Ok)
    }

    /// Says why, as far as the socket takes it at once, and ends the connection.
    fn refuse(&mut self, outcome: Outcome) -> io::Error {
        let _ = self.socket.try_write(&reply::raw(outcome));
        io::Error::new(io::ErrorKind::TimedOut, outcome.code())
    }

    fn poll_drain_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        match (this.phase(), read) {
            (BUSY, read) => read,
            (STREAMING, Poll::Pending) => this.draining.as_mut().poll(cx).map(Ok),
            (STREAMING, read) => read,
            (HEAD, Poll::Pending) => this.poll_head_overdue(cx),
            (_, Poll::Pending) => this.poll_idle_overdue(cx),
            (_, Poll::Ready(Ok(()))) => match buf.filled().len() - before {
                0 => Poll::Ready(Ok(())),
                n => Poll::Ready(this.took_head(n)),
            },
            (_, Poll::Ready(Err(e))) => Poll::Ready(Err(e)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.out.is_empty() && buf.len() < COALESCE {
            this.out.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        loop {
            let held = this.out.len();
            let both = [IoSlice::new(&this.out), IoSlice::new(buf)];
            let n = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, &both))?;
            this.out.drain(..n.min(held));
            if n > held {
                return Poll::Ready(Ok(n - held));
            }
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain_out(cx))?;
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
        self.socket.fd()
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
