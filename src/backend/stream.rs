//! The byte stream to the backend: a plain socket, or TLS over one. It hands bytes on and knows no HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::socket::{self, Socket};

/// An open stream to the backend.
#[derive(Debug)]
pub enum BackendStream {
    /// HTTP over TCP or a Unix socket.
    Plain(Socket),
    /// HTTPS. Boxed, because the state of a TLS session is large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl BackendStream {
    /// Returns whether a failed write proves that no byte has left. With TLS it does not: one write of ours can become
    /// several records, of which some were sent.
    pub(super) fn failed_write_sent_nothing(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Returns whether the backend has neither closed the stream nor sent anything, so that it can carry another request.
    /// The stream must not be used further if it returns false.
    pub(super) fn is_idle_and_open(&mut self) -> bool {
        match self {
            Self::Plain(socket) => socket::is_idle_and_open(socket),
            Self::Tls(stream) => {
                let (tcp, session) = stream.get_mut();
                let is_idle = !session.wants_write()
                    && session
                        .process_new_packets()
                        .is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed());
                // The byte that this may read is lost to the session. The stream is closed then.
                is_idle && matches!(tcp.try_read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }
}

impl AsyncRead for BackendStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => {
                // The session holds what the socket did not take of a write, and the reader waits for a response to it.
                // If that fails, the backend stopped reading. Its response may have arrived before.
                if stream.get_ref().1.wants_write() {
                    let _ = Pin::new(&mut **stream).poll_flush(cx);
                }
                Pin::new(&mut **stream).poll_read(cx, buf)
            }
        }
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
