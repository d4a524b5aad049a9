//! Random numbers: for jitter, and for ids. Rules take the number as an argument, so that tests can pass another.

/// Returns a random number from 0 to 1, both included. Returns 0.5 where the system has no randomness: retries that
/// come back together are better than retries that fail.
pub fn random_unit() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// Returns 64 random bits. Returns `None` where the system has no randomness.
pub fn random_u64() -> Option<u64> {
    getrandom::u64().ok()
}
