//! The `Stripe-Signature` header: parse, verify, sign.
//!
//! The header is `t=<unix seconds>,v1=<hex>[,v1=<hex>]…`. Each `v1` is the HMAC-SHA256 of `<t>.<raw body>`; the key is the
//! whole `whsec_…` string (Stripe's docs, "Verify webhook signatures manually"). This module never reads a clock, never
//! reads the body's content, and never tells more about a rejection than its variant.

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

use crate::hex;

/// The maximum length of the header, in bytes. Stripe's own is under 300. Every `v1` in it costs a comparison.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The prefix of the items that count. Every other scheme proves nothing.
const V1: &[u8] = b"v1=";

/// A signing secret, stored as the HMAC state of its key.
#[derive(Clone)]
pub struct Secret {
    keyed: Hmac<Sha256>,
}

impl Secret {
    /// Creates a secret from its text, `whsec_` included. The bytes of the text are the key; nothing is decoded. The
    /// configuration rejects blank secrets.
    pub fn new(text: &str) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104, section 2)")]
        let keyed = Hmac::new_from_slice(text.as_bytes()).expect("a key of any length");
        Self { keyed }
    }

    fn tag(&self, timestamp: &[u8], body: &[u8]) -> CtOutput<Hmac<Sha256>> {
        self.keyed.clone().chain_update(timestamp).chain_update(b".").chain_update(body).finalize()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The reason why a signature is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRejection {
    /// The header is missing or blank.
    #[error("there is no Stripe-Signature header")]
    Missing,
    /// The header is repeated, longer than [`MAX_HEADER_BYTES`], or does not hold exactly one `t` that is a canonical
    /// decimal in `i64`. Two `t` are rejected because verifiers disagree on which of them counts.
    #[error("the Stripe-Signature header is not one `t=<unix seconds>` with `v1=<hex>` items")]
    Malformed,
    /// The header has no `v1` item. Other schemes, such as `v0`, prove nothing.
    #[error("the Stripe-Signature header has no v1 signature")]
    NoV1,
    /// No `v1` is the signature of this body under any of the secrets.
    #[error("no v1 signature matches this body under any configured secret")]
    Mismatch,
    /// The signature is valid, but older than the tolerance.
    #[error("the signature is genuine, but its timestamp is older than the tolerance")]
    TooOld,
    /// The signature is valid, but further in the future than the tolerance: one of the two clocks is wrong.
    #[error("the signature is genuine, but its timestamp is further in the future than the tolerance")]
    InFuture,
}

/// A valid signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidSignature {
    /// The position of the secret that made it; the first one if several match.
    pub secret: usize,
    /// The time of signing, in Unix seconds.
    pub timestamp: i64,
}

/// Verifies the `Stripe-Signature` of `body`. `headers` are the values of that header as received, `now` is in Unix
/// seconds, `tolerance` in seconds, in both directions and inclusive.
///
/// The signature is checked before its age, so that a forger never learns whether the timestamp would have been accepted.
/// Every `v1` is compared with every secret's signature, in constant time and without stopping at a match. Nothing is
/// allocated.
///
/// # Errors
/// Returns a [`SignatureRejection`] that says why the signature is not accepted.
pub fn verify<'h>(
    secrets: &[Secret],
    headers: impl IntoIterator<Item = &'h [u8]>,
    body: &[u8],
    now: i64,
    tolerance: i64,
) -> Result<ValidSignature, SignatureRejection> {
    let header = SignatureHeader::parse(single_header(headers)?)?;
    let secret = header.signer(secrets, body).ok_or(SignatureRejection::Mismatch)?;
    // Saturating: the timestamp may be any `i64` from 0 on.
    let age = now.saturating_sub(header.timestamp);
    if age > tolerance {
        Err(SignatureRejection::TooOld)
    } else if age < tolerance.saturating_neg() {
        Err(SignatureRejection::InFuture)
    } else {
        Ok(ValidSignature { secret, timestamp: header.timestamp })
    }
}

/// Returns a header value for `body`: `t=<timestamp>` and one `v1` for each secret, in their order. `timestamp` is in Unix
/// seconds and not negative.
pub fn sign<'s>(secrets: impl IntoIterator<Item = &'s Secret>, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let mut header = format!("t={timestamp}");
    for secret in secrets {
        header.push_str(",v1=");
        hex::push(&mut header, secret.tag(timestamp.as_bytes(), body).as_bytes());
    }
    header
}

