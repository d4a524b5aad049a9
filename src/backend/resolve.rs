//! The addresses of the backend, and connecting to them. A name is resolved in the background, never while a request
//! waits, so that a container that returns under another address is found within seconds. A name that has ceased to exist
//! loses its addresses.

use arc_swap::ArcSwap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::dns::{NameLookup, look_up};
use super::error::BackendError;
use crate::config::BackendUrl;
use crate::socket::Socket;

/// The longest time between two lookups of the name.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest time between two lookups. A failed connection requests a lookup at once.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_millis(250);

/// How long the last addresses stay in use after the name has ceased to exist. A restart of the backend's container is
/// shorter. Later, the platform may give the address to another container, which must not get the events.
const NO_SUCH_NAME_GRACE: Duration = Duration::from_secs(30);

/// One place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// The resolver of the backend's name. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<ResolverState>,
}

/// The parts that the clones of a resolver share.
struct ResolverState {
    /// The name and port to resolve; `None` for an address or a Unix socket.
    name: Option<(String, u16)>,
    /// The current targets. Each lookup with another result replaces them.
    targets: ArcSwap<Vec<Target>>,
    /// The index of the target to try first. A failed connection moves it on.
    preferred: AtomicUsize,
    /// The number of lookups after which an address was no longer among the targets.
    generation: AtomicUsize,
    /// Wakes [`Resolver::keep_resolving`] after a failed connection.
    connect_failed: Notify,
}

impl Resolver {
    /// Returns a resolver for the configured backend. An address or a Unix socket is ready at once; a name has no
    /// targets until [`Resolver::resolve`] succeeds.
    pub fn new(url: &BackendUrl) -> Self {
        let (name, targets) = match url {
            BackendUrl::Unix(path) => (None, vec![Target::Unix(path.clone())]),
            BackendUrl::Http { host, port } | BackendUrl::Https { host, port } => {
                match host.parse::<IpAddr>() {
                    Ok(ip) => (None, vec![Target::Tcp(SocketAddr::new(ip, *port))]),
                    Err(_) => (Some((host.clone(), *port)), vec![]),
                }
            }
        };
        let targets = ArcSwap::from_pointee(targets);
        Self {
            shared: Arc::new(ResolverState {
                name,
                targets,
                preferred: AtomicUsize::new(0),
                generation: AtomicUsize::new(0),
                connect_failed: Notify::new(),
            }),
        }
    }

    /// Looks the name up once.
    pub async fn resolve(&self) {
        self.resolve_again(&mut None).await;
    }

    /// Looks the name up once. `no_such_name_since` is when lookups began to say that there is no such name; it is
    /// `None` after any other result.
    async fn resolve_again(&self, no_such_name_since: &mut Option<Instant>) {
        let Some((host, port)) = &self.shared.name else { return };
        match look_up(host, *port).await {
            NameLookup::Found(addresses) => {
                *no_such_name_since = None;
                self.replace_targets(host, addresses.into_iter().map(Target::Tcp).collect());
            }
            // The last addresses may still be right.
            NameLookup::Failed => *no_such_name_since = None,
            NameLookup::NoSuchName => {
                let since = no_such_name_since.get_or_insert_with(Instant::now);
                let has_targets = !self.shared.targets.load().is_empty();
                if has_targets && since.elapsed() >= NO_SUCH_NAME_GRACE {
                    tracing::warn!(
                        backend = %host,
                        "the backend's name no longer exists, so its last addresses are not used any more: start the \
                         backend, or correct [backend] url"
                    );
                    self.replace_targets(host, vec![]);
                }
            }
        }
    }

