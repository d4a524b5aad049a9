//! A client's connection while pingora has it: a stream that holds exactly one request.
//!
//! pingora reads the rewritten head first and then the request's body, and nothing beyond it. What a client has sent ahead
//! stays in the connection's buffer for the next request, and the client's leaving is still seen. Only a response without
//! an end (a WebSocket, an event stream) lifts that bound. Such a connection is closed at once when the program drains.

use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::body_limit::BodyLimit;
use super::body_wait::BodyWait;
use super::form_check::FormCheck;
use crate::edge::connection::{Connection, READ_SIZE};
use crate::edge::headers::RewrittenHead;
use crate::http1::framing::Framing;
use crate::outcome::Outcome;

/// Writes shorter than this wait for the next one or a flush, so that a head and its body leave together.
const COALESCE: usize = 1460;

/// A response with an end of its own.
const NORMAL: u8 = 0;
/// A response without an end: it is closed at once when the program drains.
const STREAMING: u8 = 1;
/// A switch of protocols: without an end, and what the client sends belongs to it and to no next request.
const UPGRADED: u8 = 2;

/// A connection that pingora forwards one request of.
#[derive(Debug)]
pub(super) struct ClientStream {
    connection: Box<Connection>,
    /// What pingora may still read of the request's body.
    body_limit: BodyLimit,
    /// The wait for the next bytes of that body.
    body_wait: BodyWait,
    /// What pingora has yet to read of the head, in place of the one that came.
    rewritten_head: BytesMut,
    /// The lines that the head gets on the way to the backend.
    appended_headers: Bytes,
    /// The check of the request's form, if it has one.
    form: Option<FormCheck>,
    /// The kind of response: one of the constants above. Atomic since pingora's hooks see this stream shared.
    response_kind: AtomicU8,
    /// What pingora has written and the socket has not taken.
    write_buf: Vec<u8>,
    /// True while the client takes nothing; the connection's deadline says until when it may.
    stalled: bool,
}

impl ClientStream {
    /// Lends `connection` for the request with this head and framing, whose body the connection's buffer begins with.
    pub(super) fn new(
        connection: Box<Connection>,
        head: RewrittenHead,
        framing: Framing,
        form: Option<FormCheck>,
        body_wait: BodyWait,
    ) -> Self {
        Self {
            connection,
            body_limit: BodyLimit::new(framing),
            body_wait,
            rewritten_head: head.head,
            appended_headers: head.appended_headers,
            form,
            response_kind: AtomicU8::new(NORMAL),
            write_buf: Vec::new(),
            stalled: false,
        }
    }

    /// The stream under a session of pingora's, if it is one of these.
    pub(super) fn downcast_ref(stream: Option<&Stream>) -> Option<&Self> {
        stream.and_then(|stream| (**stream).as_any().downcast_ref())
    }

    /// Takes the connection back once pingora is done with the request; `None` if it cannot carry another one.
    pub(super) async fn into_connection(stream: Stream) -> Option<Box<Connection>> {
        let mut stream: Box<Self> = stream.into_any().downcast().ok()?;
        // What is still buffered belongs to the response that has ended.
        stream.flush().await.ok()?;
        Some(stream.connection)
    }

    /// A number that tells this connection from every other open one.
    pub(super) fn id(&self) -> i32 {
        self.connection.fd()
    }

    /// The lines that the head gets on the way to the backend.
    pub(super) fn appended_headers(&self) -> Bytes {
        self.appended_headers.clone()
    }

    /// The check of the request's form, if it has one.
    pub(super) fn form(&self) -> Option<&FormCheck> {
        self.form.as_ref()
    }

    /// Why the request was ended while its client was awaited; `None` if it was not.
    pub(super) fn ended(&self) -> Option<Outcome> {
        self.body_wait.ended()
    }

    /// Notes that the response is a stream of events.
    pub(super) fn mark_streaming(&self) {
        self.response_kind.store(STREAMING, Ordering::Relaxed);
    }

    /// Notes that the response switches protocols.
    pub(super) fn mark_upgraded(&self) {
        self.response_kind.store(UPGRADED, Ordering::Relaxed);
    }

    fn is_upgraded(&mut self) -> bool {
        *self.response_kind.get_mut() == UPGRADED
    }

