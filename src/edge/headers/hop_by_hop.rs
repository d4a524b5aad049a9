//! The headers that concern one connection only, so that no proxy passes them on (RFC 9110, section 7.6.1), and what a
//! client says in them that the backend is told all the same.

use crate::http1::framing::HttpVersion;
use crate::http1::head::RequestHead;
use crate::http1::headers::{is_token, list_items};

/// The headers that concern one connection only. `Transfer-Encoding` and `Expect` are not among them: they belong to the
/// body, and what passes on the body decides about them.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// The headers that `Connection` cannot remove: a request without them would be another request, or one of another client.
const END_TO_END: [&str; 10] = [
    "host",
    "content-length",
    "content-type",
    "expect",
    "stripe-signature",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// The options of `Connection` that name no header but those above.
const COMMON_OPTIONS: [&str; 4] = ["close", "keep-alive", "te", "upgrade"];

/// The headers of one request that do not pass.
pub(super) struct HopByHop<'a> {
    /// What `Connection` names besides the common options.
    options: Vec<&'a [u8]>,
}

impl<'a> HopByHop<'a> {
    /// Reads the request's `Connection`.
    pub(super) fn new(head: &'a RequestHead) -> Self {
        let options = head.values("connection").flat_map(list_items);
        Self { options: options.filter(|option| !is_one_of(&COMMON_OPTIONS, option)).collect() }
    }

    /// Returns true if the header does not pass.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        is_one_of(&HOP_BY_HOP, name)
            || (self.options.iter().any(|option| option.eq_ignore_ascii_case(name))
                && !is_one_of(&END_TO_END, name))
    }
}

/// Returns the protocols that the client offers to switch to, as the value of an `Upgrade` header, or `None`. HTTP/2 and TLS
/// are left out: the backend would read requests in what passes through the tunnel, and no guard would see them. So is what is
/// no protocol to every reader: some trim bytes beyond ASCII, and find `h2c` in what is left.
pub(super) fn offered_upgrade(head: &RequestHead) -> Option<Vec<u8>> {
    if head.version() != HttpVersion::Http11 || !head.connection_lists(b"upgrade") {
        return None;
    }
    let offered: Vec<_> =
        head.values("upgrade").flat_map(list_items).filter(|name| is_safe_protocol(name)).collect();
    (!offered.is_empty()).then(|| offered.join(&b", "[..]))
}

/// Returns true if the client can take trailers.
pub(super) fn accepts_trailers(head: &RequestHead) -> bool {
    let mut codings = head.values("te").flat_map(list_items);
    codings.any(|coding| {
        coding.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii() == b"trailers"
    })
}

/// Returns true for a valid `name` or `name/version` (RFC 9110, section 7.8) whose name is not HTTP/2, HTTP or TLS.
fn is_safe_protocol(protocol: &[u8]) -> bool {
    let mut parts = protocol.splitn(2, |&byte| byte == b'/');
    let name = parts.next().unwrap_or_default();
    let is_http2 = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"));
    is_token(name) && parts.next().is_none_or(is_token) && !is_http2 && !is_one_of(&["http", "tls"], name)
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    /// Parses a head whose lines are given as Latin-1.
    fn parse(lines: &str) -> RequestHead {
        let head: Vec<u8> = format!("GET / HTTP/1.1\r\n{lines}\r\n").chars().map(|c| c as u8).collect();
        RequestHead::parse(BytesMut::from(&head[..])).unwrap()
    }

    #[test]
    fn connection_removes_what_it_names_but_not_what_makes_the_request() {
        let head = parse("Connection: close, X-Hop\r\nConnection: X-Forwarded-For, Host\r\n");
        let hop_by_hop = HopByHop::new(&head);
        for (name, expected) in [
            ("X-Hop", true),
            ("x-hop", true),
            ("Connection", true),
            ("Keep-Alive", true),
            ("Upgrade", true),
            ("Proxy-Authorization", true),
            ("X-Forwarded-For", false),
            ("Host", false),
            ("Transfer-Encoding", false),
            ("Authorization", false),
        ] {
            assert_eq!(hop_by_hop.contains(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn every_protocol_is_offered_but_those_that_carry_requests() {
        let table = [
            ("Connection: Upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
            ("Connection: keep-alive, upgrade\r\nUpgrade: tcp\r\n", Some("tcp")),
            (
                "Connection: Upgrade\r\nUpgrade: h2c, WebSocket\r\nUpgrade: SPDY/3.1\r\n",
                Some("WebSocket, SPDY/3.1"),
            ),
            ("Connection: Upgrade\r\nUpgrade: derp\r\n", Some("derp")),
            ("Connection: Upgrade\r\nUpgrade: H2C\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: h2c-14, H2, h2x/1\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: h2c\u{a0}, \u{85}h2c, h2c\u{85}\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: h2 c, h2\tc, \th2c\t\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: web socket, \"tcp\", a/b/c, a/, /1, a/\u{a0}\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: websocket\u{a0}, tcp\r\n", Some("tcp")),
            ("Connection: Upgrade\r\n", None),
            ("Upgrade: websocket\r\n", None),
            ("Connection: close\r\nUpgrade: websocket\r\n", None),
        ];
        for (lines, expected) in table {
            let offered = offered_upgrade(&parse(lines)).map(|value| String::from_utf8(value).unwrap());
            assert_eq!(offered.as_deref(), expected, "{lines}");
        }
        let old = b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(offered_upgrade(&RequestHead::parse(BytesMut::from(&old[..])).unwrap()), None);
    }

    #[test]
    fn trailers_are_accepted_by_name() {
        assert!(accepts_trailers(&parse("TE: gzip;q=0.5, trailers\r\n")));
        assert!(!accepts_trailers(&parse("TE: gzip\r\n")) && !accepts_trailers(&parse("X: trailers\r\n")));
    }
}
