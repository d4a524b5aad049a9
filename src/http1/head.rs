//! A request's head: where it ends, its request line, its header lines, and how its body is framed. It is parsed once and
//! every part of the edge reads the result: two readers of one request are how requests are smuggled.
//!
//! Parsing is strict where readers differ: a length beside a transfer coding, two of either, a coding other than
//! `chunked`, a bare line feed, a folded line and a space before a colon are errors (RFC 9112, sections 2.2, 5 and 6).
//! Every request passes [`RequestHead::validate`] too, before it is answered or forwarded: no other parser reads it.

use bytes::BytesMut;
use std::ops::Range;

use super::framing::{Framing, HeadError, HeaderFacts, HttpVersion, parse_request_line};
use super::headers::{is_header_value, is_token, list_items};

/// The most header lines of a head.
const MAX_HEADERS: usize = 1000;
/// How the version in a request line begins.
const VERSION: &[u8] = b"HTTP/1.";
/// Room for the header lines of most requests: a browser sends about this many.
const TYPICAL_HEADERS: usize = 16;

/// A parsed head, with the bytes that it was parsed from.
#[derive(Debug)]
pub struct RequestHead {
    bytes: BytesMut,
    method_end: u32,
    target_end: u32,
    /// Where the empty line after the headers begins.
    headers_end: u32,
    facts: HeaderFacts,
    headers: Vec<HeaderRange>,
}

/// The place of a header's name and value in the bytes of its head. Four bytes an offset keep sixteen headers in 256 bytes.
#[derive(Debug, Clone, Copy)]
struct HeaderRange {
    name_start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
}

/// A header line of a [`RequestHead`].
#[derive(Debug, Clone)]
pub struct HeaderLine<'a> {
    /// The name. A line without a colon has no name; the whole line stands here, and with its CRLF it equals none.
    pub name: &'a [u8],
    /// The value, trimmed.
    pub value: &'a [u8],
    /// The whole line, with its CRLF.
    pub raw: &'a [u8],
    /// The place of `raw` in the bytes of the head.
    pub range: Range<usize>,
}

/// Looks for the end of a head from `scanned` on, and moves `scanned` to where the next search begins. Returns the length
/// of the head, its empty line included, once it is complete.
pub fn find_end(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    for at in memchr::memchr_iter(b'\n', &bytes[*scanned..]) {
        let at = *scanned + at;
        let line = &bytes[..at];
        // An empty line may end with a bare line feed here, so that parsing sees it and refuses it.
        if line.ends_with(b"\n") || line.ends_with(b"\n\r") {
            return Some(at + 1);
        }
    }
    *scanned = bytes.len();
    None
}

/// Counts the bytes of the empty lines before a request line, which are skipped (RFC 9112, section 2.2).
pub fn leading_blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