/// Returns the only header. More than one is rejected, because verifiers disagree on which of them counts.
fn single_header<'h>(headers: impl IntoIterator<Item = &'h [u8]>) -> Result<&'h [u8], SignatureRejection> {
    let mut headers = headers.into_iter();
    let header = headers.next().ok_or(SignatureRejection::Missing)?;
    if headers.next().is_some() || header.len() > MAX_HEADER_BYTES {
        return Err(SignatureRejection::Malformed);
    }
    if header.trim_ascii().is_empty() { Err(SignatureRejection::Missing) } else { Ok(header) }
}

/// A well-formed header: exactly one `t` and at least one `v1`.
struct SignatureHeader<'h> {
    /// The whole header value.
    value: &'h [u8],
    /// The value of `t` as written, because the signature covers these bytes.
    signed_timestamp: &'h [u8],
    /// The value of `t`, in Unix seconds.
    timestamp: i64,
}

impl<'h> SignatureHeader<'h> {
    fn parse(value: &'h [u8]) -> Result<Self, SignatureRejection> {
        let (mut signed_timestamp, mut has_v1) = (None, false);
        for item in items(value) {
            if let Some(timestamp) = item.strip_prefix(b"t=")
                && signed_timestamp.replace(timestamp).is_some()
            {
                return Err(SignatureRejection::Malformed);
            }
            has_v1 |= item.starts_with(V1);
        }
        let signed_timestamp = signed_timestamp.ok_or(SignatureRejection::Malformed)?;
        let timestamp = parse_timestamp(signed_timestamp).ok_or(SignatureRejection::Malformed)?;
        if !has_v1 {
            return Err(SignatureRejection::NoV1);
        }
        Ok(SignatureHeader { value, signed_timestamp, timestamp })
    }

    /// Returns the position of the first secret that made any of the `v1`s.
    fn signer(&self, secrets: &[Secret], body: &[u8]) -> Option<usize> {
        let mut signer = None;
        for (position, secret) in secrets.iter().enumerate() {
            let tag = secret.tag(self.signed_timestamp, body);
            let mut matches = false;
            // The `v1`s are decoded again for each secret: storing them would allocate as much as the sender likes.
            for candidate in items(self.value).filter_map(|item| decode_tag(item.strip_prefix(V1)?)) {
                // No early exit: the time must not depend on which candidate matches.
                matches |= tag == candidate;
            }
            signer = signer.or(matches.then_some(position));
        }
        signer
    }
}

