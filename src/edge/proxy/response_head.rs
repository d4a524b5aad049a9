//! The head of a response on its way to the client, as bytes: the backend's own lines, without what concerns its connection
//! only. pingora reads an outline of it and decides about the framing and about the client's connection.
//!
//! No other parser reads these lines, so everything that is no line to every reader is an error here.

use std::ops::Range;

use crate::http1::headers::{is_header_value, is_token, list_items};

/// The most headers of a response.
const MAX_HEADERS: usize = 1000;
/// The most bytes of a response's head.
pub(super) const MAX_HEAD: usize = 256 * 1024;

/// Headers of the backend's connection. Except for `Connection` itself, `Connection` need not name them.
const HOP_BY_HOP: [&str; 3] = ["connection", "keep-alive", "proxy-connection"];
/// What pingora has to know.
const OUTLINED: [&str; 4] = ["connection", "content-length", "content-type", "transfer-encoding"];

/// The head is no valid HTTP/1 response.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the backend's response is not valid HTTP/1")]
pub(super) struct ResponseHeadError;

/// A response's head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PassedHead {
    /// The status.
    pub(super) status: u16,
    /// What pingora reads in place of the head, with its empty line.
    pub(super) outline: Vec<u8>,
    /// Whether the last transfer coding is `chunked`.
    is_chunked: bool,
    /// Whether there is any transfer coding.
    has_coding: bool,
    /// The protocols that `Upgrade` names, separated by commas, if `Connection` lists it.
    pub(super) upgrade: Vec<u8>,
    /// The status line and the lines that pass, but for `Transfer-Encoding` and the client's `Connection`.
    lines: Vec<u8>,
    /// The place of the line with the length; empty if there is none.
    length: Range<usize>,
    has_date: bool,
}

/// How a head says that the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnnouncedBody {
    /// The head says nothing about a body.
    Nothing,
    /// The body ends after so many bytes.
    Length(u64),
    /// The body ends with the last chunk.
    Chunked,
    /// The last coding is another one, or the length is no number.
    Other,
}

impl PassedHead {
    /// Parses a whole head, its empty line included.
    ///
    /// # Errors
    /// Readers would find different lines or different ends of the body, or there are too many headers.
    pub(super) fn parse(head: &[u8]) -> Result<Self, ResponseHeadError> {
        let HeadLines { bytes, fields } = HeadLines::split(head)?;
        let status_line = &bytes[..fields.first().map_or(bytes.len(), |field| field.name.start)];
        let status = parse_status(status_line).ok_or(ResponseHeadError)?;
        let mut passed = Self {
            status,
            outline: status_line.to_vec(),
            is_chunked: false,
            has_coding: false,
            upgrade: Vec::new(),
            lines: Vec::with_capacity(bytes.len()),
            length: 0..0,
            has_date: false,
        };
        // Whatever the backend speaks, the client is answered in HTTP/1.1.
        passed.lines.extend_from_slice(b"HTTP/1.1");
        passed.lines.extend_from_slice(&status_line[b"HTTP/1.1".len()..]);
        let connection = fields.iter().filter(|field| is(&bytes[field.name.clone()], "connection"));
        let options: Vec<_> = connection.flat_map(|field| list_items(field.value(&bytes))).collect();
        let lists_upgrade = options.iter().any(|option| is(option, "upgrade"));
        let mut has_other_coding = false;
        for field in &fields {
            let (name, line) = (&bytes[field.name.clone()], &bytes[field.name.start..field.end]);
            if OUTLINED.iter().any(|known| is(name, known)) {
                passed.outline.extend_from_slice(line);
            }
            passed.has_date |= is(name, "date");
            if lists_upgrade && is(name, "upgrade") {
                passed.upgrade.extend_from_slice(field.value(&bytes));
                passed.upgrade.push(b',');
            }
            if is(name, "transfer-encoding") {
                passed.has_coding = true;
                for coding in list_items(field.value(&bytes)) {
                    passed.is_chunked = coding.eq_ignore_ascii_case(b"chunked");
                    has_other_coding |= !passed.is_chunked;
                }
            } else if is(name, "content-length") {
                // pingora checks that all of them agree.
                if passed.length.is_empty() {
                    passed.length = passed.lines.len()..passed.lines.len() + line.len();
                    passed.lines.extend_from_slice(line);
                }
            } else if !is_of_connection(name, &options, status) {
                passed.lines.extend_from_slice(line);
            }
        }
        passed.outline.extend_from_slice(b"\r\n");
        if has_other_coding && !passed.length.is_empty() { Err(ResponseHeadError) } else { Ok(passed) }
    }

