//! The types of Stripe's snapshot events, so that a misspelled one can be told. Stripe adds types with each version of its
//! API, so a type that is not in the list may be right. Pure.

/// One type a line, as stripe-node 23.1.0 lists them for `enabled_events`
/// (<https://docs.stripe.com/api/events/types>).
const TYPES: &str = include_str!("event_types.txt");

/// Returns whether Stripe has a type that `pattern` matches. A `*` at its end matches any rest. Types of thin events (`v1.…`,
/// `v2.…`) are not listed and count as known.
pub(crate) fn is_known(pattern: &str) -> bool {
    let is_thin = pattern.starts_with("v1.") || pattern.starts_with("v2.");
    match pattern.strip_suffix('*') {
        _ if is_thin => true,
        Some(stem) => "v1.".starts_with(stem) || "v2.".starts_with(stem) || has_prefix(stem),
        None => TYPES.lines().any(|known| known == pattern),
    }
}

/// Returns the known type, or pattern, that differs least from `pattern`, if it is close enough to be meant.
pub(crate) fn nearest(pattern: &str) -> Option<String> {
    let closest = match pattern.strip_suffix('*') {
        Some(stem) => groups().map(|group| (strsim::levenshtein(group, stem), format!("{group}*"))).min(),
        None => TYPES.lines().map(|known| (strsim::levenshtein(known, pattern), known.to_owned())).min(),
    };
    // A tenth of the letters may differ: enough for typing errors, too little for another type of the same object.
    closest.filter(|(distance, known)| *distance <= known.len().div_ceil(10)).map(|(_, known)| known)
}

fn has_prefix(stem: &str) -> bool {
    TYPES.lines().any(|known| known.starts_with(stem))
}

/// Returns what stands before each `.` of the types, with the `.`: `checkout.`, `checkout.session.`. Some come repeatedly.
fn groups() -> impl Iterator<Item = &'static str> {
    TYPES.lines().flat_map(|known| known.match_indices('.').map(|(at, _)| &known[..=at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_type_in_order_and_once() {
        let types: Vec<_> = TYPES.lines().collect();
        assert!(types.len() > 250, "{}", types.len());
        assert!(types.is_sorted_by(|one, next| one < next));
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.';
        assert!(types.iter().all(|name| name.contains('.') && name.bytes().all(is_plain)));
    }

    #[test]
    fn a_misspelled_type_has_a_near_one() {
        for (pattern, known, near) in [
            ("checkout.session.completed", true, Some("checkout.session.completed")),
            ("checkout.sessions.completed", false, Some("checkout.session.completed")),
            ("checkout.session.complete", false, Some("checkout.session.completed")),
            ("invoice_paid", false, Some("invoice.paid")),
            ("charge.refund", false, Some("charge.refunded")),
            ("customer.subscription.canceled", false, None),
            ("invoice.*", true, Some("invoice.*")),
            ("invoices.*", false, Some("invoice.*")),
            ("checkout.sessions.*", false, Some("checkout.session.*")),
            ("*", true, None),
            ("shop.order.shipped", false, None),
            ("v1.billing.meter.error_report_triggered", true, None),
            ("v2.*", true, None),
            ("v*", true, None),
            ("", false, None),
        ] {
            assert_eq!(is_known(pattern), known, "{pattern}");
            if near.is_some() || !known {
                assert_eq!(nearest(pattern).as_deref(), near, "{pattern}");
            }
        }
    }
}
