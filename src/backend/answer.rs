//! The app's answer as it arrives: the head decides, and of the body the first 64 KiB are kept.

use bytes::{Buf, Bytes, BytesMut};

use super::BackendError;
use crate::http1::chunked::{Decoder, Step};

/// How much of an answer's body is passed on, in bytes.
pub const MAX_RETAINED_BODY: usize = 64 * 1024;
/// An answer's head may be as long as this.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// An answer's head, as much of it as matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 200 to 999: interim answers are skipped.
    pub status: u16,
    /// `Content-Type`, if it was given.
    pub content_type: Option<Bytes>,
    /// `Retry-After`, if it was given: seconds, or a date.
    pub retry_after: Option<Bytes>,
}

impl ResponseHead {
    /// Whether the app took the event.
    pub fn success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendResponse {
    /// Its head.
    pub head: ResponseHead,
    /// The first [`MAX_RETAINED_BODY`] bytes of its body.
    pub body: Bytes,
}

enum Framing {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

/// An answer being read.
pub(super) struct Reading {
    buffer: BytesMut,
    head: ResponseHead,
    framing: Framing,
    keep_alive: bool,
    body: BytesMut,
}

impl Reading {
    pub(super) fn new() -> Reading {
        Reading {
            buffer: BytesMut::with_capacity(4096),
            head: ResponseHead { status: 0, content_type: None, retry_after: None },
            framing: Framing::Length(0),
            keep_alive: false,
            body: BytesMut::new(),
        }
    }

    /// Where the next bytes go.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(1024);
        &mut self.buffer
    }

    pub(super) fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// What it means that the connection was closed before the head was whole.
    pub(super) fn broke_off(&self) -> BackendError {
        if self.buffer.is_empty() {
            BackendError::Unanswered("it closed the connection without an answer".into())
        } else {
            BackendError::Invalid("it broke off in its head".into())
        }
    }

    /// Parses the head once it is whole; interim answers before it are dropped.
    pub(super) fn head_arrived(&mut self) -> Result<bool, BackendError> {
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
                0..=99 => return Err(BackendError::Invalid("its status is none".into())),
                101 => return Err(BackendError::Invalid("it switched protocols unasked".into())),
                _ => {}
            }
            let (head, framing, keep_alive) = read_head(status, response.version, response.headers)?;
            (self.head, self.framing, self.keep_alive) = (head, framing, keep_alive);
            self.buffer.advance(length);
            return Ok(true);
        }
    }

    /// `None`: more is needed. `Some(true)`: the body is whole. `Some(false)`: the rest does not matter, or is faulty.
    pub(super) fn body_arrived(&mut self) -> Option<bool> {
        let complete = match &mut self.framing {
            Framing::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left -= n as u64;
                if *left == 0 && self.body.is_empty() {
                    self.body = self.buffer.split_to(n);
                } else {
                    self.body.extend_from_slice(&self.buffer[..n]);
                    self.buffer.advance(n);
                }
                (*left == 0).then_some(true)
            }
            Framing::Chunked(decoder) => {
                let (mut input, body) = (&self.buffer[..], &mut self.body);
                let step = decoder.feed(&mut input, |data| body.extend_from_slice(data));
                let used = self.buffer.len() - input.len();
                self.buffer.advance(used);
                match step {
                    Step::More => None,
                    Step::Done => Some(true),
                    Step::Faulty => Some(false),
                }
            }
            Framing::UntilClose => {
                self.body.unsplit(self.buffer.split());
                None
            }
        };
        if self.body.len() > MAX_RETAINED_BODY {
            self.body.truncate(MAX_RETAINED_BODY);
            // What is left unread makes the connection useless, unless nothing is.
            return Some(complete == Some(true));
        }
        complete
    }

    /// The app closed the connection: that is the end of a body without framing, and a fault in any other.
    pub(super) fn ended(&self) -> bool {
        matches!(self.framing, Framing::UntilClose)
    }

    /// The request was not sent whole, so its connection carries no other.
    pub(super) fn spoil(&mut self) {
        self.keep_alive = false;
    }

    /// The connection can carry another request.
    pub(super) fn reusable(&self) -> bool {
        self.keep_alive && self.buffer.is_empty()
    }

    pub(super) fn into_answer(self) -> BackendResponse {
        BackendResponse { head: self.head, body: self.body.freeze() }
    }
}

