//! How a signing secret of Stripe's is written, and what is pasted in its place. An error describes a value and never
//! quotes it. Pure: a text becomes a secret, or an [`InvalidValue`].

use crate::config::reader::{InvalidValue, is_shell_variable};
use secrecy::SecretString;

/// What a key that holds signing secrets expects.
pub(crate) const SIGNING_SECRET: &str = "a webhook's signing secret (whsec_…)";

/// How the signing secrets of Stripe begin.
pub(crate) const SECRET_PREFIX: &str = "whsec_";

/// The prefixes of API keys (<https://docs.stripe.com/keys>).
const API_KEYS: [&str; 5] = ["sk_", "rk_", "pk_", "ek_", "mk_"];

/// The prefixes of the ids of a webhook endpoint and of an event destination.
const ENDPOINTS: [&str; 2] = ["we_", "ed_"];

/// The prefixes of other ids that stand near a secret in Stripe's dashboard, in its output or in examples.
const OTHER_IDS: [&str; 14] = [
    "acct_", "evt_", "price_", "prod_", "cus_", "cs_", "ca_", "pi_", "pm_", "sub_", "req_", "in_", "ch_",
    "seti_",
];

const WHERE_IT_IS: &str = "Stripe's dashboard shows the signing secret on the page of the webhook endpoint";
const WHOLE: &str =
    "copy the whole secret: an ellipsis marks a cut, and some editors start a file with an invisible mark";
const AS_IT_IS: &str = "copy the secret alone: the value is used as it is, and it begins with whsec_";

/// Parses a signing secret. Rejects what Stripe never issues as one.
pub(crate) fn signing_secret(text: &str) -> Result<SecretString, InvalidValue> {
    match mistaken_for_a_secret(text) {
        Some((found, help)) => Err(InvalidValue::expected(SIGNING_SECRET).found(found).help(help)),
        None => Ok(SecretString::from(text)),
    }
}

/// Returns what a text is that cannot be a signing secret, and what to do about it.
fn mistaken_for_a_secret(text: &str) -> Option<(&'static str, &'static str)> {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let lower = text.to_ascii_lowercase();
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some(("white space inside a secret", "separate several secrets by commas"))
    } else if !text.is_ascii() || text.ends_with("...") {
        Some(("a secret with characters that Stripe's secrets never have", WHOLE))
    } else if text.starts_with(['"', '\'', '`']) {
        Some(("a secret in quotes", "remove the quotes: the value is used as it is"))
    } else if begins(&API_KEYS) {
        Some(("an API key", WHERE_IT_IS))
    } else if begins(&ENDPOINTS) {
        Some(("the id of an endpoint at Stripe", WHERE_IT_IS))
    } else if begins(&OTHER_IDS) {
        Some(("the id of something else at Stripe", WHERE_IT_IS))
    } else if text.contains("://") {
        Some(("a URL", WHERE_IT_IS))
    } else if is_signature_part(text) {
        Some(("a part of a Stripe-Signature header", WHERE_IT_IS))
    } else if is_shell_variable(text) {
        Some(("a variable as a shell spells it", "to read the environment variable NAME, write {$NAME}"))
    } else if let Some(rest) = text.strip_prefix(SECRET_PREFIX) {
        mistaken_for_the_rest(rest)
    } else if lower.starts_with(SECRET_PREFIX) {
        let help =
            "copy the secret as it is: upper and lower case matter, and it begins with whsec_ in lower case";
        Some(("a secret in other letters than Stripe's", help))
    } else if lower.split_once('=').is_some_and(|(_, value)| value.contains(SECRET_PREFIX)) {
        Some(("a secret with a name before it", "remove the name and the =: the value is used as it is"))
    } else if lower.contains(SECRET_PREFIX) {
        Some(("a secret with something before it", AS_IT_IS))
    } else if lower.starts_with("whsec") {
        Some(("a secret whose prefix is misspelled", AS_IT_IS))
    } else {
        None
    }
}

