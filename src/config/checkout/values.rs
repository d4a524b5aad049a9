//! How the values of `[checkout]` are written: the API key, modes, user interfaces, URLs, origins, rates. Pure: a text
//! becomes a value, or an [`InvalidValue`].

use crate::config::reader::{InvalidValue, one_of};
use crate::config::webhook::values;
use secrecy::SecretString;
use std::time::Duration;

/// What the key to Stripe's API is expected to be.
const API_KEY: &str = "a secret or restricted API key (sk_… or rk_…)";

/// The longest URL that Stripe accepts, in bytes.
const MAX_URL: usize = 5000;

/// The longest key of `metadata`, in characters (<https://docs.stripe.com/metadata#data>).
const MAX_METADATA_KEY: usize = 40;

/// The largest number of a rate.
const MAX_RATE: u32 = 1_000_000;

/// Headers that clients or other hops set as a matter of course. They cannot tell who a customer is.
const ORDINARY_HEADERS: [&str; 5] = ["host", "cookie", "authorization", "origin", "idempotency-key"];

/// What a session does (<https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-mode>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckoutMode {
    /// The customer pays once.
    #[default]
    Payment,
    /// The customer starts a subscription.
    Subscription,
    /// The customer saves payment details for later. Nothing is sold.
    Setup,
}

/// The modes by their names in the configuration, which are Stripe's.
pub(super) const MODES: &[(&str, CheckoutMode)] = &[
    ("payment", CheckoutMode::Payment),
    ("subscription", CheckoutMode::Subscription),
    ("setup", CheckoutMode::Setup),
];

impl CheckoutMode {
    /// Returns Stripe's name of the mode.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Subscription => "subscription",
            Self::Setup => "setup",
        }
    }
}

/// The page on which the customer pays: Stripe's or the shop's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UiMode {
    /// Stripe's own page, because the key is blank. Nothing is sent to Stripe.
    Default,
    /// Stripe's own page: `hosted_page`, or `hosted` before 2026.
    Hosted(&'static str),
    /// A page of the shop: `embedded_page`, `elements` or `form`; `embedded` or `custom` before 2026.
    Embedded(&'static str),
}

impl UiMode {
    /// Returns Stripe's name of the mode. `None` sends nothing.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Hosted(name) | Self::Embedded(name) => Some(name),
        }
    }

    /// Whether the customer stays on the shop's page.
    pub const fn embedded(self) -> bool {
        matches!(self, Self::Embedded(_))
    }
}

/// The names in the API's versions from 2026 on, and in earlier ones.
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

/// Parses a user interface by its name in this version of Stripe's API.
pub(super) fn ui_mode(text: &str, version: Option<&str>) -> Result<UiMode, InvalidValue> {
    let Some(version) = version else {
        // The version has an error of its own. Guessing it could report a second one that is wrong.
        return one_of(text, &UI_MODES.concat());
    };
    let [new, old] = UI_MODES;
    let (choices, others) = if version >= "2026" { (new, old) } else { (old, new) };
    one_of(text, choices).map_err(|error| match others.iter().any(|(name, _)| *name == text) {
        true => error.help(format!("api_version \"{version}\" does not have \"{text}\"")),
        false => error,
    })
}

/// Parses a key to Stripe's API. An error describes it without quoting it.
pub(super) fn api_key(text: &str) -> Result<SecretString, InvalidValue> {
    let invalid = |found: &str, help: &str| Err(InvalidValue::expected(API_KEY).found(found).help(help));
    if text.starts_with("whsec_") {
        return invalid(
            "a webhook's signing secret",
            "put it into secrets of [[webhook]]; API keys are under \"Developers\" in Stripe's dashboard",
        );
    }
    if text.starts_with("pk_") {
        return invalid("a publishable key", "publishable keys are for browsers and cannot create sessions");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return invalid("a key with white space, control or non-ASCII characters", "");
    }
    if text.starts_with("sk_") || text.starts_with("rk_") {
        return Ok(SecretString::from(text));
    }
    invalid("a value that is not an API key", "the value is used as it is: remove any quotes around it")
}

/// Parses a path that is compared byte for byte with a request's, as a webhook's is.
pub(super) fn path(text: &str) -> Result<String, InvalidValue> {
    values::path(text).map_err(|_| {
        let help = "write it as requests spell it: from its slash on, without query, percent-encoding, and empty or dotted \
                    segments";
        InvalidValue::expected("a path such as \"/api/checkout\"").help(help)
    })
}

