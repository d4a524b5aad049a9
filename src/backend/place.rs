//! One place to connect to, and the order in which several are tried: least busy first, and those that refused a
//! connection last. It opens no connection.

use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a place that refused a connection is tried after all others.
const REFUSED_TIME: Duration = Duration::from_secs(1);

/// The address that a place is connected to by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// One place to connect to.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) target: Target,
    /// The index of the URL in `[backend] url` that the place is of.
    pub(super) url: usize,
    /// The number of connections in use.
    busy: AtomicUsize,
    /// Until when the place is tried after all others; `None` if it accepted its last connection.
    refused_until: Mutex<Option<Instant>>,
}

/// A connection's use of a place. Frees it when it is dropped.
#[derive(Debug)]
pub(super) struct PlaceUse(Arc<Place>);

/// The places of a backend.
#[derive(Debug, Default)]
pub(super) struct Places {
    current: ArcSwap<Vec<Arc<Place>>>,
}

impl Place {
    pub(super) fn new(target: Target, url: usize) -> Arc<Self> {
        Arc::new(Self { target, url, busy: AtomicUsize::new(0), refused_until: Mutex::default() })
    }

    /// Counts one more connection in use.
    pub(super) fn begin_use(self: &Arc<Self>) -> PlaceUse {
        self.busy.fetch_add(1, Ordering::Relaxed);
        PlaceUse(self.clone())
    }

    /// Notes that a connection was refused, or accepted.
    pub(super) fn set_refused(&self, refused: bool) {
        *self.refused_until() = refused.then(|| Instant::now() + REFUSED_TIME);
    }

    fn is_refused(&self) -> bool {
        self.refused_until().is_some_and(|until| Instant::now() < until)
    }

    fn refused_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // No code panics while it holds the lock.
        self.refused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaceUse {
    /// The place in use.
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.0
    }
}

impl Drop for PlaceUse {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    /// Returns the place to use next.
    pub(super) fn first(&self) -> Option<Arc<Place>> {
        let places = self.current.load();
        match &places[..] {
            [] => None,
            [only] => Some(only.clone()),
            several => several.iter().min_by_key(|place| rank(place)).cloned(),
        }
    }

    /// Returns all places in the order in which they are tried.
    pub(super) fn in_order(&self) -> Vec<Arc<Place>> {
        let mut places = Vec::clone(&self.current.load());
        places.sort_by_cached_key(rank);
        places
    }

    /// Replaces the places of the URL with this index. A place that stays keeps its count of connections. Returns whether
    /// anything changed.
    pub(super) fn replace(&self, url: usize, found: &[Target]) -> bool {
        let before = self.current.load();
        let of_url = |place: &&Arc<Place>| place.url == url;
        if before.iter().filter(of_url).map(|place| &place.target).eq(found) {
            return false;
        }
        let known =
            |target: &Target| before.iter().filter(of_url).find(|place| place.target == *target).cloned();
        let found =
            found.iter().map(|target| known(target).unwrap_or_else(|| Place::new(target.clone(), url)));
        let mut places: Vec<_> =
            before.iter().filter(|place| place.url != url).cloned().chain(found).collect();
        // The order of the file, and within a name that of its records.
        places.sort_by_key(|place| place.url);
        self.current.store(Arc::new(places));
        true
    }

    /// Returns true if connections to the place may still be used.
    pub(super) fn contains(&self, place: &Arc<Place>) -> bool {
        self.current.load().iter().any(|current| Arc::ptr_eq(current, place))
    }
}

/// Places with a lower rank are tried first.
fn rank(place: &Arc<Place>) -> (bool, usize) {
    (place.is_refused(), place.busy.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(port: u16) -> Target {
        Target::Tcp(([127, 0, 0, 1], port).into())
    }

    fn order(places: &Places) -> Vec<Target> {
        places.in_order().iter().map(|place| place.target.clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_busy_place_is_first_and_a_refused_one_last_for_a_second() {
        let places = Places::default();
        assert!(places.first().is_none());
        places.replace(1, &[tcp(3)]);
        places.replace(0, &[tcp(1), tcp(2)]);
        assert_eq!(order(&places), [tcp(1), tcp(2), tcp(3)]);
        let first = places.first().unwrap();
        let in_use = first.begin_use();
        assert_eq!(order(&places), [tcp(2), tcp(3), tcp(1)]);
        let second = places.first().unwrap();
        second.set_refused(true);
        assert_eq!(order(&places), [tcp(3), tcp(1), tcp(2)]);
        tokio::time::advance(REFUSED_TIME).await;
        assert_eq!(order(&places), [tcp(2), tcp(3), tcp(1)]);
        drop(in_use);
        assert_eq!(places.first().unwrap().target, tcp(1));
    }

    #[test]
    fn a_place_that_stays_is_the_same_place() {
        let places = Places::default();
        assert!(places.replace(0, &[tcp(1), tcp(2)]) && !places.replace(0, &[tcp(1), tcp(2)]));
        let [one, two] = &places.in_order()[..] else { panic!("two places") };
        assert!(places.replace(0, &[tcp(2), tcp(3)]));
        assert!(places.contains(two) && !places.contains(one));
        assert!(places.replace(0, &[]) && places.first().is_none() && !places.contains(two));
    }
}