/// Returns false if no head can begin with these bytes, whatever follows: a TLS handshake, another protocol's banner, or a
/// request line that cannot be read.
pub fn can_begin_a_head(bytes: &[u8]) -> bool {
    if let Some(end) = memchr::memchr(b'\n', bytes) {
        let line = bytes[..end].strip_suffix(b"\r");
        let version = line.and_then(|line| parse_request_line(line).ok()).map(|(_, _, version)| version);
        return version.is_some_and(|version| version != HttpVersion::Other);
    }
    let mut words = bytes.splitn(3, |&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let version = words.nth(1).unwrap_or_default();
    let in_version = version.len().min(VERSION.len());
    (method.is_empty() && bytes.is_empty() || is_token(method))
        && version[..in_version] == VERSION[..in_version]
}

impl RequestHead {
    /// Parses a complete head, its empty line included, as [`find_end`] found it.
    ///
    /// # Errors
    /// The request line cannot be read, a line is not one line to every reader, there are more than 1,000 headers, or the
    /// framing of the body is ambiguous.
    pub fn parse(bytes: BytesMut) -> Result<Self, HeadError> {
        // Offsets are kept in four bytes.
        u32::try_from(bytes.len()).map_err(|_| HeadError::Syntax)?;
        let mut lines = Lines { head: &bytes, at: 0 };
        let line = lines.next().ok_or(HeadError::Syntax)??;
        let (method_end, target_end, version) = parse_request_line(&bytes[line])?;
        let mut facts = HeaderFacts::new(version);
        let mut headers = Vec::with_capacity(TYPICAL_HEADERS);
        let mut headers_end = bytes.len();
        for line in lines {
            let line = line?;
            let text = &bytes[line.clone()];
            let Some(&first) = text.first() else {
                headers_end = line.start;
                break;
            };
            if headers.len() == MAX_HEADERS {
                return Err(HeadError::TooManyHeaders);
            }
            // A folded line is one header to some readers and two to others.
            if matches!(first, b' ' | b'\t') {
                return Err(HeadError::Syntax);
            }
            let Some(colon) = memchr::memchr(b':', text) else {
                // Anything that may have been meant to frame the body is refused here; the rest is for `validate`.
                if matches!(first, b'c' | b'C' | b't' | b'T') {
                    return Err(HeadError::Syntax);
                }
                let end = line.end + 2;
                headers.push(HeaderRange::new(line.start..end, end..end));
                continue;
            };
            let after_colon = &text[colon + 1..];
            let value = after_colon.trim_ascii();
            facts.add(first, &text[..colon], value)?;
            let value_start = line.end - after_colon.trim_ascii_start().len();
            let value_range = value_start..value_start + value.len();
            headers.push(HeaderRange::new(line.start..line.start + colon, value_range));
        }
        Ok(Self {
            method_end: method_end as u32,
            target_end: target_end as u32,
            headers_end: headers_end as u32,
            facts,
            headers,
            bytes,
        })
    }

    /// Checks every byte.
    ///
    /// # Errors
    /// The target, a header's name or a value holds a byte that it may not; the version is neither 1.0 nor 1.1; or there is
    /// not exactly one `Host`, or another one than in the target. All of them are [`HeadError::Syntax`].
    pub fn validate(&self) -> Result<(), HeadError> {
        // Browsers and `curl` send quotes, angle brackets and Latin-1 as they are typed.
        let target_valid = self.target().iter().all(|&byte| byte > b' ' && byte != 0x7f);
        let version_valid = self.version() != HttpVersion::Other;
        // The value is checked untrimmed: trimming takes off control characters too.
        let line_valid = |line: HeaderLine<'_>| {
            is_token(line.name) && is_header_value(&line.raw[line.name.len()..line.raw.len() - 2])
        };
        let valid = target_valid
            && version_valid
            && self.has_one_host()
            && self.target_names_its_host()
            && self.lines().all(line_valid);
        if valid { Ok(()) } else { Err(HeadError::Syntax) }
    }

    /// The whole head as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer that the head was parsed in, for another use.
    pub fn into_buffer(self) -> BytesMut {
        self.bytes
    }

    /// The method.
    pub fn method(&self) -> &[u8] {
        &self.bytes[..self.method_end as usize]
    }

    /// The request target as it came.
    pub fn target(&self) -> &[u8] {
        &self.bytes[self.method_end as usize + 1..self.target_end as usize]
    }

    /// The query of the target, without its `?`; empty if there is none.
    pub fn query(&self) -> &[u8] {
        let target = self.target();
        memchr::memchr(b'?', target).map_or(&b""[..], |at| &target[at + 1..])
    }

    /// The protocol version.
    pub fn version(&self) -> HttpVersion {
        self.facts.version()
    }

    /// How the end of the body is found.
    pub fn framing(&self) -> Framing {
        self.facts.framing()
    }

    /// Returns true if the client accepts another response on this connection.
    pub fn keep_alive(&self) -> bool {
        self.facts.keep_alive()
    }

    /// Returns true if the client waits for `100 Continue` before it sends the body (RFC 9110, section 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.facts.expects_continue()
    }

    /// Returns true if there is one `Host`, or none in HTTP/1.0. Readers choose differently between two (RFC 9112, section 3.2).
    pub fn has_one_host(&self) -> bool {
        self.facts.has_one_host()
    }

    /// Returns false if the target is an absolute form (RFC 9112, section 3.2.2) that names another host than `Host`: some
    /// readers go by one, some by the other.
    fn target_names_its_host(&self) -> bool {
        let target = self.target();
        let Some(scheme) = memchr::memmem::find(target, b"://").filter(|_| target[0] != b'/') else {
            return true;
        };
        let authority = target[scheme + 3..].split(|byte| matches!(byte, b'/' | b'?')).next();
        self.value("host").is_none_or(|host| authority.is_some_and(|named| named.eq_ignore_ascii_case(host)))
    }

    /// Iterates over the header lines, in their order.
    pub fn lines(&self) -> impl Iterator<Item = HeaderLine<'_>> {
        let ends = self.headers.iter().skip(1).map(|next| next.name_start).chain([self.headers_end]);
        self.headers.iter().zip(ends).map(|(header, end)| {
            let range = header.name_start as usize..end as usize;
            let (name, value) = header.split(&self.bytes);
            HeaderLine { name, value, raw: &self.bytes[range.clone()], range }
        })
    }

    /// Iterates over the names and values of all headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.headers.iter().map(|header| header.split(&self.bytes))
    }

    /// Iterates over the values of the headers that have this name, in any letter case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.headers()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The first value of the headers that have this name.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// Returns true if `Connection` lists this name: a header that concerns this connection only.
    pub fn connection_lists(&self, name: &[u8]) -> bool {
        self.values("connection").flat_map(list_items).any(|item| item.eq_ignore_ascii_case(name))
    }
}

