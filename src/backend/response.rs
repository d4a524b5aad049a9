//! The parser of the backend's response, fed with bytes as they arrive. The head decides the outcome; of the body it
//! retains the first 64 KiB. It does no I/O.

use bytes::{Buf, Bytes, BytesMut};

use super::error::BackendError;
use crate::http1::chunked::{Decoder, Step};

/// The most of a response's body that is retained and passed on, in bytes.
pub const MAX_RETAINED_BODY: usize = 64 * 1024;
/// The longest head of a response, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// The most headers in a response. pingora allows as many.
const MAX_HEADERS: usize = 256;

/// The parts of a response's head that Countersign uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 200 to 999. Interim responses (1xx) are skipped.
    pub status: u16,
    /// The value of `Content-Type`, if present.
    pub content_type: Option<Bytes>,
    /// The value of `Content-Encoding`, if present. The body is never decoded.
    pub content_encoding: Option<Box<[u8]>>,
    /// The value of `Retry-After`, if present: seconds or a date.
    pub retry_after: Option<Bytes>,
}

impl ResponseHead {
    /// Returns whether the backend accepted the event: a 2xx status.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A response that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendResponse {
    /// The status and the headers that matter.
    pub head: ResponseHead,
    /// The first [`MAX_RETAINED_BODY`] bytes of the body.
    pub body: Bytes,
}

/// How the end of a response's body is found (RFC 9112, 6.3).
enum ResponseFraming {
    /// The number of bytes that are still to come.
    Length(u64),
    Chunked(Decoder),
    /// The body ends when the backend closes the connection.
    UntilClose,
}

/// The state of a body after [`ResponseReader::parse_body`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyProgress {
    /// More bytes are needed.
    Incomplete,
    /// The whole body has arrived.
    Complete,
    /// The rest is not needed or not valid. The connection cannot be reused.
    Unusable,
}

/// A response that is being read.
pub(super) struct ResponseReader {
    /// Bytes from the backend that are not parsed yet.
    buffer: BytesMut,
    head: ResponseHead,
    framing: ResponseFraming,
    keep_alive: bool,
    /// The part of the body that has arrived, at most [`MAX_RETAINED_BODY`] bytes once parsed.
    body: BytesMut,
}

impl ResponseReader {
    pub(super) fn new() -> Self {
        Self {
            buffer: BytesMut::with_capacity(4096),
            head: ResponseHead { status: 0, content_type: None, content_encoding: None, retry_after: None },
            framing: ResponseFraming::Length(0),
            keep_alive: false,
            body: BytesMut::new(),
        }
    }

    /// Returns the buffer that the next bytes from the backend are appended to.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(1024);
        &mut self.buffer
    }

    pub(super) fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Returns the error for a connection that the backend closed before the head was complete.
    pub(super) fn eof_error(&self) -> BackendError {
        if self.buffer.is_empty() {
            BackendError::Unanswered("it closed the connection without a response".into())
        } else {
            BackendError::Invalid("it closed the connection inside the response's head".into())
        }
    }

    /// Parses the head and skips interim responses before it. Returns whether the head is complete.
    ///
    /// # Errors
    /// The bytes are not the head of an HTTP/1 response, or the head is too long.
    pub(super) fn parse_head(&mut self) -> Result<bool, BackendError> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.buffer).map_err(|e| BackendError::Invalid(e.to_string()))?;
            let httparse::Status::Complete(length) = parsed else {
                if self.buffer.len() > MAX_HEAD {
                    return Err(BackendError::Invalid("its head is longer than 64 KiB".into()));
                }
                return Ok(false);
            };
            let status = response.code.unwrap_or_default();
            match status {
                100 | 102..=199 => {
                    self.buffer.advance(length);
                    continue;
                }
                0..=99 => return Err(BackendError::Invalid(format!("its status {status} is below 100"))),
                101 => {
                    let problem = "it switched protocols (101), which the request did not ask for";
                    return Err(BackendError::Invalid(problem.into()));
                }
                _ => {}
            }
            let (head, framing, keep_alive) = read_head(status, response.version, response.headers)?;
            (self.head, self.framing, self.keep_alive) = (head, framing, keep_alive);
            self.buffer.advance(length);
            return Ok(true);
        }
    }

    /// Parses the bytes of the body that have arrived.
    pub(super) fn parse_body(&mut self) -> BodyProgress {
        let progress = match &mut self.framing {
            ResponseFraming::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left -= n as u64;
                if *left == 0 && self.body.is_empty() {
                    // Most bodies arrive with their head. Splitting the buffer saves the copy.
                    self.body = self.buffer.split_to(n);
                } else {
                    self.body.extend_from_slice(&self.buffer[..n]);
                    self.buffer.advance(n);
                }
                if *left == 0 { BodyProgress::Complete } else { BodyProgress::Incomplete }
            }
            ResponseFraming::Chunked(decoder) => {
                let (mut input, body) = (&self.buffer[..], &mut self.body);
                let step = decoder.feed(&mut input, |data| body.extend_from_slice(data));
                let used = self.buffer.len() - input.len();
                self.buffer.advance(used);
                match step {
                    Step::More => BodyProgress::Incomplete,
                    Step::Done => BodyProgress::Complete,
                    Step::Invalid => BodyProgress::Unusable,
                }
            }
            ResponseFraming::UntilClose => {
                self.body.unsplit(self.buffer.split());
                BodyProgress::Incomplete
            }
        };
        if self.body.len() <= MAX_RETAINED_BODY {
            return progress;
        }
        self.body.truncate(MAX_RETAINED_BODY);
        match progress {
            BodyProgress::Complete => BodyProgress::Complete,
            // Reading the rest only to reuse the connection could take forever.
            BodyProgress::Incomplete | BodyProgress::Unusable => BodyProgress::Unusable,
        }
    }

    /// Returns whether the body is complete when the backend closes the connection: only a body without framing is.
    pub(super) fn is_complete_at_eof(&self) -> bool {
        matches!(self.framing, ResponseFraming::UntilClose)
    }

    /// Excludes the connection from reuse, because the request was not sent completely.
    pub(super) fn disable_reuse(&mut self) {
        self.keep_alive = false;
    }

    /// Returns whether the connection can carry another request once the body is complete.
    pub(super) fn is_reusable(&self) -> bool {
        // Bytes after the response would be taken for the next one.
        self.keep_alive && self.buffer.is_empty()
    }

    pub(super) fn into_response(self) -> BackendResponse {
        BackendResponse { head: self.head, body: self.body.freeze() }
    }
}