    fn replace_targets(&self, host: &str, found: Vec<Target>) {
        let before = self.shared.targets.load();
        if **before == found {
            return;
        }
        tracing::debug!(backend = %host, addresses = ?found, "backend name resolved to other addresses");
        // Only a lost address makes pooled connections wrong. A new order or another address does not.
        let address_lost = before.iter().any(|target| !found.contains(target));
        self.shared.preferred.store(0, Ordering::Relaxed);
        self.shared.targets.store(Arc::new(found));
        if address_lost {
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Looks the name up repeatedly, forever. Returns at once if there is no name. The caller spawns it.
    pub async fn keep_resolving(self) {
        let mut no_such_name_since = None;
        while self.shared.name.is_some() {
            self.resolve_again(&mut no_such_name_since).await;
            tokio::time::sleep(MIN_RESOLVE_INTERVAL).await;
            let _ = timeout(RESOLVE_INTERVAL, self.shared.connect_failed.notified()).await;
        }
    }

    /// Returns a number that grows when an address leaves the targets. A connection of an older generation may lead to
    /// a place where the backend no longer is.
    pub(super) fn generation(&self) -> usize {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Returns the target for the given attempt, counted from 0, beginning with the preferred target. Returns `None`
    /// after the last target.
    fn target(&self, attempt: usize) -> Option<Target> {
        let targets = self.shared.targets.load();
        if attempt >= targets.len() {
            return None;
        }
        let first = self.shared.preferred.load(Ordering::Relaxed);
        targets.get((first + attempt) % targets.len()).cloned()
    }

    /// Records a failed connection: prefers the next target, and requests a lookup, because the name may have another
    /// address by now.
    pub(super) fn report_failure(&self) {
        let count = self.shared.targets.load().len().max(1);
        let next = (self.shared.preferred.load(Ordering::Relaxed) + 1) % count;
        self.shared.preferred.store(next, Ordering::Relaxed);
        self.shared.connect_failed.notify_one();
    }

    /// Connects to the first target that accepts, within `limit` for all targets together.
    ///
    /// # Errors
    /// No target accepted, there is none, or the time is over.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Socket, BackendError> {
        match timeout(limit, self.connect_to_any()).await {
            Ok(connected) => connected,
            Err(_) => {
                self.report_failure();
                Err(BackendError::Unreachable(format!("no connection within {limit:?}")))
            }
        }
    }

    async fn connect_to_any(&self) -> Result<Socket, BackendError> {
        let targets: Vec<Target> = (0..).map_while(|attempt| self.target(attempt)).collect();
        let mut last = BackendError::Unreachable("the name in [backend] url does not resolve".into());
        for target in targets {
            match connect_to(&target).await {
                Ok(socket) => return Ok(socket),
                Err(e) => {
                    self.report_failure();
                    last = BackendError::Unreachable(e.to_string());
                }
            }
        }
        // Without targets nothing above has requested a lookup.
        self.shared.connect_failed.notify_one();
        Err(last)
    }
}

async fn connect_to(target: &Target) -> std::io::Result<Socket> {
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // A request leaves in one write. Nagle's algorithm would only delay a long body's last packet.
            stream.set_nodelay(true)?;
            Ok(Socket::Left(stream))
        }
        Target::Unix(path) => UnixStream::connect(path).await.map(Socket::Right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(host: &str) -> BackendUrl {
        BackendUrl::Http { host: host.into(), port: 81 }
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let resolver = Resolver::new(&http("::1"));
        assert_eq!(resolver.target(0), Some(Target::Tcp("[::1]:81".parse().unwrap())));
        assert_eq!(resolver.target(1), None);
    }

    #[tokio::test]
    async fn after_a_failure_the_next_target_of_a_name_is_tried_first() {
        let resolver = Resolver::new(&http("localhost"));
        assert_eq!(resolver.target(0), None);
        resolver.resolve().await;
        let (first, second) = (resolver.target(0), resolver.target(1));
        assert!(first.is_some());
        resolver.report_failure();
        assert_eq!(resolver.target(0), second.or(first));
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_unreachable() {
        let resolver = Resolver::new(&http("no-such-host.invalid"));
        resolver.resolve().await;
        let connected = resolver.connect(Duration::from_secs(1)).await;
        assert!(matches!(connected, Err(BackendError::Unreachable(_))), "{connected:?}");
    }
}