    /// Returns how the head says that the body ends.
    pub(super) fn announced_body(&self) -> AnnouncedBody {
        match (self.has_coding, self.length.is_empty()) {
            (true, _) if self.is_chunked => AnnouncedBody::Chunked,
            (true, _) => AnnouncedBody::Other,
            (false, true) => AnnouncedBody::Nothing,
            (false, false) => {
                let value = &self.lines[self.length.start + "content-length:".len()..self.length.end];
                let length = str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok());
                length.map_or(AnnouncedBody::Other, AnnouncedBody::Length)
            }
        }
    }

    /// Returns the head for the client. `written` is what pingora made of the outline: it says how the body is framed and
    /// whether the client's connection goes on.
    pub(super) fn for_client(&self, written: &[u8]) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.lines.len() + written.len());
        let keeps_length = line_of(written, "content-length").is_some();
        let length = if keeps_length { self.length.end..self.length.end } else { self.length.clone() };
        head.extend_from_slice(&self.lines[..length.start]);
        head.extend_from_slice(&self.lines[length.end..]);
        let date = if self.has_date { None } else { line_of(written, "date") };
        let connection = if self.status == 101 { None } else { line_of(written, "connection") };
        for line in [line_of(written, "transfer-encoding"), date, connection].into_iter().flatten() {
            head.extend_from_slice(line);
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// The status of a head that pingora has written.
pub(super) fn status_of(written: &[u8]) -> Option<u16> {
    parse_status(written.split(|&byte| byte == b'\r').next()?)
}

/// The lines of a head, each with one CRLF.
struct HeadLines {
    bytes: Vec<u8>,
    fields: Vec<FieldRange>,
}

/// The place of a header's name, and the end of its line.
struct FieldRange {
    name: Range<usize>,
    end: usize,
}

impl FieldRange {
    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes[self.name.end + 1..self.end].trim_ascii()
    }
}

impl HeadLines {
    /// Splits a head. A bare line feed ends a line too, a folded line belongs to the one before, and a space before a colon is
    /// dropped, as readers of responses have always done (RFC 9112, sections 2.2 and 5).
    fn split(head: &[u8]) -> Result<Self, ResponseHeadError> {
        let (mut bytes, mut fields) = (Vec::with_capacity(head.len()), Vec::<FieldRange>::with_capacity(16));
        for (at, line) in head.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            if !is_header_value(line) {
                return Err(ResponseHeadError);
            }
            let start = bytes.len();
            let is_folded = matches!(line[0], b' ' | b'\t');
            if at == 0 {
                bytes.extend_from_slice(line);
            } else if let (true, Some(before)) = (is_folded, fields.last_mut()) {
                bytes.truncate(start - 2);
                bytes.extend_from_slice(b" ");
                bytes.extend_from_slice(line.trim_ascii());
                before.end = bytes.len() + 2;
            } else {
                let colon = memchr::memchr(b':', line).ok_or(ResponseHeadError)?;
                let name = line[..colon].trim_ascii_end();
                if !is_token(name) || fields.len() == MAX_HEADERS {
                    return Err(ResponseHeadError);
                }
                bytes.extend_from_slice(name);
                bytes.extend_from_slice(&line[colon..]);
                fields.push(FieldRange { name: start..start + name.len(), end: bytes.len() + 2 });
            }
            bytes.extend_from_slice(b"\r\n");
        }
        Ok(Self { bytes, fields })
    }
}

fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

/// Parses a status line's status: three digits after `HTTP/1.0` or `HTTP/1.1`.
fn parse_status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let rest = rest.strip_suffix(b"\r\n").unwrap_or(rest);
    let (digits, reason) = rest.split_at_checked(3)?;
    let valid = digits.iter().all(u8::is_ascii_digit) && matches!(reason.first(), None | Some(b' '));
    let status = str::from_utf8(digits).ok()?.parse().ok()?;
    (valid && status >= 100).then_some(status)
}

