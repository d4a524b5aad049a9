//! Random numbers that a seed determines, so that a run can be repeated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A SplitMix64 generator. Threads may share it.
#[derive(Debug)]
pub struct Random(AtomicU64);

impl Random {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Returns the `stream`th generator of this seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(AtomicU64::new(mix(seed ^ stream.wrapping_mul(Self::STEP))))
    }

    /// Returns a random number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        mix(self.0.fetch_add(Self::STEP, Ordering::Relaxed).wrapping_add(Self::STEP)) % limit
    }

    /// Returns a random number of milliseconds in this range.
    pub fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }

    /// Returns true in this share of the calls.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
