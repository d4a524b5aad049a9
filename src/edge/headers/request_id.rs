//! `X-Request-Id`: the id by which a request is found in the logs of the proxy, of Countersign and of the backend. One id of a
//! trusted peer is kept; every other request gets a new one. It writes no header. Pure, but for the new id.

use ipnet::IpNet;
use std::net::IpAddr;

use super::origin::peer_trusted;
use crate::http1::head::RequestHead;
use crate::random::unique_id;

/// The header's name, as it is added.
const X_REQUEST_ID: &str = "X-Request-Id";

/// The longest id that is kept, in bytes. Rails cuts longer ones off (`ActionDispatch::RequestId`).
const MAX_LENGTH: usize = 255;

/// The id of one request.
#[derive(Debug)]
pub(crate) struct RequestId {
    text: Box<str>,
    /// Whether the request came with it.
    is_received: bool,
}

impl RequestId {
    /// Returns the id that a trusted peer sent, if there is one only and it is 1 to 255 visible ASCII characters, else a new
    /// one. `peer` is `None` on a Unix socket.
    pub(crate) fn new(head: &RequestHead, peer: Option<IpAddr>, proxies: &[IpNet]) -> Self {
        let mut values = head.values(X_REQUEST_ID);
        let received = match (values.next(), values.next()) {
            (Some(value), None) => checked(value).filter(|_| peer_trusted(peer, proxies)),
            (Some(_), Some(_)) | (None, _) => None,
        };
        match received {
            Some(text) => Self { text: text.into(), is_received: true },
            None => Self { text: unique_id().into(), is_received: false },
        }
    }

    /// Returns the id.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether a line of this name is replaced by the id.
    pub(super) fn replaces(&self, name: &[u8]) -> bool {
        !self.is_received && name.eq_ignore_ascii_case(X_REQUEST_ID.as_bytes())
    }

    /// Passes `add` the header, unless the request came with it.
    pub(super) fn add_missing(&self, add: impl FnOnce(&'static str, &[u8])) {
        if !self.is_received {
            add(X_REQUEST_ID, self.text.as_bytes());
        }
    }
}

/// Returns an id that may be kept.
fn checked(value: &[u8]) -> Option<&str> {
    let is_sane = !value.is_empty() && value.len() <= MAX_LENGTH && value.iter().all(u8::is_ascii_graphic);
    str::from_utf8(value).ok().filter(|_| is_sane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn id(lines: &str, peer: &str) -> RequestId {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let head = RequestHead::parse(BytesMut::from(head.as_bytes())).unwrap();
        RequestId::new(&head, Some(peer.parse().unwrap()), &["10.0.0.0/8".parse().unwrap()])
    }

    #[test]
    fn one_sane_id_of_a_trusted_peer_is_kept_and_any_other_is_replaced() {
        let (proxy, stranger) = ("10.0.0.1", "192.0.2.1");
        for sane in ["r-1", "7b1e6a0c-2b6e-4c6f-9d8e-3f1a2b3c4d5e", "Root=1-67891233;a", &"x".repeat(255)] {
            let kept = id(&format!("x-request-ID:  {sane} \r\n"), proxy);
            assert_eq!(kept.as_str(), sane);
            assert!(!kept.replaces(b"x-request-ID"));
            kept.add_missing(|_, _| panic!("added"));
        }
        for (lines, peer) in [
            (String::new(), proxy),
            ("X-Request-Id: r-1\r\n".to_owned(), stranger),
            ("X-Request-Id:\r\n".to_owned(), proxy),
            ("X-Request-Id: a b\r\n".to_owned(), proxy),
            ("X-Request-Id: \u{e9}\r\n".to_owned(), proxy),
            (format!("X-Request-Id: {}\r\n", "x".repeat(256)), proxy),
            ("X-Request-Id: a\r\nX-Request-Id: a\r\n".to_owned(), proxy),
        ] {
            let made = id(&lines, peer);
            assert!(
                made.as_str().len() == 32 && made.as_str().bytes().all(|b| b.is_ascii_hexdigit()),
                "{made:?}"
            );
            assert_ne!(made.as_str(), id(&lines, peer).as_str());
            assert!(made.replaces(b"x-request-ID") && !made.replaces(b"X-Request-Ids"), "{lines}");
            let mut added = String::new();
            made.add_missing(|name, value| added = format!("{name}: {}", str::from_utf8(value).unwrap()));
            assert_eq!(added, format!("X-Request-Id: {}", made.as_str()));
        }
    }
}