/// Parses a version of Stripe's API: `2026-10-28.endive`.
pub(super) fn api_version(text: &str) -> Result<String, InvalidValue> {
    let (date, name) = text.split_once('.').unwrap_or((text, "x"));
    let digits = |part: &str, n| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<_> = date.split('-').collect();
    let dated = matches!(parts[..], [y, m, d] if digits(y, 4) && digits(m, 2) && digits(d, 2));
    if dated && !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::expected("a version of Stripe's API, such as \"2026-10-28.endive\""))
}

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
    Ok(Some(text.to_owned()))
}

/// Parses the base URL of Stripe's API. The result has no slash at the end.
pub(super) fn api_base(text: &str) -> Result<String, InvalidValue> {
    let invalid = || InvalidValue::expected("\"https://api.stripe.com\", or the address of a fake of it");
    let base = text.strip_suffix('/').unwrap_or(text);
    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    match rest {
        Some(host) if host.contains('@') => Err(invalid().found("a URL with a user name")),
        Some(host)
            if !host.is_empty()
                && !host.contains(['/', '?', '#'])
                && host.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(base.to_owned())
        }
        Some(_) => Err(invalid().help("write scheme, host and port only, without a path")),
        None => Err(invalid().help("start it with https:// or http://")),
    }
}

/// Parses the id of a connected account. Returns `None` if the text is blank.
pub(super) fn account(text: &str) -> Result<Option<String>, InvalidValue> {
    let id = text.starts_with("acct_") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match text {
        "" => Ok(None),
        _ if id && text.len() > "acct_".len() => Ok(Some(text.to_owned())),
        _ => Err(InvalidValue::expected("a connected account's id (acct_…)")),
    }
}

/// Parses the origin of a page as browsers write it (RFC 6454, 6.2): `https://shop.example`. The result is in lower case.
pub(super) fn origin(text: &str) -> Result<String, InvalidValue> {
    let invalid = || InvalidValue::expected("an origin such as \"https://shop.example\"");
    if text == "*" {
        return Err(invalid().help(
            "list each origin; wildcards are not allowed because these requests may carry the customer's identity",
        ));
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(host)
            if !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) =>
        {
            Ok(text.to_ascii_lowercase())
        }
        Some(_) => Err(invalid().help(
            "write scheme and host, and the port if it is not the default; no slash at the end, no path",
        )),
        None => Err(invalid().help("start it with https:// or http://")),
    }
}

/// Parses a key that clients may set in `metadata` (<https://docs.stripe.com/metadata#data>).
pub(super) fn metadata_key(text: &str) -> Result<String, InvalidValue> {
    let plain = !text.contains(['[', ']']) && !text.chars().any(char::is_control);
    if (1..=MAX_METADATA_KEY).contains(&text.chars().count()) && plain {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::expected("a metadata key of at most 40 characters, without brackets"))
}

/// Parses the name of a header (RFC 9110, 5.1). Returns `None` if the text is blank.
pub(super) fn header_name(text: &str) -> Result<Option<String>, InvalidValue> {
    match text.parse::<http::HeaderName>() {
        _ if text.is_empty() => Ok(None),
        Ok(name) if ORDINARY_HEADERS.contains(&name.as_str()) => {
            Err(InvalidValue::expected("the name of a header that only Caddy sets, such as \"X-User-Id\""))
        }
        Ok(_) => Ok(Some(text.to_owned())),
        Err(_) => Err(InvalidValue::expected("the name of a header, such as \"X-User-Id\"")),
    }
}

/// How often one customer, or one address, may send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateConfig {
    /// The number of requests in `period`, which may also come all at once. Never 0.
    pub times: u32,
    /// The time over which `times` counts: a second, minute, hour or day.
    pub period: Duration,
}

/// Parses a rate such as `10/m`. Returns `None`, which is no limit, if the text is blank.
pub(super) fn rate(text: &str) -> Result<Option<RateConfig>, InvalidValue> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || InvalidValue::expected("a rate such as \"10/m\": a number per s, m, h or d");
    let (times, unit) = text.split_once('/').ok_or_else(invalid)?;
    let seconds = one_of(unit, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]).map_err(|_| invalid())?;
    match times.parse() {
        Ok(times @ 1..=MAX_RATE) => Ok(Some(RateConfig { times, period: Duration::from_secs(seconds) })),
        Ok(_) | Err(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ui_mode_belongs_to_its_api_version() {
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
    fn each_value_accepts_its_own_form_only() {
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
            assert_eq!(page_url(text).is_ok(), fine, "{text}");
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
            assert_eq!(header_name(text).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_per_unit_of_time() {
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
