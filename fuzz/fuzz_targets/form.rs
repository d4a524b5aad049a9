//! Fuzzes the guard of multipart forms with any body, behind a target that holds a part of the pairs. It must not panic. A
//! form in which a parser that follows RFC 7578 finds the missing pairs must not pass, whatever surrounds its fields. A form
//! gives one verdict however it is cut into pieces.
//!
//! The first byte of the input chooses the target, the second the size of the pieces. The rest is the body, whose boundary is
//! `B`.

#![no_main]

use countersign::guard::{FormGuard, FormKind, Guard, Location, QueryPair};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// The pairs that tell the webhook.
const PAIRS: [(&str, &str); 2] = [("wc-api", "wc_stripe"), ("my_key", "value")];

/// The targets, and the positions of the pairs that they hold.
const TARGETS: [(&[u8], &[usize]); 3] =
    [(b"/", &[]), (b"/?wc-api=wc_stripe", &[0]), (b"/x?a=b&MY.key=Value", &[1])];

static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    let pair = |(key, value): (&str, &str)| QueryPair { key: key.to_owned(), value: value.to_owned() };
    Guard::new([Location { query: PAIRS.map(pair).into(), ..Location::from("/") }])
});

fuzz_target!(|data: &[u8]| {
    let [choice, size, body @ ..] = data else { return };
    let (target, held) = TARGETS[usize::from(*choice) % TARGETS.len()];
    let form = GUARD.form(target, FormKind::Multipart).expect("a location with a query");
    let told = tells(&form, body, body.len());
    assert_eq!(tells(&form, body, usize::from(*size) + 1), told, "{}", body.escape_ascii());
    let either = GUARD.form(target, FormKind::Either).expect("a location with a query");
    assert!(!told || tells(&either, body, body.len()), "{}", body.escape_ascii());

    let fields = fields(body);
    let found = |at: &usize| held.contains(at) || fields.iter().any(|field| is_pair(field, PAIRS[*at]));
    if (0..PAIRS.len()).all(|at| found(&at)) {
        assert!(told, "{}", body.escape_ascii());
    }
});

/// Returns whether a form tells the webhook, if it arrives in pieces of this size.
fn tells(form: &FormGuard, body: &[u8], size: usize) -> bool {
    let mut inspector = form.inspector();
    body.chunks(size.max(1)).any(|piece| inspector.feed(piece).is_some()) || inspector.finish().is_some()
}

/// Returns names and values of the fields that a strict parser finds: each part stands between two lines of the boundary, and
/// its head names it in quotes.
fn fields(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let whole = [b"\r\n", body].concat();
    let parts = split(&whole, b"\r\n--B\r\n");
    let in_boundaries = parts.iter().skip(1).map(|part| split(part, b"\r\n--B--")[0]);
    in_boundaries.filter_map(field).collect()
}

fn field(part: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let end = find(part, b"\r\n\r\n")?;
    let (head, value) = (&part[..end], &part[end + 4..]);
    let start = b"content-disposition: form-data; name=\"";
    let line = split(head, b"\r\n").into_iter().find(|line| line.to_ascii_lowercase().starts_with(start))?;
    let name = &line[start.len()..];
    let name = &name[..find(name, b"\"")?];
    Some((name.to_vec(), value.to_vec()))
}

/// Returns whether a field is a pair as PHP and WordPress compare it: in any case, with `[]`, after `sanitize_key`.
fn is_pair((name, value): &(Vec<u8>, Vec<u8>), pair: (&str, &str)) -> bool {
    let name = name.to_ascii_lowercase();
    let mut value = value.to_ascii_lowercase();
    value.retain(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(byte));
    name.strip_suffix(b"[]").unwrap_or(&name) == pair.0.as_bytes() && value == pair.1.as_bytes()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn split<'t>(text: &'t [u8], by: &[u8]) -> Vec<&'t [u8]> {
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some(at) = find(rest, by) {
        all.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    all.push(rest);
    all
}
