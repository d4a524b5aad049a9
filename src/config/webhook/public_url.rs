//! `[[webhook]] url`: the URL of an endpoint as Stripe knows it. An imported event is delivered as if it had come to this
//! URL. Pure.

use crate::config::reader::{InvalidValue, Section, bare_host, decimal_port};
use crate::guard::Location;

/// The description of a valid `url` in errors.
const EXPECTED: &str = "a URL such as \"https://shop.example/webhooks/stripe\"";

/// The longest URL, in bytes.
const MAX_URL: usize = 2048;

/// The URL of an endpoint as Stripe knows it, in the parts that a request to it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// `https` or `http`.
    pub proto: &'static str,
    /// The host in lower case, with its port unless that is the scheme's own: the `Host` of Stripe's requests.
    pub host: String,
    /// The path. One of the endpoint's locations has it.
    pub path: String,
    /// The raw query, without `?`. Blank if there is none.
    pub query: String,
}

/// Reads `url` and compares it with the keys that tell the endpoint's webhooks. `None` after an error, `Some(None)` if the
/// key is blank.
pub(super) fn read(
    section: &mut Section,
    locations: Option<&[Location]>,
    allowed_queries: Option<&[String]>,
) -> Option<Option<PublicUrl>> {
    let Some(url) = section.text("url", "", parse)? else { return Some(None) };
    // Other keys have their errors already, if they cannot be compared.
    let (locations, allowed_queries) = (locations?, allowed_queries?);
    let with_path = || locations.iter().filter(|location| location.is_path(url.path.as_bytes()));
    if with_path().next().is_none() {
        let mut paths: Vec<&str> = locations.iter().map(|location| location.path.as_str()).collect();
        paths.dedup();
        section.report(
            "url",
            format!("the path \"{}\"", url.path),
            format!("the endpoint's path: {}", paths.join(", ")),
            "Stripe sends to the path of this URL: write the same one in url and path",
        );
        return None;
    }
    if !with_path().any(|location| location.is_told_by(&url.query)) {
        let pairs: Vec<String> = with_path().map(Location::query_text).collect();
        section.report(
            "url",
            format!("the query \"{}\"", url.query),
            format!("a query with {}", pairs.join(" or ")),
            "these pairs tell the webhook: write the URL with them, as Stripe knows it",
        );
        return None;
    }
    if !allowed_queries.iter().any(|allowed| allowed == "*" || *allowed == url.query) {
        section.report(
            "url",
            format!("the query \"{}\"", url.query),
            "a query of allowed_queries",
            "Stripe's webhooks would get 400 query_unexpected: add the query to allowed_queries",
        );
        return None;
    }
    Some(Some(url))
}

/// Parses an absolute URL. Returns `None` if the text is blank.
fn parse(text: &str) -> Result<Option<PublicUrl>, InvalidValue> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |help: &str| Err(InvalidValue::expected(EXPECTED).help(help));
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    // Checked first: no other error may show a password.
    if after_scheme.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
        return Err(InvalidValue::expected(EXPECTED)
            .found("a URL with a user name")
            .help("remove it: the backend gets no Authorization header from it"));
    }
    let (proto, rest, own_port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => ("https", rest, 443),
        (None, Some(rest)) => ("http", rest, 80),
        (None, None) => return invalid("start it with https:// (or http:// for tests)"),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if target.contains('#') {
        return invalid("remove the # and what follows it: no request has it");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.len() > MAX_URL {
        return invalid(
            "write it as Stripe shows it, in ASCII and without spaces: xn--… for a host with other letters",
        );
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of "[::1]" is part of the address.
        Some((host, port)) if !port.ends_with(']') => (host, decimal_port(port).filter(|port| *port != 0)),
        Some(_) | None => (authority, Some(own_port)),
    };
    let Some(port) = port else { return invalid("a port is a number from 1 to 65535") };
    if bare_host(host).is_none() {
        return invalid("write the host that Stripe sends to after ://");
    }
    let mut host = host.to_ascii_lowercase();
    if port != own_port {
        host = format!("{host}:{port}");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = if path.is_empty() { "/" } else { path };
    Ok(Some(PublicUrl { proto, host, path: path.to_owned(), query: query.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_has_the_parts_of_a_request_to_it() {
        for (text, proto, host, path, query) in [
            ("https://shop.example/webhooks/stripe", "https", "shop.example", "/webhooks/stripe", ""),
            ("https://Shop.Example:443/w?version=2", "https", "shop.example", "/w", "version=2"),
            ("https://shop.example:80/w", "https", "shop.example:80", "/w", ""),
            ("http://localhost:5000?a=b?c", "http", "localhost:5000", "/", "a=b?c"),
            ("http://[2001:DB8::1]/w", "http", "[2001:db8::1]", "/w", ""),
            ("http://[::1]:81", "http", "[::1]:81", "/", ""),
        ] {
            let [host, path, query] = [host, path, query].map(str::to_owned);
            assert_eq!(parse(text), Ok(Some(PublicUrl { proto, host, path, query })), "{text}");
        }
        assert_eq!(parse(""), Ok(None));
    }

    #[test]
    fn what_is_no_url_of_a_webhook_is_an_error_that_says_why() {
        for (text, help) in [
            ("shop.example/w", "start it with https://"),
            ("ftp://shop.example/w", "start it with https://"),
            ("HTTPS://shop.example/w", "start it with https://"),
            ("ftp://u:p@shop.example/w", "remove it: the backend gets"),
            ("https://u:p@shop.example/w", "remove it: the backend gets"),
            ("https://shop.example/w#x", "remove the #"),
            ("https://shop.example/a b", "write it as Stripe shows it"),
            ("https://\u{e4}.example/w", "write it as Stripe shows it"),
            ("https:///w", "write the host"),
            ("https://a,b/w", "write the host"),
            ("https://::1/w", "write the host"),
            ("https://shop.example:0/w", "a port is a number"),
            ("https://shop.example:/w", "a port is a number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.help.starts_with(help), "{text}: {}", error.help);
            assert_eq!(error.found.is_some(), text.contains('@'), "a password is not shown");
        }
    }
}