/// Returns what stands behind the prefix in place of a secret's own characters.
fn mistaken_for_the_rest(rest: &str) -> Option<(&'static str, &'static str)> {
    // Stripe's secrets are letters and digits; other tools make them in Base64.
    let is_odd = |byte: u8| !byte.is_ascii_alphanumeric() && !b"+/=_-".contains(&byte);
    let lower = rest.to_ascii_lowercase();
    if rest.is_empty() {
        Some(("the prefix of a secret alone", WHOLE))
    } else if rest.bytes().any(is_odd) {
        Some(("a secret with characters that Stripe's secrets never have", WHOLE))
    } else if rest.contains(SECRET_PREFIX) {
        Some(("two secrets in one", "separate several secrets by commas"))
    } else if lower.bytes().all(|byte| byte == b'x')
        || lower.starts_with("your") && lower.contains(['_', '-'])
    {
        Some(("a placeholder of an example", WHERE_IT_IS))
    } else {
        None
    }
}

/// Returns whether a text is an item of a `Stripe-Signature` header: `t=…` or `v1=…`.
fn is_signature_part(text: &str) -> bool {
    text.split_once('=').is_some_and(|(scheme, value)| {
        matches!(scheme, "t" | "v0" | "v1")
            && !value.is_empty()
            && value.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stripe_may_issue_and_what_other_tools_make_is_a_secret() {
        for text in [
            "whsec_0123456789abcdef0123456789abcdef",
            "whsec_aB3+/-_=",
            "whsec_test",
            "ws_abcdef",
            "0123456789abcdef",
        ] {
            assert!(signing_secret(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_pasted_in_place_of_a_secret_is_described() {
        for (text, found) in [
            ("we_1NConnected", "the id of an endpoint at Stripe"),
            ("ed_test_61", "the id of an endpoint at Stripe"),
            ("acct_1A", "the id of something else at Stripe"),
            ("evt_1A", "the id of something else at Stripe"),
            ("price_1A", "the id of something else at Stripe"),
            ("sk_org_live_1", "an API key"),
            ("ek_test_1", "an API key"),
            ("whsec_", "the prefix of a secret alone"),
            ("WHSEC_AB", "a secret in other letters than Stripe's"),
            ("whsec-0123", "a secret whose prefix is misspelled"),
            ("whsec", "a secret whose prefix is misspelled"),
            ("SECRET=whsec_ab", "a secret with a name before it"),
            ("SECRET=\"whsec_ab\"", "a secret with a name before it"),
            ("secret:whsec_ab", "a secret with something before it"),
            ("<whsec_ab>", "a secret with something before it"),
            ("{whsec_ab}", "a secret with something before it"),
            ("export A=whsec_ab", "white space inside a secret"),
            ("`whsec_ab`", "a secret in quotes"),
            ("'whsec_ab'", "a secret in quotes"),
            ("whsec_ab;", "a secret with characters that Stripe's secrets never have"),
            ("whsec_****", "a secret with characters that Stripe's secrets never have"),
            ("whsec_<secret>", "a secret with characters that Stripe's secrets never have"),
            ("whsec_ab…", "a secret with characters that Stripe's secrets never have"),
            ("whsec_abwhsec_cd", "two secrets in one"),
            ("whsec_xxxx", "a placeholder of an example"),
            ("whsec_your_secret", "a placeholder of an example"),
            ("https://shop.example/hook", "a URL"),
            ("v1=0a1b", "a part of a Stripe-Signature header"),
            ("$STRIPE_WEBHOOK_SECRET", "a variable as a shell spells it"),
        ] {
            let error = signing_secret(text).unwrap_err();
            assert_eq!(error.found.as_deref(), Some(found), "{text}");
            assert!(text.len() < 8 || !error.help.contains(text), "{text}");
        }
    }
}
