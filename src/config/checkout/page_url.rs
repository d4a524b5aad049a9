//! The URL of a page to which Stripe sends a customer, and how `{CHECKOUT_SESSION_ID}` stands in it. Pure.

use crate::config::reader::InvalidValue;

/// The longest URL that Stripe accepts, in bytes.
const MAX_URL: usize = 5000;

/// What Stripe replaces by the session's id
/// (<https://docs.stripe.com/payments/checkout/custom-success-page>).
const SESSION_ID: &str = "{CHECKOUT_SESSION_ID}";

/// Parses the absolute URL of a page to which the customer is sent. Returns `None` if the text is blank.
pub(super) fn page_url(text: &str) -> Result<Option<String>, InvalidValue> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || {
        InvalidValue::expected(
            "a URL such as \"https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}\"",
        )
    };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| invalid().help("start it with https:// (or http:// for tests)"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty()
        || host.contains('@')
        || text.len() > MAX_URL
        || !text.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(invalid());
    }
    if has_misspelled_session_id(text) {
        let help = "write {CHECKOUT_SESSION_ID} as it is, in braces, without encoding and without a $: Stripe replaces \
                    nothing else";
        return Err(invalid().help(help));
    }
    Ok(Some(text.to_owned()))
}

/// Whether Stripe's placeholder stands in the URL in a form that Stripe does not replace: `%7BCHECKOUT_SESSION_ID%7D`,
/// `${CHECKOUT_SESSION_ID}`, `CHECKOUT_SESSION_ID`. A parameter may have that name: `?checkout_session_id=…`.
fn has_misspelled_session_id(url: &str) -> bool {
    let name = &SESSION_ID[1..SESSION_ID.len() - 1];
    let upper = url.to_ascii_uppercase();
    upper.match_indices(name).any(|(start, _)| {
        let end = start + name.len();
        let (before, after) = (&upper[..start], &upper[end..]);
        let outside = before.strip_suffix('{').zip(after.strip_prefix('}'));
        match outside {
            Some((before, after)) => {
                let is_exact = &url[start..end] == name;
                // `#{…}` interpolates in Ruby, where a `#` that begins the fragment follows no `=`.
                let is_wrapped = before.ends_with(['$', '{', ':', '%', '\\'])
                    || ["%24", "=#"].iter().any(|mark| before.ends_with(mark))
                    || after.starts_with('}');
                !is_exact || is_wrapped
            }
            None => {
                let is_named = after.starts_with(['=', '/']) || &url[start..end] != name;
                let is_marked = before.ends_with(['{', '$', ':', '<'])
                    || ["%7B", "%24", "%3C"].iter().any(|mark| before.ends_with(mark))
                    || after.starts_with(['}', '>'])
                    || after.starts_with("%7D");
                !is_named || is_marked
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_an_absolute_url() {
        for (text, fine) in [
            ("", true),
            ("https://shop.example/thanks?id={CHECKOUT_SESSION_ID}", true),
            ("http://localhost:5000/", true),
            ("/thanks", false),
            ("shop.example", false),
            ("https://", false),
            ("https://u:p@shop.example/", false),
            ("https://shop.example/a b", false),
        ] {
            assert_eq!(page_url(text).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn stripes_placeholder_is_accepted_as_stripe_replaces_it_only() {
        for (query, fine) in [
            ("id={CHECKOUT_SESSION_ID}", true),
            ("a={CHECKOUT_SESSION_ID}&b={CHECKOUT_SESSION_ID}", true),
            ("checkout_session_id={CHECKOUT_SESSION_ID}", true),
            ("CHECKOUT_SESSION_ID={CHECKOUT_SESSION_ID}", true),
            ("x=1", true),
            ("id=%7BCHECKOUT_SESSION_ID%7D", false),
            ("id=%7bCHECKOUT_SESSION_ID%7d", false),
            ("id=%257BCHECKOUT_SESSION_ID%257D", false),
            ("id=${CHECKOUT_SESSION_ID}", false),
            ("id=$CHECKOUT_SESSION_ID", false),
            ("id={{CHECKOUT_SESSION_ID}}", false),
            ("id={checkout_session_id}", false),
            ("id={CHECKOUT_SESSION_ID", false),
            ("id=CHECKOUT_SESSION_ID}", false),
            ("id=CHECKOUT_SESSION_ID", false),
            ("id=:CHECKOUT_SESSION_ID", false),
            ("id={CHECKOUT_SESSION_ID}&b=%7BCHECKOUT_SESSION_ID%7D", false),
            ("id=#{CHECKOUT_SESSION_ID}", false),
            ("id=%{CHECKOUT_SESSION_ID}", false),
            ("x#{CHECKOUT_SESSION_ID}", true),
        ] {
            let url = format!("https://shop.example/thanks?{query}");
            assert_eq!(page_url(&url).is_ok(), fine, "{query}");
        }
    }
}
