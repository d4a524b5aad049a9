//! Any request path before the guard: no panic, the configured spelling and no other is the webhook, a query changes
//! nothing, and what passes as another path is the webhook to no backend, whatever its habits.
//!
//! The first three bytes choose the habits of one backend, the rest is the path after its first slash.

#![no_main]

use countersign::guard::{Guard, Judgement};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const WEBHOOK: &[u8] = b"/webhooks/stripe";

static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(["/webhooks/stripe"]));

fuzz_target!(|data: &[u8]| {
    let Some((habits, rest)) = data.split_first_chunk::<3>() else { return };
    let path: Vec<u8> = b"/".iter().chain(rest.iter().take_while(|byte| **byte != b'?')).copied().collect();
    let found = GUARD.judge(&path);
    assert_eq!(path == WEBHOOK, found == Judgement::Webhook(0), "{}", path.escape_ascii());
    assert_eq!(GUARD.judge(&[&path[..], b"?a=/../b%00;c"].concat()), found, "{}", path.escape_ascii());
    let backend = Backend(u32::from_le_bytes([habits[0], habits[1], habits[2], 0]));
    if backend.takes(&path) {
        assert_ne!(found, Judgement::Other, "{} taken by {:b}", path.escape_ascii(), backend.0);
    }
});

/// A backend's way from a request path to a route, each step taken or left by a bit or two.
struct Backend(u32);

impl Backend {
    fn bit(&self, n: u32) -> bool {
        self.0 >> n & 1 == 1
    }

    fn two_bits(&self, n: u32) -> u32 {
        self.0 >> n & 3
    }

    fn takes(&self, path: &[u8]) -> bool {
        let mut path = path.to_vec();
        if self.bit(0) {
            backslashes(&mut path);
        }
        if self.bit(1) && path.starts_with(b"//") {
            // `new URL("//host/path", base)`: all slashes go, the host with them.
            let host = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
            let end = path[host..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| host + at);
            path.drain(..end);
        }
        if self.bit(2) {
            path = bare(&path);
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
            0 => path = bare(&path),
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
        if self.bit(22) {
            let understood = path.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
            path = understood.filter(|letter| !letter.is_control()).collect::<String>().into_bytes();
        }
        if self.bit(23) {
            let spaced = String::from_utf8_lossy(&path).replace('+', " ");
            path = format!("/{}", spaced.trim_matches([' ', '/'])).into_bytes();
        }
        if self.bit(6) {
            let script = path.windows(5).position(|part| part.eq_ignore_ascii_case(b".php/"));
            path.drain(..script.map_or(0, |at| at + 4));
        }
        if self.bit(7) {
            path = folded(&path);
        }
        if self.bit(8) {
            let end = path.iter().rposition(|byte| *byte > b' ' && !b"/.\x7f".contains(byte));
            path.truncate(end.map_or(0, |last| last + 1));
        }
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

fn backslashes(path: &mut [u8]) {
    path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
}

fn truncate_at(path: &mut Vec<u8>, ends: &[u8]) {
    path.truncate(path.iter().position(|byte| ends.contains(byte)).unwrap_or(path.len()));
}

/// Segments without parameters.
fn bare(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/');
    segments.filter_map(|segment| segment.split(|byte| *byte == b';').next()).collect::<Vec<_>>().join(&b'/')
}

/// Dot segments removed as in RFC 3986, section 5.2.4, so that empty segments count; with 2, `%2e` is a dot as well.
fn resolved(path: &[u8], how: u32) -> Vec<u8> {
    if how != 1 && how != 2 {
        return path.to_vec();
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        let mut plain = segment.to_ascii_lowercase();
        while let Some(at) = plain.windows(3).position(|part| part == b"%2e").filter(|_| how == 2) {
            plain.splice(at..at + 3, *b".");
        }
        match &plain[..] {
            b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    [b"/", &kept.join(&b'/')[..]].concat()
}

/// One round of percent-decoding.
fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = hex.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Case folded, as matchers do that know Unicode.
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
