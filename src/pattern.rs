//! Patterns over event types and account ids: a text, with an optional `*` at its end for any rest. Pure. The
//! configuration's filters and the events API use this one matcher.

/// Returns whether `text` matches `pattern`: equal to it, or, where the pattern ends in `*`, beginning with what stands
/// before the `*`. A `*` elsewhere has no meaning.
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => text == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_star_at_the_end_matches_any_rest() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "invoice.paid", true),
            ("invoice.*", "invoice.paid", true),
            ("invoice.*", "invoice.", true),
            ("invoice.*", "invoices", false),
            ("invoice.paid", "invoice.paid", true),
            ("invoice.paid", "invoice.paid.x", false),
            ("*.paid", "invoice.paid", false),
            ("", "invoice.paid", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }
}
