//! How pingora reaches the backend: over the connections that deliveries use too.
//!
//! pingora would keep connections itself, at the price of a task and a timer for each that it puts away and a
//! `getpeername` for each that it takes out: a tenth of a request. So it gets a connector that it takes every
//! connection from as if it were new. One that it has no more use for it asks first whether it is still open, to put it
//! away: it is told that it is not, and the connection is put away here.
//!
//! For the same price, what we add to a request's head joins it here, in what pingora has written.

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora::connectors::l4::Connect;
use pingora::prelude::*;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tunnel::Tunnel;
use crate::backend::{Backend, PooledConnection};
use crate::socket::Socket;

/// How a head ends, after the end of its last line.
const END: &[u8] = b"\r\n";

/// The backend, for pingora.
pub struct Upstream {
    backend: Backend,
    /// Copied for each request. Where it really goes, the connector decides.
    nowhere: HttpPeer,
}

/// Connects one request to the backend.
#[derive(Clone)]
pub struct Connector(Arc<Connecting>);

struct Connecting {
    backend: Backend,
    upgrade: bool,
    added: Bytes,
    /// It went out over a connection that had been used before.
    kept: AtomicBool,
}

impl Upstream {
    /// The backend that `backend` delivers to.
    pub fn new(backend: Backend) -> Upstream {
        let nowhere = HttpPeer::new((Ipv4Addr::UNSPECIFIED, 0), false, String::new());
        // No read timeout: it would cut WebSockets and event streams that idle.
        Upstream { backend, nowhere }
    }

    /// What takes a request there, with these lines at the end of its head: for one that asks for an `upgrade`, a
    /// connection of its own.
    pub fn connector(&self, upgrade: bool, added: Bytes) -> Connector {
        let (backend, kept) = (self.backend.clone(), AtomicBool::new(false));
        Connector(Arc::new(Connecting { backend, upgrade, added, kept }))
    }

    /// The same as pingora wants it.
    pub fn peer(&self, connector: &Connector) -> Box<HttpPeer> {
        let mut peer = Box::new(self.nowhere.clone());
        peer.options.custom_l4 = Some(connector.0.clone());
        peer
    }
}

impl Connector {
    /// Whether the connection may have died in the pool, so that a failure says nothing of the backend.
    pub fn kept(&self) -> bool {
        self.0.kept.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connecting").field("upgrade", &self.upgrade).finish_non_exhaustive()
    }
}

#[async_trait]
impl Connect for Connecting {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let kept = if self.upgrade { None } else { self.backend.take_idle() };
        self.kept.store(kept.is_some(), Ordering::Relaxed);
        let kept = match kept {
            Some(kept) => kept,
            None => self.backend.connect().await.or_err(ErrorType::ConnectError, "to the backend")?,
        };
        let (backend, added) = (self.backend.clone(), Some(self.added.clone()));
        let lent = Lent { kept: Some(kept), backend, added, head: Bytes::new(), last: false };
        let socket: Box<dyn VirtualSocket> =
            if self.upgrade { Box::new(Tunnel::new(lent)) } else { Box::new(lent) };
        Ok(Stream::from(VirtualSocketStream::new(socket)))
    }
}

/// A connection in pingora's hands, until it has no more use for it.
pub struct Lent {
    kept: Option<PooledConnection>,
    backend: Backend,
    /// What the head, which is what pingora writes first, has yet to get.
    added: Option<Bytes>,
    /// What is left of it to be sent.
    head: Bytes,
    /// The connection is closed after this request.
    last: bool,
}

impl Lent {
    fn socket(&mut self) -> io::Result<Pin<&mut Socket>> {
        self.kept
            .as_mut()
            .map(|kept| Pin::new(&mut kept.socket))
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.head.is_empty() {
            let head = self.head.clone();
            let n = ready!(self.socket()?.poll_write(cx, &head))?;
            self.head.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Only a connection to be put away is read one byte at a time: answers go into buffers of kilobytes.
        if buf.capacity() == 1 {
            if let Some(kept) = self.kept.take().filter(|_| !self.last) {
                self.backend.put_idle(kept);
            }
            return Poll::Ready(Ok(()));
        }
        self.socket()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(added) = self.added.take() {
            // Some apps send a body after a HEAD all the same: to whoever comes next it would be the app's answer.
            self.last = buf.starts_with(b"HEAD ");
            // pingora writes a head in one piece.
            let Some(fields) = buf.strip_suffix(END).filter(|fields| fields.ends_with(END)) else {
                return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
            };
            self.head = [fields, &added, END].concat().into();
            // What the kernel does not take now, it is given when pingora flushes.
            return match self.poll_head(cx) {
                Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
            };
        }
        ready!(self.poll_head(cx))?;
        self.socket()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_head(cx))?;
        self.socket()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_head(cx))?;
        self.socket()?.poll_shutdown(cx)
    }
}

impl VirtualSocket for Lent {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
