//! Our listener as axum takes one: it hands out connections and has no errors, so those of accepting stay here.

use crate::socket::{Listener, Socket};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// How long to wait when the process has no descriptor left for a connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_secs(1);

impl axum::serve::Listener for Listener {
    type Io = Socket;
    /// `None`: over a Unix socket.
    type Addr = Option<IpAddr>;

    async fn accept(&mut self) -> (Socket, Option<IpAddr>) {
        loop {
            match Listener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) if of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(|address| Some(address.ip())),
            Listener::Unix(..) => Ok(None),
        }
    }
}

/// The client left before it was accepted; the next one is another matter.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
