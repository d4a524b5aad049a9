//! Where pingora sends what passes through: the backend's present address, as pingora wants it.

use arc_swap::ArcSwapOption;
use pingora::prelude::*;
use pingora::upstreams::peer::HttpPeer;
use std::sync::Arc;

use super::tunnel::Tunnel;
use crate::backend::{Resolver, Target};
use crate::config;

/// pingora keeps connections apart by this; ordinary ones have 0.
const UPGRADES: u64 = 1;

/// The backend, for pingora.
pub struct Upstream {
    resolver: Resolver,
    config: config::Backend,
    /// The last target, made ready: building a peer costs more than copying one.
    last: ArcSwapOption<(Target, HttpPeer)>,
}

impl Upstream {
    /// The backend that `resolver` knows.
    pub fn new(resolver: Resolver, config: &config::Backend) -> Upstream {
        Upstream { resolver, config: config.clone(), last: ArcSwapOption::empty() }
    }

    /// Where it is now; `None` while its name does not resolve.
    pub fn peer(&self) -> Option<Box<HttpPeer>> {
        let target = self.resolver.target(0)?;
        if let Some(last) = &*self.last.load()
            && last.0 == target
        {
            return Some(Box::new(last.1.clone()));
        }
        let peer = self.build(&target)?;
        self.last.store(Some(Arc::new((target, peer.clone()))));
        Some(Box::new(peer))
    }

    /// The same for a request that asks for an upgrade: its connection is not shared with others.
    pub fn tunnel(&self) -> Option<Box<HttpPeer>> {
        let mut peer = self.peer()?;
        peer.options.custom_l4 = Some(Arc::new(Tunnel));
        peer.group_key = UPGRADES;
        Some(peer)
    }

    /// A connection failed for the `times`th time; whether there is another target to try.
    pub fn failed(&self, times: usize) -> bool {
        self.resolver.failed();
        self.resolver.target(times).is_some()
    }

    fn build(&self, target: &Target) -> Option<HttpPeer> {
        let mut peer = match target {
            Target::Tcp(address) => HttpPeer::new(*address, false, String::new()),
            Target::Unix(path) => HttpPeer::new_uds(path.to_str()?, false, String::new()).ok()?,
        };
        peer.options.connection_timeout = Some(self.config.connect_timeout);
        peer.options.total_connection_timeout = Some(self.config.connect_timeout);
        peer.options.idle_timeout = Some(self.config.idle_timeout);
        // No read timeout: it would cut WebSockets and event streams that idle.
        Some(peer)
    }
}

/// What pingora is told while the name does not resolve.
pub fn unresolved() -> Box<Error> {
    let mut error = Error::explain(ErrorType::ConnectError, "the backend's name does not resolve");
    error.as_up();
    error
}
