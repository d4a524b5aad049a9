//! How pingora reaches the backend: over the connections that deliveries use too.
//!
//! pingora's own pool costs a task and a timer for each connection that it pools, and a `getpeername` for each that it
//! takes out: a tenth of a request. So pingora gets a connector, and takes every connection from it as if it were new.

use async_trait::async_trait;
use bytes::Bytes;
use pingora::connectors::l4::Connect;
use pingora::prelude::*;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSocket, VirtualSocketStream};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::forwarded_request::ForwardedRequest;
use super::pooled_stream::PooledStream;
use super::response_watch::ResponseNotes;
use super::tunnel::Tunnel;
use crate::backend::Backend;

/// The backend as pingora's upstream.
pub(super) struct Upstream {
    backend: Backend,
    /// The peer that each request gets a copy of. Its address is never used: the connector decides.
    placeholder_peer: HttpPeer,
}

/// Connects one request to the backend.
pub(super) struct BackendConnector {
    backend: Backend,
    /// True for a request that asks for an upgrade: it gets a connection of its own.
    upgrade: bool,
    head: Bytes,
    notes: Arc<ResponseNotes>,
    /// True if the request went out over a connection that had carried another one.
    reused: AtomicBool,
}

impl Upstream {
    /// Creates the upstream that `backend` delivers to.
    pub(super) fn new(backend: Backend) -> Self {
        // No read timeout: it would cut WebSockets and event streams that idle.
        let placeholder_peer = HttpPeer::new((Ipv4Addr::UNSPECIFIED, 0), false, String::new());
        Self { backend, placeholder_peer }
    }

    /// Creates the connector of one attempt to forward this request.
    pub(super) fn connector(&self, upgrade: bool, request: &ForwardedRequest) -> Arc<BackendConnector> {
        request.notes.clear();
        Arc::new(BackendConnector {
            backend: self.backend.clone(),
            upgrade,
            head: request.head.clone(),
            notes: request.notes.clone(),
            reused: AtomicBool::new(false),
        })
    }

    /// Creates the peer that makes pingora use this connector.
    pub(super) fn peer(&self, connector: &Arc<BackendConnector>) -> Box<HttpPeer> {
        let mut peer = Box::new(self.placeholder_peer.clone());
        peer.options.custom_l4 = Some(connector.clone());
        peer
    }
}

impl BackendConnector {
    /// Returns true if the connection may have died in the pool, so that a failure says nothing about the backend.
    pub(super) fn is_reused(&self) -> bool {
        self.reused.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for BackendConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendConnector").field("upgrade", &self.upgrade).finish_non_exhaustive()
    }
}

#[async_trait]
impl Connect for BackendConnector {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let pooled = if self.upgrade { None } else { self.backend.take_idle() };
        self.reused.store(pooled.is_some(), Ordering::Relaxed);
        let connection = match pooled {
            Some(connection) => connection,
            None => self.backend.connect().await.or_err(ErrorType::ConnectError, "to the backend")?,
        };
        let stream = PooledStream::new(
            connection,
            self.backend.clone(),
            self.head.clone(),
            self.upgrade,
            self.notes.clone(),
        );
        let socket: Box<dyn VirtualSocket> =
            if self.upgrade { Box::new(Tunnel::new(stream)) } else { Box::new(stream) };
        Ok(Stream::from(VirtualSocketStream::new(socket)))
    }
}