impl HeaderRange {
    /// Callers have checked that a head's length fits into four bytes.
    fn new(name: Range<usize>, value: Range<usize>) -> Self {
        Self {
            name_start: name.start as u32,
            name_end: name.end as u32,
            value_start: value.start as u32,
            value_end: value.end as u32,
        }
    }

    fn split<'a>(&self, head: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        (
            &head[self.name_start as usize..self.name_end as usize],
            &head[self.value_start as usize..self.value_end as usize],
        )
    }
}

/// Iterates over the lines of a head: where each stands, without its line end.
struct Lines<'a> {
    head: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Result<Range<usize>, HeadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.head[self.at..];
        let end = memchr::memchr(b'\n', rest)?;
        let start = self.at;
        self.at += end + 1;
        let line = rest[..end].strip_suffix(b"\r").ok_or(HeadError::BareLineFeed);
        Some(line.map(|line| start..start + line.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn parse(head: &[u8]) -> Result<RequestHead, HeadError> {
        RequestHead::parse(BytesMut::from(head))
    }

    #[test]
    fn a_head_ends_with_its_empty_line_wherever_its_bytes_are_split() {
        let wire = b"POST /w HTTP/1.1\r\nHost: a\r\n\r\n{}";
        for cut in 0..wire.len() {
            let mut scanned = 0;
            let early = find_end(&wire[..cut], &mut scanned);
            assert_eq!(early.or_else(|| find_end(wire, &mut scanned)), Some(wire.len() - 2), "{cut}");
        }
        assert_eq!(
            find_end(b"GET / HTTP/1.1\n\nx", &mut 0),
            Some(16),
            "bare line feeds end one too, to be refused"
        );
    }

    #[test]
    fn a_head_is_its_request_line_its_framing_and_its_options() {
        let head = parse(b"POST /w?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n").unwrap();
        assert_eq!((head.method(), head.target(), head.query()), (&b"POST"[..], &b"/w?a=b"[..], &b"a=b"[..]));
        assert_eq!((head.version(), head.framing()), (HttpVersion::Http11, Framing::Length(12)));
        assert!(head.keep_alive() && !head.expects_continue());
        let head = parse(b"POST /w HTTP/1.0\r\nExpect: 100-Continue\r\n\r\n").unwrap();
        assert_eq!((head.query(), head.version()), (&b""[..], HttpVersion::Http10));
        assert!(!head.keep_alive() && head.expects_continue());
    }

    #[test]
    fn a_head_that_two_readers_could_read_differently_is_an_error() {
        let table = [
            ("GET / HTTP/1.1\r\n\r\n", Ok(Framing::Length(0))),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", Ok(Framing::Chunked)),
            ("GET / HTTP/1.1\r\ncontent-length:\t7 \r\n\r\n", Ok(Framing::Length(7))),
            ("GET / HTTP/1.1\r\nContent-Lengths: 7\r\nTe: x\r\n\r\n", Ok(Framing::Length(0))),
            (
                "GET / HTTP/1.1\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(HeadError::TwoLengths),
            ),
            ("GET / HTTP/1.1\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n", Err(HeadError::TwoLengths)),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTRANSFER-ENCODING: chunked\r\n\r\n",
                Err(HeadError::TwoLengths),
            ),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: identity, chunked\r\n\r\n", Err(HeadError::Length)),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", Err(HeadError::Length)),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(HeadError::Length)),
            ("GET / HTTP/1.1\r\nContent-Length: 7, 7\r\n\r\n", Err(HeadError::Length)),
            ("GET / HTTP/1.1\r\nContent-Length: +7\r\n\r\n", Err(HeadError::Length)),
            ("GET / HTTP/1.1\r\nContent-Length:\r\n\r\n", Err(HeadError::Length)),
            ("GET / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n", Err(HeadError::Length)),
            ("GET / HTTP/1.1\r\nContent-Length : 7\r\n\r\n", Err(HeadError::Syntax)),
            ("GET / HTTP/1.1\r\nA: b\r\n Content-Length: 7\r\n\r\n", Err(HeadError::Syntax)),
            ("GET / HTTP/1.1\r\nHost: a\nContent-Length: 7\r\n\r\n", Err(HeadError::BareLineFeed)),
            ("GET /\r\n\r\n", Err(HeadError::Syntax)),
            ("GET / x HTTP/1.1\r\n\r\n", Err(HeadError::Syntax)),
            ("GET / HTTP/2.0\r\n\r\n", Err(HeadError::Syntax)),
        ];
        for (head, expected) in table {
            assert_eq!(parse(head.as_bytes()).map(|head| head.framing()), expected, "{head}");
        }
    }

    #[test]
    fn headers_are_found_by_name_in_any_letter_case() {
        let head = parse(b"POST /w HTTP/1.1\r\nHOST: a\r\nX-A: 1\r\nx-a: 2\r\nConnection: x, Close\r\n\r\n")
            .unwrap();
        assert_eq!(head.values("X-A").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.value("Host"), Some(&b"a"[..]));
        assert_eq!(head.value("none"), None);
        assert!(!head.keep_alive() && head.connection_lists(b"X"));
    }

    #[test]
    fn the_lines_of_a_head_are_its_bytes() {
        let text = b"GET / HTTP/1.1\r\nHost:a\r\nno colon\r\nB: \x0c c \r\n\r\n";
        let head = parse(text).unwrap();
        let lines: Vec<_> = head.lines().map(|line| (line.name, line.value, line.raw)).collect();
        let expected: [(&[u8], &[u8], &[u8]); 3] = [
            (b"Host", b"a", b"Host:a\r\n"),
            (b"no colon\r\n", b"", b"no colon\r\n"),
            (b"B", b"c", b"B: \x0c c \r\n"),
        ];
        assert_eq!(lines, expected);
        assert!(head.lines().all(|line| text[line.range.clone()] == *line.raw));
    }

    #[test]
    fn a_valid_request_has_one_host() {
        for (head, valid) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", false),
        ] {
            assert_eq!(parse(head.as_bytes()).unwrap().validate().is_ok(), valid, "{head}");
        }
    }

    #[test]
    fn a_head_has_at_most_1000_headers() {
        for (count, expected) in [(1000, None), (1001, Some(HeadError::TooManyHeaders))] {
            let more = "A: b\r\n".repeat(count - 1);
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
            assert_eq!(parse(head.as_bytes()).err(), expected, "{count}");
        }
    }

    #[test]
    fn connection_has_at_most_32_options() {
        for (count, expected) in [(31, None), (32, Some(HeadError::Syntax))] {
            let options = "x, ".repeat(count - 1);
            let head = format!("GET / HTTP/1.1\r\nConnection: close\r\nconnection: {options}x\r\n\r\n");
            assert_eq!(parse(head.as_bytes()).err(), expected, "{count}");
        }
    }

    #[test]
    fn an_absolute_form_names_the_host() {
        for (target, valid) in [
            ("http://a/x", true),
            ("http://A?b", true),
            ("http://a", true),
            ("http://b/x", false),
            ("http://a:80/x", false),
            ("/x?y=http://b/", true),
            ("//b/x", true),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(parse(head.as_bytes()).unwrap().validate().is_ok(), valid, "{target}");
        }
    }

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for (bytes, expected) in [
            (&b""[..], true),
            (b"GE", true),
            (b"GET", true),
            (b"GET /x", true),
            (b"GET /x HT", true),
            (b"GET /x HTTP/1.1", true),
            (b"GET /x HTTP/1.1\r\nHost", true),
            (b"SSH-2.0-x", true),
            (b"\x16\x03\x01", false),
            (b"SSH-2.0-x\r\n", false),
            (b" GET", false),
            (b"GET /x HTTP/2", false),
            (b"GET / HTTP/2.0\r\n", false),
            (b"GET / HTTP/1.2\r\n", false),
            (b"GET / HTTP/1.1\n", false),
            (b"GET  / HTTP/1.1", false),
            (b"{\"a\": 1}", false),
        ] {
            assert_eq!(can_begin_a_head(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    /// Bytes that a head may be made of, with those that parsers differ on among them.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![8 => b'!'..=b'~', 1 => Just(b' '), 1 => any::<u8>().prop_filter("no line end", |&b| b != b'\n')];
        vec(byte, 0..12)
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof!["Host|Expect|Connection|A|x-b"].prop_map(String::into_bytes);
        prop_oneof![
            3 => (name, bytes()).prop_map(|(name, value)| [&name[..], b":", &value].concat()),
            1 => bytes(),
        ]
    }

    proptest! {
        /// A valid head is what an independent parser finds in the same bytes, and no more.
        #[test]
        fn a_head_is_valid_when_httparse_reads_the_same(
            target in bytes(),
            version in "HTTP/1\\.[0-2]",
            lines in vec(line(), 0..5),
        ) {
            let text = [&b"GET /"[..], &target, b" ", version.as_bytes(), b"\r\nHost: a\r\n"].concat();
            let text = lines.iter().fold(text, |text, line| [&text[..], line, b"\r\n"].concat());
            let text = [&text[..], b"\r\n"].concat();
            let text = &text[..find_end(&text, &mut 0).unwrap()];
            let Ok(head) = parse(text) else { return Ok(()) };
            let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut request = httparse::Request::new(&mut fields);
            let read = request.parse(text).is_ok_and(|status| status.is_complete());
            // httparse refuses a target that is not UTF-8; a backend may take it.
            let is_utf8 = str::from_utf8(head.target()).is_ok();
            prop_assert!(!is_utf8 || head.validate().is_ok() == (read && head.has_one_host()));
            if read {
                prop_assert_eq!(request.method.unwrap().as_bytes(), head.method());
                prop_assert_eq!(request.path.unwrap().as_bytes(), head.target());
                let expected: Vec<_> = request.headers.iter().map(|h| (h.name.as_bytes(), h.value)).collect();
                prop_assert_eq!(head.headers().collect::<Vec<_>>(), expected);
            }
        }
    }
}
