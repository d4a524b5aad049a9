//! A request's head as it stands in the buffer: where it ends, where it goes, how its body is framed.
//!
//! Strict where readers differ, since two readers of one request are how requests are smuggled: a length beside a
//! transfer coding, two of either, a coding other than `chunked`, a bare line feed, a folded line, a space before a
//! colon are all faults (RFC 9112, sections 2.2, 5 and 6).

use std::ops::Range;

/// More fields than this in one head are a fault.
const MAX_FIELDS: usize = 128;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// A line ends with a line feed alone.
    BareLineFeed,
    /// The request line or a field cannot be read.
    Syntax,
    /// `Content-Length` with `Transfer-Encoding`, or two of either.
    TwoLengths,
    /// A length that is no number, or a transfer coding other than `chunked`.
    Length,
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As many bytes; 0 where nothing is said.
    Length(u64),
    /// Until the last chunk.
    Chunked,
}

/// What is read of every head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The request target, as it came.
    pub target: &'a [u8],
    /// How long the body is.
    pub framing: Framing,
}

/// Looks for the head's end from `scanned` on, which is moved to where the next look begins. The head's length, blank
/// line included, once it is whole.
pub fn find_end(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    for at in memchr::memchr_iter(b'\n', &bytes[*scanned..]) {
        let at = *scanned + at;
        let line = &bytes[..at];
        if line.ends_with(b"\n") || line.ends_with(b"\n\r") {
            return Some(at + 1);
        }
    }
    *scanned = bytes.len();
    None
}

/// Empty lines before a request are skipped (RFC 9112, 2.2).
pub fn leading_blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

/// Reads the request line and the fields that frame the body.
pub fn outline(head: &[u8]) -> Result<Outline<'_>, HeadError> {
    let mut lines = Lines { head, at: 0 };
    let line = lines.next().ok_or(HeadError::Syntax)??;
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::Syntax);
    };
    if !is_token(method) || target.is_empty() || !version.starts_with(b"HTTP/1.") {
        return Err(HeadError::Syntax);
    }
    let mut framing = None;
    for line in lines {
        let line = line?;
        // Every field is seen here, few are looked into: the first letter decides most of them.
        match line.first() {
            None => break,
            Some(b' ' | b'\t') => return Err(HeadError::Syntax),
            Some(b'c' | b'C' | b't' | b'T') => {
                let Some(found) = framing_of(line)? else { continue };
                if framing.replace(found).is_some() {
                    return Err(HeadError::TwoLengths);
                }
                if found == Framing::Chunked && version == b"HTTP/1.0" {
                    return Err(HeadError::Length);
                }
            }
            Some(_) => {}
        }
    }
    Ok(Outline { method, target, framing: framing.unwrap_or(Framing::Length(0)) })
}

/// What a method is (RFC 9110, 5.6.2).
fn is_token(word: &[u8]) -> bool {
    let of_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !word.is_empty() && word.iter().all(of_token)
}

/// What a field says about the body's length, if that is its business.
fn framing_of(line: &[u8]) -> Result<Option<Framing>, HeadError> {
    let colon = memchr::memchr(b':', line).ok_or(HeadError::Syntax)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let is = |word: &[u8]| name.trim_ascii_end().eq_ignore_ascii_case(word);
    let framing = if is(b"content-length") {
        let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let length = digits.then(|| value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')));
        Framing::Length(length.ok_or(HeadError::Length)?)
    } else if is(b"transfer-encoding") {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::Length);
        }
        Framing::Chunked
    } else {
        return Ok(None);
    };
    if name.len() != name.trim_ascii_end().len() { Err(HeadError::Syntax) } else { Ok(Some(framing)) }
}

/// The lines of a head, without their ends.
struct Lines<'a> {
    head: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], HeadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.head[self.at..];
        let end = memchr::memchr(b'\n', rest)?;
        self.at += end + 1;
        Some(rest[..end].strip_suffix(b"\r").ok_or(HeadError::BareLineFeed))
    }
}

/// All fields of a head.
#[derive(Debug, Default)]
pub struct Headers {
    fields: Vec<(Range<usize>, Range<usize>)>,
    keep_alive: bool,
}

impl Headers {
    /// Reads them. `head` is what [`outline`] found no fault in, and what the other methods are given again.
    pub fn parse(head: &[u8]) -> Result<Headers, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(head).map_err(|_| HeadError::Syntax)?;
        let start = head.as_ptr() as usize;
        let range = |part: &[u8]| {
            let from = part.as_ptr() as usize - start;
            from..from + part.len()
        };
        let fields = request.headers.iter().map(|h| (range(h.name.as_bytes()), range(h.value)));
        let mut all = Headers { fields: fields.collect(), keep_alive: false };
        let connection = |word: &[u8]| all.connection_names(head, word);
        let keep_alive = !connection(b"close") && (request.version == Some(1) || connection(b"keep-alive"));
        all.keep_alive = keep_alive;
        // Exactly one: which of two hosts is meant, readers decide differently (RFC 9112, 3.2).
        match all.values(head, "host").count() {
            1 => Ok(all),
            0 if request.version == Some(0) => Ok(all),
            _ => Err(HeadError::Syntax),
        }
    }

    /// The client takes another answer on this connection.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether `Connection` lists this word: an option, or a field that concerns this connection only.
    pub fn connection_names(&self, head: &[u8], word: &[u8]) -> bool {
        let mut items = self.values(head, "connection").flat_map(|value| value.split(|&b| b == b','));
        items.any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
    }

    /// All fields, as they came.
    pub fn iter<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        self.fields.iter().map(|(name, value)| (&head[name.clone()], &head[value.clone()]))
    }

    /// The values of the fields of this name.
    pub fn values<'a>(&'a self, head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        let wanted = move |(found, _): &(&[u8], &[u8])| found.eq_ignore_ascii_case(name.as_bytes());
        self.iter(head).filter(wanted).map(|(_, value)| value)
    }

    /// The first of them.
    pub fn value<'a>(&'a self, head: &'a [u8], name: &'a str) -> Option<&'a [u8]> {
        self.values(head, name).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Framing, HeadError> {
        outline(head.as_bytes()).map(|o| o.framing)
    }

    #[test]
    fn a_head_ends_with_its_blank_line_wherever_it_is_cut() {
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
    fn the_outline_is_the_request_line_and_the_framing() {
        let head = b"POST /w?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n";
        let expected = Outline { method: b"POST", target: b"/w?a=b", framing: Framing::Length(12) };
        assert_eq!(outline(head), Ok(expected));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_a_fault() {
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
            assert_eq!(read(head), expected, "{head}");
        }
    }

    #[test]
    fn fields_are_found_by_name_in_any_case() {
        let head = b"POST /w HTTP/1.1\r\nHOST: a\r\nX-A: 1\r\nx-a: 2\r\nConnection: x, Close\r\n\r\n";
        let fields = Headers::parse(head).unwrap();
        assert_eq!(fields.values(head, "X-A").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields.value(head, "Host"), Some(&b"a"[..]));
        assert_eq!(fields.value(head, "none"), None);
        assert!(!fields.keep_alive());
    }

    #[test]
    fn a_request_has_one_host() {
        for (head, fine) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", false),
        ] {
            assert_eq!(Headers::parse(head.as_bytes()).is_ok(), fine, "{head}");
        }
    }
}
