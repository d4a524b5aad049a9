//! Feeds any bytes to the verifier of the `Stripe-Signature` header. It must not panic, must find a genuine `v1` among other
//! items, and must agree with a second, simple reading of the rules.
//!
//! The first byte selects a timestamp; the rest is the header. In the header, `%` stands for the genuine signature in hex
//! and `@` for its timestamp, so that the fuzzer can build valid headers without inverting HMAC.

#![no_main]

use countersign::stripe::signature::{
    MAX_HEADER_BYTES, Secret, SignatureRejection, ValidSignature, sign, verify,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const NOW: i64 = 1_790_000_000;
const TIMESTAMPS: [i64; 8] =
    [NOW, NOW - 300, NOW - 301, NOW + 300, NOW + 301, 0, 9_223_372_036_854_775_807, 1_790_000_000_000];

struct GenuineSignature {
    timestamp: i64,
    hex: String,
}

static SECRETS: LazyLock<[Secret; 2]> = LazyLock::new(|| ["whsec_old", "whsec_new"].map(Secret::new));
static GENUINE: LazyLock<[GenuineSignature; 8]> = LazyLock::new(|| {
    TIMESTAMPS.map(|timestamp| {
        let header = sign([&SECRETS[1]], timestamp, b"{}");
        GenuineSignature { timestamp, hex: header.rsplit('=').next().unwrap_or_default().to_owned() }
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((selector, template)) = data.split_first() else { return };
    let genuine = &GENUINE[usize::from(selector & 7)];
    let mut header = Vec::new();
    for byte in template {
        match byte {
            b'%' => header.extend(genuine.hex.as_bytes()),
            b'@' => header.extend(genuine.timestamp.to_string().as_bytes()),
            other => header.push(*other),
        }
    }
    let result = verify(&*SECRETS, [&header[..]], b"{}", NOW, 300);
    assert_eq!(result, expected(&header), "{}", String::from_utf8_lossy(&header));
});

/// Applies the rules by collecting all items first.
fn expected(header: &[u8]) -> Result<ValidSignature, SignatureRejection> {
    if header.len() > MAX_HEADER_BYTES {
        return Err(SignatureRejection::Malformed);
    }
    let is_blank = |byte: &u8| b" \t\n\r\x0c".contains(byte);
    if header.iter().all(is_blank) {
        return Err(SignatureRejection::Missing);
    }
    let (mut timestamps, mut candidates) = (Vec::new(), Vec::new());
    for item in header.split(|byte| *byte == b',') {
        let start = item.iter().position(|byte| !is_blank(byte)).unwrap_or(item.len());
        let end = item.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
        let item = &item[start..end];
        match item.iter().position(|byte| *byte == b'=') {
            Some(at) if &item[..at] == b"t" => timestamps.push(&item[at + 1..]),
            Some(at) if &item[..at] == b"v1" => candidates.push(&item[at + 1..]),
            _ => {}
        }
    }
    let [text] = timestamps[..] else { return Err(SignatureRejection::Malformed) };
    let timestamp: i64 = match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
        // A canonical number is formatted as it was written: no sign, no leading zero.
        Some(parsed) if parsed >= 0 && i64::to_string(&parsed).as_bytes() == text => parsed,
        _ => return Err(SignatureRejection::Malformed),
    };
    if candidates.is_empty() {
        return Err(SignatureRejection::NoV1);
    }
    // The fuzzer may find the signature for another of the timestamps, but cannot forge one.
    let is_valid = GENUINE
        .iter()
        .any(|genuine| genuine.timestamp == timestamp && candidates.contains(&genuine.hex.as_bytes()));
    if !is_valid {
        return Err(SignatureRejection::Mismatch);
    }
    match i128::from(NOW) - i128::from(timestamp) {
        301.. => Err(SignatureRejection::TooOld),
        ..-300 => Err(SignatureRejection::InFuture),
        -300..=300 => Ok(ValidSignature { secret: 1, timestamp }),
    }
}
