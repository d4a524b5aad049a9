//! How parsers read the key and the value of a parameter. Whatever a parser does (percent-decoding, `+`, case, `[]`, PHP's
//! `_` for `.` and space, WordPress' `sanitize_key`), it changes, drops or adds nothing but punctuation. So the letters and
//! digits decide. It knows no rule and no request.

use super::decode::Decoded;
use crate::hex;

/// Returns the letters and digits of a text, in lower case.
pub(super) fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase)
}

/// Returns whether a decoded text has the letters of a configured one.
pub(super) fn same_letters(text: &[u8], configured: &str) -> bool {
    letters(text).eq(letters(configured.as_bytes()))
}

/// Returns whether some parser reads a key, as it was sent, as a configured one.
pub(super) fn key_reads_as(key: &[u8], configured: &str) -> bool {
    if may_read_as(key, configured) { any_key(key, |text| same_letters(text, configured)) } else { false }
}

/// Returns whether some parser reads a value, as it was sent, as a configured one.
pub(super) fn value_reads_as(value: &[u8], configured: &str) -> bool {
    let is = |text: &[u8]| same_letters(text, configured) || same_letters(before(text, 0), configured);
    if !may_read_as(value, configured) {
        return false;
    }
    if is_plain(value) && !value.contains(&b'<') {
        return is(value);
    }
    // WordPress' `sanitize_text_field` drops tags, and then the escapes that are still there after decoding.
    let is_sanitized = |text: &[u8]| is(text) || text.contains(&b'%') && is(&without_escapes(text));
    [Decoded::new(value).text, decode_once(value)].iter().any(|text| {
        is_sanitized(text)
            || text.contains(&b'<')
                && (is_sanitized(&without_tags(text)) || is_sanitized(&without_tags(&without_scripts(text))))
    })
}

/// Returns whether a text has enough letters, or bytes that may be decoded into one, to read as a configured one.
fn may_read_as(text: &[u8], configured: &str) -> bool {
    let wanted = letters(configured.as_bytes()).count();
    let found = text.iter().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    found.take(wanted).count() == wanted
}

/// Calls `is` with each text that some parser takes for the name in a key.
fn any_key(key: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    let all = |text: &[u8]| {
        // `callback[]` and `callback[x]` are arrays to PHP, Rack and qs. Some parsers read `callback.x` so, and parsers in C
        // stop at a NUL.
        is(text) || [b'[', b'.', 0].iter().any(|&end| is(before(text, end)))
    };
    if is_plain(key) { all(key) } else { all(&Decoded::new(key).text) }
}

/// Returns whether decoding leaves a text as it is, but for its case.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'%')
}

fn before(text: &[u8], end: u8) -> &[u8] {
    text.split(|&byte| byte == end).next().unwrap_or(text)
}

/// Decodes percent-encoding once.
fn decode_once(text: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let [first, after @ ..] = rest {
        match (first, escaped(after)) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// Returns a text without its escapes, again and again until there are none, as WordPress drops them.
fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut remaining = Vec::with_capacity(text.len());
    for &byte in text {
        remaining.push(byte);
        // An escape that is dropped may complete another one around it.
        while let [.., b'%', high, low] = *remaining
            && high.is_ascii_hexdigit()
            && low.is_ascii_hexdigit()
        {
            remaining.truncate(remaining.len() - 3);
        }
    }
    remaining
}

/// Returns the byte that two hexadecimal digits at the beginning of a text stand for.
fn escaped(text: &[u8]) -> Option<u8> {
    let digits: &[u8; 2] = text.first_chunk()?;
    hex::decode(&digits.map(|digit| digit.to_ascii_lowercase())).map(|[byte]| byte)
}

/// Returns a text without what stands in `<…>`. A `<` without an end ends the text, as in PHP's `strip_tags`.
fn without_tags(text: &[u8]) -> Vec<u8> {
    let (mut remaining, mut inside) = (Vec::with_capacity(text.len()), false);
    for &byte in text {
        match byte {
            b'<' => inside = true,
            b'>' if inside => inside = false,
            _ if !inside => remaining.push(byte),
            _ => {}
        }
    }
    remaining
}

/// Returns a text without the scripts and styles in it, which WordPress drops with their content.
fn without_scripts(text: &[u8]) -> Vec<u8> {
    let lower = text.to_ascii_lowercase();
    let find = |from: usize, needle: &[u8]| memchr::memmem::find(&lower[from..], needle).map(|at| from + at);
    let (mut remaining, mut from) = (Vec::with_capacity(text.len()), 0);
    loop {
        let starts = [(&b"<script"[..], &b"</script>"[..]), (b"<style", b"</style>")];
        let first = starts.iter().filter_map(|(open, close)| Some((find(from, open)?, *close))).min();
        let end = first.and_then(|(start, close)| Some((start, find(start, close)? + close.len())));
        let Some((start, end)) = end else {
            remaining.extend_from_slice(&text[from..]);
            return remaining;
        };
        remaining.extend_from_slice(&text[from..start]);
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_the_configured_one_in_every_spelling() {
        for key in [
            "wc-api",
            "WC-API",
            "wc_api",
            "wc.api",
            "wc+api",
            "wc%20api",
            "%77c-api",
            "%2577c-api",
            "wc-api[]",
            "wc-api[x]",
            "wc-api%5B%5D",
            "wc-api[",
            "[wc-api]",
            "wc-api%00x",
            "+wc-api",
            " wc-api",
            "wc-api.x",
            "wc-%EF%BD%81pi",
            "?wc-api",
            "wc-ap\u{131}",
        ] {
            assert!(key_reads_as(key.as_bytes(), "wc-api"), "{key}");
        }
        for key in ["wc", "wc-ap", "wc-apis", "x[wc-api]", "wc-api-version", "xwc-api", "", "%", "%7"] {
            assert!(!key_reads_as(key.as_bytes(), "wc-api"), "{key}");
        }
    }

    #[test]
    fn a_value_is_read_as_the_configured_one_in_every_spelling() {
        for value in [
            "wc_stripe",
            "WC_Stripe",
            "wc_str!ipe",
            "wc_str%21ipe",
            "wc_stripe%00x",
            "wc_stripe%ff",
            "wc+stripe",
            "wc_<b>stripe",
            "wc_%3Cb%3Estripe",
            "wc_stripe<x",
            "wc_%2541stripe",
            "wc_%25%2541stripe",
            "w%63_stripe",
            "wc_<script>x</script>stripe",
            "wc_<ScRipt a=b>x</scripT>str<style>y</style>ipe",
            "wc_%C3%A9stripe",
            "wc_s%u0074ripe",
            "wc_st%0<b>0ripe",
            "wc_\u{17f}tripe",
        ] {
            assert!(value_reads_as(value.as_bytes(), "wc_stripe"), "{value}");
        }
        for value in ["", "wc_strip", "wc_stripes", "other", "xwc_stripe", "wc_stripe,x", "wc_stripex%00"] {
            assert!(!value_reads_as(value.as_bytes(), "wc_stripe"), "{value}");
        }
    }
}
