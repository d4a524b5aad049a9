//! The headers of a request that are our business on every route: the ones no client may send, the ones that tell
//! the backend who the client is, and whether that client is a person with a browser. It touches no other header and
//! knows no route. The pieces are pure, so that a delivery tells the same as a passed-through request.

use ipnet::IpNet;
use memchr::memchr;
use std::io::Write as _;
use std::net::IpAddr;

/// The addresses that a request came through.
pub const FOR: &str = "X-Forwarded-For";
/// The scheme that the client used.
pub const PROTO: &str = "X-Forwarded-Proto";
/// The host that the client asked for.
pub const HOST: &str = "X-Forwarded-Host";

/// The head of a passed-through request as the backend gets it, but for what we add.
pub struct Rewritten {
    /// The client's, without what no client may send; else byte for byte.
    pub head: Vec<u8>,
    /// The lines that go to its end: its [`Origin`] and, in a dry run, a verdict.
    pub added: Vec<u8>,
}

/// Rewrites one; `None` if what names its host or scheme names none, or it has not exactly one `Host`. `head` is whole,
/// and its lines end with CRLF; `peer` is `None` on a Unix socket.
///
/// It happens before pingora reads the head, and what we add joins it after pingora has written it: in pingora's maps
/// of headers the same costs an eighth of the request.
pub fn rewrite(
    head: &[u8],
    peer: Option<IpAddr>,
    proxies: &[IpNet],
    verdict: Option<&str>,
) -> Option<Rewritten> {
    let believed = trusted(peer, proxies);
    let origin = Origin::of(peer, proxies, |name| {
        fields(head).filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    });
    let mut left = Vec::with_capacity(head.len());
    let mut lines = head.split_inclusive(|&byte| byte == b'\n');
    // The request line is no field, whatever stands before its first colon.
    let request_line = lines.next().unwrap_or_default();
    left.extend_from_slice(request_line);
    let mut hosts = 0;
    for line in lines {
        let (name, value) = line.split_at(memchr(b':', line).unwrap_or(line.len()));
        if !names_no_path(name, value.get(1..).unwrap_or_default(), believed) {
            return None;
        }
        hosts += usize::from(name.eq_ignore_ascii_case(b"Host"));
        // A faulty one is left for pingora to refuse: what we add is not read by any parser.
        let replaced = || [FOR, PROTO, HOST].iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()));
        let doubted = || forwarding(name) && (!believed || misspelled(name));
        if removed(name) || (replaced() && !faulty(line)) || doubted() {
            continue;
        }
        left.extend_from_slice(line);
    }
    if hosts != 1 && !(hosts == 0 && request_line.ends_with(b"HTTP/1.0\r\n")) {
        return None;
    }
    let mut added = Vec::with_capacity(192);
    let mut add = |name: &str, value: &[u8]| {
        added.extend_from_slice(name.as_bytes());
        added.extend_from_slice(b": ");
        added.extend_from_slice(value);
        added.extend_from_slice(b"\r\n");
    };
    if let Some(chain) = &origin.chain {
        add(FOR, chain);
    }
    add(PROTO, origin.proto);
    if let Some(host) = origin.host {
        add(HOST, host);
    }
    if let Some(verdict) = verdict {
        add("Countersign-Verdict", verdict.as_bytes());
    }
    Some(Rewritten { head: left, added })
}

/// Whether a line has bytes in it that no field may have (RFC 9110, section 5.5). Its end is CRLF.
fn faulty(line: &[u8]) -> bool {
    let field = line.strip_suffix(b"\r\n").unwrap_or(line);
    field.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
}

