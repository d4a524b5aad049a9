//! Random numbers: for jitter, and for ids. Rules take the number as an argument, so that tests can pass another.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;
use crate::hex;

/// Returns a random number from 0 to 1, both included. Returns 0.5 where the system has no randomness: retries that
/// come back together are better than retries that fail.
pub fn random_unit() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// Returns 32 hexadecimal digits that no other call returns, in any process: 64 bits of this process, and a count that is
/// spread over the other 64. They are no secret. This costs no system call.
pub fn unique_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        // Nanoseconds tell processes apart as well, where the system has no randomness.
        random_u64().unwrap_or_else(|| clock::unix().as_nanos() as u64)
    });
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Multiplying by an odd number gives every count another value (Weyl sequence, as in SplitMix64).
    let count = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let spread = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = u128::from(*PROCESS) << 64 | u128::from(PROCESS.wrapping_add(spread));
    hex::encode(&id.to_be_bytes())
}

/// Returns 64 random bits. Returns `None` where the system has no randomness.
pub fn random_u64() -> Option<u64> {
    getrandom::u64().ok()
}
