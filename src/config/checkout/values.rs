//! How the values of `[checkout]` are written: modes, user interfaces, origins, rates. Pure: a text
//! becomes a value, or an [`InvalidValue`].

use crate::config::reader::{DAY, InvalidValue, duration, one_of};
use crate::config::webhook::values;
use std::time::Duration;

/// The longest key of `metadata`, in characters (<https://docs.stripe.com/metadata#data>).
const MAX_METADATA_KEY: usize = 40;

/// The shortest time until a session expires that Stripe takes
/// (<https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-expires_at>).
const MIN_EXPIRY: Duration = Duration::from_secs(30 * 60);

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

/// Parses a path that is compared byte for byte with a request's, as a webhook's is.
pub(super) fn path(text: &str) -> Result<String, InvalidValue> {
    values::path(text).map_err(|_| {
        let help = "write it as requests spell it: from its slash on, without query, percent-encoding, and empty or dotted \
                    segments";
        InvalidValue::expected("a path such as \"/api/checkout\"").help(help)
    })
}

/// Parses the origin of a page as browsers and web views write it (RFC 6454, 6.2): `https://shop.example`,
/// `capacitor://localhost`. The result is in lower case and without a default port.
pub(super) fn origin(text: &str) -> Result<String, InvalidValue> {
    let invalid = || InvalidValue::expected("an origin such as \"https://shop.example\"");
    if text == "*" {
        return Err(invalid().help(
            "list each origin; wildcards are not allowed because these requests may carry the customer's identity",
        ));
    }
    let Some((scheme, host)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return Err(invalid().help("start it with its scheme: https://, http:// or that of an app"));
    };
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) {
        return Err(invalid().help(
            "write scheme and host, and the port if it is not the default; no slash at the end, no path",
        ));
    }
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    // A browser never sends the default port.
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(invalid().help("the port is a number up to 65535"));
    }
    Ok(format!("{scheme}://{host}"))
}

/// Whether the text is the scheme of a URL (RFC 3986, 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// The parameters that have a `metadata` of their own.
pub(super) const METADATA_TARGETS: &[(&str, &str)] = &[
    ("payment_intent_data", "payment_intent_data"),
    ("subscription_data", "subscription_data"),
    ("setup_intent_data", "setup_intent_data"),
];

/// Parses how long after its order a session expires, within Stripe's bounds. Returns `None` if the text is blank.
pub(super) fn expires_after(text: &str) -> Result<Option<Duration>, InvalidValue> {
    match text {
        "" => Ok(None),
        _ => duration(text, MIN_EXPIRY..=DAY, "30m to 24h, which are Stripe's bounds").map(Some),
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
            ("https://shop.example", true),
            ("http://[::1]:3000", true),
            ("capacitor://localhost", true),
            ("chrome-extension://abcdefgh", true),
            ("null", false),
            ("file://", false),
            ("1app://localhost", false),
            ("https://shop.example/", false),
            ("*", false),
            ("shop.example", false),
            ("https://shop.example:99999", false),
            ("https://shop.example:x", false),
            ("https://shop.example:", false),
            ("app://.", true),
        ] {
            assert_eq!(origin(text).is_ok(), fine, "{text}");
        }
        assert_eq!(origin("HTTPS://Shop.example:443"), Ok("https://shop.example".to_owned()));
        assert_eq!(origin("http://localhost:5000"), Ok("http://localhost:5000".to_owned()));
        for (text, fine) in
            [("", true), ("30m", true), ("24h", true), ("29m", false), ("25h", false), ("35", false)]
        {
            assert_eq!(expires_after(text).is_ok(), fine, "{text}");
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
