//! The pool of idle connections to the backend; the last one returned is the first one reused. It hands out a connection
//! only if the backend has not closed it. It opens none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use super::place::{Place, PlaceUse};
use super::stream::BackendStream;

/// A connection to the backend that may be pooled.
#[derive(Debug)]
pub struct PooledConnection {
    /// The open stream.
    pub stream: BackendStream,
    /// The place that the stream leads to. It counts the connection as in use.
    pub(super) place: PlaceUse,
}

/// A connection in the pool.
struct IdleConnection {
    stream: BackendStream,
    place: Arc<Place>,
    /// When the connection was returned.
    since: Instant,
}

pub(super) struct Pool {
    /// Idle connections in the order of their return.
    idle: Mutex<Vec<IdleConnection>>,
    max_idle: usize,
    idle_timeout: Duration,
}

impl Pool {
    pub(super) fn new(max_idle: usize, idle_timeout: Duration) -> Self {
        Self { idle: Mutex::default(), max_idle, idle_timeout }
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Takes an idle connection to this place that is still open.
    pub(super) fn take(&self, place: &Arc<Place>) -> Option<PooledConnection> {
        let mut idle = self.lock();
        while let Some(at) = idle.iter().rposition(|idle| Arc::ptr_eq(&idle.place, place)) {
            let mut connection = idle.remove(at);
            if connection.since.elapsed() >= self.idle_timeout {
                // Connections are in the order of their return, so those before have been idle even longer.
                idle.drain(..at);
                return None;
            }
            if connection.stream.is_idle_and_open() {
                return Some(PooledConnection { stream: connection.stream, place: place.begin_use() });
            }
        }
        None
    }

    /// Returns a connection to the pool. A full pool closes it.
    pub(super) fn put(&self, connection: PooledConnection) {
        let PooledConnection { stream, place } = connection;
        let mut idle = self.lock();
        if idle.len() < self.max_idle {
            idle.push(IdleConnection { stream, place: place.place().clone(), since: Instant::now() });
        }
    }

    /// Closes connections that have been idle for the idle timeout.
    pub(super) fn evict_idle(&self) {
        self.lock().retain(|idle| idle.since.elapsed() < self.idle_timeout);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        // No code panics while it holds the lock. Even then the list would be a valid list of sockets.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
