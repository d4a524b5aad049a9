//! Which page of which origin sent a request, and whether it may: the rules of CORS (<https://fetch.spec.whatwg.org/>) as
//! far as a checkout needs them. Pure. Clients that are no browsers say no origin, and are let through.

/// What is known of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// It does not matter: nothing says that a page of another origin sent it.
    Any,
    /// This origin, which may read the answer.
    Of(Vec<u8>),
    /// Another one.
    Foreign,
}

/// What a request says of its page.
pub struct Said<'a> {
    /// Its `Origin`s; a browser sends one at most.
    pub origins: Vec<&'a [u8]>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a [u8]>,
    /// The host that it was sent to, as trusted proxies say.
    pub host: Option<&'a [u8]>,
}

impl Page {
    /// Judges a request. `allowed` are origins in lower case; with none, the page's own is meant.
    pub fn of(said: &Said, allowed: &[String]) -> Page {
        let site = |word: &[u8]| said.fetch_site.is_some_and(|site| site.eq_ignore_ascii_case(word));
        match said.origins[..] {
            [] if site(b"cross-site") => Page::Foreign,
            [] => Page::Any,
            // A form of a page that keeps its referrer to itself (`Referrer-Policy: no-referrer`).
            [b"null"] if allowed.is_empty() && site(b"same-origin") => Page::Any,
            [origin] => {
                let own = || said.host.is_some_and(|host| same_host(origin, host));
                let listed = allowed.iter().any(|known| origin.eq_ignore_ascii_case(known.as_bytes()));
                if listed || (allowed.is_empty() && own()) {
                    Page::Of(origin.to_vec())
                } else {
                    Page::Foreign
                }
            }
            [..] => Page::Foreign,
        }
    }
}

/// Whether an origin is that of a host, with its port. The scheme does not count: what stands in front of Caddy may have
/// ended TLS.
fn same_host(origin: &[u8], host: &[u8]) -> bool {
    let lower = origin.to_ascii_lowercase();
    let (rest, port) = match (lower.strip_prefix(b"https://"), lower.strip_prefix(b"http://")) {
        (Some(rest), _) => (rest, &b":443"[..]),
        (None, Some(rest)) => (rest, &b":80"[..]),
        (None, None) => return false,
    };
    let bare = |text: &[u8]| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !host.is_empty() && bare(rest) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(origins: &[&str], site: Option<&str>, host: &str, allowed: &[&str]) -> Page {
        let origins = origins.iter().map(|origin| origin.as_bytes()).collect();
        let said = Said { origins, fetch_site: site.map(str::as_bytes), host: Some(host.as_bytes()) };
        Page::of(&said, &allowed.iter().map(|&origin| origin.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_list_the_pages_own_origin_may_order() {
        let of = |origin: &str| Page::Of(origin.as_bytes().to_vec());
        for (origins, site, host, expected) in [
            (&[][..], None, "shop.example", Page::Any),
            (&[], Some("same-origin"), "shop.example", Page::Any),
            (&[], Some("none"), "shop.example", Page::Any),
            (&[], Some("cross-site"), "shop.example", Page::Foreign),
            (&["https://shop.example"], None, "shop.example", of("https://shop.example")),
            (&["https://Shop.Example"], None, "shop.example:443", of("https://Shop.Example")),
            (&["http://localhost:5000"], None, "localhost:5000", of("http://localhost:5000")),
            (&["http://shop.example"], None, "shop.example:80", of("http://shop.example")),
            (&["https://shop.example:8443"], None, "shop.example", Page::Foreign),
            (&["https://shop.example"], None, "shop.example:80", Page::Foreign),
            (&["https://evil.example"], Some("same-origin"), "shop.example", Page::Foreign),
            (&["https://shop.example.evil.example"], None, "shop.example", Page::Foreign),
            (&["https://evilshop.example"], None, "shop.example", Page::Foreign),
            (&["file://"], None, "shop.example", Page::Foreign),
            (&["https://"], None, "", Page::Foreign),
            (&["null"], None, "shop.example", Page::Foreign),
            (&["null"], Some("cross-site"), "shop.example", Page::Foreign),
            (&["null"], Some("same-origin"), "shop.example", Page::Any),
            (&["https://shop.example", "https://shop.example"], None, "shop.example", Page::Foreign),
        ] {
            assert_eq!(judged(origins, site, host, &[]), expected, "{origins:?} {site:?} {host}");
        }
    }

    #[test]
    fn with_a_list_those_on_it_may_and_no_others() {
        let allowed = ["https://www.shop.example", "https://app.shop.example"];
        for (origin, site, fine) in [
            ("https://www.shop.example", Some("same-site"), true),
            ("https://APP.shop.example", Some("cross-site"), true),
            ("https://shop.example", None, false),
            ("http://www.shop.example", None, false),
            ("null", Some("same-origin"), false),
        ] {
            let page = judged(&[origin], site, "shop.example", &allowed);
            assert_eq!(page == Page::Of(origin.as_bytes().to_vec()), fine, "{origin}");
            assert_eq!(page == Page::Foreign, !fine, "{origin}");
        }
    }
}
