//! Fuzzes signature verification with any bytes as a `Stripe-Signature` header. It must not panic, must agree with a second
//! implementation in plain string operations, and must find one genuine `v1` among any others.
//!
//! The first byte of the input chooses a genuine signature. The rest is the header, in which `%` stands for the signature's
//! hexadecimal digits and `@` for its timestamp. So the fuzzer can build valid headers without inverting HMAC.

#![no_main]

use countersign::stripe::signature::{HEADER_LIMIT, Match, SignatureRejection, Secret, sign, verify};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const NOW: i64 = 1_790_000_000;
const TIMES: [i64; 8] =
    [NOW, NOW - 300, NOW - 301, NOW + 300, NOW + 301, 0, 9_223_372_036_854_775_807, 1_790_000_000_000];

/// A genuine signature of the body `{}`.
struct Genuine {
    time: i64,
    hex: String,
}

static SECRETS: LazyLock<[Secret; 2]> = LazyLock::new(|| ["whsec_old", "whsec_new"].map(Secret::new));
static GENUINE: LazyLock<[Genuine; 8]> = LazyLock::new(|| {
    TIMES.map(|time| {
        let header = sign([&SECRETS[1]], time, b"{}");
        Genuine { time, hex: header.rsplit('=').next().unwrap_or_default().to_owned() }
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let genuine = &GENUINE[usize::from(choice & 7)];
    let mut header = Vec::new();
    for byte in text {
        match byte {
            b'%' => header.extend(genuine.hex.as_bytes()),
            b'@' => header.extend(genuine.time.to_string().as_bytes()),
            other => header.push(*other),
        }
    }
    let found = verify(&*SECRETS, [&header[..]], b"{}", NOW, 300);
    assert_eq!(found, expected(&header), "{}", String::from_utf8_lossy(&header));
});

/// Returns what verification must return, by collecting every timestamp and every signature first.
fn expected(header: &[u8]) -> Result<Match, SignatureRejection> {
    if header.len() > HEADER_LIMIT {
        return Err(SignatureRejection::Malformed);
    }
    let blank = |byte: &u8| b" \t\n\r\x0c".contains(byte);
    if header.iter().all(blank) {
        return Err(SignatureRejection::Missing);
    }
    let (mut times, mut candidates) = (Vec::new(), Vec::new());
    for item in header.split(|byte| *byte == b',') {
        let start = item.iter().position(|byte| !blank(byte)).unwrap_or(item.len());
        let end = item.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        let item = &item[start..end];
        match item.iter().position(|byte| *byte == b'=') {
            Some(at) if &item[..at] == b"t" => times.push(&item[at + 1..]),
            Some(at) if &item[..at] == b"v1" => candidates.push(&item[at + 1..]),
            _ => {}
        }
    }
    let [time] = times[..] else { return Err(SignatureRejection::Malformed) };
    let timestamp: i64 = match std::str::from_utf8(time).ok().and_then(|time| time.parse().ok()) {
        // A valid timestamp has no sign and no leading zero, so it reads the same when written back.
        Some(parsed) if parsed >= 0 && i64::to_string(&parsed).as_bytes() == time => parsed,
        _ => return Err(SignatureRejection::Malformed),
    };
    if candidates.is_empty() {
        return Err(SignatureRejection::NoV1);
    }
    // The fuzzer can find the signature of another timestamp in its corpus, but cannot forge one.
    let genuine =
        GENUINE.iter().any(|known| known.time == timestamp && candidates.contains(&known.hex.as_bytes()));
    if !genuine {
        return Err(SignatureRejection::Mismatch);
    }
    match i128::from(NOW) - i128::from(timestamp) {
        301.. => Err(SignatureRejection::TooOld),
        ..-300 => Err(SignatureRejection::InFuture),
        -300..=300 => Ok(Match { secret: 1, timestamp }),
    }
}
