//! The client's origin as the backend sees it: the peer's address, and what trusted proxies reported before it.

use ipnet::IpNet;
use std::io::Write as _;
use std::net::IpAddr;

use crate::http1::head::RequestHead;

/// The header with the addresses that a request came through.
pub(crate) const X_FORWARDED_FOR: &str = "X-Forwarded-For";
/// The header with the scheme that the client used.
pub(super) const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
/// The header with the host that the client asked for.
pub(super) const X_FORWARDED_HOST: &str = "X-Forwarded-Host";

/// What the backend is told about the origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    /// The addresses that the request came through, the nearest last; `None` if none is known.
    pub forwarded_for: Option<Vec<u8>>,
    /// `http` or `https`.
    pub proto: &'a [u8],
    /// The host that the client asked for.
    pub host: Option<&'a [u8]>,
}

impl<'a> Origin<'a> {
    /// Derives the origin from the peer and from what a trusted peer said. Only `Host` counts from any other peer.
    pub(crate) fn new(head: &'a RequestHead, peer: Option<IpAddr>, proxies: &[IpNet]) -> Self {
        let trusted = peer_trusted(peer, proxies);
        let trusted_values = |name| trusted.then(|| head.values(name)).into_iter().flatten();
        Origin {
            forwarded_for: extend_forwarded_for(trusted_values(X_FORWARDED_FOR), peer),
            proto: trusted_values(X_FORWARDED_PROTO).next().unwrap_or(b"http"),
            host: trusted_values(X_FORWARDED_HOST).next().or_else(|| head.value("Host")),
        }
    }

    /// Iterates over the headers that tell the backend about this origin.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        [
            self.forwarded_for.as_deref().map(|value| (X_FORWARDED_FOR, value)),
            Some((X_FORWARDED_PROTO, self.proto)),
            self.host.map(|value| (X_FORWARDED_HOST, value)),
        ]
        .into_iter()
        .flatten()
    }
}

/// Returns true if what a peer says about the client is trusted. The mode of a Unix socket (`None`) has let its peer in.
pub(crate) fn peer_trusted(peer: Option<IpAddr>, proxies: &[IpNet]) -> bool {
    peer.is_none_or(|peer| {
        // On a dual-stack listener an IPv4 peer shows as `::ffff:192.0.2.1`.
        let peer = peer.to_canonical();
        proxies.iter().any(|net| net.contains(&peer))
    })
}

/// Joins the values of the `X-Forwarded-For` lines that came, and appends the peer of this hop.
fn extend_forwarded_for<'a>(
    received: impl Iterator<Item = &'a [u8]>,
    peer: Option<IpAddr>,
) -> Option<Vec<u8>> {
    let mut addresses = Vec::with_capacity(64);
    for value in received.filter(|value| !value.is_empty()) {
        if !addresses.is_empty() {
            addresses.extend_from_slice(b", ");
        }
        addresses.extend_from_slice(value);
    }
    if let Some(peer) = peer {
        let comma = if addresses.is_empty() { "" } else { ", " };
        // Writing to memory does not fail.
        let _ = write!(addresses, "{comma}{}", peer.to_canonical());
    }
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn trust_goes_by_address_and_by_socket() {
        let proxies: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8", "::1/128"].iter().map(|net| net.parse().unwrap()).collect();
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
            assert_eq!(peer_trusted(peer.map(ip), &proxies), is, "{peer:?}");
        }
        assert!(!peer_trusted(Some(ip("127.0.0.1")), &[]));
    }

    #[test]
    fn the_peer_is_appended_to_the_addresses_that_came() {
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
        for (received, peer, want) in cases {
            let value = extend_forwarded_for(received.iter().map(|value| value.as_bytes()), peer.map(ip));
            assert_eq!(value.as_deref(), want.map(str::as_bytes), "{received:?} {peer:?}");
        }
    }
}