/// Framing after RFC 9112, 6.3.
fn read_head(
    status: u16,
    version: Option<u8>,
    headers: &[httparse::Header<'_>],
) -> Result<(ResponseHead, Framing, bool), BackendError> {
    let mut head = ResponseHead { status, content_type: None, retry_after: None };
    let (mut length, mut coded, mut chunked) = (None, false, false);
    let (mut close, mut keep) = (false, version == Some(1));
    for header in headers {
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") {
            let said = std::str::from_utf8(header.value).ok().and_then(|v| v.trim().parse::<u64>().ok());
            let said = said.ok_or_else(|| BackendError::Invalid("its Content-Length is no number".into()))?;
            if length.is_some_and(|before| before != said) {
                return Err(BackendError::Invalid("it gives two lengths".into()));
            }
            length = Some(said);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            coded = true;
            chunked = header.value.trim_ascii().to_ascii_lowercase().ends_with(b"chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            let value = header.value.to_ascii_lowercase();
            let says = |word: &[u8]| value.split(|&b| b == b',').any(|item| item.trim_ascii() == word);
            close |= says(b"close");
            keep |= says(b"keep-alive");
        } else if name.eq_ignore_ascii_case("content-type") {
            head.content_type = Some(Bytes::copy_from_slice(header.value));
        } else if name.eq_ignore_ascii_case("retry-after") {
            head.retry_after = Some(Bytes::copy_from_slice(header.value));
        }
    }
    let framing = match (status, length) {
        (204 | 304, _) => Framing::Length(0),
        _ if chunked => Framing::Chunked(Decoder::new()),
        (_, Some(n)) if !coded => Framing::Length(n),
        // No length, or a coding other than chunked: until the connection closes, which ends its use.
        _ => Framing::UntilClose,
    };
    let reusable = keep && !close && !matches!(framing, Framing::UntilClose);
    Ok((head, framing, reusable))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `wire` in pieces of `step` bytes; then the connection is closed.
    fn read(wire: &[u8], step: usize) -> Result<(BackendResponse, bool), BackendError> {
        let mut reading = Reading::new();
        let mut pieces = wire.chunks(step);
        while !reading.head_arrived()? {
            match pieces.next() {
                Some(piece) => reading.buffer().extend_from_slice(piece),
                None => return Err(reading.broke_off()),
            }
        }
        let complete = loop {
            match reading.body_arrived() {
                Some(complete) => break complete,
                None => match pieces.next() {
                    Some(piece) => reading.buffer().extend_from_slice(piece),
                    None => break reading.ended(),
                },
            }
        };
        let reusable = complete && reading.reusable();
        Ok((reading.into_answer(), reusable))
    }

    #[test]
    fn answers_are_read_however_they_are_cut() {
        let table: &[(&str, u16, &str, bool)] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
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
                let (answer, reuse) = read(wire.as_bytes(), step).unwrap();
                assert_eq!(
                    (answer.head.status, &answer.body[..], reuse),
                    (*status, body.as_bytes(), *reusable),
                    "{wire}"
                );
            }
        }
    }

    #[test]
    fn a_long_body_is_cut_and_its_connection_dropped() {
        let mut wire = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".to_vec();
        wire.extend(std::iter::repeat_n(b'x', 100_000));
        let (answer, reuse) = read(&wire, 9000).unwrap();
        assert_eq!((answer.body.len(), reuse), (MAX_RETAINED_BODY, false));
    }

    #[test]
    fn what_is_not_an_answer_is_invalid_and_silence_is_unreachable() {
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
