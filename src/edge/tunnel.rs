//! The backend's side of an upgrade, which holds pingora back for the sake of one poll.
//!
//! pingora 0.9 tells its upstream half that the request's body is over, and an upgraded connection ends when its body
//! does. A backend that answers 101 before that half has looked is taken for one whose client has hung up: one in
//! five WebSockets fails on a busy machine. So the first read after a write yields once, and what lies ready for that
//! half is taken before the answer is.

use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::upstream::Lent;

/// A connection to the backend for an upgrade.
#[derive(Debug)]
pub struct Tunnel {
    lent: Lent,
    written: bool,
}

impl Tunnel {
    /// Over this connection.
    pub fn new(lent: Lent) -> Tunnel {
        Tunnel { lent, written: false }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Not where pingora asks whether it can be put away.
        if std::mem::take(&mut self.written) && buf.capacity() > 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.lent).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.lent).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lent).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lent).poll_shutdown(cx)
    }
}

impl VirtualSocket for Tunnel {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
