//! When a session expires, counted from its order. A repeated order with the same idempotency key gets the same time, since
//! Stripe rejects a key with other parameters. Time is an argument.

use std::time::Duration;

use super::recent::Recent;

/// The distance from Stripe's bounds, in seconds: the call takes time, and Stripe's clock may differ.
const MARGIN: u64 = 60;
/// Stripe's bounds, in seconds
/// (<https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-expires_at>).
const MIN_SECONDS: u64 = 30 * 60;
const MAX_SECONDS: u64 = 24 * 60 * 60;
/// How long Stripe remembers an idempotency key, in seconds (<https://docs.stripe.com/api/idempotent_requests>).
const KEY_SECONDS: u64 = 24 * 60 * 60;

/// The expiry times of recent orders that have an idempotency key of their client.
pub(super) struct Expiries(Recent<Expiry>);

#[derive(Clone, Copy)]
struct Expiry {
    /// When the first order with the key came, in Unix seconds.
    ordered_at: u64,
    /// When its session expires, in Unix seconds.
    expires_at: u64,
}

impl Expiries {
    pub(super) fn new() -> Self {
        Self(Recent::new())
    }

    /// Returns when the session of an order expires, in Unix seconds. `key` is the idempotency key, if the client chose it.
    pub(super) fn expires_at(&self, key: Option<&str>, after: Duration, now: u64) -> u64 {
        let new = Expiry { ordered_at: now, expires_at: expires_at(after, now) };
        let is_valid = |expiry: &Expiry| now < expiry.ordered_at + KEY_SECONDS;
        key.map_or(new, |key| self.0.get_or_insert(key, new, is_valid)).expires_at
    }
}

/// Returns the time `after` from now, within Stripe's bounds. It is rounded up to a minute, so that two replicas mostly
/// agree about a repeated order.
fn expires_at(after: Duration, now: u64) -> u64 {
    let rounded = (now + after.as_secs()).next_multiple_of(60);
    rounded.clamp(now + MIN_SECONDS + MARGIN, now + MAX_SECONDS - MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn the_time_is_counted_from_the_order_and_keeps_away_from_stripes_bounds() {
        for (after, from, to) in [(35 * 60, 35 * 60, 36 * 60), (1800, 1860, 1860), (86400, 86340, 86340)] {
            let seconds = expires_at(Duration::from_secs(after), NOW) - NOW;
            assert!((from..=to).contains(&seconds), "{after}: {seconds}");
        }
    }

    #[test]
    fn a_repeated_key_has_the_time_of_its_first_order_for_as_long_as_stripe_remembers_it() {
        let (expiries, after) = (Expiries::new(), Duration::from_secs(3600));
        let first = expiries.expires_at(Some("a"), after, NOW);
        assert_eq!(expiries.expires_at(Some("a"), after, NOW + 600), first);
        assert!(expiries.expires_at(Some("b"), after, NOW + 600) > first);
        assert!(expiries.expires_at(None, after, NOW + 600) > first);
        assert!(expiries.expires_at(Some("a"), after, NOW + KEY_SECONDS) > first);
    }
}