/// The fields of a head, name and value. The request line is none of them: no name has a space in it.
fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|&byte| byte == b'\n').skip(1).filter_map(|line| {
        let colon = memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// What the backend is told of a request's origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The addresses it came through, the nearest last; `None` where none is known.
    pub chain: Option<Vec<u8>>,
    /// `http` or `https`.
    pub proto: &'a [u8],
    /// The host that the client asked for.
    pub host: Option<&'a [u8]>,
}

impl<'a> Origin<'a> {
    /// From the peer, and from what a trusted one said; of anyone else's word only `Host` counts. `field` gives the
    /// values of a name, in order.
    pub fn of<I>(peer: Option<IpAddr>, proxies: &[IpNet], field: impl Fn(&'static str) -> I) -> Origin<'a>
    where
        I: Iterator<Item = &'a [u8]>,
    {
        let believed = trusted(peer, proxies);
        let told = |name| believed.then(|| field(name)).into_iter().flatten();
        Origin {
            chain: chain(told(FOR), peer),
            proto: told(PROTO).next().unwrap_or(b"http"),
            host: told(HOST).next().or_else(|| field("Host").next()),
        }
    }
}

/// The headers with which a backend lets whoever stands in front of it choose the path, or how much of the path is the
/// app's: IIS and old PHP frameworks, gunicorn (which takes these two from its proxy by default), Daphne, and what
/// mod_wsgi and WSGI snippets read. Where the guard saw `/x/webhooks/stripe`, such an app would see the webhook's path.
const PATHS: [&[u8]; 7] = [
    b"x-original-url",
    b"x-rewrite-url",
    b"script-name",
    b"path-info",
    b"daphne-root-path",
    b"x-script-name",
    b"x-forwarded-script-name",
];

/// Whether a header is removed from every request: those with which backends let a client choose another path, and
/// those of ours, which a backend takes for our word, in any spelling that a backend reads as such.
pub fn removed(name: &[u8]) -> bool {
    match name.first() {
        Some(b'c' | b'C') => name.get(..12).is_some_and(|start| alike(start, b"countersign-")),
        Some(b'x' | b'X' | b's' | b'S' | b'p' | b'P' | b'd' | b'D') => {
            PATHS.iter().any(|path| alike(name, path))
        }
        _ => false,
    }
}

/// Whether a header tells who the client is, in any spelling: believed from trusted peers only.
pub fn forwarding(name: &[u8]) -> bool {
    match name.first() {
        Some(b'x' | b'X') => [&b"x-forwarded-for"[..], b"x-forwarded-proto", b"x-forwarded-host"]
            .iter()
            .any(|known| alike(name, known)),
        Some(b'f' | b'F') => alike(name, b"forwarded"),
        _ => false,
    }
}

/// Whether a header's name is spelled as no proxy spells it. CGI and WSGI would read it as the proxy's own.
fn misspelled(name: &[u8]) -> bool {
    name.iter().any(|&byte| byte != b'-' && !byte.is_ascii_alphanumeric())
}

/// Whether a backend that makes URLs of what a field says gets no path from it: to who puts `http://`, a host and the
/// target together, `a/webhooks/stripe?` is the webhook, and after an empty host the target's first segment is the host.
fn names_no_path(name: &[u8], value: &[u8], believed: bool) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let mut items = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    match name.first() {
        Some(b'h' | b'H') if is("Host") => is_host(value.trim_ascii()),
        Some(b'x' | b'X') if is(HOST) => !believed || items.all(is_host),
        Some(b'x' | b'X') if is(PROTO) => !believed || items.all(is_scheme),
        Some(b'x' | b'X') if is("X-Forwarded-Port") => items.all(|item| item.iter().all(u8::is_ascii_digit)),
        Some(b'f' | b'F') if is("Forwarded") => !believed || items.all(is_forwarded),
        _ => true,
    }
}

/// A name or an address, and a port.
fn is_host(text: &[u8]) -> bool {
    let in_brackets = |text: &[u8]| {
        let end = memchr(b']', text)?;
        let address = &text[1..end];
        let fine = address.iter().all(|&byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        (fine && !address.is_empty()).then_some(end + 1)
    };
    let end = match text.first() {
        Some(b'[') => in_brackets(text).unwrap_or(0),
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

/// One hop of a `Forwarded`, of which only host and scheme are looked at (RFC 7239).
fn is_forwarded(hop: &[u8]) -> bool {
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

/// Whether what a peer says about the client is believed. Who reaches a Unix socket (`None`) was let in by its mode.
pub fn trusted(peer: Option<IpAddr>, proxies: &[IpNet]) -> bool {
    peer.is_none_or(|peer| {
        // On a dual-stack listener an IPv4 peer shows as `::ffff:192.0.2.1`.
        let peer = peer.to_canonical();
        proxies.iter().any(|net| net.contains(&peer))
    })
}

/// The addresses so far, one value a field line, and this hop's peer at their end.
fn chain<'a>(before: impl Iterator<Item = &'a [u8]>, peer: Option<IpAddr>) -> Option<Vec<u8>> {
    let mut chain = Vec::with_capacity(64);
    for value in before.filter(|value| !value.is_empty()) {
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(value);
    }
    if let Some(peer) = peer {
        let comma = if chain.is_empty() { "" } else { ", " };
        // Writing to memory does not fail.
        let _ = write!(chain, "{comma}{}", peer.to_canonical());
    }
    (!chain.is_empty()).then_some(chain)
}

/// Whether a client would rather read HTML than JSON, by the values of its `Accept` (RFC 9110, section 12.5.1). Without
/// a preference it gets JSON.
pub fn wants_html(accept: &[&[u8]]) -> bool {
    let html = Liking::of(accept, "text", "html");
    let json = Liking::of(accept, "application", "json");
    html.quality > 0 && html > json
}

/// How much a media type is wanted. At equal quality the one that is named rather than covered by a range wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Liking {
    /// In thousandths.
    quality: u16,
    /// 1 for `*/*`, 2 for `text/*`, 3 for the type itself.
    specific: u8,
}

impl Liking {
    /// What the most specific range that covers a type says.
    fn of(accept: &[&[u8]], kind: &str, subtype: &str) -> Liking {
        let ranges = accept.iter().flat_map(|value| value.split(|&byte| byte == b','));
        let mut liking = Liking::default();
        for range in ranges {
            let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let mut names = parts.next().unwrap_or_default().splitn(2, |&byte| byte == b'/');
            let (Some(range_kind), Some(range_subtype)) = (names.next(), names.next()) else { continue };
            let specific = match (range_kind, range_subtype) {
                (b"*", b"*") => 1,
                (k, b"*") if k.eq_ignore_ascii_case(kind.as_bytes()) => 2,
                (k, s)
                    if k.eq_ignore_ascii_case(kind.as_bytes())
                        && s.eq_ignore_ascii_case(subtype.as_bytes()) =>
                {
                    3
                }
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
            let quality = weight.map_or(1000, thousandths);
            if specific > liking.specific {
                liking = Liking { quality, specific };
            }
        }
        liking
    }
}

/// A weight, `0.8`; what is no weight counts for nothing.
fn thousandths(weight: &[u8]) -> u16 {
    let weight: Option<f32> = str::from_utf8(weight).ok().and_then(|weight| weight.parse().ok());
    weight.filter(|weight| (0.0..=1.0).contains(weight)).map_or(0, |weight| (weight * 1000.0) as u16)
}

/// Whether a name is this one to any reader, letter case aside: CGI and WSGI read `_` as `-`, PHP's own server `.`, and
/// lighttpd's CGI whatever is no letter or digit. `known` is in lower case.
fn alike(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(&byte, &known)| match known {
            b'-' => !byte.is_ascii_alphanumeric(),
            _ => byte.to_ascii_lowercase() == known,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{find_end, outline};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn request(headers: &[(&str, &str)]) -> Vec<u8> {
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("GET /a:b HTTP/1.1\r\n{fields}\r\n").into_bytes()
    }

    /// The fields that go out for this peer, one a line, in the order of their names.
    fn sent(head: &[u8], peer: Option<&str>) -> Vec<String> {
        let Rewritten { mut head, added } = rewrite(head, peer.map(ip), &proxies(), None).unwrap();
        head.splice(head.len() - 2..head.len() - 2, added);
        let out = String::from_utf8(head).unwrap();
        let fields = out.split_once("\r\n").and_then(|(_, out)| out.strip_suffix("\r\n\r\n")).unwrap();
        let mut lines: Vec<String> = fields.split("\r\n").map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies() -> Vec<IpNet> {
        ["10.0.0.0/8", "fd00::/8", "::1/128"].iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn headers_that_no_client_may_send_are_known_in_any_spelling() {
        let cases = [
            ("X-Original-URL", true),
            ("x_original_url", true),
            ("X-Rewrite-Url", true),
            ("X-Rewrite_URL", true),
            ("SCRIPT_NAME", true),
            ("Script-Name", true),
            ("PATH_INFO", true),
            ("path-info", true),
            ("Daphne-Root-Path", true),
            ("X-Script-Name", true),
            ("X_Forwarded_Script_Name", true),
            ("Script-Names", false),
            ("Path", false),
            ("Date", false),
            ("Countersign-Event", true),
            ("countersign_verdict", true),
            ("Countersign.Event", true),
            ("Countersign!Verdict", true),
            ("X.Original.URL", true),
            ("COUNTERSIGN-", true),
            ("Countersign_-x", true),
            ("Countersign", false),
            ("Countersigned-By", false),
            ("X-Countersign-Event", false),
            ("X-Original-URLs", false),
            ("X-Original", false),
            ("X-Request-Id", false),
            ("Cookie", false),
            ("", false),
        ];
        for (name, is) in cases {
            assert_eq!(removed(name.as_bytes()), is, "{name}");
        }
    }

    #[test]
    fn only_headers_about_the_client_are_doubted() {
        let cases = [
            ("X-Forwarded-For", true),
            ("x_forwarded_for", true),
            ("X.Forwarded.For", true),
            ("X!Forwarded-Host", true),
            ("X-FORWARDED-PROTO", true),
            ("X-Forwarded_Host", true),
            ("Forwarded", true),
            ("X-Forwarded-Port", false),
            ("X-Forwarded-Fork", false),
            ("X-Real-IP", false),
            ("From", false),
        ];
        for (name, doubted) in cases {
            assert_eq!(forwarding(name.as_bytes()), doubted, "{name}");
        }
    }

    #[test]
    fn trust_goes_by_address_and_by_socket() {
        let cases = [
            (Some("10.1.2.3"), true),
            (Some("::ffff:10.1.2.3"), true),
            (Some("fd12::1"), true),
            (Some("::1"), true),
            (None, true),
            (Some("192.0.2.1"), false),
            (Some("::ffff:192.0.2.1"), false),
            (Some("2001:db8::1"), false),
        ];
        for (peer, is) in cases {
            assert_eq!(trusted(peer.map(ip), &proxies()), is, "{peer:?}");
        }
        assert!(!trusted(Some(ip("127.0.0.1")), &[]));
    }

    #[test]
    fn the_chain_grows_by_this_hop() {
        let cases: [(&[&str], Option<&str>, Option<&str>); 7] = [
            (&[], Some("192.0.2.1"), Some("192.0.2.1")),
            (&[], Some("2001:db8::1"), Some("2001:db8::1")),
            (&[], Some("::ffff:192.0.2.1"), Some("192.0.2.1")),
            (&["203.0.113.9"], Some("10.0.0.1"), Some("203.0.113.9, 10.0.0.1")),
            (
                &["203.0.113.9, 198.51.100.2", "", "unknown"],
                Some("10.0.0.1"),
                Some("203.0.113.9, 198.51.100.2, unknown, 10.0.0.1"),
            ),
            (&["203.0.113.9"], None, Some("203.0.113.9")),
            (&[], None, None),
        ];
        for (before, peer, want) in cases {
            let chain = chain(before.iter().map(|value| value.as_bytes()), peer.map(ip));
            assert_eq!(chain.as_deref(), want.map(str::as_bytes), "{before:?} {peer:?}");
        }
    }

    #[test]
    fn a_trusted_peer_is_believed_and_added() {
        let request = request(&[
            ("Host", "shop.example"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("X_Forwarded_For", "198.51.100.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded_Proto", "http"),
            ("X.Forwarded.Host", "evil.example"),
            ("X-Forwarded-Host", "www.shop.example"),
            ("Forwarded", "for=203.0.113.9"),
            ("Accept", "*/*"),
        ]);
        assert_eq!(
            sent(&request, Some("::ffff:10.0.0.7")),
            [
                "Accept: */*",
                "Forwarded: for=203.0.113.9",
                "Host: shop.example",
                "X-Forwarded-For: 203.0.113.9, 10.0.0.7",
                "X-Forwarded-Host: www.shop.example",
                "X-Forwarded-Proto: https",
            ]
        );
    }

    #[test]
    fn what_a_trusted_peer_leaves_out_is_filled_in() {
        let direct = request(&[("Host", "shop.example")]);
        assert_eq!(
            sent(&direct, Some("10.0.0.7")),
            [
                "Host: shop.example",
                "X-Forwarded-For: 10.0.0.7",
                "X-Forwarded-Host: shop.example",
                "X-Forwarded-Proto: http"
            ]
        );
        let old = b"GET /a:b HTTP/1.0\r\n\r\n";
        assert_eq!(sent(old, None), ["X-Forwarded-Proto: http"]);
    }

    #[test]
    fn a_stranger_cannot_say_who_the_client_is() {
        let request = request(&[
            ("Host", "shop.example"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-For", "10.0.0.2"),
            ("X_Forwarded_For", "10.0.0.3"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=10.0.0.1"),
            ("X-Forwarded-Port", "443"),
        ]);
        assert_eq!(
            sent(&request, Some("192.0.2.1")),
            [
                "Host: shop.example",
                "X-Forwarded-For: 192.0.2.1",
                "X-Forwarded-Host: shop.example",
                "X-Forwarded-Port: 443",
                "X-Forwarded-Proto: http",
            ]
        );
    }

    #[test]
    fn what_no_client_may_send_is_removed_whoever_the_peer_is() {
        for peer in [None, Some("10.0.0.1"), Some("192.0.2.1")] {
            let request = request(&[
                ("Host", "a"),
                ("X-Original-URL", "/webhooks/stripe"),
                ("X-Rewrite-URL", "/webhooks/stripe"),
                ("Countersign-Event", "evt_1"),
                ("countersign_event", "evt_2"),
                ("Countersign-Event", "evt_3"),
                ("Cookie", "a=b"),
            ]);
            let left: Vec<String> =
                sent(&request, peer).into_iter().filter(|line| !line.starts_with("X-Forwarded-")).collect();
            assert_eq!(left, ["Cookie: a=b", "Host: a"], "{peer:?}");
        }
    }

    #[test]
    fn the_request_line_stays_whatever_it_looks_like() {
        for line in [
            "Countersign-:x /posts HTTP/1.1\r\n",
            "X-Original-URL:x / HTTP/1.1\r\n",
            "Forwarded: / HTTP/1.1\r\n",
        ] {
            let head = format!("{line}POST /webhooks/stripe HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
            let out = rewrite(&head, Some(ip("192.0.2.1")), &[], None).unwrap().head;
            assert!(out.starts_with(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn what_names_a_host_or_a_scheme_is_one() {
        let passes = |fields: &[(&str, &str)], peer: &str| {
            rewrite(&request(fields), Some(ip(peer)), &proxies(), None).is_some()
        };
        let (trusted, stranger) = ("10.0.0.7", "192.0.2.1");
        let hosts = ["shop.example", "shop.example:5000", "[::1]:80", "[::1]", "my_host", "127.0.0.1", "a:"];
        for host in hosts {
            assert!(passes(&[("Host", host)], stranger), "{host}");
            let forwarded = format!("for=_x/y;host=\"{host}\";proto=https, for=\"[::1]:80\"");
            let told = [("Host", "a"), ("X-Forwarded-Host", host), ("Forwarded", &forwarded)];
            assert!(passes(&told, trusted), "{host}");
        }
        for host in [
            "",
            " ",
            ":",
            "::",
            "::1",
            ":80",
            "a/webhooks/stripe?",
            "a\\webhooks\\stripe?",
            "a#",
            "a?",
            "a@b",
            "a%2f",
            "a b",
            "a\tb",
            "\"",
            "a\"b",
            "[]",
            "[::1",
            "[::1]x",
            "a:b",
            "\u{e9}",
        ] {
            assert!(!passes(&[("Host", host)], stranger), "{host}");
            assert!(!passes(&[("Host", "a"), ("X-Forwarded-Host", host)], trusted), "{host}");
            assert!(
                !passes(&[("Host", "a"), ("X-Forwarded-Host", &format!("a, {host}"))], trusted),
                "{host}"
            );
            assert!(
                !passes(&[("Host", "a"), ("Forwarded", &format!("for=x;Host={host}"))], trusted),
                "{host}"
            );
            // Of a stranger's word nothing goes out.
            assert!(
                passes(&[("Host", "a"), ("X-Forwarded-Host", host), ("Forwarded", host)], stranger),
                "{host}"
            );
        }
        for proto in ["http://b/webhooks/stripe?", "x:/webhooks/stripe?", "", "1"] {
            assert!(!passes(&[("Host", "a"), ("X-Forwarded-Proto", proto)], trusted), "{proto}");
            assert!(
                !passes(&[("Host", "a"), ("Forwarded", &format!("proto=\"{proto}\""))], trusted),
                "{proto}"
            );
        }
        assert!(passes(
            &[("Host", "a"), ("X-Forwarded-Proto", "https, http"), ("X-Forwarded-Port", "443")],
            trusted
        ));
        assert!(!passes(&[("Host", "a"), ("X-Forwarded-Port", "80/webhooks/stripe")], stranger));
        assert!(!passes(&[("Host", "a"), ("host", "a")], stranger));
        assert!(!passes(&[], stranger));
    }

    /// A line of a head, or something that tries to be one.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "[!-~]{1,12} [!-~]{1,12} HTTP/1\\.[01]",
            "(GET|POST|Countersign-:x|Forwarded:) /(webhooks/stripe|x) HTTP/1\\.1",
            "(Countersign-|X-Original-URL|Forwarded|SCRIPT_NAME|X-Forwarded-For)[:a ]{0,2}[ -~]{0,12}",
            "(Host|Content-Length|Transfer-Encoding): ?(a|5|chunked)",
            "[ -~]{0,16}",
        ]
    }

    proptest! {
        /// The guard judges what our reading found, and the backend gets what a parser finds in what goes out.
        #[test]
        fn what_goes_out_is_the_request_that_was_judged(lines in vec(line(), 1..6)) {
            let head = format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
            let end = find_end(&head, &mut 0).unwrap();
            let head = &head[..end];
            if let Ok(judged) = outline(head) {
                let Some(Rewritten { head: out, .. }) = rewrite(head, Some(ip("192.0.2.1")), &[], None) else {
                    return Ok(());
                };
                let mut fields = [httparse::EMPTY_HEADER; 16];
                let mut request = httparse::Request::new(&mut fields);
                if let Ok(httparse::Status::Complete(length)) = request.parse(&out) {
                    prop_assert_eq!(length, out.len());
                    prop_assert_eq!(request.method.unwrap().as_bytes(), judged.method);
                    prop_assert_eq!(request.path.unwrap().as_bytes(), judged.target);
                    for field in request.headers {
                        prop_assert!(!removed(field.name.as_bytes()) && !forwarding(field.name.as_bytes()));
                    }
                }
            }
        }
    }

    #[test]
    fn all_else_goes_out_byte_for_byte_in_its_order_with_the_verdict_last() {
        let head = b"POST /x HTTP/1.1\r\nhost:shop.example \r\nZ: \xff\r\nCountersign-Verdict: ok\r\nA:\r\nz: 2\r\n\r\n";
        let Rewritten { head, added } = rewrite(head, None, &[], Some("signature_mismatch")).unwrap();
        let expected = b"POST /x HTTP/1.1\r\nhost:shop.example \r\nZ: \xff\r\nA:\r\nz: 2\r\n\r\n";
        assert_eq!(head.escape_ascii().to_string(), expected.escape_ascii().to_string());
        let expected = b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\n\
            Countersign-Verdict: signature_mismatch\r\n";
        assert_eq!(added.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn html_goes_to_those_who_prefer_it() {
        let cases: [(&[&str], bool); 19] = [
            (&[], false),
            (&[""], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&["text/html"], true),
            (&["TEXT/HTML"], true),
            (&["text/*"], true),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"], true),
            (&["text/html, */*"], true),
            (&["text/html, application/json"], false),
            (&["application/json, text/html;q=0.9"], false),
            (&["application/json;q=0.5", "text/html;q=0.6"], true),
            (&["text/html;q=0"], false),
            (&["text/html;q=0, */*"], false),
            (&["text/html;q=0.001"], true),
            (&["text/html;level=1;Q=0.4, application/json;q=0.3"], true),
            (&["text/html;q=nonsense"], false),
            (&["text/html;q=2, application/json;q=0.1"], false),
            (&["application/json, */*;q=0.1"], false),
        ];
        for (accept, html) in cases {
            let values: Vec<_> = accept.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(wants_html(&values), html, "{accept:?}");
        }
    }
}
