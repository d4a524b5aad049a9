//! The file descriptors of the process: how many it may have, and a few that are kept back for the admin listener. It opens
//! no connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

/// The descriptors that are not for connections: the ledger, listeners, the runtime, Stripe's API, the admin listener, and
/// clients that wait for a place.
const OTHER_DESCRIPTORS: u64 = 64;
/// How many descriptors the admin listener keeps back.
const RESERVED: usize = 8;

/// Raises the soft limit of open files to the hard one. Returns the limit in force; `None` if there is none.
pub fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // A hard limit above what the kernel allows now, for example. The soft one is in force.
        Err(_) => limit.current,
    }
}

/// Returns how many connections fit into a limit of open files. Each may need two: the client's and the backend's.
pub fn max_connections(limit: u64) -> usize {
    let connections = limit.saturating_sub(OTHER_DESCRIPTORS) / 2;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

/// Descriptors that are open only to be given up when no other is left. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct DescriptorReserve(Arc<Mutex<Vec<File>>>);

impl DescriptorReserve {
    /// Creates a full reserve, as far as the process may open files.
    pub fn new() -> Self {
        let reserve = Self::default();
        reserve.refill();
        reserve
    }

    /// Gives up one descriptor. Returns false if none is left.
    pub fn release_one(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().is_some()
    }

    /// Opens what was given up, as far as the process may open files.
    pub fn refill(&self) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while files.len() < RESERVED {
            let Ok(file) = File::open("/dev/null") else { return };
            files.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_two_descriptors_beside_the_others() {
        for (limit, connections) in
            [(0, 1), (64, 1), (66, 1), (1024, 480), (8256, 4096), (u64::MAX, usize::MAX / 2 - 32)]
        {
            assert_eq!(max_connections(limit), connections, "{limit}");
        }
    }

    #[test]
    fn a_reserve_gives_up_what_it_has_and_fills_again() {
        let reserve = DescriptorReserve::new();
        for _ in 0..2 {
            for _ in 0..RESERVED {
                assert!(reserve.release_one());
            }
            assert!(!reserve.release_one());
            reserve.refill();
        }
    }
}
