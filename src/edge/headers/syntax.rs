//! The syntax of the header values that name a host, a scheme or a port, so that none of them can name a path.

use memchr::memchr;

use super::origin::{X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::http1::headers::list_items;

/// Returns false if the value could inject a path. A backend that builds `http://{host}{target}` would read the host
/// `a/webhooks/stripe?` as the webhook. After an empty host it takes the target's first segment for the host:
/// an empty `X-Forwarded-Host` is valid all the same, and `rewrite` reports it.
pub(super) fn is_safe_value(name: &[u8], value: &[u8], peer_trusted: bool) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let mut items = list_items(value);
    // An empty `X-Forwarded-*` value names nothing: most backends read it as none.
    let is_empty = value.trim_ascii().is_empty();
    match name.first() {
        Some(b'h' | b'H') if is("Host") => is_host(value),
        // These three are removed when their peer is not trusted, so their value does not matter.
        Some(b'x' | b'X') if is(X_FORWARDED_HOST) => !peer_trusted || is_empty || items.all(is_host),
        Some(b'x' | b'X') if is(X_FORWARDED_PROTO) => !peer_trusted || is_empty || items.all(is_scheme),
        Some(b'f' | b'F') if is("Forwarded") => !peer_trusted || items.all(is_forwarded_hop),
        Some(b'x' | b'X') if is("X-Forwarded-Port") => items.all(|item| item.iter().all(u8::is_ascii_digit)),
        _ => true,
    }
}

/// Returns true for a name or an address, with or without a port.
fn is_host(text: &[u8]) -> bool {
    let bracketed_end = |text: &[u8]| {
        let end = memchr(b']', text)?;
        let address = &text[1..end];
        let valid = address.iter().all(|&byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        (valid && !address.is_empty()).then_some(end + 1)
    };
    let end = match text.first() {
        Some(b'[') => bracketed_end(text).unwrap_or(0),
        _ => text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte)).count(),
    };
    match &text[end..] {
        [] => end > 0,
        [b':', port @ ..] => end > 0 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Checks host and scheme of one hop of a `Forwarded` header (RFC 7239); its other parameters name neither.
fn is_forwarded_hop(hop: &[u8]) -> bool {
    hop.split(|&byte| byte == b';').all(|pair| {
        let Some(equals) = memchr(b'=', pair) else { return true };
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        match name.to_ascii_lowercase().as_slice() {
            b"host" => is_host(value),
            b"proto" => is_scheme(value),
            _ => true,
        }
    })
}
