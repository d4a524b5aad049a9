//! The addresses of the backend, and connecting to them. A name is resolved in the background, never while a request
//! waits, so that a container that returns under another address is found within seconds. A name that has ceased to exist
//! loses its addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::dns::{NameLookup, look_up};
use super::place::{Place, PlaceUse, Places, Target};
use crate::config::BackendUrl;
use crate::socket::Socket;

/// The longest time between two lookups of the name.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest time between two lookups. A failed connection requests a lookup at once.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_millis(250);

/// How long the last addresses stay in use after the name has ceased to exist. A restart of the backend's container is
/// shorter. Later, the platform may give the address to another container, which must not get the events.
const NO_SUCH_NAME_GRACE: Duration = Duration::from_secs(30);

/// Why there is no connection. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectError {
    /// Nobody listens at any address, or there is none: the backend may be starting.
    Refused(String),
    /// The network failed, or the time is over.
    Failed(String),
}

/// The resolver of the backend's names. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<ResolverState>,
}

/// The parts that the clones of a resolver share.
struct ResolverState {
    /// The names to resolve.
    names: Vec<BackendName>,
    /// The current places. Each lookup with another result replaces those of its name.
    places: Places,
    /// Wakes [`Resolver::keep_resolving`] after a failed connection.
    connect_failed: Notify,
}

/// A name in `[backend] url`.
struct BackendName {
    host: String,
    port: u16,
    /// The index of its URL.
    url: usize,
}

impl Resolver {
    /// Returns a resolver for the configured addresses. An IP address or a Unix socket is ready at once; a name has no
    /// places until [`Resolver::resolve`] succeeds.
    pub fn new(urls: &[BackendUrl]) -> Self {
        let (mut names, places) = (Vec::new(), Places::default());
        for (at, url) in urls.iter().enumerate() {
            let target = match url {
                BackendUrl::Unix(path) => Target::Unix(path.clone()),
                BackendUrl::Http { host, port } | BackendUrl::Https { host, port } => {
                    match host.parse::<IpAddr>() {
                        Ok(ip) => Target::Tcp(SocketAddr::new(ip, *port)),
                        Err(_) => {
                            names.push(BackendName { host: host.clone(), port: *port, url: at });
                            continue;
                        }
                    }
                }
            };
            places.replace(at, &[target]);
        }
        let connect_failed = Notify::new();
        Self { shared: Arc::new(ResolverState { names, places, connect_failed }) }
    }

    /// The places of the moment.
    pub(super) fn places(&self) -> &Places {
        &self.shared.places
    }

    /// Looks each name up once.
    pub async fn resolve(&self) {
        for name in &self.shared.names {
            self.resolve_again(name, &mut None).await;
        }
    }

    /// Looks a name up once. `no_such_name_since` is when lookups began to say that there is no such name; it is `None`
    /// after any other result.
    async fn resolve_again(&self, name: &BackendName, no_such_name_since: &mut Option<Instant>) {
        match look_up(&name.host, name.port).await {
            NameLookup::Found(addresses) => {
                *no_such_name_since = None;
                let found: Vec<_> = addresses.into_iter().map(Target::Tcp).collect();
                if self.shared.places.replace(name.url, &found) {
                    tracing::debug!(backend = %name.host, addresses = ?found, "backend name resolved to other addresses");
                }
            }
            // The last addresses may still be right.
            NameLookup::Failed => *no_such_name_since = None,
            NameLookup::NoSuchName => {
                let since = no_such_name_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= NO_SUCH_NAME_GRACE && self.shared.places.replace(name.url, &[]) {
                    tracing::warn!(
                        backend = %name.host,
                        "the backend's name no longer exists, so its last addresses are not used any more: start the \
                         backend, or correct [backend] url"
                    );
                }
            }
        }
    }

