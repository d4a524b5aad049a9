//! The head of a response on its way to the client: without what concerns the backend's connection only, and framed as the
//! client's version of HTTP knows it.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING, UPGRADE};
use pingora::http::ResponseHeader;

use crate::http1::headers::list_items;

/// Headers of the backend's connection that `Connection` need not name.
const HOP_BY_HOP: [&str; 2] = ["keep-alive", "proxy-connection"];

/// How the end of a body is told to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// By the head or by the last chunk.
    Told,
    /// By the end of the connection.
    Close,
}

/// Adapts a head. `is_old_client` is true for a client that speaks HTTP/1.0.
pub(super) fn adapt(response: &mut ResponseHeader, is_old_client: bool) -> BodyEnd {
    let switches = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
    for name in connection_options(response) {
        // pingora writes `Connection` and the framing itself. 426 names in `Upgrade` what it asks for.
        let keeps_upgrade = switches || response.status == http::StatusCode::UPGRADE_REQUIRED;
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name)
            && !(name == UPGRADE && keeps_upgrade)
        {
            response.remove_header(&name);
        }
    }
    for name in HOP_BY_HOP {
        response.remove_header(name);
    }
    if response.status.is_informational() || !is_old_client {
        return BodyEnd::Told;
    }
    response.remove_header(&TRANSFER_ENCODING);
    let is_empty = matches!(response.status, http::StatusCode::NO_CONTENT | http::StatusCode::NOT_MODIFIED);
    if is_empty || response.headers.contains_key(CONTENT_LENGTH) { BodyEnd::Told } else { BodyEnd::Close }
}

/// Returns true if the response has no end of its own.
pub(super) fn is_event_stream(response: &ResponseHeader) -> bool {
    let content_type = response.headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// The headers that `Connection` names.
fn connection_options(response: &ResponseHeader) -> Vec<HeaderName> {
    let values = response.headers.get_all(CONNECTION).iter();
    values
        .flat_map(|value| list_items(value.as_bytes()))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in headers {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    fn names(response: &ResponseHeader) -> Vec<&str> {
        response.headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_concerns_the_backends_connection_does_not_pass() {
        let headers = [
            ("Connection", "close, X-Hop, Upgrade, Transfer-Encoding"),
            ("X-Hop", "1"),
            ("Upgrade", "h2"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("Transfer-Encoding", "chunked"),
            ("X-End", "1"),
        ];
        for (status, kept) in [(200, false), (101, true), (426, true)] {
            let mut response = response(status, &headers);
            assert_eq!(adapt(&mut response, false), BodyEnd::Told);
            let names = names(&response);
            assert!(!names.contains(&"x-hop") && !names.contains(&"keep-alive"), "{names:?}");
            assert!(!names.contains(&"proxy-connection") && names.contains(&"x-end"), "{names:?}");
            assert!(names.contains(&"transfer-encoding") && names.contains(&"connection"), "{names:?}");
            assert_eq!(names.contains(&"upgrade"), kept, "{status}");
        }
    }

    #[test]
    fn a_client_of_http_1_0_gets_no_transfer_coding() {
        for (status, framing, expected) in [
            (200, ("Transfer-Encoding", "chunked"), BodyEnd::Close),
            (200, ("Content-Length", "2"), BodyEnd::Told),
            (304, ("X-Framing", "none"), BodyEnd::Told),
        ] {
            let mut response = response(status, &[framing]);
            assert_eq!(adapt(&mut response, true), expected, "{framing:?}");
            assert!(!response.headers.contains_key(TRANSFER_ENCODING));
        }
    }
}
