//! The head of a forwarded request: the client's own, byte for byte, without the headers that no client may send and those
//! that concern one connection only, and with those that every request to the backend has.

use bytes::Bytes;
use ipnet::IpNet;
use std::net::IpAddr;

use super::forwarded::{ForwardedHeaders, LineAction};
use super::hop_by_hop::{HopByHop, accepts_trailers, offered_upgrade};
use super::origin::X_FORWARDED_HOST;
use super::request_id::RequestId;
use super::syntax::is_safe_value;
use crate::http1::framing::HttpVersion;
use crate::http1::head::RequestHead;
use crate::http1::headers::write_header;

/// Room for the lines that most heads get.
const APPENDED: usize = 240;
/// Where the last digit of the version stands behind the target.
const MINOR_VERSION: usize = " HTTP/1.".len();

/// The head of a forwarded request as the backend gets it.
pub(crate) struct RewrittenHead {
    /// The whole head, its empty line included.
    pub head: Bytes,
    /// Whether the request asks for another protocol.
    pub is_upgrade: bool,
    /// Whether the request has a `Stripe-Signature`, so that it is meant as a webhook.
    pub is_signed: bool,
    /// Whether a trusted peer sent an empty `X-Forwarded-Host`. A backend that builds `http://{host}{target}` with it takes the
    /// target's first segment for the host.
    pub has_empty_host: bool,
}

