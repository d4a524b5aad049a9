//! How pingora reaches the backend: over the connections that deliveries use too.
//!
//! pingora would keep connections itself, at the price of a task and a timer for each that it puts away and a
//! `getpeername` for each that it takes out: a tenth of a request. So it gets a connector that it takes every
//! connection from as if it were new. One that it has no more use for it asks first whether it is still open, to put it
//! away: it is told that it is not, and the connection is put away here.

use async_trait::async_trait;
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
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tunnel::Tunnel;
use crate::backend::Backend;
use crate::socket::Socket;

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

    /// What takes a request there: for one that asks for an `upgrade`, a connection of its own.
    pub fn connector(&self, upgrade: bool) -> Connector {
        Connector(Arc::new(Connecting {
            backend: self.backend.clone(),
            upgrade,
            kept: AtomicBool::new(false),
        }))
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
        let kept = if self.upgrade { None } else { self.backend.kept() };
        self.kept.store(kept.is_some(), Ordering::Relaxed);
        let socket = match kept {
            Some(socket) => socket,
            None => self.backend.connect().await.or_err(ErrorType::ConnectError, "to the backend")?,
        };
        let socket: Box<dyn VirtualSocket> = match self.upgrade {
            true => Box::new(Tunnel::new(socket)),
            false => Box::new(Lent { socket: Some(socket), backend: self.backend.clone() }),
        };
        Ok(Stream::from(VirtualSocketStream::new(socket)))
    }
}

/// A connection in pingora's hands, until it has no more use for it.
struct Lent {
    socket: Option<Socket>,
    backend: Backend,
}

impl Lent {
    fn socket(&mut self) -> io::Result<Pin<&mut Socket>> {
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent").field("socket", &self.socket).finish_non_exhaustive()
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
            if let Some(socket) = self.socket.take() {
                self.backend.keep(socket);
            }
            return Poll::Ready(Ok(()));
        }
        self.socket()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(cx)
    }
}

impl VirtualSocket for Lent {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
