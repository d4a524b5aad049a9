//! Authentication of API calls: any key of Stripe's form is accepted. This module knows no endpoint.

use super::call::Call;
use super::errors::Error;

/// The API version of a call that names none.
pub const DEFAULT_VERSION: &str = "2026-10-28.endive";

/// Key prefixes that Stripe's API accepts.
const KEY_PREFIXES: [&str; 4] = ["sk_test_", "sk_live_", "rk_test_", "rk_live_"];

/// The caller of one API call, as its headers describe it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whether the API key is a live key.
    pub livemode: bool,
    /// The connected account, from `Stripe-Account`.
    pub account: Option<String>,
    /// The connected account, from `Stripe-Context`, which `/v2` takes.
    pub context: Option<String>,
    /// The API version, from `Stripe-Version`, or [`DEFAULT_VERSION`].
    pub version: String,
    /// The id that the fake gave to this call: `req_…`.
    pub request_id: String,
    /// The value of `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

/// Reads the caller from `Authorization: Bearer sk_…`, or from Basic authentication with the key as the user.
///
/// # Errors
///
/// A 401 if there is no key, or if it does not have the form of a secret or restricted key.
pub fn authenticate(call: &Call, request_id: String) -> Result<Caller, Error> {
    let key = api_key(call.header("authorization").unwrap_or_default());
    if key.is_empty() {
        return Err(Error::no_api_key());
    }
    if !is_well_formed(&key) {
        return Err(Error::invalid_api_key(&key));
    }
    Ok(Caller {
        livemode: key.contains("_live_"),
        account: call.header("stripe-account").map(str::to_owned),
        context: call.header("stripe-context").map(str::to_owned),
        version: call.header("stripe-version").unwrap_or(DEFAULT_VERSION).to_owned(),
        request_id,
        idempotency_key: call.header("idempotency-key").map(str::to_owned),
    })
}

/// Returns the bytes that a text in standard Base64 encodes. Characters that are not Base64 are skipped.
pub fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut bit_count) = (vec![], 0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        // The conversion cannot fail, because a digit is below 64.
        bits = (bits << 6 | u32::try_from(digit).unwrap_or_default()) & 0xFFFF;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push(u8::try_from(bits >> bit_count & 0xFF).unwrap_or_default());
        }
    }
    bytes
}

/// Returns the key in a value of `Authorization`, or `""`.
fn api_key(authorization: &str) -> String {
    match authorization.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().to_owned(),
        Some((scheme, user)) if scheme.eq_ignore_ascii_case("basic") => {
            let user = String::from_utf8_lossy(&from_base64(user.trim())).into_owned();
            user.split(':').next().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

fn is_well_formed(key: &str) -> bool {
    KEY_PREFIXES.iter().any(|prefix| {
        key.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    })
}
