//! The rate limit of the checkout: how many requests one buyer or one address may send. Its memory is bounded. It reads no
//! header and no clock: key and time are arguments.

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::config::RateConfig;

/// The maximum number of keys that are stored.
const MAX_KEYS: usize = 1 << 16;

/// The key under which requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// A buyer whom an identity header names, as the first half of a hash: every key has the same small size.
    Principal([u8; 16]),
    /// An IPv4 address.
    Ipv4(u32),
    /// The first 64 bits of an IPv6 address: providers assign that prefix to one customer.
    Ipv6Prefix(u64),
}

impl RateKey {
    /// Creates the key of a buyer from the principal of their identity.
    pub fn from_principal(principal: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(principal).into();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self::Principal(half)
    }

    /// Creates the key of an address. An IPv4-mapped IPv6 address has the key of its IPv4 address.
    pub fn from_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Ipv4(address.to_bits()),
            IpAddr::V6(address) => Self::Ipv6Prefix((address.to_bits() >> 64) as u64),
        }
    }
}

/// A clock for `governor` that shows the latest time passed to [`RateLimit::check`], in nanoseconds since the start.
#[derive(Debug, Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl Clock for ManualClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

type KeyedLimiter = RateLimiter<RateKey, HashMapStateStore<RateKey>, ManualClock, NoOpMiddleware<Duration>>;

/// The rate limit and the used part of each key's allowance.
pub struct RateLimit {
    quota: Quota,
    start: Instant,
    clock: ManualClock,
    limiter: RwLock<KeyedLimiter>,
    max_keys: usize,
    /// Set by the first request without a key.
    unknown_seen: AtomicBool,
}

impl RateLimit {
    /// Creates a limit with a full allowance for every key. No later call may pass a time before `start`.
    pub fn new(rate: RateConfig, start: Instant) -> Self {
        Self::with_max_keys(rate, start, MAX_KEYS)
    }

    fn with_max_keys(rate: RateConfig, start: Instant, max_keys: usize) -> Self {
        let times = NonZeroU32::new(rate.times).unwrap_or(NonZeroU32::MIN);
        // Never zero: the configuration allows at most a million times in at least a second.
        let interval = rate.period / times.get();
        let quota =
            Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(times);
        let clock = ManualClock::default();
        let limiter = RwLock::new(RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()));
        Self { quota, start, clock, limiter, max_keys, unknown_seen: AtomicBool::new(false) }
    }

    /// Counts one request at the time `now`.
    ///
    /// # Errors
    /// Returns how long to wait if the request exceeds the limit.
    pub fn check(&self, key: RateKey, now: Instant) -> Result<(), Duration> {
        let nanos = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        // Calls on other threads may pass an earlier time a little later: the clock never goes back.
        self.clock.0.fetch_max(nanos, Ordering::Relaxed);
        self.limit_memory();
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        limiter.check_key(&key).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Records a request without a key, which is not limited. Returns true for the first one only: the caller warns then.
    pub fn warn_once_unknown(&self) -> bool {
        !self.unknown_seen.swap(true, Ordering::Relaxed)
    }

    /// Bounds the number of keys. If it is reached, keys with a full allowance are removed. If that does not free half of
    /// the memory, all keys are removed: so many at once are a distributed attack, which no limit per address can stop.
    fn limit_memory(&self) {
        {
            let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
            if limiter.len() < self.max_keys {
                return;
            }
            limiter.retain_recent();
            // With less than half free, this search would soon be repeated for every request.
            if limiter.len() < self.max_keys / 2 {
                return;
            }
        }
        let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        *limiter = RateLimiter::new(self.quota, HashMapStateStore::default(), self.clock.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A limit and a time that the test advances.
    struct LimitAtTime {
        limit: RateLimit,
        now: Instant,
    }

    impl LimitAtTime {
        fn new(times: u32, seconds: u64, max_keys: usize) -> Self {
            let (rate, now) = (RateConfig { times, period: Duration::from_secs(seconds) }, clock::instant());
            Self { limit: RateLimit::with_max_keys(rate, now, max_keys), now }
        }

        fn check(&self, key: RateKey) -> Result<(), Duration> {
            self.limit.check(key, self.now)
        }

        fn advance(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }
    }

    fn address(text: &str) -> RateKey {
        RateKey::from_address(text.parse().unwrap())
    }

    #[test]
    fn a_burst_is_followed_by_one_request_per_interval() {
        let mut limit = LimitAtTime::new(3, 60, MAX_KEYS);
        let ada = RateKey::from_principal("ada");
        for _ in 0..3 {
            assert_eq!(limit.check(ada), Ok(()));
        }
        assert_eq!(limit.check(ada), Err(Duration::from_secs(20)));
        assert_eq!(limit.check(RateKey::from_principal("bob")), Ok(()), "another buyer");
        limit.advance(19_999);
        assert_eq!(limit.check(ada), Err(Duration::from_millis(1)));
        limit.advance(1);
        assert_eq!(limit.check(ada), Ok(()));
        assert_eq!(limit.check(ada), Err(Duration::from_secs(20)));
    }

    #[test]
    fn ipv4_addresses_and_ipv6_prefixes_of_64_bits_are_separate_keys() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::c000:201", "192.0.2.1", false),
        ] {
            assert_eq!(address(one) == address(other), same, "{one} {other}");
        }
        assert_ne!(RateKey::from_principal("192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn the_number_of_stored_keys_is_bounded() {
        let mut limit = LimitAtTime::new(1, 60, 8);
        let key_count = |case: &LimitAtTime| case.limit.limiter.read().unwrap().len();
        for n in 0..8 {
            assert_eq!(limit.check(RateKey::Ipv4(n)), Ok(()));
        }
        assert_eq!(limit.check(RateKey::Ipv4(8)), Ok(()), "no key has a full allowance: all are removed");
        assert_eq!(key_count(&limit), 1);
        for n in 9..16 {
            assert_eq!(limit.check(RateKey::Ipv4(n)), Ok(()));
        }
        limit.advance(61_000);
        for n in 16..19 {
            assert_eq!(limit.check(RateKey::Ipv4(n)), Ok(()));
        }
        assert_eq!(key_count(&limit), 3, "keys with a full allowance are removed");
        assert_eq!(limit.check(RateKey::Ipv4(16)), Err(Duration::from_secs(60)), "and no others");
    }

    #[test]
    fn only_the_first_request_without_a_key_asks_for_a_warning() {
        let limit = LimitAtTime::new(1, 1, MAX_KEYS).limit;
        assert_eq!([limit.warn_once_unknown(), limit.warn_once_unknown()], [true, false]);
    }
}
