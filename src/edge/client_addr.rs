//! The client's address, from the connection and the trusted part of `X-Forwarded-For`. It reads no headers itself. Pure.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

use super::headers::peer_trusted;

/// Returns the client's address: the rightmost in `X-Forwarded-For` that does not belong to a trusted proxy.
///
/// `forwarded_for` holds the values of that header in their order. Returns `None` if all addresses are trusted ones, or one
/// of them cannot be parsed.
pub(super) fn address<'a>(
    peer: Option<IpAddr>,
    proxies: &[IpNet],
    forwarded_for: impl Iterator<Item = &'a [u8]>,
) -> Option<IpAddr> {
    if !peer_trusted(peer, proxies) {
        return peer;
    }
    // An empty line is none. Each proxy appends its peer's address to the right. Clients can invent everything to the left.
    let values: Vec<_> = forwarded_for.filter(|value| !value.trim_ascii().is_empty()).collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
    for hop in hops {
        let text = str::from_utf8(hop).ok()?.trim();
        // Some proxies append the port as well.
        let address = text.parse().or_else(|_| text.parse().map(|at: SocketAddr| at.ip())).ok()?;
        if !peer_trusted(Some(address), proxies) {
            return Some(address);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "127.0.0.1/32"].map(|net| net.parse().unwrap()).into();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let cases: [(Option<&str>, &[&str], Option<&str>); 14] = [
            (Some("10.0.0.1"), &["203.0.113.9", ""], Some("203.0.113.9")),
            (Some("10.0.0.1"), &[" "], None),
            (Some("203.0.113.9"), &[], Some("203.0.113.9")),
            (Some("203.0.113.9"), &["198.51.100.1"], Some("203.0.113.9")),
            (Some("10.0.0.1"), &["203.0.113.9"], Some("203.0.113.9")),
            (Some("10.0.0.1"), &["198.51.100.1, 203.0.113.9"], Some("203.0.113.9")),
            (Some("10.0.0.1"), &["198.51.100.1", "203.0.113.9, 10.0.0.2"], Some("203.0.113.9")),
            (Some("::ffff:10.0.0.1"), &["2001:db8::1"], Some("2001:db8::1")),
            (None, &["203.0.113.9:4711"], Some("203.0.113.9")),
            (Some("10.0.0.1"), &[], None),
            (Some("10.0.0.1"), &["10.0.0.3, 127.0.0.1"], None),
            (Some("10.0.0.1"), &["203.0.113.9, unknown"], None),
            (Some("10.0.0.1"), &[""], None),
            (None, &[], None),
        ];
        for (peer, values, expected) in cases {
            let found = address(peer.map(ip), &proxies, values.iter().map(|value| value.as_bytes()));
            assert_eq!(found, expected.map(ip), "{peer:?} {values:?}");
        }
    }
}
