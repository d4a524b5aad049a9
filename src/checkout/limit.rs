//! How often one buyer, or one address, may ask. It knows nothing of headers; who asks is an argument, and so is the
//! time. Memory is bounded, however many ask.

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

/// Buyers and addresses that are remembered at most.
const MOST: usize = 1 << 16;

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// A buyer that Caddy knows: a hash, so that it is short.
    Known([u8; 16]),
    /// An IPv4 address, or the first half of an IPv6 one: what one customer of a provider gets.
    At(u64, bool),
}

impl Who {
    /// A known buyer, by the word that tells him apart.
    pub fn known(word: &str) -> Who {
        let hash: [u8; 32] = Sha256::digest(word).into();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Who::Known(half)
    }

    /// An address.
    pub fn at(address: IpAddr) -> Who {
        match address.to_canonical() {
            IpAddr::V4(address) => Who::At(u64::from(address.to_bits()), false),
            IpAddr::V6(address) => Who::At((address.to_bits() >> 64) as u64, true),
        }
    }
}

/// The latest time that anyone has told, since the limit was made.
#[derive(Debug, Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Clock for Told {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

type Counts = RateLimiter<Who, HashMapStateStore<Who>, Told, NoOpMiddleware<Duration>>;

/// The limit, and who has used how much of it.
pub struct Limit {
    quota: Quota,
    start: Instant,
    told: Told,
    counts: RwLock<Counts>,
    most: usize,
    unknown: AtomicBool,
}

impl Limit {
    /// Nobody has asked before `start`.
    pub fn new(rate: RateConfig, start: Instant) -> Limit {
        Limit::with(rate, start, MOST)
    }

    fn with(rate: RateConfig, start: Instant, most: usize) -> Limit {
        let times = NonZeroU32::new(rate.times).unwrap_or(NonZeroU32::MIN);
        // Never zero: a second's millionth is a microsecond.
        let every = rate.period / times.get();
        let quota =
            Quota::with_period(every).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(times);
        let told = Told::default();
        let counts = RwLock::new(RateLimiter::new(quota, HashMapStateStore::default(), told.clone()));
        Limit { quota, start, told, counts, most, unknown: AtomicBool::new(false) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, if there were too many.
    pub fn take(&self, who: Who, now: Instant) -> Result<(), Duration> {
        let nanos = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        self.told.0.fetch_max(nanos, Ordering::Relaxed);
        self.make_room();
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        counts.check_key(&who).map_err(|until| until.wait_time_from(self.told.now()))
    }

    /// Nobody knows who asks; whether that is new.
    pub fn first_unknown(&self) -> bool {
        !self.unknown.swap(true, Ordering::Relaxed)
    }

    /// Forgets those whose allowance is whole again; if that does not make room, everybody: so many at once are not to be
    /// told apart by their addresses anyway.
    fn make_room(&self) {
        {
            let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
            if counts.len() < self.most {
                return;
            }
            counts.retain_recent();
            // Half, so that the next search is not due at once.
            if counts.len() < self.most / 2 {
                return;
            }
        }
        let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        *counts = RateLimiter::new(self.quota, HashMapStateStore::default(), self.told.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A limit and a clock that goes as the test wants.
    struct Case {
        limit: Limit,
        now: Instant,
    }

    impl Case {
        fn new(times: u32, seconds: u64, most: usize) -> Case {
            let (rate, now) = (RateConfig { times, period: Duration::from_secs(seconds) }, clock::instant());
            Case { limit: Limit::with(rate, now, most), now }
        }

        fn take(&self, who: Who) -> Result<(), Duration> {
            self.limit.take(who, self.now)
        }

        fn pass(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }
    }

    fn address(text: &str) -> Who {
        Who::at(text.parse().unwrap())
    }

    #[test]
    fn so_many_at_once_and_then_one_as_often_as_the_rate_says() {
        let mut limit = Case::new(3, 60, MOST);
        let ada = Who::known("ada");
        for _ in 0..3 {
            assert_eq!(limit.take(ada), Ok(()));
        }
        assert_eq!(limit.take(ada), Err(Duration::from_secs(20)));
        assert_eq!(limit.take(Who::known("bob")), Ok(()), "another buyer");
        limit.pass(19_999);
        assert_eq!(limit.take(ada), Err(Duration::from_millis(1)));
        limit.pass(1);
        assert_eq!(limit.take(ada), Ok(()));
        assert_eq!(limit.take(ada), Err(Duration::from_secs(20)));
    }

    #[test]
    fn addresses_are_told_apart_as_providers_give_them_out() {
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
        assert_ne!(Who::known("192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn however_many_ask_no_more_are_remembered_than_there_is_room_for() {
        let mut limit = Case::new(1, 60, 8);
        let held = |case: &Case| case.limit.counts.read().unwrap().len();
        for n in 0..8 {
            assert_eq!(limit.take(Who::At(n, false)), Ok(()));
        }
        assert_eq!(limit.take(Who::At(8, false)), Ok(()), "all are busy: all are forgotten");
        assert_eq!(held(&limit), 1);
        for n in 9..16 {
            assert_eq!(limit.take(Who::At(n, false)), Ok(()));
        }
        limit.pass(61_000);
        for n in 16..19 {
            assert_eq!(limit.take(Who::At(n, false)), Ok(()));
        }
        assert_eq!(held(&limit), 3, "those whose allowance is whole again are forgotten");
        assert_eq!(limit.take(Who::At(16, false)), Err(Duration::from_secs(60)), "and no others");
    }

    #[test]
    fn that_nobody_is_known_is_news_once() {
        let limit = Case::new(1, 1, MOST).limit;
        assert_eq!([limit.first_unknown(), limit.first_unknown()], [true, false]);
    }
}
