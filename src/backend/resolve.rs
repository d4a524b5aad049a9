//! Where the app is now. A name is resolved in the background, never on a request's way, so that a container that
//! comes back under another address is found within seconds.

use arc_swap::ArcSwap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::BackendError;
use crate::config::BackendUrl;
use crate::socket::Socket;

/// How often a name is looked up, and how soon again after a connection failed.
const EVERY: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(250);

/// One place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Knows where the app is. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    name: Option<(String, u16)>,
    targets: ArcSwap<Vec<Target>>,
    /// Which of the targets answered last.
    preferred: AtomicUsize,
    /// How often the name has ceased to mean an address.
    generation: AtomicUsize,
    failed: Notify,
}

impl Resolver {
    /// For an address or a Unix socket there is nothing to look up; a name waits for [`Resolver::keep_resolving`].
    pub fn new(url: &BackendUrl) -> Resolver {
        let (name, targets) = match url {
            BackendUrl::Unix(path) => (None, vec![Target::Unix(path.clone())]),
            BackendUrl::Http { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => (None, vec![Target::Tcp(SocketAddr::new(ip, *port))]),
                Err(_) => (Some((host.clone(), *port)), vec![]),
            },
        };
        let targets = ArcSwap::from_pointee(targets);
        Resolver {
            shared: Arc::new(Shared {
                name,
                targets,
                preferred: AtomicUsize::new(0),
                generation: AtomicUsize::new(0),
                failed: Notify::new(),
            }),
        }
    }

    /// Looks the name up once.
    pub async fn resolve(&self) {
        let Some((host, port)) = &self.shared.name else { return };
        let Ok(found) = tokio::net::lookup_host((host.as_str(), *port)).await else { return };
        let found: Vec<_> = found.map(Target::Tcp).collect();
        let before = self.shared.targets.load();
        // A name that resolves to nothing for a while keeps its last addresses: they may still be right.
        if !found.is_empty() && **before != found {
            tracing::debug!(backend = %host, addresses = ?found, "backend resolved");
            // Another order, or one more, leads no kept connection astray.
            let gone = before.iter().any(|target| !found.contains(target));
            self.shared.preferred.store(0, Ordering::Relaxed);
            self.shared.targets.store(Arc::new(found));
            if gone {
                self.shared.generation.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Looks the name up again and again; ends at once where there is none.
    pub async fn keep_resolving(self) {
        while self.shared.name.is_some() {
            self.resolve().await;
            tokio::time::sleep(SOON).await;
            let _ = timeout(EVERY, self.shared.failed.notified()).await;
        }
    }

    /// Changes whenever the name ceases to mean an address: connections of another one may lead to where the app was.
    pub(super) fn generation(&self) -> usize {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// The target to try for the `attempt`th time (from 0), the one that answered last first; `None` once all were.
    fn target(&self, attempt: usize) -> Option<Target> {
        let targets = self.shared.targets.load();
        if attempt >= targets.len() {
            return None;
        }
        let first = self.shared.preferred.load(Ordering::Relaxed);
        targets.get((first + attempt) % targets.len()).cloned()
    }

    /// A connection failed: the name may mean something else by now, and the next target is tried first from here on.
    fn failed(&self) {
        let count = self.shared.targets.load().len().max(1);
        let next = (self.shared.preferred.load(Ordering::Relaxed) + 1) % count;
        self.shared.preferred.store(next, Ordering::Relaxed);
        self.shared.failed.notify_one();
    }

    /// A new connection to the first target that takes one.
    pub(super) async fn connect(&self, within: Duration) -> Result<Socket, BackendError> {
        match timeout(within, self.connect_to_any()).await {
            Ok(connected) => connected,
            Err(_) => {
                self.failed();
                Err(BackendError::Unreachable("connecting took too long".into()))
            }
        }
    }

    async fn connect_to_any(&self) -> Result<Socket, BackendError> {
        let targets: Vec<Target> = (0..).map_while(|attempt| self.target(attempt)).collect();
        let mut last = BackendError::Unreachable("its name does not resolve".into());
        for target in targets {
            match connect_to(&target).await {
                Ok(socket) => return Ok(socket),
                Err(e) => {
                    self.failed();
                    last = BackendError::Unreachable(e.to_string());
                }
            }
        }
        self.shared.failed.notify_one();
        Err(last)
    }
}

async fn connect_to(target: &Target) -> std::io::Result<Socket> {
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
        Target::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(host: &str) -> BackendUrl {
        BackendUrl::Http { host: host.into(), port: 81 }
    }

    #[test]
    fn an_address_needs_no_looking_up() {
        let resolver = Resolver::new(&http("::1"));
        assert_eq!(resolver.target(0), Some(Target::Tcp("[::1]:81".parse().unwrap())));
        assert_eq!(resolver.target(1), None);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_the_next_target_comes_first_after_a_failure() {
        let resolver = Resolver::new(&http("localhost"));
        assert_eq!(resolver.target(0), None);
        resolver.resolve().await;
        let (first, second) = (resolver.target(0), resolver.target(1));
        assert!(first.is_some());
        resolver.failed();
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
