//! The one source of jitter. Rules take the number as an argument, so that tests can pass another.

/// Returns a random number from 0 to 1, both included. Returns 0.5 where the system has no randomness: retries that
/// come back together are better than retries that fail.
pub fn random_unit() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}
