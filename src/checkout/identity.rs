//! The buyer's identity: what the reverse proxy tells in headers, and the idempotency key that follows from it. Pure. It
//! never decides whose headers are trusted: the edge does.

use sha2::{Digest, Sha256};

use crate::config;
use crate::hex;

/// The minimum length of an anonymous client's idempotency key, in characters: 128 bits in base64. A shorter one could be
/// guessed by another client.
const MIN_ANONYMOUS_KEY_CHARS: usize = 22;
/// Stripe's limit for `client_reference_id`, in bytes.
const MAX_REFERENCE_BYTES: usize = 200;
/// The maximum length of the other headers, in bytes. It exceeds that of every e-mail address (RFC 5321, 4.5.3.1) and of
/// every id of Stripe's.
const MAX_VALUE_BYTES: usize = 512;

/// The verified facts about the buyer. All fields are `None` for an anonymous buyer.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Identity {
    /// The backend's own id of the buyer.
    pub client_reference_id: Option<String>,
    /// The buyer's e-mail address.
    pub customer_email: Option<String>,
    /// Stripe's id of the customer, `cus_…`.
    pub customer: Option<String>,
}

/// An identity header that is repeated or invalid. It holds the header's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidHeader(pub String);

impl Identity {
    /// Reads the configured headers of a request. `values` returns all values of the header with a name.
    ///
    /// # Errors
    /// Returns the first header that is repeated, too long, not UTF-8, or has control characters.
    pub fn from_headers<'a, I>(
        config: &config::IdentityConfig,
        values: impl Fn(&str) -> I,
    ) -> Result<Self, InvalidHeader>
    where
        I: Iterator<Item = &'a [u8]>,
    {
        let single = |name: &Option<String>, max_bytes: usize| {
            let Some(name) = name else { return Ok(None) };
            let mut values = values(name);
            let value = values.next().unwrap_or_default();
            let text = str::from_utf8(value).ok().map(str::trim).filter(|text| text.len() <= max_bytes);
            match (text, values.next()) {
                (Some(""), None) => Ok(None),
                (Some(text), None) if !text.chars().any(char::is_control) => Ok(Some(text.to_owned())),
                (Some(_) | None, _) => Err(InvalidHeader(name.clone())),
            }
        };
        Ok(Self {
            client_reference_id: single(&config.client_reference_id, MAX_REFERENCE_BYTES)?,
            customer_email: single(&config.customer_email, MAX_VALUE_BYTES)?,
            customer: single(&config.customer, MAX_VALUE_BYTES)?,
        })
    }

    /// Returns the value that distinguishes this buyer from others, or `None` for an anonymous buyer.
    pub fn principal(&self) -> Option<&str> {
        let known = [&self.client_reference_id, &self.customer, &self.customer_email];
        known.into_iter().find_map(|value| value.as_deref())
    }

    /// Returns the idempotency key for Stripe. It is derived from the buyer and the client's key, so that equal keys of two
    /// buyers never collide. It is made from `random` if the client sent no key, or an anonymous one that could be guessed.
    pub fn idempotency_key(&self, client_key: Option<&[u8]>, random: [u8; 16]) -> String {
        let min_chars = if self.principal().is_some() { 1 } else { MIN_ANONYMOUS_KEY_CHARS };
        match client_key {
            Some(key) if key.len() >= min_chars => {
                let mut hash = Sha256::new();
                hash.update(self.principal().unwrap_or_default());
                // No principal contains a NUL, so principal and key cannot run into each other.
                hash.update([0]);
                hash.update(key);
                hex::encode(&hash.finalize())
            }
            Some(_) | None => format!("countersign-{}", hex::encode(&random)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(reference: Option<&str>, email: Option<&str>, customer: Option<&str>) -> Identity {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Identity { client_reference_id: own(reference), customer_email: own(email), customer: own(customer) }
    }

    fn parse(headers: &[(&str, &str)]) -> Result<Identity, InvalidHeader> {
        let config = config::IdentityConfig {
            client_reference_id: Some("X-User-Id".into()),
            customer_email: Some("X-User-Email".into()),
            customer: None,
        };
        Identity::from_headers(&config, |name| {
            let name = name.to_owned();
            headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(&name)).map(|(_, v)| v.as_bytes())
        })
    }

    #[test]
    fn a_repeated_header_is_rejected_and_a_blank_one_counts_as_absent() {
        let long = "x".repeat(201);
        type HeadersCase<'a> = (&'a [(&'a str, &'a str)], Result<Identity, &'a str>);
        let cases: [HeadersCase; 8] = [
            (&[], Ok(identity(None, None, None))),
            (&[("x-user-id", " 42 ")], Ok(identity(Some("42"), None, None))),
            (
                &[("X-User-Id", ""), ("X-User-Email", "a@b.example")],
                Ok(identity(None, Some("a@b.example"), None)),
            ),
            (&[("X-Customer-Id", "cus_1")], Ok(identity(None, None, None))),
            (&[("X-User-Id", "42"), ("X-User-Id", "42")], Err("X-User-Id")),
            (&[("X-User-Id", ""), ("X-User-Id", "")], Err("X-User-Id")),
            (&[("X-User-Email", "a\tb")], Err("X-User-Email")),
            (&[("X-User-Id", &long)], Err("X-User-Id")),
        ];
        for (headers, expected) in cases {
            assert_eq!(parse(headers), expected.map_err(|name| InvalidHeader(name.into())), "{headers:?}");
        }
    }

    #[test]
    fn a_key_is_derived_from_buyer_and_client_key_or_random() {
        let random = [0xab; 16];
        let new = "countersign-abababababababababababababababab";
        let ada = identity(Some("ada"), None, None);
        let anonymous = identity(None, None, None);
        // printf 'ada\0order-1' | sha256sum
        let derived = "c23f32d94d76fdf76504bede82bda9df995deb3ac7ae6ca640c703e99ed554b0";
        let ada_key = ada.idempotency_key(Some(b"order-1"), random);
        assert_eq!(ada_key, derived);
        assert_eq!(
            ada_key,
            ada.idempotency_key(Some(b"order-1"), [1; 16]),
            "the same for the same buyer and key"
        );
        for (buyer, key, same) in [
            (&identity(Some("bob"), None, None), "order-1", false),
            (&ada, "order-2", false),
            (&identity(Some("ada"), Some("a@b.example"), Some("cus_1")), "order-1", true),
            (&identity(Some("ad"), None, None), "a\0order-1", false),
            (&anonymous, "0123456789012345678901", false),
        ] {
            let found = buyer.idempotency_key(Some(key.as_bytes()), random);
            assert_eq!((found == ada_key, found == new), (same, false), "{key}");
        }
        assert_eq!(ada.idempotency_key(None, random), new);
        assert_eq!(ada.idempotency_key(Some(b""), random), new);
        assert_eq!(anonymous.idempotency_key(Some(b"012345678901234567890"), random), new, "21 characters");
    }

    #[test]
    fn the_principal_is_the_backends_reference_before_customer_and_email() {
        for (buyer, principal) in [
            (identity(Some("a"), Some("b"), Some("c")), Some("a")),
            (identity(None, Some("b"), Some("c")), Some("c")),
            (identity(None, Some("b"), None), Some("b")),
            (identity(None, None, None), None),
        ] {
            assert_eq!(buyer.principal(), principal);
        }
    }
}
