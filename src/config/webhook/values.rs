//! How the values of `[[webhook]]` are written: paths, names, event types, accounts, durations. Pure: a text becomes a
//! value, or an [`InvalidValue`]. Secrets are in `signing_secret`.

use crate::config::reader::{DAY, InvalidValue, SECOND, duration};
use crate::guard::{MAX_QUERY_PAIRS, QueryPair, same_key, variable_name};
use std::time::Duration;

/// The entry of `accounts` for events that name no account.
pub const NO_ACCOUNT: &str = "none";

/// The longest endpoint name, in bytes.
const MAX_NAME: usize = 100;

/// The longest key or value of a query that tells a webhook, in bytes.
const MAX_QUERY_PART: usize = 100;

/// The longest event type, in bytes.
const MAX_TYPE: usize = 255;

/// Parses a path that can be compared byte for byte with a request's: nothing in it is encoded, resolved or dropped on
/// the way to its meaning.
pub(crate) fn path(text: &str) -> Result<String, InvalidValue> {
    let invalid = |help: &str| Err(InvalidValue::expected("a path such as \"/webhooks/stripe\"").help(help));
    let odd = |c: char| !c.is_ascii_alphanumeric() && !"/-._~!$&'()+,=:@".contains(c);
    let segments = || text.split('/').skip(1);
    let trimmed = text.trim_end_matches('/').to_ascii_lowercase();
    if !text.starts_with('/') {
        return invalid("start it with a slash, without scheme or host");
    }
    let literal = text.split(['?', '#']).next().unwrap_or_default();
    if literal.split('/').any(is_route_pattern) {
        return invalid("write a variable segment in braces, as in \"/tenants/{tenant}/stripe\"");
    }
    if text.contains(['?', '#']) {
        return invalid(
            "remove the query: the path is guarded with any query, and the key query names pairs that tell a webhook",
        );
    }
    if text.contains('*') {
        return invalid(
            "remove the *: every spelling of the path, and everything below it, is guarded as well",
        );
    }
    if text.contains(odd) {
        return invalid("use letters, digits and -._~!$&'()+,=:@ between slashes, without percent-encoding");
    }
    if trimmed.is_empty() {
        return invalid("the whole site cannot be one webhook, unless the key query says which requests are");
    }
    if trimmed.contains("//")
        || text.ends_with("//")
        || segments().any(|segment| segment == "." || segment == "..")
        || trimmed.ends_with('.')
    {
        return invalid(
            "write it as the backend knows it, without empty or dot segments and without a dot at its end",
        );
    }
    Ok(text.to_owned())
}

/// Returns whether a segment is variable to some framework's router, which writes it in another way than in braces:
/// `:tenant`, `*`, `<str:tenant>`, `[tenant]`, `$tenant`, `(.:format)`. As a literal path it would guard nothing.
fn is_route_pattern(segment: &str) -> bool {
    segment == "*"
        || segment.starts_with(':')
        || (segment.starts_with('$') && segment.len() > 1)
        || segment.contains(['<', '>', '[', ']', '(', ')'])
}

/// Parses a path in which a segment `{name}` is variable. The root is a path, too: whether it may be one depends on other
/// keys.
pub(super) fn location_path(text: &str) -> Result<String, InvalidValue> {
    let invalid = |help: &str| {
        Err(InvalidValue::expected("a path such as \"/webhooks/stripe\" or \"/tenants/{tenant}/stripe\"")
            .help(help))
    };
    let name_like =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let segments: Vec<&str> = text.split('/').collect();
    let names: Vec<&str> = segments.iter().filter_map(|segment| variable_name(segment)).collect();
    let braced = segments.iter().filter(|segment| segment.contains(['{', '}'])).count();
    if braced != names.len() || !names.iter().all(|name| name_like(name)) {
        return invalid(
            "braces hold the name of one whole segment, of letters, digits and _, as in \"/tenants/{tenant}/stripe\"",
        );
    }
    if !names.is_empty() && names.len() == segments.iter().filter(|segment| !segment.is_empty()).count() {
        return invalid("add a segment that is not variable: otherwise the whole site is the webhook");
    }
    if text != "/" {
        let literal =
            segments.iter().map(|segment| if variable_name(segment).is_some() { "x" } else { segment });
        path(&literal.collect::<Vec<_>>().join("/"))?;
    }
    Ok(text.to_owned())
}

/// Parses the pairs of a query that tell a webhook. A blank text has none.
pub(super) fn query(text: &str) -> Result<Vec<QueryPair>, InvalidValue> {
    let invalid = |help: &str| Err(InvalidValue::expected("pairs such as \"wc-api=wc_stripe\"").help(help));
    let plain = |part: &str| {
        part.len() <= MAX_QUERY_PART
            && part.bytes().any(|b| b.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-/:@".contains(&b))
    };
    let mut pairs: Vec<QueryPair> = Vec::new();
    for pair in text.split('&').filter(|_| !text.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return invalid("write each pair as key=value, and separate pairs by &");
        };
        if !plain(key) || !plain(value) {
            return invalid(
                "use letters, digits and ._~-/:@ in keys and values, at most 100 each, without percent-encoding",
            );
        }
        if pairs.iter().any(|known| same_key(&known.key, key)) {
            return invalid("name each key once: parsers differ on a key that is repeated");
        }
        pairs.push(QueryPair { key: key.to_owned(), value: value.to_owned() });
    }
    if pairs.len() > MAX_QUERY_PAIRS {
        return invalid("name at most 8 pairs");
    }
    Ok(pairs)
}