    /// Feeds to pingora what it may read and what is here. Returns how many bytes those were.
    fn feed(&mut self, to: &mut ReadBuf<'_>) -> usize {
        let head_len = self.rewritten_head.len().min(to.remaining());
        to.put_slice(&self.rewritten_head[..head_len]);
        self.rewritten_head.advance(head_len);
        if !self.rewritten_head.is_empty() {
            return head_len;
        }
        let buffered = self.connection.buffered();
        let limit = buffered.len().min(to.remaining());
        let n = match *self.response_kind.get_mut() {
            UPGRADED => limit,
            _ => self.body_limit.take(&buffered[..limit]),
        };
        to.put_slice(&buffered[..n]);
        self.connection.consume(n);
        head_len + n
    }

    /// Returns true once pingora has read the whole request.
    fn is_drained(&mut self) -> bool {
        !self.is_upgraded() && self.body_limit.is_reached()
    }

    /// Waits for the client to leave, which is what pingora reads for now. Bytes of the next request are kept from it.
    fn poll_disconnected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.buffered().len() < READ_SIZE {
            match self.connection.poll_fill(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        self.poll_cut_off(cx)
    }

    /// Ends a response without an end, as if the client had left, when the program drains.
    fn poll_cut_off(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self.response_kind.get_mut() {
            NORMAL => Poll::Pending,
            _ => self.connection.poll_draining(cx).map(Ok),
        }
    }

    /// Reads the next bytes of the body past the connection's buffer, which is empty. `limit` is how many may be read.
    fn poll_read_socket(
        &mut self,
        limit: usize,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let socket = self.connection.socket();
        if limit >= buf.remaining() {
            let before = buf.filled().len();
            return socket.poll_read(cx, buf).map_ok(|()| buf.filled().len() - before);
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(limit));
        let read = socket.poll_read(cx, &mut part).map_ok(|()| part.filled().len());
        if let Poll::Ready(Ok(n)) = read {
            buf.advance(n);
        }
        read
    }

    /// Writes the buffer and `more`. A client that takes nothing holds its place for `idle_timeout` at most. The
    /// connection's deadline is free for it, since no head is awaited.
    fn poll_write_out(&mut self, more: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let both = [IoSlice::new(&self.write_buf), IoSlice::new(more)];
        match self.connection.socket().poll_write_vectored(cx, &both) {
            Poll::Ready(Ok(0)) if !(self.write_buf.is_empty() && more.is_empty()) => {
                Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
            }
            Poll::Ready(written) => {
                self.stalled = false;
                Poll::Ready(written)
            }
            Poll::Pending => {
                if !self.stalled {
                    self.stalled = true;
                    self.connection.set_idle_deadline();
                }
                self.connection.poll_deadline(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn poll_write_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.write_buf.is_empty() {
            let n = ready!(self.poll_write_out(&[], cx))?;
            self.write_buf.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.feed(buf) > 0 {
            return Poll::Ready(Ok(()));
        }
        if this.is_drained() {
            return this.poll_disconnected(cx);
        }
        // A body of known length, or a stream without an end, need not go through the connection's buffer.
        let limit = if this.is_upgraded() { Some(usize::MAX) } else { this.body_limit.known() };
        let read = match limit {
            Some(limit) => this.poll_read_socket(limit, cx, buf).map_ok(|n| this.body_limit.reduce(n)),
            None => this.connection.poll_fill(cx).map_ok(|n| {
                if n > 0 {
                    this.feed(buf);
                }
            }),
        };
        match read {
            Poll::Ready(read) => Poll::Ready(this.body_wait.stop().and(read)),
            // The client of a tunnel may be silent for ever.
            Poll::Pending if this.is_upgraded() => {
                let _ = this.body_wait.stop();
                this.poll_cut_off(cx)
            }
            Poll::Pending => match this.poll_cut_off(cx) {
                Poll::Ready(end) => Poll::Ready(end),
                Poll::Pending => this.body_wait.poll_ended(cx).map(Err),
            },
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.write_buf.is_empty() && buf.len() < COALESCE {
            this.write_buf.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        loop {
            let held = this.write_buf.len();
            let n = ready!(this.poll_write_out(buf, cx))?;
            this.write_buf.drain(..n.min(held));
            if n > held || buf.is_empty() {
                return Poll::Ready(Ok(n.saturating_sub(held)));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_write_buf(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_buf(cx))?;
        this.connection.socket().poll_shutdown(cx)
    }
}
