//! Bounds the inline deliveries of one endpoint, and those of all endpoints together. A slow inline endpoint fills its own
//! share of `max_webhooks` and leaves the rest to the other endpoints. It waits for nothing and knows no request.

use crate::use_count::{InUse, UseCount};

/// The part of `max_webhooks` that inline deliveries leave to requests that are being read or stored, where there are
/// several endpoints: an eighth.
const READING_SHARE: usize = 8;

/// Bounds the inline deliveries of one endpoint.
#[derive(Debug, Clone)]
pub struct InlineLimit {
    /// The most inline deliveries of the endpoint at once.
    max: usize,
    /// The most inline deliveries of all endpoints at once.
    max_total: usize,
    /// The inline deliveries of the endpoint that are under way. A reload hands the count on.
    own: UseCount,
    /// The inline deliveries of all endpoints that are under way. Every endpoint has the same count.
    total: UseCount,
}

/// The right to one inline delivery, given back when dropped.
#[derive(Debug)]
pub struct InlinePermit {
    _own: InUse,
    _total: InUse,
}

impl InlineLimit {
    /// Builds the limit of one of `endpoints` endpoints that share `max_webhooks` places. `max_inline` is the endpoint's
    /// own maximum; 0 stands for all of `max_webhooks` where there is one endpoint, else for three quarters of it.
    /// `total` counts the inline deliveries of all endpoints.
    pub fn new(max_inline: usize, max_webhooks: usize, endpoints: usize, total: UseCount) -> Self {
        let (default, max_total) = match endpoints {
            0 | 1 => (max_webhooks, max_webhooks),
            _ => ((max_webhooks * 3 / 4).max(1), max_webhooks - max_webhooks / READING_SHARE),
        };
        let max = if max_inline == 0 { default } else { max_inline };
        Self { max, max_total, own: UseCount::default(), total }
    }

    /// Returns this limit with the counts of `old`, so that deliveries under way still count.
    pub fn sharing_counts(self, old: &Self) -> Self {
        Self { own: old.own.clone(), total: old.total.clone(), ..self }
    }

    /// Returns the count of all endpoints' inline deliveries.
    pub fn total(&self) -> UseCount {
        self.total.clone()
    }

    /// Takes a permit, if neither the endpoint nor all endpoints together have reached their maximum.
    pub fn try_acquire(&self) -> Option<InlinePermit> {
        let own = self.own.try_acquire(self.max)?;
        let total = self.total.try_acquire(self.max_total)?;
        Some(InlinePermit { _own: own, _total: total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max_inline: usize, max_webhooks: usize, endpoints: usize) -> InlineLimit {
        InlineLimit::new(max_inline, max_webhooks, endpoints, UseCount::default())
    }

    #[test]
    fn one_endpoint_has_every_place_and_one_of_several_three_quarters() {
        for (max_inline, max_webhooks, endpoints, max, max_total) in [
            (0, 256, 1, 256, 256),
            (10, 256, 1, 10, 256),
            (0, 256, 2, 192, 224),
            (0, 256, 9, 192, 224),
            (0, 16, 2, 12, 14),
            (0, 7, 2, 5, 7),
            (0, 2, 2, 1, 2),
            (0, 1, 2, 1, 1),
            (200, 256, 2, 200, 224),
        ] {
            let limit = limit(max_inline, max_webhooks, endpoints);
            assert_eq!(
                (limit.max, limit.max_total),
                (max, max_total),
                "{max_inline} {max_webhooks} {endpoints}"
            );
        }
    }

    #[test]
    fn permits_are_bounded_for_the_endpoint_and_for_all_of_them() {
        let one = limit(2, 3, 1);
        let other = InlineLimit::new(2, 3, 1, one.total());
        let mut held: Vec<_> = (0..2).map(|_| one.try_acquire().unwrap()).collect();
        assert!(one.try_acquire().is_none(), "the endpoint has reached its maximum");
        held.push(other.try_acquire().unwrap());
        assert!(other.try_acquire().is_none(), "all together have reached the maximum");
        drop(held.remove(0));
        let successor = limit(1, 3, 1).sharing_counts(&one);
        assert!(successor.try_acquire().is_none(), "a delivery from before the reload counts");
        assert!(other.try_acquire().is_some());
        drop(held);
        assert!(successor.try_acquire().is_some());
    }
}