/// Parses a raw query that is taken, `*` for any, or a blank text for none.
pub(super) fn allowed_query(text: &str) -> Result<String, InvalidValue> {
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'?') {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::expected("a raw query without ?, such as \"version=2\", or \"*\"")
        .help("write it as Stripe sends it, percent-encoded as in the endpoint's URL"))
}

/// Parses an endpoint's name. Ledger keys, metrics and logs show it, so it has to be readable on one line.
pub(super) fn endpoint_name(text: &str) -> Result<String, InvalidValue> {
    if text.len() > MAX_NAME || text.chars().any(char::is_control) || text.trim() != text {
        return Err(InvalidValue::expected(
            "a name of at most 100 bytes, without control characters and without spaces around it",
        ));
    }
    Ok(text.to_owned())
}

/// Parses an event type, or the beginning of one followed by `*`.
pub(super) fn type_pattern(text: &str) -> Result<String, InvalidValue> {
    let stem = text.strip_suffix('*').unwrap_or(text);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'[' | b']');
    if text.is_empty() || text.len() > MAX_TYPE || !stem.bytes().all(plain) {
        let help = "as in \"invoice.paid\", \"checkout.session.*\" or \"*\"; a * is allowed only at the end";
        return Err(InvalidValue::expected("an event type").help(help));
    }
    Ok(text.to_owned())
}

/// Parses the id of a connected account, `*`, or the word for events without an account.
pub(super) fn account(text: &str) -> Result<String, InvalidValue> {
    let id = text.starts_with("acct_") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if text == "*" || text == NO_ACCOUNT || (id && text.len() > "acct_".len()) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::expected("an account id (acct_…), \"none\" or \"*\""))
}

/// Parses a tolerance from 1 second to 1 day. It has whole seconds, as a signature's timestamp has.
pub(super) fn tolerance(text: &str) -> Result<Duration, InvalidValue> {
    let tolerance = duration(text, SECOND..=DAY, "1s to 1d").map_err(|error| {
        error.help("a tolerance of zero would reject genuine events; omit the key for 5m")
    })?;
    if tolerance.subsec_nanos() != 0 {
        return Err(InvalidValue::expected("whole seconds").help("Stripe's timestamps count whole seconds"));
    }
    Ok(tolerance)
}

/// Parses the delay before an attempt, from 0 to 30 days.
pub(super) fn retry_delay(text: &str) -> Result<Duration, InvalidValue> {
    duration(text, Duration::ZERO..=30 * DAY, "0s to 30d")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_spelled_as_requests_spell_it() {
        for text in [
            "/webhooks/stripe",
            "/Stripe/Hook/",
            "/a",
            "/api.v1/stripe_hook-2",
            "/index.php/stripe",
            "/s.json",
            "/shop/stripe.php",
            "/@shop/stripe",
            "/us$/stripe",
        ] {
            assert_eq!(path(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "/",
            "//",
            "stripe",
            "http://x/stripe",
            "/a?b",
            "/a#b",
            "/a%20b",
            "/a*",
            "/a b",
            "/a;b",
            "/a\\b",
            "/ä",
            "//a",
            "/a//b",
            "/a//",
            "/./a",
            "/a/..",
            "/a.",
            "/a./",
        ] {
            path(text).unwrap_err();
        }
    }

    #[test]
    fn a_route_pattern_of_a_framework_is_told_to_use_braces() {
        for text in [
            "/t/:tenant",
            "/t/:tenant?",
            "/t/:id(\\d+)",
            "/t/*/x",
            "/t/<tenant>/",
            "/t/<str:tenant>",
            "/t/[tenant]",
            "/t/[...tenant]",
            "/t/$tenant",
            "/t/(tenant)",
            "/t/(?P<tenant>\\w+)/",
            "/webhook(.:format)",
            "/t/{tenant?}",
            "/t/{tenant:slug}",
            "/t/{tenant:[a-z]+}",
            "/t/{*tenant}",
            "/t/{tenant-id}",
            "/t/{}",
            "/t/{{tenant}}",
            "/t/x-{tenant}",
            "/t/#{tenant}",
        ] {
            let error = location_path(text).unwrap_err();
            assert!(error.help.contains("{tenant}"), "{text}: {}", error.help);
        }
    }

    #[test]
    fn a_type_pattern_has_a_star_only_at_its_end() {
        for text in
            ["*", "invoice.paid", "checkout.session.*", "invoice*", "v2.core.account[requirements].updated"]
        {
            assert_eq!(type_pattern(text).as_deref(), Ok(text));
        }
        for text in ["", "**", "*.paid", "invoice.*.x", "invoice paid", &"x".repeat(256)] {
            type_pattern(text).unwrap_err();
        }
    }

    #[test]
    fn an_account_is_an_id_none_or_a_star() {
        for text in ["*", "none", "acct_1NConnected"] {
            assert_eq!(account(text).as_deref(), Ok(text));
        }
        for text in ["", "acct_", "acct_*", "cus_1", "acct_1-2"] {
            account(text).unwrap_err();
        }
    }

    #[test]
    fn a_name_is_short_and_readable() {
        assert_eq!(endpoint_name("shop 1").as_deref(), Ok("shop 1"));
        for text in [" x", "x ", "a\nb", &"x".repeat(101)] {
            endpoint_name(text).unwrap_err();
        }
    }

    #[test]
    fn a_tolerance_is_whole_seconds_and_never_zero() {
        assert_eq!(tolerance("5m"), Ok(Duration::from_secs(300)));
        for text in ["0s", "999ms", "1s500ms", "2d", "x"] {
            tolerance(text).unwrap_err();
        }
    }
}
