//! A client's connection while pingora has it: a stream that holds exactly one request.
//!
//! pingora reads the outline of the head first and then the request's body, and nothing beyond it. What a client has sent
//! ahead stays in the connection's buffer for the next request, and the client's leaving is still seen. Only a response
//! without an end (a WebSocket, an event stream) lifts that bound. Such a connection is closed at once when the program
//! drains. What pingora writes leaves at once, but for a head whose body follows.

use bytes::Buf;
use pingora::protocols::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::body_limit::BodyLimit;
use super::body_wait::BodyWait;
use super::forwarded_request::ForwardedRequest;
use super::response_writes::ResponseWrites;
use crate::edge::connection::{Connection, READ_SIZE};
use crate::outcome::Outcome;

/// The most parts of one write: what is held back, and a chunk's size, data and line end.
const MAX_PARTS: usize = 4;

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
    /// The waits for the client within its body and the response's.
    body_wait: BodyWait,
    /// The request. pingora has yet to read what is left of its outline.
    request: ForwardedRequest,
    /// What pingora has written of the response.
    writes: ResponseWrites,
    /// Whether what takes the place of the current write stands in the buffer.
    is_replaced: bool,
    /// The kind of response: one of the constants above. Atomic since pingora's hooks see this stream shared.
    response_kind: AtomicU8,
    /// What pingora has written and the socket has not been given, or has not taken: a head whose body follows, trailers.
    write_buf: Vec<u8>,
}

impl ClientStream {
    /// Lends `connection` for this request, whose body the connection's buffer begins with.
    pub(super) fn new(connection: Box<Connection>, request: ForwardedRequest, body_wait: BodyWait) -> Self {
        Self {
            connection,
            body_limit: BodyLimit::new(request.framing),
            body_wait,
            request,
            writes: ResponseWrites::default(),
            is_replaced: false,
            response_kind: AtomicU8::new(NORMAL),
            write_buf: Vec::new(),
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

    /// The request.
    pub(super) fn request(&self) -> &ForwardedRequest {
        &self.request
    }

    /// Why the request was ended while its client was awaited; `None` if it was not.
    pub(super) fn ended(&self) -> Option<Outcome> {
        self.body_wait.ended()
    }

    /// Notes that the next head is not the backend's.
    pub(super) fn mark_own_response(&self) {
        self.writes.mark_own();
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
        let outline = &mut self.request.outline;
        let head_len = outline.len().min(to.remaining());
        to.put_slice(&outline[..head_len]);
        outline.advance(head_len);
        if !outline.is_empty() {
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

    /// Writes what is held back and at least one byte of `more`. Returns how many bytes of `more` were taken. A client may take
    /// nothing for as long as it likes, unless another request needs its place. A tunnel keeps it.
    fn poll_write_parts(&mut self, more: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let held = self.write_buf.len();
            if held == 0 && more.iter().all(|part| part.is_empty()) {
                return Poll::Ready(Ok(0));
            }
            let mut parts = [IoSlice::new(&[]); MAX_PARTS];
            parts[0] = IoSlice::new(&self.write_buf);
            for (part, more) in parts[1..].iter_mut().zip(more) {
                *part = IoSlice::new(more);
            }
            let n = match self.connection.socket().poll_write_vectored(cx, &parts) {
                Poll::Ready(written) => self.body_wait.stop_write().and(written)?,
                Poll::Pending if self.is_upgraded() => return Poll::Pending,
                Poll::Pending => return self.body_wait.poll_write_ended(cx).map(Err),
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.write_buf.drain(..n.min(held));
            if n > held {
                return Poll::Ready(Ok(n - held));
            }
        }
    }

    fn poll_write_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_parts(&[], cx).map_ok(drop)
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
        if !this.is_replaced {
            let Some(replacement) = this.writes.replace(buf, &this.request.notes) else {
                return this.poll_write_parts(&[IoSlice::new(buf)], cx);
            };
            this.write_buf.extend_from_slice(&replacement.bytes);
            if replacement.may_wait {
                return Poll::Ready(Ok(buf.len()));
            }
        }
        // pingora may wait for the backend after this write, so it has to be done.
        this.is_replaced = true;
        ready!(this.poll_write_buf(cx))?;
        this.is_replaced = false;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_parts(bufs, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
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
