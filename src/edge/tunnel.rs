//! The backend's side of an upgrade, connected by us instead of pingora for the sake of one poll.
//!
//! pingora 0.9 tells its upstream half that the request's body is over, and an upgraded connection ends when its body
//! does. A backend that answers 101 before that half has looked is taken for one whose client has hung up: one in
//! five WebSockets fails on a busy machine. So the first read after a write yields once, and what lies ready for that
//! half is taken before the answer is.

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::prelude::*;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::socket::Socket;

/// Connects to the backend for an upgrade.
#[derive(Debug)]
pub struct Tunnel;

#[async_trait]
impl Connect for Tunnel {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let connected = match address {
            SocketAddr::Inet(address) => match TcpStream::connect(address).await {
                Ok(stream) => stream.set_nodelay(true).map(|()| Socket::Tcp(stream)),
                Err(e) => Err(e),
            },
            SocketAddr::Unix(address) => match address.as_pathname() {
                Some(path) => UnixStream::connect(path).await.map(Socket::Unix),
                None => Err(io::ErrorKind::AddrNotAvailable.into()),
            },
        };
        let socket = connected.or_err(ErrorType::ConnectError, "to the backend")?;
        Ok(Stream::from(VirtualSocketStream::new(Box::new(Yielding { socket, written: false }))))
    }
}

#[derive(Debug)]
struct Yielding {
    socket: Socket,
    written: bool,
}

impl AsyncRead for Yielding {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Yielding {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl VirtualSocket for Yielding {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
