//! Idle connections to the app, the last used first. A connection leaves the pool only after a look at whether the
//! app has closed it meanwhile, and whether its address is still the app's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use crate::socket::Socket;

/// A connection, and the generation of addresses that it was made in.
#[derive(Debug)]
pub struct PooledConnection {
    /// The connection.
    pub socket: Socket,
    pub(super) generation: usize,
}

pub(super) struct Pool {
    idle: Mutex<Vec<(PooledConnection, Instant)>>,
    max: usize,
    idle_timeout: Duration,
}

impl Pool {
    pub(super) fn new(max: usize, idle_timeout: Duration) -> Pool {
        Pool { idle: Mutex::default(), max, idle_timeout }
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// A connection of this generation that is still good, if there is one.
    pub(super) fn take(&self, generation: usize) -> Option<PooledConnection> {
        let mut idle = self.lock();
        while let Some((kept, since)) = idle.pop() {
            if since.elapsed() >= self.idle_timeout {
                // The last used has idled too long, so all before it have.
                idle.clear();
                return None;
            }
            if kept.generation == generation && kept.socket.quiet() {
                return Some(kept);
            }
        }
        None
    }

    pub(super) fn put(&self, kept: PooledConnection) {
        let mut idle = self.lock();
        if idle.len() < self.max {
            idle.push((kept, Instant::now()));
        }
    }

    /// Closes what has idled too long.
    pub(super) fn prune(&self) {
        self.lock().retain(|(_, since)| since.elapsed() < self.idle_timeout);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(PooledConnection, Instant)>> {
        // Nothing panics while it holds the lock; if it did, the list would still be a list of sockets.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
