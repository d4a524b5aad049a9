//! The origin that the client's browser sees, as trusted proxies report it, and which peers are trusted.

use ipnet::IpNet;
use std::net::IpAddr;

use crate::http1::head::RequestHead;

/// The header with the addresses that a request came through.
pub(crate) const X_FORWARDED_FOR: &str = "X-Forwarded-For";
/// The header with the scheme that the client used.
pub(super) const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
/// The header with the host that the client asked for.
pub(super) const X_FORWARDED_HOST: &str = "X-Forwarded-Host";

/// The scheme and host that the client used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    /// `http` or `https`.
    pub proto: &'a [u8],
    /// The host that the client asked for.
    pub host: Option<&'a [u8]>,
}

impl<'a> Origin<'a> {
    /// Derives the origin from what a trusted peer said; an empty value says nothing. Only `Host` counts from any other peer.
    pub(crate) fn new(head: &'a RequestHead, peer: Option<IpAddr>, proxies: &[IpNet]) -> Self {
        let trusted = peer_trusted(peer, proxies);
        let trusted_value = |name| head.values(name).find(|value| trusted && !value.trim_ascii().is_empty());
        Origin {
            proto: trusted_value(X_FORWARDED_PROTO).unwrap_or(b"http"),
            host: trusted_value(X_FORWARDED_HOST).or_else(|| head.value("Host")),
        }
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
}
