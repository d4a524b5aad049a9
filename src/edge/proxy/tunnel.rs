//! The backend's side of an upgrade, which delays pingora by one poll.
//!
//! pingora 0.9 tells its upstream half that the request's body is over, and an upgraded connection ends with its body. A
//! backend that answers 101 before that half has looked seems to have a client that hung up: one in five WebSockets fails
//! on a busy machine. So the first read after a write yields once. pingora then takes what lies ready for that half
//! before it takes the response.

use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pooled_stream::PooledStream;

/// A connection to the backend for an upgrade.
#[derive(Debug)]
pub(super) struct Tunnel {
    stream: PooledStream,
    /// True if something was written since the last read.
    written: bool,
}

impl Tunnel {
    /// Creates the tunnel over this connection.
    pub(super) fn new(stream: PooledStream) -> Self {
        Self { stream, written: false }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // pingora's check whether the connection can be pooled, a read of one byte, is not delayed.
        if std::mem::take(&mut self.written) && buf.capacity() > 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl VirtualSocket for Tunnel {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
