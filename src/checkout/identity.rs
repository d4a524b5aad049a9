//! Who is buying: what Caddy says in headers, and what follows from it. Pure. Whose headers are believed is the edge's
//! to know.

use sha2::{Digest, Sha256};

use crate::config;
use crate::hex;

/// An anonymous client's idempotency key is its own only if nobody else can think of it: 128 bits, in the densest
/// spelling that is usual (base64), have so many characters.
const UNGUESSABLE: usize = 22;
/// Stripe's own limit of `client_reference_id`.
const MOST_REFERENCE: usize = 200;
/// Longer than any e-mail address (RFC 5321, 4.5.3.1), and than any id of Stripe's.
const MOST: usize = 512;

/// What is known of the buyer.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Identity {
    /// The app's own word for him.
    pub client_reference_id: Option<String>,
    /// His e-mail address.
    pub customer_email: Option<String>,
    /// Who he is in Stripe.
    pub customer: Option<String>,
}

/// A header that came twice or cannot be read; its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Identity {
    /// From the headers of a request: `values` gives those of a name.
    pub fn read<'a, I>(
        config: &config::IdentityConfig,
        values: impl Fn(&str) -> I,
    ) -> Result<Identity, Unreadable>
    where
        I: Iterator<Item = &'a [u8]>,
    {
        let one = |name: &Option<String>, most: usize| {
            let Some(name) = name else { return Ok(None) };
            let mut values = values(name);
            let value = values.next().unwrap_or_default();
            let text = str::from_utf8(value).ok().map(str::trim).filter(|text| text.len() <= most);
            match (text, values.next()) {
                (Some(""), None) => Ok(None),
                (Some(text), None) if !text.chars().any(char::is_control) => Ok(Some(text.to_owned())),
                (Some(_) | None, _) => Err(Unreadable(name.clone())),
            }
        };
        Ok(Identity {
            client_reference_id: one(&config.client_reference_id, MOST_REFERENCE)?,
            customer_email: one(&config.customer_email, MOST)?,
            customer: one(&config.customer, MOST)?,
        })
    }

    /// The one word that tells buyers apart; `None` for one of whom nothing is known.
    pub fn principal(&self) -> Option<&str> {
        let known = [&self.client_reference_id, &self.customer, &self.customer_email];
        known.into_iter().find_map(|value| value.as_deref())
    }

    /// The idempotency key for Stripe: of the client's own key if that can be his alone, so that two buyers' equal keys
    /// never meet; else a new one.
    pub fn idempotency_key(&self, client: Option<&[u8]>, random: [u8; 16]) -> String {
        let enough = if self.principal().is_some() { 1 } else { UNGUESSABLE };
        match client {
            Some(key) if key.len() >= enough => {
                let mut hash = Sha256::new();
                hash.update(self.principal().unwrap_or_default());
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

    fn known(reference: Option<&str>, email: Option<&str>, customer: Option<&str>) -> Identity {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Identity { client_reference_id: own(reference), customer_email: own(email), customer: own(customer) }
    }

    fn read(headers: &[(&str, &str)]) -> Result<Identity, Unreadable> {
        let config = config::IdentityConfig {
            client_reference_id: Some("X-User-Id".into()),
            customer_email: Some("X-User-Email".into()),
            customer: None,
        };
        Identity::read(&config, |name| {
            let name = name.to_owned();
            headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(&name)).map(|(_, v)| v.as_bytes())
        })
    }

    #[test]
    fn each_header_is_read_once_and_blank_ones_say_nothing() {
        let long = "x".repeat(201);
        type Case<'a> = (&'a [(&'a str, &'a str)], Result<Identity, &'a str>);
        let cases: [Case; 8] = [
            (&[], Ok(known(None, None, None))),
            (&[("x-user-id", " 42 ")], Ok(known(Some("42"), None, None))),
            (
                &[("X-User-Id", ""), ("X-User-Email", "a@b.example")],
                Ok(known(None, Some("a@b.example"), None)),
            ),
            (&[("X-Customer-Id", "cus_1")], Ok(known(None, None, None))),
            (&[("X-User-Id", "42"), ("X-User-Id", "42")], Err("X-User-Id")),
            (&[("X-User-Id", ""), ("X-User-Id", "")], Err("X-User-Id")),
            (&[("X-User-Email", "a\tb")], Err("X-User-Email")),
            (&[("X-User-Id", &long)], Err("X-User-Id")),
        ];
        for (headers, expected) in cases {
            assert_eq!(read(headers), expected.map_err(|name| Unreadable(name.into())), "{headers:?}");
        }
    }

    #[test]
    fn a_key_is_of_the_buyer_and_his_own_word_or_new() {
        let random = [0xab; 16];
        let new = "countersign-abababababababababababababababab";
        let ada = known(Some("ada"), None, None);
        let nobody = known(None, None, None);
        // printf 'ada\0order-1' | sha256sum
        let derived = "c23f32d94d76fdf76504bede82bda9df995deb3ac7ae6ca640c703e99ed554b0";
        let of_ada = ada.idempotency_key(Some(b"order-1"), random);
        assert_eq!(of_ada, derived);
        assert_eq!(
            of_ada,
            ada.idempotency_key(Some(b"order-1"), [1; 16]),
            "the same for the same buyer and key"
        );
        for (who, key, same) in [
            (&known(Some("bob"), None, None), "order-1", false),
            (&ada, "order-2", false),
            (&known(Some("ada"), Some("a@b.example"), Some("cus_1")), "order-1", true),
            (&known(Some("ad"), None, None), "a\0order-1", false),
            (&nobody, "0123456789012345678901", false),
        ] {
            let found = who.idempotency_key(Some(key.as_bytes()), random);
            assert_eq!((found == of_ada, found == new), (same, false), "{key}");
        }
        assert_eq!(ada.idempotency_key(None, random), new);
        assert_eq!(ada.idempotency_key(Some(b""), random), new);
        assert_eq!(nobody.idempotency_key(Some(b"012345678901234567890"), random), new, "21 characters");
    }

    #[test]
    fn the_apps_own_word_tells_buyers_apart_before_all_others() {
        for (who, word) in [
            (known(Some("a"), Some("b"), Some("c")), Some("a")),
            (known(None, Some("b"), Some("c")), Some("c")),
            (known(None, Some("b"), None), Some("b")),
            (known(None, None, None), None),
        ] {
            assert_eq!(who.principal(), word);
        }
    }
}
