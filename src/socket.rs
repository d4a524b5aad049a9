//! A stream socket and a listener, each over TCP or a Unix socket. Nothing here knows the protocol that is spoken.
//!
//! - [`inherited`]: listening sockets that the process manager passes

pub mod inherited;

use socket2::{Domain, SockAddr, SockRef, TcpKeepalive, Type};
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::config::Listen;
use inherited::InheritedSocket;

/// A connected stream socket: TCP on the left, Unix on the right.
pub type Socket = Either<TcpStream, UnixStream>;

/// Returns whether the peer has neither closed the connection nor sent anything, so that it can carry another request.
pub fn is_idle_and_open(socket: &Socket) -> bool {
    let mut byte = [0];
    let read = match socket {
        Socket::Left(tcp) => tcp.try_read(&mut byte),
        Socket::Right(unix) => unix.try_read(&mut byte),
    };
    matches!(read, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
}

/// Returns the file descriptor, as a number that tells connections apart.
pub fn raw_fd(socket: &Socket) -> RawFd {
    match socket {
        Socket::Left(tcp) => tcp.as_raw_fd(),
        Socket::Right(unix) => unix.as_raw_fd(),
    }
}

/// How many probes a peer may leave unanswered.
const KEEPALIVE_PROBES: u32 = 3;

/// Has the kernel ask the peer of a TCP connection that is silent for `time` whether it is still there, and end the
/// connection if three probes, over as long again, bring no answer. A connection inherits this from its listener.
pub fn set_keepalive(socket: &impl AsFd, time: Duration) -> io::Result<()> {
    let interval = (time / KEEPALIVE_PROBES).max(Duration::from_secs(1));
    let keepalive =
        TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(KEEPALIVE_PROBES);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// The number of connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// A listener on a TCP address.
    Tcp(TcpListener),
    /// A listener on a Unix socket.
    Unix(SocketFile, UnixListener),
    /// A listener that the process manager opened, and keeps open when this process ends.
    Inherited(Either<TcpListener, UnixListener>),
}

/// The file of a Unix socket, removed on drop.
///
/// Drop it before its listener. Once the listener is closed, another process may replace the file, and that file must
/// stay.
#[derive(Debug)]
pub struct SocketFile(pub PathBuf);

/// A listener that is about to close. It only returns connections that the kernel already holds.
#[derive(Debug)]
pub enum ClosingListener {
    /// A listener on a TCP address.
    Tcp(std::net::TcpListener),
    /// A listener on a Unix socket.
    Unix(SocketFile, std::os::unix::net::UnixListener),
}

impl Listener {
    /// Binds the configured address. Replaces the file of a Unix socket if no process listens on it any more.
    ///
    /// # Errors
    /// The address is in use, does not belong to this machine, or needs a permission that the process lacks.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Unix { path, mode } => {
                if UnixStream::connect(path)
                    .await
                    .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
                {
                    std::fs::remove_file(path)?;
                }
                let (file, listener) = listen_at(path, *mode)?;
                Ok(Self::Unix(file, UnixListener::from_std(listener)?))
            }
            Listen::Tcp(address) => match address.strip_prefix(':') {
                // `[::]` accepts IPv4 as well. A machine without IPv6 cannot bind it, so IPv4 alone is next.
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

    /// Registers an inherited socket with the runtime.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn from_inherited(socket: InheritedSocket) -> io::Result<Self> {
        Ok(Self::Inherited(match socket {
            InheritedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Either::Left(TcpListener::from_std(listener)?)
            }
            InheritedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Either::Right(UnixListener::from_std(listener)?)
            }
        }))
    }

    /// Sets the keep-alive of the connections that it accepts. A Unix socket has none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_keepalive(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(listener) | Self::Inherited(Either::Left(listener)) => set_keepalive(listener, time),
            Self::Unix(..) | Self::Inherited(Either::Right(_)) => Ok(()),
        }
    }

    /// Returns whether the process manager keeps the socket open.
    pub fn is_inherited(&self) -> bool {
        matches!(self, Self::Inherited(_))
    }

    /// Returns the address in the configuration's notation: `127.0.0.1:8080`, `unix//run/x.sock`.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) | Self::Inherited(Either::Left(listener)) => {
                listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string())
            }
            Self::Unix(file, _) => format!("unix/{}", file.0.display()),
            Self::Inherited(Either::Right(listener)) => match listener.local_addr() {
                Ok(address) => format!("unix/{}", address.as_pathname().unwrap_or(Path::new("")).display()),
                Err(error) => error.to_string(),
            },
        }
    }

    /// Removes the listener from the runtime, before it is closed. Returns `None` for an inherited one: its queue stays,
    /// and the next process accepts from it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn closing(self) -> io::Result<Option<ClosingListener>> {
        Ok(match self {
            Self::Tcp(listener) => Some(ClosingListener::Tcp(listener.into_std()?)),
            Self::Unix(file, listener) => Some(ClosingListener::Unix(file, listener.into_std()?)),
            Self::Inherited(_) => None,
        })
    }

    /// Waits for the next connection. Returns its peer's address, too; `None` over a Unix socket.
    ///
    /// # Errors
    /// The kernel refuses, for example because the process has too many open files.
    pub async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) | Self::Inherited(Either::Left(listener)) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Socket::Left(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix(_, listener) | Self::Inherited(Either::Right(listener)) => {
                Ok((Socket::Right(listener.accept().await?.0), None))
            }
        }
    }
}

impl ClosingListener {
    /// Returns a connection that the kernel holds and its peer's address, without waiting. It asks the kernel itself,
    /// because the runtime may not know of the connection yet.
    ///
    /// # Errors
    /// `WouldBlock` if there is none. Drop the listener at once then: connections that arrive in between are lost.
    pub fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok((Socket::Left(TcpStream::from_std(stream)?), Some(peer.ip().to_canonical())))
            }
            Self::Unix(_, listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Socket::Right(UnixStream::from_std(stream)?), None))
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

/// Listens on a Unix socket. The file gets its mode before `listen`, so that no one connects under another mode.
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
    // Connections of the last run may still be in TIME_WAIT. A restart must not fail because of them.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG.cast_unsigned())
}
