//! What pingora does not say about a response: the watch reads along with pingora and leaves notes for the client's side.
//!
//! pingora drops trailers, takes a length beside a foreign transfer coding for harmless, and tells nobody whether the body
//! has begun when it writes the head.

use bytes::Bytes;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http1::chunked::{Decoder, Step};
use crate::http1::head::find_end;
use crate::http1::headers::{is_header_value, is_token, list_items};

/// Trailers that would say where a message ends, or concern one connection only.
const NO_TRAILERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The notes about one response. The client's side reads them.
#[derive(Debug, Default)]
pub(super) struct ResponseNotes {
    /// True if data of the body came together with the head.
    body_begun: AtomicBool,
    /// True if the backend's bytes are no valid response.
    invalid: AtomicBool,
    /// The trailer lines of a chunked body, once it is complete.
    trailers: Mutex<Option<Bytes>>,
}

/// Watches one response.
pub(super) struct ResponseWatch {
    state: WatchState,
    /// The kind of request that the response answers.
    answers: Answers,
    notes: Arc<ResponseNotes>,
}

/// What of its request a response depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// A HEAD: the response has no body.
    Head,
    /// A request for another protocol: the response may be 101.
    Upgrade,
    /// Any other request.
    Other,
}

enum WatchState {
    /// A head is awaited. This much of it has come.
    Head(Vec<u8>),
    /// A chunked body.
    Chunked(Decoder),
    /// Nothing that remains is of interest.
    Rest,
}

/// What a response's head says about its body.
#[derive(Debug, Default, PartialEq)]
struct BodyFacts {
    status: u16,
    has_length: bool,
    /// Whether the last transfer coding is `chunked`.
    is_chunked: bool,
    /// Whether there is another transfer coding.
    has_other_coding: bool,
}

impl ResponseNotes {
    /// Returns true if data of the body came together with the head.
    pub(super) fn body_begun(&self) -> bool {
        self.body_begun.load(Ordering::Relaxed)
    }

    /// Returns true if the backend's bytes are no valid response.
    pub(super) fn is_invalid(&self) -> bool {
        self.invalid.load(Ordering::Relaxed)
    }

    /// Takes the trailer lines of a complete body, if it has any.
    pub(super) fn take_trailers(&self) -> Option<Bytes> {
        self.trailers.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ResponseWatch {
    /// Watches a response of which nothing has come.
    pub(super) fn new(answers: Answers, notes: Arc<ResponseNotes>) -> Self {
        Self { state: WatchState::Head(Vec::new()), answers, notes }
    }

    /// Reads the next bytes of the response.
    ///
    /// # Errors
    /// Readers would find different ends of the body, or a tunnel that nobody asked for. pingora must not see these bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.state {
            WatchState::Rest => Ok(()),
            WatchState::Chunked(decoder) => {
                let mut input = bytes;
                if decoder.feed(&mut input, |_| {}) != Step::More {
                    self.end_chunked();
                }
                Ok(())
            }
            WatchState::Head(buffer) if buffer.is_empty() => self.read_heads(bytes),
            WatchState::Head(buffer) => {
                let mut whole = std::mem::take(buffer);
                whole.extend_from_slice(bytes);
                self.read_heads(&whole)
            }
        }
    }

    /// Reads heads to the final one. `bytes` begins with a head.
    fn read_heads(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let Some(end) = find_end(bytes, &mut 0) else {
                self.state = WatchState::Head(bytes.to_vec());
                return Ok(());
            };
            let (head, rest) = bytes.split_at(end);
            let facts = BodyFacts::parse(head);
            match facts.status {
                100 | 102..=199 => bytes = rest,
                // pingora opens the tunnel for HTTP/1.1 only, and waits for a further head otherwise.
                101 if self.answers != Answers::Upgrade || !head.starts_with(b"HTTP/1.1 ") => {
                    return self.fail();
                }
                _ => return self.begin_body(&facts, rest),
            }
        }
    }

    fn begin_body(&mut self, facts: &BodyFacts, mut rest: &[u8]) -> io::Result<()> {
        self.state = WatchState::Rest;
        if facts.has_length && facts.has_other_coding {
            return self.fail();
        }
        if self.answers == Answers::Head
            || matches!(facts.status, 101 | 204 | 304)
            || rest.is_empty() && !facts.is_chunked
        {
            return Ok(());
        }
        let mut begun = !facts.is_chunked;
        if facts.is_chunked {
            let mut decoder = Decoder::new();
            let step = decoder.feed(&mut rest, |data| begun |= !data.is_empty());
            self.state = WatchState::Chunked(decoder);
            if step != Step::More {
                self.end_chunked();
            }
        }
        self.notes.body_begun.store(begun, Ordering::Relaxed);
        Ok(())
    }

    fn fail(&self) -> io::Result<()> {
        self.notes.invalid.store(true, Ordering::Relaxed);
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Notes the trailers, once the decoder has reached the end of the body, or bytes that are no chunks.
    fn end_chunked(&mut self) {
        if let WatchState::Chunked(decoder) = std::mem::replace(&mut self.state, WatchState::Rest)
            && decoder.is_done()
            && !decoder.trailers().is_empty()
        {
            let trailers = passing_trailers(decoder.trailers());
            *self.notes.trailers.lock().unwrap_or_else(PoisonError::into_inner) = Some(trailers);
        }
    }
}