/// Reads the headers of a response. Returns its head, its framing (RFC 9112, 6.3) and whether the connection stays open.
fn read_head(
    status: u16,
    version: Option<u8>,
    headers: &[httparse::Header<'_>],
) -> Result<(ResponseHead, ResponseFraming, bool), BackendError> {
    let mut head = ResponseHead { status, content_type: None, content_encoding: None, retry_after: None };
    let (mut length, mut has_coding, mut chunked) = (None, false, false);
    let (mut close, mut keep_alive) = (false, version == Some(1));
    for header in headers {
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(header.value).ok().and_then(|v| v.trim().parse::<u64>().ok());
            let value =
                value.ok_or_else(|| BackendError::Invalid("its Content-Length is not a number".into()))?;
            if length.is_some_and(|before| before != value) {
                return Err(BackendError::Invalid("it has two different Content-Lengths".into()));
            }
            length = Some(value);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            has_coding = true;
            chunked = header.value.trim_ascii().to_ascii_lowercase().ends_with(b"chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            let value = header.value.to_ascii_lowercase();
            let has_option =
                |option: &[u8]| value.split(|&b| b == b',').any(|item| item.trim_ascii() == option);
            close |= has_option(b"close");
            keep_alive |= has_option(b"keep-alive");
        } else if name.eq_ignore_ascii_case("content-type") {
            head.content_type = Some(Bytes::copy_from_slice(header.value));
        } else if name.eq_ignore_ascii_case("content-encoding") {
            head.content_encoding = Some(header.value.into());
        } else if name.eq_ignore_ascii_case("retry-after") {
            head.retry_after = Some(Bytes::copy_from_slice(header.value));
        }
    }
    let framing = match (status, length) {
        (204 | 304, _) => ResponseFraming::Length(0),
        _ if chunked => ResponseFraming::Chunked(Decoder::new()),
        (_, Some(n)) if !has_coding => ResponseFraming::Length(n),
        // Neither a length nor chunked: the body ends with the connection, which cannot be reused then.
        _ => ResponseFraming::UntilClose,
    };
    // A 204 or 304 has no body. If the backend sends the one that it announces, it would be taken for the next response.
    let may_have_body = matches!(status, 204 | 304) && (has_coding || length.is_some_and(|n| n > 0));
    let reusable = keep_alive && !close && !may_have_body && !matches!(framing, ResponseFraming::UntilClose);
    Ok((head, framing, reusable))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `wire` in pieces of `step` bytes; then the connection is closed.
    fn read(wire: &[u8], step: usize) -> Result<(BackendResponse, bool), BackendError> {
        let mut reader = ResponseReader::new();
        let mut pieces = wire.chunks(step);
        while !reader.parse_head()? {
            match pieces.next() {
                Some(piece) => reader.buffer().extend_from_slice(piece),
                None => return Err(reader.eof_error()),
            }
        }
        let complete = loop {
            match reader.parse_body() {
                BodyProgress::Complete => break true,
                BodyProgress::Unusable => break false,
                BodyProgress::Incomplete => match pieces.next() {
                    Some(piece) => reader.buffer().extend_from_slice(piece),
                    None => break reader.is_complete_at_eof(),
                },
            }
        };
        let reusable = complete && reader.is_reusable();
        Ok((reader.into_response(), reusable))
    }

    #[test]
    fn a_response_reads_the_same_in_pieces_of_any_size() {
        let table: &[(&str, u16, &str, bool)] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, "", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", 204, "", false),
            ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, "", false),
            ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: gzip\r\n\r\n", 304, "", false),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, "", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", true),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 201 C\r\nContent-Length: 1\r\n\r\nx",
                201,
                "x",
                true,
            ),
            ("HTTP/1.1 500 E\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", 500, "no", false),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end", false),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", 200, "ok", false),
            ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, "", true),
        ];
        for (wire, status, body, reusable) in table {
            for step in [1, 7, wire.len()] {
                let (response, reuse) = read(wire.as_bytes(), step).unwrap();
                assert_eq!(
                    (response.head.status, &response.body[..], reuse),
                    (*status, body.as_bytes(), *reusable),
                    "{wire}"
                );
            }
        }
    }

    #[test]
    fn a_long_body_is_cut_and_its_connection_not_reused() {
        let mut wire = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".to_vec();
        wire.extend(std::iter::repeat_n(b'x', 100_000));
        let (response, reuse) = read(&wire, 9000).unwrap();
        assert_eq!((response.body.len(), reuse), (MAX_RETAINED_BODY, false));
    }

    #[test]
    fn bytes_that_are_no_response_are_invalid_and_silence_is_unanswered() {
        for wire in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 101 S\r\n\r\n",
            "HTTP/1.1 042 S\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            assert!(matches!(read(wire.as_bytes(), 3), Err(BackendError::Invalid(_))), "{wire}");
        }
        assert!(matches!(read(b"", 1), Err(BackendError::Unanswered(_))));
    }
}
