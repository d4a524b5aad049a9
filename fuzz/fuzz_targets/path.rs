//! Fuzzes the path guard with any request path. It must not panic, and must classify only the configured spelling as the
//! webhook. A query must not change the result. A path that it passes through must be the webhook to no backend, however the
//! backend normalizes paths.
//!
//! The first three bytes of the input choose how one backend normalizes. The rest is the path after its first slash.

#![no_main]

mod percent;

use countersign::guard::{Classification, Guard};
use libfuzzer_sys::fuzz_target;
use percent::decoded;
use std::sync::LazyLock;

const WEBHOOK: &[u8] = b"/webhooks/stripe";

static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(["/webhooks/stripe"]));

fuzz_target!(|data: &[u8]| {
    let Some((choices, rest)) = data.split_first_chunk::<3>() else { return };
    let path: Vec<u8> = b"/".iter().chain(rest.iter().take_while(|byte| **byte != b'?')).copied().collect();
    let found = GUARD.classify(&path);
    assert_eq!(path == WEBHOOK, found == Classification::Webhook(0), "{}", path.escape_ascii());
    assert_eq!(GUARD.classify(&[&path[..], b"?a=/../b%00;c"].concat()), found, "{}", path.escape_ascii());
    let backend = Backend(u32::from_le_bytes([choices[0], choices[1], choices[2], 0]));
    if backend.is_webhook(&path) {
        assert_ne!(
            found,
            Classification::Other,
            "{} is the webhook to backend {:b}",
            path.escape_ascii(),
            backend.0
        );
    }
});

/// How a backend gets from a request path to a route. Each step is switched by one or two bits.
struct Backend(u32);

impl Backend {
    fn bit(&self, n: u32) -> bool {
        self.0 >> n & 1 == 1
    }

    fn two_bits(&self, n: u32) -> u32 {
        self.0 >> n & 3
    }

    /// Returns whether the backend routes this path to the webhook.
    fn is_webhook(&self, path: &[u8]) -> bool {
        let mut path = path.to_vec();
        // Some backends read a backslash as a slash.
        if self.bit(0) {
            backslashes(&mut path);
        }
        if self.bit(1) && path.starts_with(b"//") {
            // `new URL("//host/path", base)` drops the leading slashes and the host.
            let host = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
            let end = path[host..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| host + at);
            path.drain(..end);
        }
        if self.bit(2) {
            path = without_parameters(&path);
        }
        path = resolved(&path, self.two_bits(10));
        for _ in 0..self.two_bits(12) {
            path = decoded(&path);
        }
        if self.bit(3) {
            truncate_at(&mut path, b"?#");
        }
        if self.bit(4) {
            backslashes(&mut path);
        }
        match self.two_bits(14) {
            0 => path = without_parameters(&path),
            1 => truncate_at(&mut path, b";"),
            _ => {}
        }
        if self.bit(5) {
            path.dedup_by(|a, b| *a == b'/' && *b == b'/');
        }
        path = resolved(&path, self.two_bits(16));
        for _ in 0..self.two_bits(18).min(2) {
            path = decoded(&path);
        }
        // Some backends drop invalid UTF-8 and control characters.
        if self.bit(22) {
            let valid = path.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
            path = valid.filter(|letter| !letter.is_control()).collect::<String>().into_bytes();
        }
        // Some backends read `+` as a blank, and trim the path.
        if self.bit(23) {
            let spaced = String::from_utf8_lossy(&path).replace('+', " ");
            path = format!("/{}", spaced.trim_matches([' ', '/'])).into_bytes();
        }
        // Some servers route on what follows the name of a script.
        if self.bit(6) {
            let script = path.windows(5).position(|part| part.eq_ignore_ascii_case(b".php/"));
            path.drain(..script.map_or(0, |at| at + 4));
        }
        if self.bit(7) {
            path = folded(&path);
        }
        // Some backends ignore slashes, dots, blanks and control characters at the end.
        if self.bit(8) {
            let end = path.iter().rposition(|byte| *byte > b' ' && !b"/.\x7f".contains(byte));
            path.truncate(end.map_or(0, |last| last + 1));
        }
        // Some backends stop at the first NUL.
        if self.bit(9) {
            truncate_at(&mut path, b"\0");
        }
        match path.strip_prefix(WEBHOOK) {
            Some([]) => true,
            Some([b'.', ..]) => self.two_bits(20) == 1,
            Some([b'/', ..]) => self.two_bits(20) == 2,
            _ => false,
        }
    }
}

/// Turns backslashes into slashes.
fn backslashes(path: &mut [u8]) {
    path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
}

/// Cuts the path before the first of these bytes.
fn truncate_at(path: &mut Vec<u8>, ends: &[u8]) {
    path.truncate(path.iter().position(|byte| ends.contains(byte)).unwrap_or(path.len()));
}

/// Returns the path without parameters: `/a;b=c/d` is `/a/d`.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/');
    segments.filter_map(|segment| segment.split(|byte| *byte == b';').next()).collect::<Vec<_>>().join(&b'/')
}

/// Removes dot segments as in RFC 3986, section 5.2.4, where empty segments count. Mode 1 knows only `.`; mode 2 also reads
/// `%2e` as a dot; other modes change nothing.
fn resolved(path: &[u8], mode: u32) -> Vec<u8> {
    if mode != 1 && mode != 2 {
        return path.to_vec();
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        let mut plain = segment.to_ascii_lowercase();
        while let Some(at) = plain.windows(3).position(|part| part == b"%2e").filter(|_| mode == 2) {
            plain.splice(at..at + 3, *b".");
        }
        match &plain[..] {
            b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    [b"/", &segments.join(&b'/')[..]].concat()
}

/// Folds case as matchers do that know Unicode: `ſ` is `s`, and full-width letters are ASCII.
fn folded(path: &[u8]) -> Vec<u8> {
    let fold = |letter: char| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'İ' | 'ı' => 'i',
        '！'..='～' => char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter).to_ascii_lowercase(),
        _ => letter.to_ascii_lowercase(),
    };
    path.utf8_chunks()
        .flat_map(|chunk| {
            let valid: String = chunk.valid().chars().map(fold).collect();
            [valid.as_bytes(), chunk.invalid()].concat()
        })
        .collect()
}
