//! Heads whose length two readers could understand differently, which is how requests are smuggled past a proxy.
//! pingora refuses the plain contradictions itself; this finds what it lets through. What is answered is
//! `edge::reply`'s business, and such a connection is closed.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use memchr::memchr_iter;

/// Why a head's framing is refused (RFC 9112, sections 2.2, 6.1 and 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A line ends in a line feed without its carriage return.
    BareLineFeed,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndCoding,
    /// More than one length, equal ones included.
    TwoLengths,
    /// More than one `Transfer-Encoding` line.
    TwoCodings,
    /// `identity` or another `chunked` before the final `chunked`.
    CodingBeforeChunked,
}

/// What is wrong with a request's framing, if anything is. `head` is the head as it came, up to its blank line:
/// where both came, pingora has taken `Content-Length` out of `headers`.
pub fn fault(head: &[u8], headers: &HeaderMap) -> Option<Fault> {
    if memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r') {
        return Some(Fault::BareLineFeed);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    if let Some(coding) = codings.next() {
        return if codings.next().is_some() {
            Some(Fault::TwoCodings)
        } else if headers.contains_key(CONTENT_LENGTH) || head.split(|&byte| byte == b'\n').any(is_length) {
            Some(Fault::LengthAndCoding)
        } else if !is_single(coding.as_bytes()) {
            Some(Fault::CodingBeforeChunked)
        } else {
            None
        };
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).into_iter();
    let listed = lengths.next().is_some_and(|length| length.as_bytes().contains(&b','));
    (listed || lengths.next().is_some()).then_some(Fault::TwoLengths)
}

fn is_length(line: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    match line.split_at_checked(NAME.len()) {
        Some((name, rest)) => name.eq_ignore_ascii_case(NAME) && rest.trim_ascii_start().starts_with(b":"),
        None => false,
    }
}

/// Whether no coding that changes the framing stands before the last one.
fn is_single(codings: &[u8]) -> bool {
    let mut codings = codings.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    codings.next();
    !codings.any(|coding| [&b"identity"[..], b"chunked"].iter().any(|word| coding.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderName, HeaderValue};

    /// The header map as pingora makes it of a head.
    fn headers(head: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
        }
        headers
    }

    #[test]
    fn a_head_that_two_readers_could_frame_differently_is_a_fault() {
        let cases = [
            ("", None),
            ("Content-Length: 5\r\n", None),
            ("Transfer-Encoding: chunked\r\n", None),
            ("transfer-encoding: Chunked\r\nX-Content-Length: 5\r\n", None),
            ("Transfer-Encoding: gzip, chunked\r\n", None),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Some(Fault::LengthAndCoding)),
            ("Transfer-Encoding: chunked\r\nCONTENT-LENGTH:5\r\n", Some(Fault::LengthAndCoding)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Some(Fault::TwoLengths)),
            ("Content-Length: 5, 5\r\n", Some(Fault::TwoLengths)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Some(Fault::TwoCodings)),
            ("Transfer-Encoding: identity, chunked\r\n", Some(Fault::CodingBeforeChunked)),
            ("Transfer-Encoding: chunked,chunked\r\n", Some(Fault::CodingBeforeChunked)),
            ("Transfer-Encoding: gzip, IDENTITY , chunked\r\n", Some(Fault::CodingBeforeChunked)),
            ("X-A: b\nX-C: d\r\n", Some(Fault::BareLineFeed)),
            ("X-A: b\n", Some(Fault::BareLineFeed)),
        ];
        for (lines, want) in cases {
            let head = format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            assert_eq!(fault(head.as_bytes(), &headers(&head)), want, "{lines:?}");
        }
    }

    #[test]
    fn a_line_feed_alone_is_a_fault_wherever_it_stands() {
        for head in
            ["GET / HTTP/1.1\nHost: a\r\n\r\n", "\nGET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n"]
        {
            assert_eq!(fault(head.as_bytes(), &HeaderMap::new()), Some(Fault::BareLineFeed), "{head:?}");
        }
    }
}
