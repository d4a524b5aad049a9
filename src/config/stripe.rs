//! `[stripe]`: how Stripe's API is reached, for the checkout, `reconcile` and `check --probe` alike. It never says what
//! is sold.

use super::reader::{InvalidValue, Section, timeout};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// What the key to Stripe's API is expected to be.
const API_KEY: &str = "a secret or restricted API key (sk_… or rk_…)";

/// The section `[stripe]`.
#[derive(Debug, Clone)]
pub struct StripeConfig {
    /// The key to Stripe's API (`sk_…`, `rk_…`). `None` if it is blank, which turns the checkout off.
    pub secret_key: Option<SecretString>,
    /// The base URL of Stripe's API, without a slash at the end. Defaults to `https://api.stripe.com`.
    pub api_base: String,
    /// The version of Stripe's API, sent as `Stripe-Version`. Defaults to `2026-10-28.endive`.
    pub api_version: String,
    /// The connected account to act for, sent as `Stripe-Account`. `None` is the key's own account.
    pub account: Option<String>,
    /// The time limit for each attempt at a call to Stripe, including the connection. Defaults to 10 seconds.
    pub timeout: Duration,
}

impl StripeConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let secret_key = section.secret_or_blank("secret_key", "{$STRIPE_SECRET_KEY:}", api_key);
        let api_base = section.text("api_base", "{$STRIPE_API_BASE:https://api.stripe.com}", api_base);
        let api_version = section.text("api_version", "2026-10-28.endive", api_version);
        let account = section.text("account", "", account);
        let timeout = section.text("timeout", "10s", timeout);
        let stripe = Self {
            secret_key: secret_key?,
            api_base: api_base?,
            api_version: api_version?,
            account: account?,
            timeout: timeout?,
        };
        // It only reports, so that errors of `[checkout]` are found in the same run.
        stripe.check_key(section);
        Some(stripe)
    }

    /// Whether the key is a live one, with which customers pay real money.
    pub fn live(&self) -> bool {
        let live = |key: &SecretString| {
            ["sk_live_", "rk_live_"].iter().any(|prefix| key.expose_secret().starts_with(prefix))
        };
        self.secret_key.as_ref().is_some_and(live)
    }

    /// Reports a live key that would be sent unencrypted.
    fn check_key(&self, section: &Section) {
        if self.live() && self.api_base.starts_with("http://") {
            let expected = "https://, because secret_key is a live key";
            section.report("api_base", "http://", expected, "over http:// the key would be sent unencrypted");
        }
    }
}

/// Parses a key to Stripe's API. An error describes it without quoting it.
fn api_key(text: &str) -> Result<SecretString, InvalidValue> {
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

/// Parses a version of Stripe's API: `2026-10-28.endive`.
fn api_version(text: &str) -> Result<String, InvalidValue> {
    let (date, name) = text.split_once('.').unwrap_or((text, "x"));
    let digits = |part: &str, n| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<_> = date.split('-').collect();
    let dated = matches!(parts[..], [y, m, d] if digits(y, 4) && digits(m, 2) && digits(d, 2));
    if dated && !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::expected("a version of Stripe's API, such as \"2026-10-28.endive\""))
}

/// Parses the base URL of Stripe's API. The result has no slash at the end.
fn api_base(text: &str) -> Result<String, InvalidValue> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
            ("https://api.stripe.com", true),
            ("http://127.0.0.1:12111/", true),
            ("https://api.stripe.com/v1", false),
            ("api.stripe.com", false),
            ("https://", false),
            ("https://a@b", false),
        ] {
            assert_eq!(api_base(text).is_ok(), fine, "{text}");
        }
    }
}