/// Rewrites a valid head. Returns `None` if a value that should name a host or a scheme could name a path. `peer` is `None`
/// on a Unix socket.
pub(crate) fn rewrite(
    head: &RequestHead,
    peer: Option<IpAddr>,
    proxies: &[IpNet],
    request_id: &RequestId,
    verdict: Option<&str>,
) -> Option<RewrittenHead> {
    let mut forwarded = ForwardedHeaders::new(peer, proxies);
    let hop_by_hop = HopByHop::new(head);
    let bytes = head.as_bytes();
    let mut rewritten = Vec::with_capacity(bytes.len() + APPENDED);
    // Most requests lose no line: their head is copied in one piece.
    let mut copied = 0;
    let (mut is_signed, mut has_empty_host) = (false, false);
    for line in head.lines() {
        is_signed |= line.name.eq_ignore_ascii_case(b"stripe-signature");
        if !is_safe_value(line.name, line.value, forwarded.is_trusted()) {
            return None;
        }
        match forwarded.line_action(line.name) {
            LineAction::Pass if !hop_by_hop.contains(line.name) && !request_id.replaces(line.name) => {
                continue;
            }
            LineAction::PassForwarded => {
                has_empty_host |= line.value.trim_ascii().is_empty()
                    && line.name.eq_ignore_ascii_case(X_FORWARDED_HOST.as_bytes());
                continue;
            }
            LineAction::Pass | LineAction::Drop => {}
        }
        rewritten.extend_from_slice(&bytes[copied..line.range.start]);
        copied = line.range.end;
    }
    rewritten.extend_from_slice(&bytes[copied..bytes.len() - 2]);
    // Whatever the client speaks, the backend is spoken to in HTTP/1.1.
    if head.version() == HttpVersion::Http10 {
        rewritten[head.method().len() + 1 + head.target().len() + MINOR_VERSION] = b'1';
    }
    forwarded.add_missing(head, |name, value| write_header(&mut rewritten, name, value));
    request_id.add_missing(|name, value| write_header(&mut rewritten, name, value));
    let upgrade = offered_upgrade(head);
    if let Some(protocols) = &upgrade {
        write_header(&mut rewritten, "Connection", b"Upgrade");
        write_header(&mut rewritten, "Upgrade", protocols);
    }
    if accepts_trailers(head) {
        write_header(&mut rewritten, "TE", b"trailers");
    }
    if let Some(verdict) = verdict {
        write_header(&mut rewritten, "Countersign-Verdict", verdict.as_bytes());
    }
    rewritten.extend_from_slice(b"\r\n");
    Some(RewrittenHead { head: rewritten.into(), is_upgrade: upgrade.is_some(), is_signed, has_empty_host })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::headers::strip::{is_forwarding_header, is_stripped};
    use crate::http1::head::find_end;
    use bytes::BytesMut;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn parse(head: &[u8]) -> RequestHead {
        RequestHead::parse(BytesMut::from(head)).unwrap()
    }

    fn request(headers: &[(&str, &str)]) -> RequestHead {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        parse(format!("GET /a:b HTTP/1.1\r\n{lines}\r\n").as_bytes())
    }

    /// The header lines that go out for this peer, sorted, without an id that was made.
    fn sent(head: &RequestHead, peer: Option<&str>) -> Vec<String> {
        let RewrittenHead { head, .. } = rewrite_as(head, peer, None).unwrap();
        let out = String::from_utf8(head.to_vec()).unwrap();
        let lines = out.split_once("\r\n").and_then(|(_, out)| out.strip_suffix("\r\n\r\n")).unwrap();
        let made = |line: &&str| line.starts_with("X-Request-Id: ");
        assert_eq!(lines.split("\r\n").filter(made).count(), 1, "{lines}");
        let mut lines: Vec<String> =
            lines.split("\r\n").filter(|line| !made(line)).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Rewrites a head that came from this peer.
    fn rewrite_as(head: &RequestHead, peer: Option<&str>, verdict: Option<&str>) -> Option<RewrittenHead> {
        let (peer, proxies) = (peer.map(ip), proxies());
        rewrite(head, peer, &proxies, &RequestId::new(head, peer, &proxies), verdict)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies() -> Vec<IpNet> {
        ["10.0.0.0/8", "fd00::/8", "::1/128"].iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn a_trusted_peers_lines_pass_unchanged() {
        let request = request(&[
            ("Host", "shop.example"),
            ("X-Forwarded-For", "203.0.113.9,198.51.100.7"),
            ("x-forwarded-for", ""),
            ("X_Forwarded_For", "198.51.100.1"),
            ("X-FORWARDED-PROTO", "https"),
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
                "X-FORWARDED-PROTO: https",
                "X-Forwarded-For: 203.0.113.9,198.51.100.7",
                "X-Forwarded-Host: www.shop.example",
                "x-forwarded-for: ",
            ]
        );
    }

    #[test]
    fn headers_that_a_trusted_peer_leaves_out_are_filled_in() {
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
        let old = parse(b"GET /a:b HTTP/1.0\r\n\r\n");
        assert_eq!(sent(&old, None), ["X-Forwarded-Proto: http"]);
    }

    #[test]
    fn an_untrusted_peer_cannot_say_who_the_client_is() {
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
    fn headers_that_no_client_may_send_are_removed_for_every_peer() {
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
    fn a_request_line_that_looks_like_a_removed_header_stays() {
        for line in
            ["Countersign-x /a:b HTTP/1.1\r\n", "X-Original-URL /:x HTTP/1.1\r\n", "Forwarded / HTTP/1.1\r\n"]
        {
            let head = parse(format!("{line}Host: a\r\n\r\n").as_bytes());
            let out = rewrite_as(&head, Some("192.0.2.1"), None).unwrap().head;
            assert!(out.starts_with(line.as_bytes()), "{line}");
        }
        // With a colon in its method it is no request line at all.
        for line in ["Countersign-:x /posts HTTP/1.1\r\n", "X-Original-URL:x / HTTP/1.1\r\n"] {
            let head = format!("{line}POST /webhooks/stripe HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(RequestHead::parse(BytesMut::from(head.as_bytes())).is_err(), "{line}");
        }
    }

    #[test]
    fn a_value_that_names_a_host_or_a_scheme_is_valid() {
        let passes =
            |headers: &[(&str, &str)], peer: &str| rewrite_as(&request(headers), Some(peer), None).is_some();
        let (trusted, stranger) = ("10.0.0.7", "192.0.2.1");
        let hosts = ["shop.example", "shop.example:5000", "[::1]:80", "[::1]", "my_host", "127.0.0.1", "a:"];
        for host in hosts {
            assert!(passes(&[("Host", host)], stranger), "{host}");
            let forwarded = format!("for=_x/y;host=\"{host}\";proto=https, for=\"[::1]:80\"");
            let headers = [("Host", "a"), ("X-Forwarded-Host", host), ("Forwarded", &forwarded)];
            assert!(passes(&headers, trusted), "{host}");
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
            let is_empty = host.trim().is_empty();
            assert_eq!(passes(&[("Host", "a"), ("X-Forwarded-Host", host)], trusted), is_empty, "{host}");
            assert!(
                !passes(&[("Host", "a"), ("X-Forwarded-Host", &format!("a, {host}"))], trusted),
                "{host}"
            );
            assert!(
                !passes(&[("Host", "a"), ("Forwarded", &format!("for=x;Host={host}"))], trusted),
                "{host}"
            );
            // Nothing that an untrusted peer says goes out.
            assert!(
                passes(&[("Host", "a"), ("X-Forwarded-Host", host), ("Forwarded", host)], stranger),
                "{host}"
            );
        }
        for proto in ["http://b/webhooks/stripe?", "x:/webhooks/stripe?", "", "1"] {
            let is_empty = proto.is_empty();
            assert_eq!(passes(&[("Host", "a"), ("X-Forwarded-Proto", proto)], trusted), is_empty, "{proto}");
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
            if let Ok(judged) = RequestHead::parse(BytesMut::from(head)).and_then(|head| head.validate().map(|()| head)) {
                let Some(RewrittenHead { head: out, .. }) = rewrite_as(&judged, Some("192.0.2.1"), None) else {
                    return Ok(());
                };
                let mut fields = [httparse::EMPTY_HEADER; 16];
                let mut request = httparse::Request::new(&mut fields);
                if let Ok(httparse::Status::Complete(length)) = request.parse(&out) {
                    prop_assert_eq!(length, out.len());
                    prop_assert_eq!(request.method.unwrap().as_bytes(), judged.method());
                    prop_assert_eq!(request.path.unwrap().as_bytes(), judged.target());
                    let host = judged.value("Host").unwrap_or_default();
                    for field in request.headers {
                        // What an untrusted peer says is replaced.
                        let ours = [b"192.0.2.1", &b"http"[..], host].contains(&field.value);
                        let name = field.name.as_bytes();
                        prop_assert!(!is_stripped(name) && (ours || !is_forwarding_header(name)));
                    }
                }
            }
        }
    }

    #[test]
    fn all_other_headers_go_out_byte_for_byte_in_order_with_what_is_added_last() {
        let head = parse(
            b"POST /x?\"<\xfc> HTTP/1.0\r\nhost:shop.example \r\nZ: \xff\r\nKeep-Alive: 1\r\nConnection: X-Hop, X-Request-Id\r\n\
              Countersign-Verdict: ok\r\nX-REQUEST-id:r-1\r\nA:\r\nx-hop: 1\r\nTE: trailers\r\nz: 2\r\n\r\n",
        );
        let RewrittenHead { head, is_upgrade, .. } =
            rewrite_as(&head, None, Some("signature_mismatch")).unwrap();
        let expected = b"POST /x?\"<\xfc> HTTP/1.1\r\nhost:shop.example \r\nZ: \xff\r\nX-REQUEST-id:r-1\r\nA:\r\nz: 2\r\n\
            X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\nTE: trailers\r\n\
            Countersign-Verdict: signature_mismatch\r\n\r\n";
        assert_eq!(head.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert!(!is_upgrade);
    }

    #[test]
    fn an_upgrade_goes_out_as_one() {
        let head =
            parse(b"GET /ws HTTP/1.1\r\nHost: a\r\nconnection: keep-alive, Upgrade\r\nUpgrade: tcp\r\n\r\n");
        let RewrittenHead { head, is_upgrade, .. } = rewrite_as(&head, None, None).unwrap();
        assert!(is_upgrade && head.ends_with(b"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"));
    }
}
