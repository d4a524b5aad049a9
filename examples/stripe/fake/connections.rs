//! Counts of the connections to the fake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of connections that were opened, and the number that are open.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    opened: AtomicUsize,
    open: Arc<AtomicUsize>,
    max_open: AtomicUsize,
}

impl ConnectionCounts {
    /// Returns how many connections were ever opened.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Returns the largest number of connections that were open at the same time.
    pub fn max_open(&self) -> usize {
        self.max_open.load(Ordering::SeqCst)
    }

    /// Counts a connection as open until the returned value is dropped.
    pub fn count(&self) -> OpenConnection {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_open.fetch_max(open, Ordering::SeqCst);
        OpenConnection { number: self.opened.fetch_add(1, Ordering::SeqCst) + 1, open: self.open.clone() }
    }
}

/// One connection, counted as open while this value lives.
pub struct OpenConnection {
    /// The connection's number, counted from 1.
    pub number: usize,
    open: Arc<AtomicUsize>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}
