//! The network between the program and a server: a TCP proxy that refuses, closes, resets or stalls connections.
//! What a peer has not received when the other one leaves is lost, as with a cable that is cut.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The most bytes that one read takes.
const BLOCK: usize = 64 * 1024;
const BACKLOG: u32 = 1024;

/// What the network does with connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Carries every byte.
    Carry,
    /// Closes every connection, and has no listener.
    Refuse,
    /// Closes every connection, old and new.
    Close,
    /// Resets every connection, old and new.
    Reset,
    /// Accepts connections and carries nothing.
    Stall,
}

/// A network to one server, cut on drop.
pub struct Network {
    address: SocketAddr,
    state: watch::Sender<(Mode, SocketAddr)>,
    accepting: JoinHandle<()>,
    /// A socket that keeps the port while nothing listens on it.
    _port: TcpSocket,
}

impl Network {
    /// Listens on a free port and carries connections to this server.
    pub fn to(server: SocketAddr) -> Self {
        let port = bound("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = port.local_addr().expect("bound");
        let (state, seen) = watch::channel((Mode::Carry, server));
        let listener = listen(address);
        let accepting = tokio::spawn(accept(address, listener, seen));
        Self { address, state, accepting, _port: port }
    }

    /// Returns the address that stands for the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries new connections to another server.
    pub fn retarget(&self, server: SocketAddr) {
        self.state.send_modify(|state| state.1 = server);
    }

    /// Changes what happens to connections, old and new.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.0 = mode);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Several sockets may bind the port, as long as none of them listens.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> TcpListener {
    let listener = bound(address).and_then(|socket| socket.listen(BACKLOG));
    listener.expect("the port is reserved")
}

async fn accept(address: SocketAddr, listener: TcpListener, mut state: watch::Receiver<(Mode, SocketAddr)>) {
    let (mut listener, mut connections) = (Some(listener), JoinSet::new());
    loop {
        let mode = state.borrow_and_update().0;
        if mode == Mode::Refuse {
            listener = None;
        }
        let Some(listening) = &listener else {
            if state.changed().await.is_err() {
                return;
            }
            if state.borrow().0 != Mode::Refuse {
                listener = Some(listen(address));
            }
            continue;
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = listening.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(carry(client, state.clone()));
            },
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Carries one connection until either peer, or the network, ends it.
async fn carry(mut client: TcpStream, mut state: watch::Receiver<(Mode, SocketAddr)>) {
    let target = state.borrow_and_update().1;
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut to_server, mut to_client) = (vec![], vec![]);
    loop {
        let mode = state.borrow_and_update().0;
        match mode {
            Mode::Carry => {
                let written =
                    flush(&mut server, &mut to_server).await.and(flush(&mut client, &mut to_client).await);
                if written.is_err() {
                    return;
                }
            }
            Mode::Stall => {}
            Mode::Close | Mode::Refuse => return,
            Mode::Reset => {
                let _ = (reset(&client), reset(&server));
                return;
            }
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            read = client.read_buf(&mut to_server), if to_server.len() < BLOCK => if !matches!(read, Ok(1..)) { return },
            read = server.read_buf(&mut to_client), if to_client.len() < BLOCK => if !matches!(read, Ok(1..)) { return },
        }
    }
}

async fn flush(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    if !bytes.is_empty() {
        stream.write_all(bytes).await?;
        bytes.clear();
    }
    Ok(())
}

/// Makes the drop of this connection a reset.
fn reset(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
