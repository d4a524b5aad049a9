//! How the end of a response's body is told to the client: pingora's decisions, corrected for clients that speak HTTP/1.0.

use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use pingora::http::ResponseHeader;

/// The media type of event streams.
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// How the end of a body is told to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// By the head or by the last chunk.
    Told,
    /// By the end of the connection.
    Close,
}

/// Removes what a client of HTTP/1.0 does not know from the outline of a response.
pub(super) fn for_old_client(response: &mut ResponseHeader) -> BodyEnd {
    if response.status.is_informational() {
        return BodyEnd::Told;
    }
    response.remove_header(&TRANSFER_ENCODING);
    let is_empty = matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_empty || response.headers.contains_key(CONTENT_LENGTH) { BodyEnd::Told } else { BodyEnd::Close }
}

/// Returns true if the response has no end of its own.
pub(super) fn is_event_stream(response: &ResponseHeader) -> bool {
    let content_type = response.headers.get(CONTENT_TYPE);
    let media_type = content_type.and_then(|value| value.as_bytes().get(..EVENT_STREAM.len()));
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(EVENT_STREAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stream_is_known_in_any_case() {
        for (value, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream;charset=utf-8", true),
            ("text/event", false),
            ("text/plain; x=text/event-stream", false),
        ] {
            let mut response = ResponseHeader::build(200, None).unwrap();
            response.append_header("Content-Type", value).unwrap();
            assert_eq!(is_event_stream(&response), expected, "{value}");
        }
    }

    #[test]
    fn a_client_of_http_1_0_gets_no_transfer_coding() {
        for (status, (name, value), expected) in [
            (200, ("Transfer-Encoding", "chunked"), BodyEnd::Close),
            (200, ("Content-Length", "2"), BodyEnd::Told),
            (304, ("X-Framing", "none"), BodyEnd::Told),
        ] {
            let mut response = ResponseHeader::build(status, None).unwrap();
            response.append_header(name, value).unwrap();
            assert_eq!(for_old_client(&mut response), expected, "{name}");
            assert!(!response.headers.contains_key(TRANSFER_ENCODING));
        }
    }
}
