//! A stream socket and a listener, TCP or Unix, as one type each. Nothing here knows what is spoken over them.

use socket2::{Domain, SockAddr, Type};
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::config::Listen;

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Nothing has been closed and nothing unasked for has arrived: the connection can carry another request.
    pub fn quiet(&self) -> bool {
        let mut probe = [0];
        let read = match self {
            Socket::Tcp(s) => s.try_read(&mut probe),
            Socket::Unix(s) => s.try_read(&mut probe),
        };
        matches!(read, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// The file descriptor, as a number to tell connections apart.
    pub fn fd(&self) -> RawFd {
        match self {
            Socket::Tcp(s) => s.as_raw_fd(),
            Socket::Unix(s) => s.as_raw_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Socket::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Socket::Unix(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Socket::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Socket::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(SocketFile, UnixListener),
}

/// The file of a Unix socket; removed when this is dropped, which is to be before its listener is: a file without one
/// may be replaced by another process, and that one's must stay.
#[derive(Debug)]
pub struct SocketFile(pub PathBuf);

/// A listener that is about to close: it hands out what the kernel holds already.
#[derive(Debug)]
pub enum Closing {
    /// On a TCP address.
    Tcp(std::net::TcpListener),
    /// On a Unix socket.
    Unix(SocketFile, std::os::unix::net::UnixListener),
}

impl Listener {
    /// Binds. A Unix socket's file that no one listens on any more is replaced.
    ///
    /// # Errors
    /// The address is taken, is not of this machine, or may not be bound.
    pub async fn bind(listen: &Listen) -> io::Result<Listener> {
        match listen {
            Listen::Unix { path, mode } => {
                if UnixStream::connect(path)
                    .await
                    .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
                {
                    std::fs::remove_file(path)?;
                }
                let (file, listener) = listen_at(path, *mode)?;
                Ok(Listener::Unix(file, UnixListener::from_std(listener)?))
            }
            Listen::Tcp(address) => match address.strip_prefix(':') {
                // Every address, of both families; where there is no IPv6, of one.
                Some(port) => match bind_tcp(&format!("[::]:{port}")).await {
                    Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
                        bind_tcp(&format!("0.0.0.0:{port}")).await
                    }
                    bound => bound,
                },
                None => bind_tcp(address).await,
            },
        }
    }

    /// Where it listens: `127.0.0.1:8080`, `unix//run/x.sock`.
    pub fn address(&self) -> String {
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string())
            }
            Listener::Unix(file, _) => format!("unix/{}", file.0.display()),
        }
    }

    /// Takes it off the runtime, to be closed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn closing(self) -> io::Result<Closing> {
        Ok(match self {
            Listener::Tcp(listener) => Closing::Tcp(listener.into_std()?),
            Listener::Unix(file, listener) => Closing::Unix(file, listener.into_std()?),
        })
    }

    /// The next connection, and whose it is (`None`: over a Unix socket).
    pub async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            Listener::Unix(_, listener) => Ok((Socket::Unix(listener.accept().await?.0), None)),
        }
    }
}

impl Closing {
    /// A connection that the kernel holds, and whose it is. Asks the kernel itself and never waits: the runtime may not
    /// have heard of it yet.
    ///
    /// # Errors
    /// `WouldBlock` if there is none. Whatever is between that answer and this being dropped is lost, so drop it at once.
    pub fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Closing::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(TcpStream::from_std(stream)?), Some(peer.ip().to_canonical())))
            }
            Closing::Unix(_, listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Socket::Unix(UnixStream::from_std(stream)?), None))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn bind_tcp(address: &str) -> io::Result<Listener> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name resolves to no address");
    for address in tokio::net::lookup_host(address).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(Listener::Tcp(listener)),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Nobody can connect before the file has its mode.
fn listen_at(path: &Path, mode: Option<u32>) -> io::Result<(SocketFile, std::os::unix::net::UnixListener)> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_owned());
    if let Some(mode) = mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((file, socket.into()))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG.cast_unsigned())
}
