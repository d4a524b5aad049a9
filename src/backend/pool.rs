//! The pool of idle connections to the backend; the last one returned is the first one reused. It hands out a connection
//! only if the backend has not closed it and its address is still current. It opens none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use super::stream::BackendStream;

/// A connection to the backend that may be pooled.
#[derive(Debug)]
pub struct PooledConnection {
    /// The open stream.
    pub stream: BackendStream,
    /// The resolver's generation when the connection was opened. A connection of an older generation is not reused.
    pub(super) generation: usize,
}

pub(super) struct Pool {
    /// Idle connections and the time when each was returned, in the order of their return.
    idle: Mutex<Vec<(PooledConnection, Instant)>>,
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

    /// Takes an idle connection of this generation that is still open.
    pub(super) fn take(&self, generation: usize) -> Option<PooledConnection> {
        let mut idle = self.lock();
        while let Some((mut connection, since)) = idle.pop() {
            if since.elapsed() >= self.idle_timeout {
                // Connections are in the order of their return, so the remaining ones have been idle even longer.
                idle.clear();
                return None;
            }
            if connection.generation == generation && connection.stream.is_idle_and_open() {
                return Some(connection);
            }
        }
        None
    }

    /// Returns a connection to the pool. A full pool closes it.
    pub(super) fn put(&self, connection: PooledConnection) {
        let mut idle = self.lock();
        if idle.len() < self.max_idle {
            idle.push((connection, Instant::now()));
        }
    }

    /// Closes connections that have been idle for the idle timeout.
    pub(super) fn evict_idle(&self) {
        self.lock().retain(|(_, since)| since.elapsed() < self.idle_timeout);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(PooledConnection, Instant)>> {
        // No code panics while it holds the lock. Even then the list would be a valid list of sockets.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