/// Returns true if the header concerns the backend's connection only, whose `Connection` has these options. A switch of
/// protocols passes what it is about, and 426 the protocol that it asks for.
fn is_of_connection(name: &[u8], options: &[&[u8]], status: u16) -> bool {
    if status == 101 && is(name, "connection") || matches!(status, 101 | 426) && is(name, "upgrade") {
        return false;
    }
    HOP_BY_HOP.iter().any(|known| is(name, known))
        || options.iter().any(|option| option.eq_ignore_ascii_case(name))
}

/// Returns the line of a header in a head that pingora has written, with its CRLF.
fn line_of<'a>(written: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let is_it = |line: &&[u8]| {
        line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    };
    written.split_inclusive(|&byte| byte == b'\n').find(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<PassedHead, ResponseHeadError> {
        PassedHead::parse(format!("{head}\r\n").as_bytes())
    }

    fn text(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string().replace("\\r\\n", "\n")
    }

    #[test]
    fn lines_pass_as_they_came_with_what_pingora_decided() {
        let head = "HTTP/1.0 200 Sch\u{f6}n\r\nx-B:  2\r\nCONTENT-length: 2\r\nDate: then\r\nKeep-Alive: 1\r\nX-Hop: 1\r\n\
            Upgrade: h2\r\nConnection: close, X-Hop, Upgrade\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Type:text/html\r\n";
        let passed = parse(head).unwrap();
        let outline = "HTTP/1.0 200 Sch\\xc3\\xb6n\nCONTENT-length: 2\nConnection: close, X-Hop, Upgrade\nContent-Type:text/html\n\n";
        assert_eq!(text(&passed.outline), outline);
        let written = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: now\r\nConnection: keep-alive\r\n\r\n";
        let expected = "HTTP/1.1 200 Sch\\xc3\\xb6n\nx-B:  2\nCONTENT-length: 2\nDate: then\nSet-Cookie: a\nset-cookie: b\n\
            Content-Type:text/html\nConnection: keep-alive\n\n";
        assert_eq!(text(&passed.for_client(written)), expected);
    }

    #[test]
    fn framing_and_date_are_pingoras() {
        let passed =
            parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\nA: b\r\n").unwrap();
        let written =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: now\r\nConnection: close\r\n\r\n";
        let expected = "HTTP/1.1 200 OK\nA: b\nTransfer-Encoding: chunked\nDate: now\nConnection: close\n\n";
        assert_eq!(text(&passed.for_client(written)), expected);
        assert_eq!(passed.announced_body(), AnnouncedBody::Chunked);
    }

    #[test]
    fn a_switch_of_protocols_keeps_what_it_is_about() {
        let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nKeep-Alive: 1\r\n";
        let expected = "HTTP/1.1 101 UPGRADED\nConnection: Upgrade\nUpgrade: tcp\n\n";
        assert_eq!(text(&parse(head).unwrap().for_client(b"HTTP/1.1 101 x\r\n\r\n")), expected);
        let asked =
            parse("HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n").unwrap();
        assert!(text(&asked.for_client(b"HTTP/1.1 426 x\r\n\r\n")).contains("\nUpgrade: websocket\n"));
    }

    #[test]
    fn old_spellings_of_lines_are_normalized() {
        let passed = PassedHead::parse(b"HTTP/1.1 200\nA : b\r\nC: d\r\n  e\r\n\r\n").unwrap();
        assert_eq!(text(&passed.for_client(b"HTTP/1.1 200 OK\r\n\r\n")), "HTTP/1.1 200\nA: b\nC: d e\n\n");
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        let many = |count: usize| format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(count));
        assert!(parse(&many(1000)).is_ok());
        for head in [
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 099 x\r\n",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n",
            "HTTP/1.1 200 OK\r\n folded\r\n",
            "HTTP/1.1 200 OK\r\nA: \u{0}\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: gzip\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\ncontent-length : 2\r\n",
            &many(1001),
        ] {
            assert_eq!(parse(head), Err(ResponseHeadError), "{head:.60}");
        }
    }
}
