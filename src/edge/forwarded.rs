//! Who a request comes from, as the backend is told: `X-Forwarded-For`, `-Proto` and `-Host` are extended where a
//! trusted proxy sent them, and replaced where anyone else did. And the fields that are removed from every request,
//! because with them a client would choose a path, or speak in our name. Pure.

use http::{HeaderMap, header};
use ipnet::IpNet;
use pingora::http::RequestHeader;
use std::net::IpAddr;

/// `X-Forwarded-For`.
pub const FOR: &str = "X-Forwarded-For";
/// `X-Forwarded-Proto`.
pub const PROTO: &str = "X-Forwarded-Proto";
/// `X-Forwarded-Host`.
pub const HOST: &str = "X-Forwarded-Host";

/// What the backend is told of a request's origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The addresses it came through, the nearest last; `None` where none is known.
    pub chain: Option<Vec<u8>>,
    /// `http` or `https`.
    pub proto: Vec<u8>,
    /// The host that the client asked for.
    pub host: Option<Vec<u8>>,
}

/// A peer on a Unix socket (`None`) is always trusted.
pub fn trusted(peer: Option<IpAddr>, proxies: &[IpNet]) -> bool {
    peer.is_none_or(|ip| proxies.iter().any(|net| net.contains(&ip)))
}

impl Origin {
    /// From the peer and the fields of the request; `field` gives the values of a name, in order.
    pub fn of<'a, I>(peer: Option<IpAddr>, proxies: &[IpNet], mut field: impl FnMut(&'static str) -> I) -> Origin
    where
        I: Iterator<Item = &'a [u8]>,
    {
        let believed = trusted(peer, proxies);
        let mut told = |name| if believed { field(name).next().map(<[u8]>::to_vec) } else { None };
        let (proto, host) = (told(PROTO), told(HOST));
        let mut chain: Vec<u8> = Vec::new();
        if believed {
            for value in field(FOR) {
                append(&mut chain, value);
            }
        }
        if let Some(ip) = peer {
            append(&mut chain, ip.to_string().as_bytes());
        }
        Origin {
            chain: (!chain.is_empty()).then_some(chain),
            proto: proto.unwrap_or_else(|| b"http".to_vec()),
            host: host.or_else(|| field("Host").next().map(<[u8]>::to_vec)),
        }
    }
}

fn append(chain: &mut Vec<u8>, value: &[u8]) {
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(value);
}

/// Removed from every request, on every route. A gateway that hands headers on as variables reads `_` as `-`.
pub fn removed(name: &[u8]) -> bool {
    let reads_as = |word: &[u8], found: &[u8]| {
        found.len() == word.len()
            && found.iter().zip(word).all(|(f, w)| f.to_ascii_lowercase() == *w || (*w == b'-' && *f == b'_'))
    };
    match name.first() {
        Some(b'c' | b'C') => name.len() >= 13 && reads_as(b"countersign-", &name[..12]) || reads_as(b"countersign-", name),
        Some(b'x' | b'X') => reads_as(b"x-original-url", name) || reads_as(b"x-rewrite-url", name),
        Some(_) | None => false,
    }
}

/// What goes to the backend of a passed-through request: the same, without what is removed, with its origin.
pub fn prepare(request: &mut RequestHeader, peer: Option<IpAddr>, proxies: &[IpNet]) -> pingora::Result<()> {
    while let Some(name) = request.headers.keys().find(|name| removed(name.as_str().as_bytes())).cloned() {
        request.remove_header(&name);
    }
    let headers = &request.headers;
    let origin = Origin::of(peer, proxies, |name| headers.get_all(name).iter().map(http::HeaderValue::as_bytes));
    if !trusted(peer, proxies) {
        request.remove_header("Forwarded");
    }
    match origin.chain {
        Some(chain) => request.insert_header(FOR, chain)?,
        None => drop(request.remove_header(FOR)),
    }
    request.insert_header(PROTO, origin.proto)?;
    match origin.host {
        Some(host) => request.insert_header(HOST, host)?,
        None => drop(request.remove_header(HOST)),
    }
    Ok(())
}

/// Whether the client would rather have HTML than JSON (RFC 9110, 12.5.1).
pub fn wants_html(headers: &HeaderMap) -> bool {
    let mut best = (0.0, 0.0);
    for value in headers.get_all(header::ACCEPT) {
        for item in value.as_bytes().split(|&b| b == b',') {
            let mut parts = item.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|p| p.strip_prefix(b"q="));
            let quality: f32 = quality.and_then(|q| std::str::from_utf8(q).ok()?.parse().ok()).unwrap_or(1.0);
            match kind.as_slice() {
                b"text/html" | b"application/xhtml+xml" => best.0 = quality.max(best.0),
                b"application/json" => best.1 = quality.max(best.1),
                _ => {}
            }
        }
    }
    best.0 > best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: Option<&str>, fields: &[(&str, &str)]) -> Origin {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let peer = peer.map(|ip| ip.parse().unwrap());
        Origin::of(peer, &proxies, |name| {
            fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_bytes())
        })
    }

    fn told(origin: &Origin) -> (&str, &str, &str) {
        let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or("-", |b| std::str::from_utf8(b).unwrap()).to_owned();
        (text(&origin.chain).leak(), text(&Some(origin.proto.clone())).leak(), text(&origin.host).leak())
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_extended_and_no_one_else() {
        let sent = [
            ("Host", "shop.example"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "www.shop.example"),
        ];
        let table = [
            (Some("10.1.1.1"), &sent[..], ("1.2.3.4, 5.6.7.8, 10.1.1.1", "https", "www.shop.example")),
            (None, &sent[..], ("1.2.3.4, 5.6.7.8", "https", "www.shop.example")),
            (Some("9.9.9.9"), &sent[..], ("9.9.9.9", "http", "shop.example")),
            (Some("::1"), &sent[..], ("::1", "http", "shop.example")),
            (Some("10.1.1.1"), &sent[..1], ("10.1.1.1", "http", "shop.example")),
            (None, &[], ("-", "http", "-")),
        ];
        for (peer, fields, expected) in table {
            assert_eq!(told(&origin(peer, fields)), expected, "{peer:?}");
        }
    }

    #[test]
    fn names_that_choose_a_path_or_speak_for_us_are_removed_in_every_spelling() {
        for name in [
            "X-Original-URL",
            "x_original_url",
            "X-Rewrite-Url",
            "x-rewrite_url",
            "Countersign-Event",
            "COUNTERSIGN_VERDICT",
            "countersign-",
            "Countersign-X",
        ] {
            assert!(removed(name.as_bytes()), "{name}");
        }
        for name in ["X-Original-URI", "Countersigned", "Countersign", "Cookie", "X-Forwarded-For", "", "c", "x"] {
            assert!(!removed(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn html_is_for_those_who_prefer_it() {
        for (accept, html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json", false),
            ("*/*", false),
            ("text/html;q=0.5, application/json", false),
            ("application/json;q=0.5, TEXT/HTML", true),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_html(&headers), html, "{accept}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
