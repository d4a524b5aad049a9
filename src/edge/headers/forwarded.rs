//! `X-Forwarded-For`, `-Proto` and `-Host` on their way to the backend. Countersign is part of its proxy's hop: the lines
//! of a trusted peer pass unchanged, and nothing is appended to them. It writes no other header. Pure.

use ipnet::IpNet;
use std::io::{Cursor, Write as _};
use std::net::IpAddr;

use super::origin::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, peer_trusted};
use super::strip::{is_forwarding_header, is_nonstandard_name, is_stripped};
use crate::http1::head::RequestHead;

/// The headers that every request to the backend has. The index of each is its index in `ForwardedHeaders::sent`.
const NAMES: [&str; 3] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST];

/// The longest text of an address, in bytes.
const MAX_ADDRESS: usize = 45;

/// What becomes of a header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineAction {
    /// The backend gets the line.
    Pass,
    /// The backend gets the line: a trusted peer's `X-Forwarded-For`, `-Proto` or `-Host`.
    PassForwarded,
    /// The backend does not get the line.
    Drop,
}

/// The decision about the forwarding headers of one request.
pub(super) struct ForwardedHeaders {
    /// The address of the peer; `None` over a Unix socket.
    peer: Option<IpAddr>,
    trusted: bool,
    /// Which headers of `NAMES` pass. Set by `line_action`.
    sent: [bool; 3],
}

impl ForwardedHeaders {
    /// Begins with a request of `peer`, none of whose lines has been seen.
    pub(super) fn new(peer: Option<IpAddr>, proxies: &[IpNet]) -> Self {
        Self { peer, trusted: peer_trusted(peer, proxies), sent: [false; 3] }
    }

    /// Returns true if the peer may say who the client is.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Decides about the line with this name, and notes what it brings.
    pub(super) fn line_action(&mut self, name: &[u8]) -> LineAction {
        if is_stripped(name) {
            return LineAction::Drop;
        }
        if !is_forwarding_header(name) {
            return LineAction::Pass;
        }
        if !self.trusted || is_nonstandard_name(name) {
            return LineAction::Drop;
        }
        match NAMES.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            Some(index) => {
                self.sent[index] = true;
                LineAction::PassForwarded
            }
            // `Forwarded`: nobody expects Countersign to write it.
            None => LineAction::Pass,
        }
    }

    /// Passes `add` each header that no line brought: the peer's address, `http`, the request's `Host`.
    pub(super) fn add_missing(&self, head: &RequestHead, mut add: impl FnMut(&'static str, &[u8])) {
        let [has_for, has_proto, has_host] = self.sent;
        if let Some(peer) = self.peer.filter(|_| !has_for) {
            let mut text = Cursor::new([0; MAX_ADDRESS]);
            // The buffer has room for every address.
            let _ = write!(text, "{}", peer.to_canonical());
            let end = text.position() as usize;
            add(X_FORWARDED_FOR, &text.get_ref()[..end]);
        }
        if !has_proto {
            add(X_FORWARDED_PROTO, b"http");
        }
        if let Some(host) = head.value("Host").filter(|_| !has_host) {
            add(X_FORWARDED_HOST, host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    /// What is added to a request with these headers, a line each.
    fn added(lines: &str, peer: Option<&str>) -> String {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let head = RequestHead::parse(BytesMut::from(head.as_bytes())).unwrap();
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let mut forwarded = ForwardedHeaders::new(peer.map(|peer| peer.parse().unwrap()), &proxies);
        for line in head.lines() {
            forwarded.line_action(line.name);
        }
        let mut text = String::new();
        forwarded.add_missing(&head, |name, value| {
            text += &format!("{name}: {}\n", str::from_utf8(value).unwrap());
        });
        text
    }

    #[test]
    fn what_a_trusted_peer_leaves_out_is_added_and_nothing_else() {
        let all =
            "Host: a\r\nX-Forwarded-For: 203.0.113.9\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: b\r\n";
        assert_eq!(added(all, Some("10.0.0.1")), "");
        assert_eq!(
            added("Host: a\r\n", Some("::ffff:10.0.0.1")),
            "X-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n"
        );
        assert_eq!(
            added("Host: a\r\nX-Forwarded-For:\r\n", Some("10.0.0.1")),
            "X-Forwarded-Proto: http\nX-Forwarded-Host: a\n",
            "an empty line is a line"
        );
        assert_eq!(
            added("Host: a\r\nX-Forwarded-Proto: https\r\n", None),
            "X-Forwarded-Host: a\n",
            "a peer without an address"
        );
        assert_eq!(added("", Some("10.0.0.1")), "X-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: http\n");
    }

    #[test]
    fn an_untrusted_peers_lines_are_replaced() {
        let all =
            "Host: a\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n";
        for peer in ["192.0.2.1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert_eq!(
                added(all, Some(peer)),
                format!("X-Forwarded-For: {peer}\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n")
            );
        }
    }

    #[test]
    fn only_a_trusted_peer_passes_forwarding_headers_and_only_in_their_usual_spelling() {
        use LineAction::{Drop, Pass, PassForwarded};
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let mut trusted = ForwardedHeaders::new(Some("10.0.0.1".parse().unwrap()), &proxies);
        let mut stranger = ForwardedHeaders::new(Some("192.0.2.1".parse().unwrap()), &proxies);
        for (name, by_trusted, by_stranger) in [
            ("X-Forwarded-For", PassForwarded, Drop),
            ("x-forwarded-HOST", PassForwarded, Drop),
            ("X_Forwarded_For", Drop, Drop),
            ("X-Forwarded_Proto", Drop, Drop),
            ("Forwarded", Pass, Drop),
            ("X-Forwarded-Port", Pass, Pass),
            ("X-Real-IP", Pass, Pass),
            ("Countersign-Event", Drop, Drop),
            ("X-Original-URL", Drop, Drop),
            ("Authorization", Pass, Pass),
        ] {
            let actions = [&mut trusted, &mut stranger].map(|peer| peer.line_action(name.as_bytes()));
            assert_eq!(actions, [by_trusted, by_stranger], "{name}");
        }
    }
}
