//! How the values of `[checkout]` are written: modes, user interfaces, URLs, origins, rates. Pure.

use crate::config::names;
use crate::config::units::{self, Wrong};
use std::time::Duration;

/// What a session does (<https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-mode>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckoutMode {
    /// One payment.
    #[default]
    Payment,
    /// The begin of a subscription.
    Subscription,
    /// Details of payment are taken for later; nothing is sold.
    Setup,
}

pub(super) const MODES: &[(&str, CheckoutMode)] = &[
    ("payment", CheckoutMode::Payment),
    ("subscription", CheckoutMode::Subscription),
    ("setup", CheckoutMode::Setup),
];

impl CheckoutMode {
    /// Stripe's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckoutMode::Payment => "payment",
            CheckoutMode::Subscription => "subscription",
            CheckoutMode::Setup => "setup",
        }
    }
}

/// Where the buyer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UiMode {
    /// Blank: on Stripe's page, whatever its word.
    Default,
    /// `hosted_page`; before 2026 `hosted`.
    Hosted(&'static str),
    /// `embedded_page`, `elements`, `form`; before 2026 `embedded`, `custom`: on a page of the shop's own.
    Embedded(&'static str),
}

impl UiMode {
    /// Stripe's word, if one is to be sent.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            UiMode::Default => None,
            UiMode::Hosted(word) | UiMode::Embedded(word) => Some(word),
        }
    }

    /// Whether the buyer stays on the shop's page.
    pub const fn embedded(self) -> bool {
        matches!(self, UiMode::Embedded(_))
    }
}

/// The words of Stripe's versions from 2026 on, and of those before.
const UI_MODES: [&[(&str, UiMode)]; 2] = [
    &[
        ("", UiMode::Default),
        ("hosted_page", UiMode::Hosted("hosted_page")),
        ("embedded_page", UiMode::Embedded("embedded_page")),
        ("elements", UiMode::Embedded("elements")),
        ("form", UiMode::Embedded("form")),
    ],
    &[
        ("", UiMode::Default),
        ("hosted", UiMode::Hosted("hosted")),
        ("embedded", UiMode::Embedded("embedded")),
        ("custom", UiMode::Embedded("custom")),
    ],
];

/// A user interface in the words of this version of Stripe's API.
pub(super) fn ui_mode(text: &str, version: Option<&str>) -> Result<UiMode, Wrong> {
    let Some(version) = version else {
        // What is wrong with the version is said there; any version's word will do.
        return units::word(text, &UI_MODES.concat());
    };
    let [new, old] = UI_MODES;
    let (words, others) = if version >= "2026" { (new, old) } else { (old, new) };
    units::word(text, words).map_err(|wrong| match others.iter().any(|(word, _)| *word == text) {
        true => wrong.help(format!("\"{text}\" is no word of api_version \"{version}\"")),
        false => wrong,
    })
}

/// A path as requests spell it, as a webhook's is.
pub(super) fn path(text: &str) -> Result<String, Wrong> {
    names::path(text).map_err(|_| {
        let help = "exactly as requests spell it: from its slash on, without a query, nothing encoded, no empty or dotted segments";
        Wrong::expected("a path such as \"/api/checkout\"").help(help)
    })
}

/// A version of Stripe's API: `2026-10-28.endive`.
pub(super) fn api_version(text: &str) -> Result<String, Wrong> {
    let (date, name) = text.split_once('.').unwrap_or((text, "x"));
    let digits = |part: &str, n| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<_> = date.split('-').collect();
    let dated = matches!(parts[..], [y, m, d] if digits(y, 4) && digits(m, 2) && digits(d, 2));
    if dated && !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(Wrong::expected("a version of Stripe's API, such as \"2026-10-28.endive\""))
}

/// Where the buyer is sent: an absolute URL, or blank for none.
pub(super) fn page(text: &str) -> Result<Option<String>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong =
        || Wrong::expected("a URL such as \"https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}\"");
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(wrong().help("it begins with https:// or, for trying out, http://"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty()
        || host.contains('@')
        || text.len() > 5000
        || !text.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(wrong());
    }
    Ok(Some(text.to_owned()))
}

/// Where Stripe's API is, without a slash at the end.
pub(super) fn api_base(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::expected("\"https://api.stripe.com\", or where a fake of it listens");
    let base = text.strip_suffix('/').unwrap_or(text);
    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    match rest {
        Some(host) if host.contains('@') => Err(wrong().found("a URL with a user name")),
        Some(host)
            if !host.is_empty()
                && !host.contains(['/', '?', '#'])
                && host.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(base.to_owned())
        }
        Some(_) => Err(wrong().help("scheme, host and port, without a path")),
        None => Err(wrong().help("it begins with https:// or http://")),
    }
}

/// A connected account, or blank for one's own.
pub(super) fn account(text: &str) -> Result<Option<String>, Wrong> {
    let id = text.starts_with("acct_") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match text {
        "" => Ok(None),
        _ if id && text.len() > "acct_".len() => Ok(Some(text.to_owned())),
        _ => Err(Wrong::expected("a connected account's id (acct_…)")),
    }
}

