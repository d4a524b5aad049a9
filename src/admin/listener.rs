//! Our listener as axum's `Listener` trait. The trait has no errors, so failures to accept are handled here. A few file
//! descriptors are kept back, so that a process that has no other left can still be asked how it is.

use crate::descriptors::DescriptorReserve;
use crate::socket::{Listener, Socket};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::either::Either;

/// The wait before the next accept when the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);
/// EMFILE and ENFILE: the process, or the system, has no file descriptor left.
const NO_DESCRIPTOR_LEFT: [i32; 2] = [24, 23];

/// The admin listener with its reserve of descriptors.
pub(super) struct AdminListener {
    listener: Listener,
    reserve: DescriptorReserve,
}

/// An accepted connection. When it ends, its descriptor goes back to the reserve.
pub(super) struct AdminSocket {
    // Closed first: fields are dropped in their order.
    socket: Socket,
    _refill: RefillOnDrop,
}

/// Fills the reserve when dropped.
struct RefillOnDrop(DescriptorReserve);

impl AdminListener {
    /// Takes the listener, and a reserve for it.
    pub(super) fn new(listener: Listener) -> Self {
        Self { listener, reserve: DescriptorReserve::new() }
    }
}

impl Drop for RefillOnDrop {
    fn drop(&mut self) {
        self.0.refill();
    }
}

impl axum::serve::Listener for AdminListener {
    type Io = AdminSocket;
    /// The client's address; `None` over a Unix socket.
    type Addr = Option<IpAddr>;

    async fn accept(&mut self) -> (AdminSocket, Option<IpAddr>) {
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    return (AdminSocket { socket, _refill: RefillOnDrop(self.reserve.clone()) }, peer);
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) if lacks_descriptors(&error) && self.reserve.release_one() => {}
                Err(error) => {
                    tracing::warn!(%error, "admin listener cannot accept a connection, retrying in 1 s");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    self.reserve.refill();
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Option<IpAddr>> {
        match &self.listener {
            Listener::Tcp(listener) | Listener::Inherited(Either::Left(listener)) => {
                listener.local_addr().map(|address| Some(address.ip()))
            }
            Listener::Unix(..) | Listener::Inherited(Either::Right(_)) => Ok(None),
        }
    }
}

/// Returns whether the error concerns one connection: its client left before it was accepted.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn lacks_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR_LEFT.contains(&code))
}

impl AsyncRead for AdminSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for AdminSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