impl BodyFacts {
    fn parse(head: &[u8]) -> Self {
        let mut lines =
            head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let status = lines.next().and_then(|line| line.split(|&byte| byte == b' ').nth(1));
        let status =
            status.and_then(|digits| str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
        let mut facts = Self { status: status.unwrap_or_default(), ..Self::default() };
        for line in lines.filter(|line| matches!(line.first(), Some(b'c' | b'C' | b't' | b'T'))) {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = (line[..colon].trim_ascii_end(), &line[colon + 1..]);
            facts.has_length |= name.eq_ignore_ascii_case(b"content-length");
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                for coding in list_items(value) {
                    facts.is_chunked = coding.eq_ignore_ascii_case(b"chunked");
                    facts.has_other_coding |= !facts.is_chunked;
                }
            }
        }
        facts
    }
}

/// Returns the trailer lines that may pass, with their line ends.
fn passing_trailers(lines: &[u8]) -> Bytes {
    let passes = |line: &&[u8]| {
        let Some(colon) = memchr::memchr(b':', line) else { return false };
        let name = &line[..colon];
        is_token(name)
            && is_header_value(line[colon + 1..].trim_ascii_end())
            && !NO_TRAILERS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    };
    lines.split_inclusive(|&byte| byte == b'\n').filter(passes).collect::<Vec<_>>().concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a response cut at `cut`. Returns what was noted, or an error.
    fn read(response: &[u8], cut: usize, answers: Answers) -> io::Result<(bool, Option<Bytes>)> {
        let notes = Arc::new(ResponseNotes::default());
        let mut watch = ResponseWatch::new(answers, notes.clone());
        watch.read(&response[..cut])?;
        watch.read(&response[cut..])?;
        Ok((notes.body_begun(), notes.take_trailers()))
    }

    #[test]
    fn trailers_are_found_wherever_the_response_is_cut() {
        let response = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            1\r\nx\r\n0\r\nDigest: abc\r\nContent-Length: 7\r\nServer-Timing: db;dur=1\r\n\r\n";
        for cut in 0..=response.len() {
            let (_, trailers) = read(response, cut, Answers::Other).unwrap();
            assert_eq!(trailers.unwrap(), &b"Digest: abc\r\nServer-Timing: db;dur=1\r\n"[..], "{cut}");
        }
    }

    #[test]
    fn the_body_has_begun_if_its_data_came_with_the_head() {
        let table: [(&[u8], bool, bool); 8] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false, false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", false, true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, false),
            (b"HTTP/1.1 200 OK\r\n\r\nx", false, true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n", false, false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx", false, true),
            (b"HTTP/1.1 304 Not Modified\r\n\r\nx", false, false),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\nx", false, false),
        ];
        for (response, is_head, expected) in table {
            let answers = if is_head { Answers::Head } else { Answers::Upgrade };
            let (begun, _) = read(response, 0, answers).unwrap();
            assert_eq!(begun, expected, "{}", response.escape_ascii());
        }
    }

    #[test]
    fn a_switch_of_protocols_is_valid_if_it_was_asked_for() {
        let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        for (answers, valid) in [(Answers::Upgrade, true), (Answers::Other, false), (Answers::Head, false)] {
            assert_eq!(read(switch, 0, answers).is_ok(), valid, "{answers:?}");
        }
        assert!(read(b"HTTP/1.0 101 Switching Protocols\r\n\r\n", 0, Answers::Upgrade).is_err());
    }

    #[test]
    fn a_length_beside_a_foreign_coding_is_invalid() {
        let table = [
            ("Content-Length: 2\r\nTransfer-Encoding: gzip", false),
            ("Transfer-Encoding: gzip, chunked\r\ncontent-length : 2", false),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 2", false),
            ("Content-Length: 2\r\nTransfer-Encoding: Chunked", true),
            ("Transfer-Encoding: gzip, chunked", true),
            ("Content-Length: 2", true),
        ];
        for (lines, valid) in table {
            let response = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
            for cut in [0, 20, response.len() - 1] {
                assert_eq!(read(response.as_bytes(), cut, Answers::Other).is_ok(), valid, "{lines}");
            }
        }
    }
}