/// A page's origin as browsers write it (RFC 6454, 6.2): `https://shop.example`, in lower case.
pub(super) fn origin(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::expected("an origin such as \"https://shop.example\"");
    if text == "*" {
        return Err(
            wrong().help("name each: whoever may order in a customer's name is not for everyone to be")
        );
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(host)
            if !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) =>
        {
            Ok(text.to_ascii_lowercase())
        }
        Some(_) => {
            Err(wrong().help("scheme, host and port if it is not the usual one, without a slash or a path"))
        }
        None => Err(wrong().help("it begins with https:// or http://")),
    }
}

/// A key that clients may set in `metadata` (<https://docs.stripe.com/metadata#data>).
pub(super) fn metadata_key(text: &str) -> Result<String, Wrong> {
    let plain = !text.contains(['[', ']']) && !text.chars().any(char::is_control);
    if (1..=40).contains(&text.chars().count()) && plain {
        return Ok(text.to_owned());
    }
    Err(Wrong::expected("a metadata key: 40 characters at most, without brackets"))
}

/// The name of a header (RFC 9110, 5.1), or blank for none.
pub(super) fn header(text: &str) -> Result<Option<String>, Wrong> {
    match text.parse::<http::HeaderName>() {
        _ if text.is_empty() => Ok(None),
        // Nothing that a client or another hop sets as a matter of course can say who someone is.
        Ok(name)
            if ["host", "cookie", "authorization", "origin", "idempotency-key"].contains(&name.as_str()) =>
        {
            Err(Wrong::expected("the name of a header that only Caddy sets, such as \"X-User-Id\""))
        }
        Ok(_) => Ok(Some(text.to_owned())),
        Err(_) => Err(Wrong::expected("the name of a header, such as \"X-User-Id\"")),
    }
}

/// How often one customer, or one address, may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateConfig {
    /// So often, and so often at once; never 0.
    pub times: u32,
    /// In this time.
    pub period: Duration,
}

/// `10/m`, or blank for no limit.
pub(super) fn rate(text: &str) -> Result<Option<RateConfig>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Wrong::expected("a rate such as \"10/m\": a number for each s, m, h or d");
    let (times, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds =
        units::word(unit, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]).map_err(|_| wrong())?;
    match times.parse() {
        Ok(times @ 1..=1_000_000) => Ok(Some(RateConfig { times, period: Duration::from_secs(seconds) })),
        Ok(_) | Err(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ui_mode_is_a_word_of_its_version() {
        let new = Some("2026-10-28.endive");
        let old = Some("2025-09-30.clover");
        for (text, version, expected) in [
            ("", new, Some(UiMode::Default)),
            ("", old, Some(UiMode::Default)),
            ("hosted_page", new, Some(UiMode::Hosted("hosted_page"))),
            ("elements", new, Some(UiMode::Embedded("elements"))),
            ("form", new, Some(UiMode::Embedded("form"))),
            ("custom", old, Some(UiMode::Embedded("custom"))),
            ("embedded", None, Some(UiMode::Embedded("embedded"))),
            ("embedded", new, None),
            ("embedded_page", old, None),
            ("popup", None, None),
        ] {
            assert_eq!(ui_mode(text, version).ok(), expected, "{text} {version:?}");
        }
        assert!(ui_mode("embedded", new).unwrap_err().help.contains("2026-10-28.endive"));
    }

    #[test]
    fn values_are_what_they_are_called() {
        for (text, fine) in [
            ("2026-10-28.endive", true),
            ("2023-08-16", true),
            ("2026-10-28.", false),
            ("latest", false),
            ("", false),
        ] {
            assert_eq!(api_version(text).is_ok(), fine, "{text}");
        }
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
            assert_eq!(page(text).is_ok(), fine, "{text}");
        }
        for (text, fine) in [
            ("https://api.stripe.com", true),
            ("http://127.0.0.1:12111/", true),
            ("https://api.stripe.com/v1", false),
            ("api.stripe.com", false),
            ("https://", false),
            ("https://a@b", false),
        ] {
            assert_eq!(api_base(text).is_ok(), fine, "{text}");
        }
        for (text, fine) in [
            ("https://shop.example", true),
            ("http://[::1]:3000", true),
            ("https://shop.example/", false),
            ("*", false),
            ("shop.example", false),
        ] {
            assert_eq!(origin(text).is_ok(), fine, "{text}");
        }
        for (text, fine) in
            [("", true), ("X-User-Id", true), ("x user", false), ("Cookie", false), ("X-Üser", false)]
        {
            assert_eq!(header(text).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_for_each_unit_of_time() {
        let rate_of = |times, seconds| Ok(Some(RateConfig { times, period: Duration::from_secs(seconds) }));
        for (text, expected) in
            [("", Ok(None)), ("10/m", rate_of(10, 60)), ("1/s", rate_of(1, 1)), ("500/h", rate_of(500, 3600))]
        {
            assert_eq!(rate(text), expected, "{text}");
        }
        for text in ["10", "0/m", "10/min", "m", "/m", "-1/m", "10/m/s"] {
            rate(text).unwrap_err();
        }
    }
}
