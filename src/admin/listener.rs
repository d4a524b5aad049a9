//! Our listener as axum's `Listener` trait. The trait has no errors, so failures to accept are handled here.

use crate::socket::{Listener, Socket};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio_util::either::Either;

/// The wait before the next accept when the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

impl axum::serve::Listener for Listener {
    type Io = Socket;
    /// The client's address; `None` over a Unix socket.
    type Addr = Option<IpAddr>;

    async fn accept(&mut self) -> (Socket, Option<IpAddr>) {
        loop {
            match Self::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "admin listener cannot accept a connection, retrying in 1 s");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp(listener) | Self::Inherited(Either::Left(listener)) => {
                listener.local_addr().map(|address| Some(address.ip()))
            }
            Self::Unix(..) | Self::Inherited(Either::Right(_)) => Ok(None),
        }
    }
}

/// Returns whether the error concerns one connection: its client left before it was accepted.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
