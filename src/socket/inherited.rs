//! Listening sockets that the process manager opens and passes, as systemd does (`LISTEN_FDS`, see sd_listen_fds(3)). They
//! stay open across a restart, so that no connection is refused. It does not listen or accept.

use listenfd::ListenFd;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

/// The names of the sockets, as `FileDescriptorName=` of a socket unit gives them.
const SERVER: &str = "server";
const ADMIN: &str = "admin";

/// A listening socket, not yet registered with the runtime.
#[derive(Debug)]
pub enum InheritedSocket {
    /// A socket on a TCP address.
    Tcp(TcpListener),
    /// A Unix socket. Its file belongs to the process manager.
    Unix(UnixListener),
}

/// The sockets that this process got.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// The public listener, in place of `[server] listen`.
    pub server: Option<InheritedSocket>,
    /// The admin listener, in place of `[admin] listen`.
    pub admin: Option<InheritedSocket>,
}

impl InheritedSockets {
    /// Takes the sockets that `LISTEN_FDS` announces. `names` is the value of `LISTEN_FDNAMES`. Call it once, before any
    /// thread is started.
    ///
    /// # Errors
    /// A sentence that says which socket has no name, an unknown one or that of another, or is not a listening socket.
    pub fn take(names: Option<&str>) -> Result<Self, String> {
        let mut passed = ListenFd::from_env();
        let mut names = names.unwrap_or_default().split(':');
        let mut sockets = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let place = match name {
                SERVER => &mut sockets.server,
                ADMIN => &mut sockets.admin,
                _ => {
                    return Err(format!(
                        "inherited socket {index} is named {name:?}, expected {SERVER:?} or {ADMIN:?}; set \
                         FileDescriptorName={SERVER} or FileDescriptorName={ADMIN} in its socket unit"
                    ));
                }
            };
            if place.is_some() {
                return Err(format!("two inherited sockets are named {name:?}; pass one of each name"));
            }
            let socket = match passed.take_tcp_listener(index) {
                Ok(listener) => listener.map(InheritedSocket::Tcp),
                Err(_) => passed
                    .take_unix_listener(index)
                    .map_err(|e| format!("inherited socket {name:?} is no stream socket: {e}"))?
                    .map(InheritedSocket::Unix),
            };
            *place = socket;
        }
        Ok(sockets)
    }
}
