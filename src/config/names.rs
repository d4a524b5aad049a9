//! What an endpoint's paths, names, event types and accounts may look like. Pure: text in, the same text out, or
//! what was expected instead.

use super::units::Wrong;

/// A path that can be compared byte for byte with a request's: nothing in it that is encoded, resolved or dropped
/// on the way to what it means.
pub(super) fn path(text: &str) -> Result<String, Wrong> {
    let wrong = |help: &str| Err(Wrong::expected("a path such as \"/webhooks/stripe\"").help(help));
    let odd = |c: char| !c.is_ascii_alphanumeric() && !"/-._~!$&'()+,=:@".contains(c);
    let segments = || text.split('/').skip(1);
    let trimmed = text.trim_end_matches('/').to_ascii_lowercase();
    if !text.starts_with('/') {
        return wrong("it begins with a slash, without scheme or host");
    }
    if text.contains(['?', '#']) {
        return wrong("leave out the query: every query on the path is guarded, and forwarded");
    }
    if text.contains('*') {
        return wrong(
            "a webhook has one path; everything that means it, or lies beneath it, is guarded with it",
        );
    }
    if text.contains(odd) {
        return wrong("letters, digits and -._~!$&'()+,=:@ between slashes; nothing encoded");
    }
    if trimmed.is_empty() {
        return wrong("the whole site cannot be one webhook");
    }
    if trimmed.contains("//")
        || text.ends_with("//")
        || segments().any(|s| s == "." || s == "..")
        || trimmed.ends_with('.')
    {
        return wrong("write it as the backend knows it: no empty or dotted segments");
    }
    Ok(text.to_owned())
}

/// A ledger key and a metric label: something to read, on one line.
pub(super) fn endpoint(text: &str) -> Result<String, Wrong> {
    if text.len() > 100 || text.chars().any(char::is_control) || text.trim() != text {
        return Err(Wrong::expected(
            "a name of 100 bytes at most, without control characters or space around it",
        ));
    }
    Ok(text.to_owned())
}

/// An event type, or the beginning of some and `*`.
pub(super) fn type_pattern(text: &str) -> Result<String, Wrong> {
    let stem = text.strip_suffix('*').unwrap_or(text);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'[' | b']');
    if text.is_empty() || text.len() > 255 || !stem.bytes().all(plain) {
        let help = "as in \"invoice.paid\", \"checkout.session.*\" or \"*\"; a * stands at the end alone";
        return Err(Wrong::expected("an event type").help(help));
    }
    Ok(text.to_owned())
}

/// A Connect account's id, or `*`.
pub(super) fn account(text: &str) -> Result<String, Wrong> {
    let id = text.starts_with("acct_") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if text == "*" || (id && text.len() > "acct_".len()) {
        return Ok(text.to_owned());
    }
    Err(Wrong::expected("an account id (acct_…) or \"*\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhooks_path_is_spelled_as_requests_spell_it() {
        for text in [
            "/webhooks/stripe",
            "/Stripe/Hook/",
            "/a",
            "/api.v1/stripe_hook-2",
            "/index.php/stripe",
            "/s.json",
            "/shop/stripe.php",
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
    fn a_type_pattern_has_its_star_at_the_end() {
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
    fn an_account_is_an_id_or_all() {
        for text in ["*", "acct_1NConnected"] {
            assert_eq!(account(text).as_deref(), Ok(text));
        }
        for text in ["", "acct_", "acct_*", "cus_1", "acct_1-2"] {
            account(text).unwrap_err();
        }
    }

    #[test]
    fn a_name_is_short_and_readable() {
        assert_eq!(endpoint("shop 1").as_deref(), Ok("shop 1"));
        for text in [" x", "x ", "a\nb", &"x".repeat(101)] {
            endpoint(text).unwrap_err();
        }
    }
}