/// Splits a header at its commas and trims each item. Every verifier skips items with unknown keys.
fn items(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Parses `0` or `[1-9][0-9]{0,18}` as an `i64`. Only this canonical form is accepted, so that no two verifiers read
/// different times.
fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let is_canonical = match text {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_canonical.then(|| str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// Decodes 64 lower-case hex digits. The input comes from the sender and is not secret, so a table lookup is safe.
fn decode_tag(text: &[u8]) -> Option<CtOutput<Hmac<Sha256>>> {
    hex::decode::<32>(text).map(|tag| CtOutput::new(tag.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const NOW: i64 = 1_790_000_000;

    fn verify_texts(
        secrets: &[&str],
        headers: &[&str],
        body: &[u8],
        now: i64,
    ) -> Result<ValidSignature, SignatureRejection> {
        let secrets: Vec<_> = secrets.iter().map(|text| Secret::new(text)).collect();
        verify(&secrets, headers.iter().map(|header| header.as_bytes()), body, now, 300)
    }

    fn decode_base64(text: &str) -> Vec<u8> {
        let digit = |c: u8| {
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|d| *d == c)
        };
        let (mut bytes, mut bits, mut bit_count) = (Vec::new(), 0_u32, 0);
        for value in text.bytes().filter(|c| *c != b'=').map(|c| digit(c).unwrap() as u32) {
            (bits, bit_count) = (bits << 6 | value, bit_count + 6);
            if bit_count >= 8 {
                bit_count -= 8;
                bytes.push((bits >> bit_count) as u8);
            }
        }
        bytes
    }

    /// The 109 vectors were run on five official SDKs. `recommended` is the verdict of a strict verifier.
    #[test]
    fn every_shared_vector_gets_its_recommended_verdict() {
        let (mut checked, mut wrong) = (0, Vec::new());
        for line in include_str!("../../tests/data/signature_vectors.jsonl").lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let texts: Vec<_> =
                case["secrets"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
            let expected = match case["recommended"].as_str().unwrap() {
                "ok" => None,
                "no_header" => Some(SignatureRejection::Missing),
                "bad_header" => Some(SignatureRejection::Malformed),
                "no_v1" => Some(SignatureRejection::NoV1),
                "no_match" => Some(SignatureRejection::Mismatch),
                "too_old" => Some(SignatureRejection::TooOld),
                "in_future" => Some(SignatureRejection::InFuture),
                "bad_secret" => {
                    // The configuration rejects a blank secret, so this module never sees one.
                    assert!(texts.iter().all(|text| text.trim().is_empty()));
                    checked += 1;
                    continue;
                }
                other => panic!("no such verdict: {other}"),
            };
            let secrets: Vec<_> = texts.into_iter().map(Secret::new).collect();
            let body = decode_base64(case["payload_base64"].as_str().unwrap());
            let found = verify(
                &secrets,
                case["header"].as_str().map(str::as_bytes),
                &body,
                case["now"].as_i64().unwrap(),
                case["tolerance"].as_i64().unwrap(),
            );
            checked += 1;
            if found.err() != expected {
                wrong.push(format!("{}: {found:?}, not {expected:?}", case["name"]));
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(checked, 109);
    }

    #[test]
    fn the_signature_equals_the_hmac_that_openssl_computes() {
        // printf %s "1790000000.{}" | openssl dgst -sha256 -hmac whsec_sample
        let signature = "e081abb8b5dbfa323a07d1c430fe6dd519738ecb9e0c9ff04206fc6a7a456b47";
        assert_eq!(sign([&Secret::new("whsec_sample")], NOW, b"{}"), format!("t={NOW},v1={signature}"));
    }

    #[test]
    fn more_than_one_header_is_rejected() {
        let good = sign([&Secret::new("a")], NOW, b"x");
        let table: [(&[&str], Option<SignatureRejection>); 5] = [
            (&[&good], None),
            (&[], Some(SignatureRejection::Missing)),
            (&["", &good], Some(SignatureRejection::Malformed)),
            (&[&good, &good], Some(SignatureRejection::Malformed)),
            (&[&good, ""], Some(SignatureRejection::Malformed)),
        ];
        for (headers, expected) in table {
            assert_eq!(verify_texts(&["a"], headers, b"x", NOW).err(), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_header_longer_than_the_limit_is_rejected() {
        let mut header = sign([&Secret::new("a")], NOW, b"x");
        header.push_str(&",".repeat(MAX_HEADER_BYTES - header.len()));
        assert!(verify_texts(&["a"], &[&header], b"x", NOW).is_ok());
        header.push(',');
        assert_eq!(verify_texts(&["a"], &[&header], b"x", NOW), Err(SignatureRejection::Malformed));
    }

    #[test]
    fn the_tolerance_is_exact_to_the_second_in_both_directions_and_at_the_ends_of_i64() {
        let table = [
            (NOW, NOW + 300, None),
            (NOW, NOW + 301, Some(SignatureRejection::TooOld)),
            (NOW, NOW - 300, None),
            (NOW, NOW - 301, Some(SignatureRejection::InFuture)),
            (0, NOW, Some(SignatureRejection::TooOld)),
            (0, 0, None),
            (i64::MAX, NOW, Some(SignatureRejection::InFuture)),
            (i64::MAX, i64::MIN, Some(SignatureRejection::InFuture)),
            (0, i64::MIN, Some(SignatureRejection::InFuture)),
        ];
        for (timestamp, now, expected) in table {
            let header = sign([&Secret::new("a")], timestamp, b"x");
            let found = verify_texts(&["a"], &[&header], b"x", now);
            assert_eq!(found.err(), expected, "t={timestamp}, now={now}");
        }
    }

    #[test]
    fn the_position_of_the_first_matching_secret_is_returned() {
        let sign_with = |texts: &[&str]| {
            let secrets: Vec<_> = texts.iter().map(|text| Secret::new(text)).collect();
            sign(&secrets, NOW, b"x")
        };
        let table: [(&[&str], &[&str], usize); 5] = [
            (&["a"], &["a", "b"], 0),
            (&["b"], &["a", "b"], 1),
            (&["b", "a"], &["a", "b"], 0),
            (&["other", "c", "b"], &["a", "b", "c"], 1),
            (&["a"], &["a", "a"], 0),
        ];
        for (signers, secrets, position) in table {
            let found = verify_texts(secrets, &[&sign_with(signers)], b"x", NOW);
            assert_eq!(
                found,
                Ok(ValidSignature { secret: position, timestamp: NOW }),
                "{signers:?} {secrets:?}"
            );
        }
    }

    #[test]
    fn without_a_secret_nothing_matches() {
        let header = sign([&Secret::new("a")], NOW, b"x");
        assert_eq!(verify_texts(&[], &[&header], b"x", NOW), Err(SignatureRejection::Mismatch));
    }

    #[test]
    fn debug_output_hides_the_secret() {
        let secret = Secret::new("whsec_sample");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{secret:#?}"), "Secret(..)");
    }

    #[test]
    fn verifying_a_valid_signature_allocates_nothing() {
        let secrets = ["a", "b", "c"].map(Secret::new);
        let body = vec![b'x'; 100_000];
        let header = sign([&secrets[1], &secrets[2]], NOW, &body);
        let memory = allocation_counter::measure(|| {
            let found = verify(&secrets, [header.as_bytes()], &body, NOW, 300);
            assert_eq!(found, Ok(ValidSignature { secret: 1, timestamp: NOW }));
        });
        assert_eq!(memory.count_total, 0);
    }

    fn flipped(bytes: &[u8], bit: prop::sample::Index, bits: usize) -> Vec<u8> {
        let (mut bytes, bit) = (bytes.to_vec(), bit.index(bytes.len() * bits));
        bytes[bit / bits] ^= 1 << (bit % bits);
        bytes
    }

    proptest! {
        #[test]
        fn verify_accepts_what_sign_makes(
            texts in prop::collection::vec("[ -~]{1,90}", 1..4),
            body in prop::collection::vec(any::<u8>(), 0..400),
            timestamp in 0..=i64::MAX,
            skew in -300..=300_i64,
            signer in any::<prop::sample::Index>(),
        ) {
            let secrets: Vec<_> = texts.iter().map(|text| Secret::new(text)).collect();
            let now = timestamp.saturating_add(skew);
            let all = sign(&secrets, timestamp, &body);
            prop_assert_eq!(
                verify(&secrets, [all.as_bytes()], &body, now, 300),
                Ok(ValidSignature { secret: 0, timestamp })
            );
            let signer = signer.index(texts.len());
            let first = texts.iter().position(|text| *text == texts[signer]).unwrap();
            let one = sign([&secrets[signer]], timestamp, &body);
            prop_assert_eq!(
                verify(&secrets, [one.as_bytes()], &body, now, 300),
                Ok(ValidSignature { secret: first, timestamp })
            );
        }

        #[test]
        fn one_flipped_bit_anywhere_is_rejected(
            text in "[ -~]{1,90}",
            body in prop::collection::vec(any::<u8>(), 1..400),
            timestamp in 0..=i64::MAX,
            bit in any::<prop::sample::Index>(),
        ) {
            let secrets = [Secret::new(&text)];
            let header = sign(&secrets, timestamp, &body);
            let rejection = |secrets: &[Secret], header: &[u8], body: &[u8]| {
                verify(secrets, [header], body, timestamp, 300).err()
            };
            prop_assert_eq!(rejection(&secrets, header.as_bytes(), &body), None);
            prop_assert_eq!(
                rejection(&secrets, header.as_bytes(), &flipped(&body, bit, 8)),
                Some(SignatureRejection::Mismatch)
            );
            // Seven bits: the text of a secret stays ASCII.
            let other = String::from_utf8(flipped(text.as_bytes(), bit, 7)).unwrap();
            prop_assert_eq!(
                rejection(&[Secret::new(&other)], header.as_bytes(), &body),
                Some(SignatureRejection::Mismatch)
            );
            let found = rejection(&secrets, &flipped(header.as_bytes(), bit, 8), &body);
            prop_assert!(
                matches!(found, Some(SignatureRejection::Malformed | SignatureRejection::NoV1 | SignatureRejection::Mismatch)),
                "{:?}", found
            );
        }
    }
}
