//! One place to connect to, and the order in which several are tried: least busy first, and those that refused a
//! connection or did not answer last. It opens no connection.

use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a place that refused a connection, or did not answer once, is tried after all others.
const LEFT_OUT_TIME: Duration = Duration::from_secs(1);
/// The longest such time. It doubles with each time-out in a row, because an attempt at a dead host costs a request time.
const MAX_LEFT_OUT_TIME: Duration = Duration::from_secs(30);

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
    failures: Mutex<PlaceFailures>,
}

/// The failed attempts at a place since it last accepted a connection.
#[derive(Debug, Default)]
struct PlaceFailures {
    /// Until when the place is tried after all others; `None` without a failed attempt.
    left_out_until: Option<Instant>,
    /// When the last time-out was noted.
    timed_out_at: Option<Instant>,
    /// How long the place is left out from now on; `None` without a time-out.
    left_out_for: Option<Duration>,
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
        Arc::new(Self { target, url, busy: AtomicUsize::new(0), failures: Mutex::default() })
    }

    /// Counts one more connection in use.
    pub(super) fn begin_use(self: &Arc<Self>) -> PlaceUse {
        self.busy.fetch_add(1, Ordering::Relaxed);
        PlaceUse(self.clone())
    }

    /// Notes an attempt to connect. A place that failed before is left out meanwhile, so that one request at a time finds
    /// out whether it is back.
    pub(super) fn begin_attempt(&self) {
        let mut failures = self.failures();
        if failures.left_out_until.is_some() {
            failures.leave_out();
        }
    }

    /// Notes that the place accepted a connection.
    pub(super) fn note_accepted(&self) {
        *self.failures() = PlaceFailures::default();
    }

    /// Notes that the place refused a connection.
    pub(super) fn note_refused(&self) {
        self.failures().leave_out();
    }

    /// Notes that an attempt that began at `began` took too long.
    pub(super) fn note_timeout(&self, began: Instant) {
        let mut failures = self.failures();
        // Attempts side by side find out the same and count once.
        if failures.timed_out_at.is_none_or(|at| at <= began) {
            let doubled = failures.left_out_for.map_or(LEFT_OUT_TIME, |time| time * 2);
            failures.left_out_for = Some(doubled.min(MAX_LEFT_OUT_TIME));
            failures.timed_out_at = Some(Instant::now());
        }
        failures.leave_out();
    }

    fn is_left_out(&self) -> bool {
        self.failures().left_out_until.is_some_and(|until| Instant::now() < until)
    }

    fn failures(&self) -> MutexGuard<'_, PlaceFailures> {
        // No code panics while it holds the lock.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaceFailures {
    fn leave_out(&mut self) {
        self.left_out_until = Some(Instant::now() + self.left_out_for.unwrap_or(LEFT_OUT_TIME));
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
    (place.is_left_out(), place.busy.load(Ordering::Relaxed))
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
        second.note_refused();
        assert_eq!(order(&places), [tcp(3), tcp(1), tcp(2)]);
        tokio::time::advance(LEFT_OUT_TIME).await;
        assert_eq!(order(&places), [tcp(2), tcp(3), tcp(1)]);
        drop(in_use);
        assert_eq!(places.first().unwrap().target, tcp(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_does_not_answer_is_left_out_twice_as_long_each_time() {
        let place = Place::new(tcp(1), 0);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let began = Instant::now();
            place.begin_attempt();
            // Two attempts side by side.
            tokio::time::advance(Duration::from_millis(500)).await;
            place.note_timeout(began);
            place.note_timeout(began);
            tokio::time::advance(Duration::from_millis(seconds * 1_000 - 1)).await;
            assert!(place.is_left_out(), "{seconds} s");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!place.is_left_out(), "{seconds} s");
        }
        place.begin_attempt();
        assert!(place.is_left_out(), "a second request would try it, too");
        place.note_accepted();
        assert!(!place.is_left_out());
        place.note_refused();
        tokio::time::advance(LEFT_OUT_TIME).await;
        assert!(!place.is_left_out());
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