    /// Looks the names up repeatedly, forever. Returns at once if there are none. The caller spawns it.
    pub async fn keep_resolving(self) {
        let mut no_such_name_since = vec![None; self.shared.names.len()];
        while !self.shared.names.is_empty() {
            for (name, since) in self.shared.names.iter().zip(&mut no_such_name_since) {
                self.resolve_again(name, since).await;
            }
            tokio::time::sleep(MIN_RESOLVE_INTERVAL).await;
            let _ = timeout(RESOLVE_INTERVAL, self.shared.connect_failed.notified()).await;
        }
    }

    /// Records a failed connection: the place is tried last for a moment, and the names are looked up, because they may
    /// have other addresses by now.
    pub(super) fn report_failure(&self, place: &Place) {
        place.note_refused();
        self.shared.connect_failed.notify_one();
    }

    /// Connects to the first place that accepts, within `limit` for all places together: each may take its share of what is
    /// left, so that a host that is gone leaves time for the others.
    ///
    /// # Errors
    /// No place accepted, there is none, or the time is over. It is a refusal if one place refused, as that may come back.
    pub(super) async fn connect(&self, limit: Duration) -> Result<(Socket, PlaceUse), ConnectError> {
        let deadline = Instant::now() + limit;
        let places = self.shared.places.in_order();
        let mut failed = None;
        for (place, left) in
            places.iter().zip((1_u32..=u32::try_from(places.len()).unwrap_or(u32::MAX)).rev())
        {
            // Counted from here on, so that requests side by side do not all wait for one place.
            let place_use = place.begin_use();
            place.begin_attempt();
            let began = Instant::now();
            let share = deadline.saturating_duration_since(began) / left;
            let failure = match timeout(share, connect_to(&place.target)).await {
                Ok(Ok(socket)) => {
                    place.note_accepted();
                    return Ok((socket, place_use));
                }
                Ok(Err(error)) => {
                    self.report_failure(place);
                    match is_absent(&error) {
                        true => ConnectError::Refused(error.to_string()),
                        false => ConnectError::Failed(error.to_string()),
                    }
                }
                Err(_) => {
                    place.note_timeout(began);
                    self.shared.connect_failed.notify_one();
                    ConnectError::Failed(format!("no connection within {share:?}"))
                }
            };
            if !matches!(failed, Some(ConnectError::Refused(_))) {
                failed = Some(failure);
            }
        }
        // Without places nothing above has requested a lookup.
        self.shared.connect_failed.notify_one();
        Err(failed
            .unwrap_or_else(|| ConnectError::Refused("the name in [backend] url does not resolve".into())))
    }
}

/// Returns true if nobody is there: no listener, no socket file, or no container with this address.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound};
    [ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound].contains(&error.kind())
}

async fn connect_to(target: &Target) -> io::Result<Socket> {
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

    fn targets(resolver: &Resolver) -> Vec<Target> {
        resolver.places().in_order().iter().map(|place| place.target.clone()).collect()
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let resolver = Resolver::new(&[http("::1"), BackendUrl::Unix("/a".into()), http("later.invalid")]);
        assert_eq!(targets(&resolver), [Target::Tcp("[::1]:81".parse().unwrap()), Target::Unix("/a".into())]);
    }

    #[tokio::test]
    async fn a_place_that_failed_is_tried_last() {
        let resolver = Resolver::new(&[http("localhost"), http("127.0.0.2")]);
        assert_eq!(targets(&resolver).len(), 1);
        resolver.resolve().await;
        let before = resolver.places().in_order();
        resolver.report_failure(&before[0]);
        assert_eq!(targets(&resolver).last(), Some(&before[0].target));
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_counts_as_refused() {
        let resolver = Resolver::new(&[http("no-such-host.invalid")]);
        resolver.resolve().await;
        let connected = resolver.connect(Duration::from_secs(1)).await;
        assert!(matches!(connected, Err(ConnectError::Refused(_))), "{connected:?}");
    }
}
