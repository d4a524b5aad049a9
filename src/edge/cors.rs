//! Which origins may use the checkout from a browser: the rules of CORS (<https://fetch.spec.whatwg.org/>) as far as the
//! checkout needs them. Clients other than browsers send no `Origin` and are allowed. It writes no headers. Pure.

/// What a checkout allows the page that sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CorsDecision {
    /// The request is allowed, and needs no CORS headers: nothing shows that a page of another origin sent it.
    Any,
    /// The request is allowed, and the page of this origin may read the response.
    Allow(Vec<u8>),
    /// The request comes from a page of an origin that is not allowed.
    Deny,
}

/// What a request's headers tell about the page that sent it.
pub(super) struct PageHeaders<'a> {
    /// The values of `Origin`; a browser sends at most one.
    pub origins: Vec<&'a [u8]>,
    /// The value of `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a [u8]>,
    /// The host that the client sent the request to, as trusted proxies report it.
    pub host: Option<&'a [u8]>,
}

/// The origins that may use a checkout.
#[derive(Debug, Clone, Copy)]
pub(super) struct OriginPolicy<'a> {
    /// The allowed origins in lower case. If empty, pages of the request's own host are allowed; else only those that a
    /// browser marks as same-origin are.
    pub allowed_origins: &'a [String],
}

impl OriginPolicy<'_> {
    /// Decides whether the page that sent a request is allowed.
    pub(super) fn check(self, page: &PageHeaders) -> CorsDecision {
        let allowed = self.allowed_origins;
        let is_site = |name: &[u8]| page.fetch_site.is_some_and(|site| site.eq_ignore_ascii_case(name));
        match page.origins[..] {
            [] if is_site(b"cross-site") => CorsDecision::Deny,
            [] => CorsDecision::Any,
            // With `Referrer-Policy: no-referrer`, a browser sends a form of the same origin with `Origin: null`. A page
            // cannot set `Sec-Fetch-Site`, so it proves that the page is the host's own.
            [b"null"] if is_site(b"same-origin") => CorsDecision::Any,
            [origin] => {
                let own = || page.host.is_some_and(|host| same_host(origin, host));
                let listed = allowed.iter().any(|known| origin.eq_ignore_ascii_case(known.as_bytes()));
                // A list names the other origins that may order. The browser's word is enough for the host's own page.
                if listed || ((allowed.is_empty() || is_site(b"same-origin")) && own()) {
                    CorsDecision::Allow(origin.to_vec())
                } else {
                    CorsDecision::Deny
                }
            }
            [..] => CorsDecision::Deny,
        }
    }
}

/// Returns whether an origin names this host and port.
///
/// The scheme is not compared, because a proxy in front of Caddy may have ended TLS.
fn same_host(origin: &[u8], host: &[u8]) -> bool {
    let lower = origin.to_ascii_lowercase();
    let (rest, port) = match (lower.strip_prefix(b"https://"), lower.strip_prefix(b"http://")) {
        (Some(rest), _) => (rest, &b":443"[..]),
        (None, Some(rest)) => (rest, &b":80"[..]),
        (None, None) => return false,
    };
    let without_port = |text: &[u8]| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !host.is_empty() && without_port(rest) == without_port(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &[&str], site: Option<&str>, host: &str, allowed: &[&str]) -> CorsDecision {
        let origins = origins.iter().map(|origin| origin.as_bytes()).collect();
        let page = PageHeaders { origins, fetch_site: site.map(str::as_bytes), host: Some(host.as_bytes()) };
        let allowed_origins: Vec<String> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        OriginPolicy { allowed_origins: &allowed_origins }.check(&page)
    }

    #[test]
    fn without_a_list_only_the_origin_of_the_host_is_allowed() {
        let allow = |origin: &str| CorsDecision::Allow(origin.as_bytes().to_vec());
        for (origins, site, host, expected) in [
            (&[][..], None, "shop.example", CorsDecision::Any),
            (&[], Some("same-origin"), "shop.example", CorsDecision::Any),
            (&[], Some("none"), "shop.example", CorsDecision::Any),
            (&[], Some("cross-site"), "shop.example", CorsDecision::Deny),
            (&["https://shop.example"], None, "shop.example", allow("https://shop.example")),
            (&["https://Shop.Example"], None, "shop.example:443", allow("https://Shop.Example")),
            (&["http://localhost:5000"], None, "localhost:5000", allow("http://localhost:5000")),
            (&["http://shop.example"], None, "shop.example:80", allow("http://shop.example")),
            (&["https://shop.example:8443"], None, "shop.example", CorsDecision::Deny),
            (&["https://shop.example"], None, "shop.example:80", CorsDecision::Deny),
            (&["https://evil.example"], Some("same-origin"), "shop.example", CorsDecision::Deny),
            (&["https://shop.example.evil.example"], None, "shop.example", CorsDecision::Deny),
            (&["https://evilshop.example"], None, "shop.example", CorsDecision::Deny),
            (&["file://"], None, "shop.example", CorsDecision::Deny),
            (&["https://"], None, "", CorsDecision::Deny),
            (&["null"], None, "shop.example", CorsDecision::Deny),
            (&["null"], Some("cross-site"), "shop.example", CorsDecision::Deny),
            (&["null"], Some("same-origin"), "shop.example", CorsDecision::Any),
            (&["https://shop.example", "https://shop.example"], None, "shop.example", CorsDecision::Deny),
        ] {
            assert_eq!(check(origins, site, host, &[]), expected, "{origins:?} {site:?} {host}");
        }
    }

    #[test]
    fn with_a_list_only_origins_on_it_are_allowed() {
        let allowed = ["https://www.shop.example", "https://app.shop.example", "capacitor://localhost"];
        for (origin, site, ok) in [
            ("https://www.shop.example", Some("same-site"), true),
            ("https://APP.shop.example", Some("cross-site"), true),
            ("https://shop.example", None, false),
            ("https://shop.example", Some("same-site"), false),
            ("https://shop.example", Some("same-origin"), true),
            ("https://evil.example", Some("same-origin"), false),
            ("http://www.shop.example", None, false),
            ("null", Some("cross-site"), false),
            ("null", Some("same-site"), false),
            ("null", None, false),
            ("capacitor://localhost", Some("cross-site"), true),
            ("capacitor://localhost.evil.example", None, false),
        ] {
            let decision = check(&[origin], site, "shop.example", &allowed);
            assert_eq!(decision == CorsDecision::Allow(origin.as_bytes().to_vec()), ok, "{origin}");
            assert_eq!(decision == CorsDecision::Deny, !ok, "{origin}");
        }
        let own = check(&["null"], Some("same-origin"), "shop.example", &allowed);
        assert_eq!(own, CorsDecision::Any, "the host's own page may order with a list too");
    }
}
