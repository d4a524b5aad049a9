//! A pooled connection to the backend in pingora's hands, for one request: it writes the request's head in place of
//! pingora's, watches the response, and goes back to the pool of `backend` when pingora is done.

use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::response_watch::{Answers, ResponseNotes, ResponseWatch};
use crate::backend::{Backend, BackendStream, PooledConnection};
use crate::http1::head::RequestHead;

/// The line end of a head's last line, and the empty line after it.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A connection that is lent to pingora until it has no more use for it.
pub(super) struct PooledStream {
    /// The connection; `None` once it is back in the pool.
    connection: Option<PooledConnection>,
    backend: Backend,
    /// The head that goes out in place of pingora's, which is what pingora writes first; `None` after that.
    head: Option<Bytes>,
    /// What is left of the head to be written.
    unsent_head: Bytes,
    /// Reads the response before pingora does.
    watch: ResponseWatch,
    /// What pingora has yet to read of the outline and what came with the head.
    unread: Bytes,
}

impl PooledStream {
    /// Lends `connection` for the request with this head. What pingora does not say about the response is noted in `notes`.
    pub(super) fn new(
        connection: PooledConnection,
        backend: Backend,
        head: Bytes,
        is_upgrade: bool,
        notes: Arc<ResponseNotes>,
    ) -> Self {
        let is_head = head.starts_with(b"HEAD ");
        let answers = match (is_head, is_upgrade) {
            (_, true) => Answers::Upgrade(offered_protocols(&head)),
            (true, false) => Answers::Head,
            (false, false) => Answers::Other,
        };
        Self {
            connection: Some(connection),
            backend,
            head: Some(head),
            unsent_head: Bytes::new(),
            watch: ResponseWatch::new(answers, notes),
            unread: Bytes::new(),
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut BackendStream>> {
        self.connection
            .as_mut()
            .map(|connection| Pin::new(&mut connection.stream))
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Returns true if the request's head has gone out and the response has come to its end, so that the next response begins
    /// with the next byte.
    fn is_reusable(&self) -> bool {
        self.head.is_none()
            && self.unsent_head.is_empty()
            && self.unread.is_empty()
            && self.watch.is_complete()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent_head.is_empty() {
            let head = self.unsent_head.clone();
            let n = ready!(self.stream()?.poll_write(cx, &head))?;
            self.unsent_head.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns what the head of a request offers to switch to. Upgrades are rare, so nothing is kept for it.
fn offered_protocols(head: &[u8]) -> Vec<u8> {
    let head = RequestHead::parse(BytesMut::from(head));
    head.map(|head| head.values("upgrade").collect::<Vec<_>>().join(&b',')).unwrap_or_default()
}

impl std::fmt::Debug for PooledStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledStream").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl AsyncRead for PooledStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Before pooling a connection pingora reads one byte to check that it is still open; responses go into buffers of
        // kilobytes. EOF is reported, so that pingora drops the stream, and the connection returns to the backend's pool.
        if buf.capacity() == 1 {
            let is_reusable = self.is_reusable();
            if let Some(connection) = self.connection.take().filter(|_| is_reusable) {
                self.backend.put_idle(connection);
            }
            return Poll::Ready(Ok(()));
        }
        while self.unread.is_empty() {
            let before = buf.filled().len();
            ready!(self.stream()?.poll_read(cx, buf))?;
            if buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            if !self.watch.awaits_head() {
                self.watch.read(&buf.filled()[before..]);
                return Poll::Ready(Ok(()));
            }
            self.unread = self.watch.read_head(&buf.filled()[before..])?.into();
            buf.set_filled(before);
        }
        let n = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PooledStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(head) = self.head.take() {
            // pingora writes a head in one piece.
            if !buf.ends_with(HEAD_END) {
                return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
            }
            self.unsent_head = head;
            // What the kernel does not take now, it gets when pingora flushes.
            return match self.poll_head(cx) {
                Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
            };
        }
        ready!(self.poll_head(cx))?;
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_head(cx))?;
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_head(cx))?;
        self.stream()?.poll_shutdown(cx)
    }
}

impl VirtualSocket for PooledStream {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
