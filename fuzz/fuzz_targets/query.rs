//! Fuzzes the guard of front controllers with any query and any form. It must not panic, and must take only the exact pair
//! for the webhook. A query or form in which a parser finds the pair must not pass. A form gives one verdict however it is
//! cut into pieces.
//!
//! The first byte of the input chooses the encoding of the form and the size of its pieces. The rest is the text.

#![no_main]

mod percent;

use countersign::guard::{Classification, FormGuard, FormKind, Guard, Location, QueryPair};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const KEY: &str = "wc-api";
const VALUE: &str = "wc_stripe";

static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    let query = vec![QueryPair { key: KEY.to_owned(), value: VALUE.to_owned() }];
    Guard::new([Location { query, ..Location::from("/") }])
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let query: Vec<u8> = text.iter().copied().filter(u8::is_ascii_graphic).collect();
    let found = GUARD.classify(&[b"/?", &query[..]].concat());
    if let Classification::Webhook(_) = found {
        let pairs = query.split(|byte| *byte == b'&').filter(|pair| *pair == b"wc-api=wc_stripe");
        assert_eq!(pairs.count(), 1, "{}", query.escape_ascii());
    }
    if has_pair(&query) {
        assert_ne!(found, Classification::Other, "{}", query.escape_ascii());
        let elsewhere = GUARD.classify(&[b"/shop?", &query[..]].concat());
        assert!(matches!(elsewhere, Classification::Ambiguous { .. }), "{}", query.escape_ascii());
        let form = GUARD.form(b"/", FormKind::Urlencoded).expect("a location with a query");
        assert!(tells(&form, &query, query.len()), "{}", query.escape_ascii());
    }
    let kind = if choice & 1 == 0 { FormKind::Urlencoded } else { FormKind::Multipart };
    let form = GUARD.form(b"/", kind).expect("a location with a query");
    let in_pieces = tells(&form, text, usize::from(choice >> 1) + 1);
    assert_eq!(in_pieces, tells(&form, text, text.len()), "{}", text.escape_ascii());
});

/// Returns whether a form tells the webhook, if it arrives in pieces of this size.
fn tells(form: &FormGuard, body: &[u8], size: usize) -> bool {
    let mut inspector = form.inspector();
    body.chunks(size.max(1)).any(|piece| inspector.feed(piece).is_some()) || inspector.finish().is_some()
}

/// Returns whether a parser as WHATWG describes it finds the pair, in any case, with `[]`, or after WordPress'
/// `sanitize_key`.
fn has_pair(query: &[u8]) -> bool {
    query.split(|byte| *byte == b'&').any(|piece| {
        let (key, value) = piece.split_at(piece.iter().position(|byte| *byte == b'=').unwrap_or(piece.len()));
        let key = decoded(key).to_ascii_lowercase();
        let key = key.strip_suffix(b"[]").unwrap_or(&key);
        let mut value = decoded(value.strip_prefix(b"=").unwrap_or(value)).to_ascii_lowercase();
        value.retain(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(byte));
        key == KEY.as_bytes() && value == VALUE.as_bytes()
    })
}

/// Decodes `+` and percent-encoding once.
fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent::decoded(&spaced)
}
