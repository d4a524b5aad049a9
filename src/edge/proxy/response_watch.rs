//! The bytes of a response on their way to pingora: pingora gets an outline of each head in place of it, and the client's side
//! gets notes of what pingora does not say.
//!
//! pingora changes heads, drops trailers, takes a length beside a foreign transfer coding for harmless, and tells nobody
//! whether the body has begun when it writes the head.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::response_head::{MAX_HEAD, PassedHead};
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
    /// The heads that pingora has been given outlines of, and has not written.
    heads: Mutex<VecDeque<PassedHead>>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answers {
    /// A HEAD: the response has no body.
    Head,
    /// A request for one of these protocols, separated by commas: the response may be 101.
    Upgrade(Vec<u8>),
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

impl Answers {
    /// Returns true if a 101 may switch to these protocols, separated by commas: there is one, and each was offered. A response
    /// may leave out the version.
    fn allows(&self, switched: &[u8]) -> bool {
        let Self::Upgrade(offered) = self else { return false };
        let is_offered = |protocol: &[u8]| {
            list_items(offered).any(|offer| {
                let name = offer.split(|&byte| byte == b'/').next().unwrap_or_default();
                protocol.eq_ignore_ascii_case(offer) || protocol.eq_ignore_ascii_case(name)
            })
        };
        let mut protocols = list_items(switched).filter(|protocol| !protocol.is_empty()).peekable();
        protocols.peek().is_some() && protocols.all(is_offered)
    }
}

impl ResponseNotes {
    /// Forgets the response to an attempt that failed.
    pub(super) fn clear(&self) {
        self.body_begun.store(false, Ordering::Relaxed);
        self.lock_heads().clear();
    }

    /// Takes the head with this status. Heads before it are interim ones that pingora has left out.
    pub(super) fn take_head(&self, status: u16) -> Option<PassedHead> {
        let mut heads = self.lock_heads();
        let at = heads.iter().position(|head| head.status == status)?;
        heads.drain(..=at).next_back()
    }

    fn lock_heads(&self) -> std::sync::MutexGuard<'_, VecDeque<PassedHead>> {
        // No code panics while it holds the lock.
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

    /// Returns true while a head is awaited: [`ResponseWatch::read_head`] reads it, and [`ResponseWatch::read`] what follows.
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self.state, WatchState::Head(_))
    }

    /// Reads the next bytes of the body.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        if let WatchState::Chunked(decoder) = &mut self.state {
            let mut input = bytes;
            if decoder.feed(&mut input, |_| {}) != Step::More {
                self.end_chunked();
            }
        }
    }

    /// Reads the next bytes of heads and what follows them. Returns what pingora reads in place of them: nothing while a head
    /// is incomplete.
    ///
    /// # Errors
    /// The bytes are no valid response. Readers would find different ends of the body, or a tunnel that nobody asked for.
    pub(super) fn read_head(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let WatchState::Head(buffer) = &mut self.state else { return Ok(bytes.to_vec()) };
        buffer.extend_from_slice(bytes);
        let whole = std::mem::take(buffer);
        let (mut rest, mut outlines) = (&whole[..], Vec::new());
        loop {
            let Some(end) = find_end(rest, &mut 0) else {
                if rest.len() > MAX_HEAD || !b"HTTP/1.".starts_with(&rest[..rest.len().min(7)]) {
                    return Err(self.fail());
                }
                self.state = WatchState::Head(rest.to_vec());
                return Ok(outlines);
            };
            let (head, behind) = rest.split_at(end);
            let head = PassedHead::parse(head).map_err(|_| self.fail())?;
            rest = behind;
            outlines.extend_from_slice(&head.outline);
            let (status, is_chunked, is_old) =
                (head.status, head.is_chunked, head.outline.starts_with(b"HTTP/1.0"));
            let may_switch = status == 101 && !is_old && self.answers.allows(&head.upgrade);
            self.notes.lock_heads().push_back(head);
            match status {
                100 | 102..=199 => {}
                // pingora opens the tunnel for HTTP/1.1 only, and waits for a further head otherwise.
                101 if !may_switch => return Err(self.fail()),
                _ => {
                    self.begin_body(status, is_chunked, rest);
                    outlines.extend_from_slice(rest);
                    return Ok(outlines);
                }
            }
        }
    }

    fn begin_body(&mut self, status: u16, is_chunked: bool, mut rest: &[u8]) {
        self.state = WatchState::Rest;
        if self.answers == Answers::Head || matches!(status, 101 | 204 | 304) {
            return;
        }
        let mut begun = !is_chunked && !rest.is_empty();
        if is_chunked {
            let mut decoder = Decoder::new();
            let step = decoder.feed(&mut rest, |data| begun |= !data.is_empty());
            self.state = WatchState::Chunked(decoder);
            if step != Step::More {
                self.end_chunked();
            }
        }
        self.notes.body_begun.store(begun, Ordering::Relaxed);
    }

    fn fail(&self) -> io::Error {
        self.notes.invalid.store(true, Ordering::Relaxed);
        io::ErrorKind::InvalidData.into()
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

    /// Reads a response cut at `cut`. Returns what pingora reads, and what was noted.
    fn read(response: &[u8], cut: usize, answers: Answers) -> io::Result<(Vec<u8>, bool, Option<Bytes>)> {
        let notes = Arc::new(ResponseNotes::default());
        let mut watch = ResponseWatch::new(answers, notes.clone());
        let mut out = Vec::new();
        for part in [&response[..cut], &response[cut..]] {
            if watch.awaits_head() {
                out.extend_from_slice(&watch.read_head(part)?);
            } else {
                watch.read(part);
                out.extend_from_slice(part);
            }
        }
        Ok((out, notes.body_begun(), notes.take_trailers()))
    }

    #[test]
    fn trailers_are_found_wherever_the_response_is_cut() {
        let response = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            1\r\nx\r\n0\r\nDigest: abc\r\nContent-Length: 7\r\nServer-Timing: db;dur=1\r\n\r\n";
        for cut in 0..=response.len() {
            let (out, _, trailers) = read(response, cut, Answers::Other).unwrap();
            assert!(out.starts_with(
                b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n"
            ));
            assert!(out.ends_with(b"\r\nServer-Timing: db;dur=1\r\n\r\n"), "{cut}");
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
            (b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nx", false, false),
        ];
        for (response, is_head, expected) in table {
            let answers = if is_head { Answers::Head } else { Answers::Upgrade(b"tcp".to_vec()) };
            let (_, begun, _) = read(response, 0, answers).unwrap();
            assert_eq!(begun, expected, "{}", response.escape_ascii());
        }
    }

    #[test]
    fn a_switch_of_protocols_is_valid_if_it_is_to_one_that_was_offered() {
        let offered = || Answers::Upgrade(b"websocket, SPDY/3.1".to_vec());
        let upgrade = "Connection: keep-alive, Upgrade\r\n";
        for (answers, lines, valid) in [
            (offered(), format!("{upgrade}Upgrade: WebSocket\r\n"), true),
            (offered(), format!("{upgrade}Upgrade: spdy/3.1\r\n"), true),
            (offered(), format!("{upgrade}upgrade: SPDY\r\n"), true),
            (offered(), format!("Upgrade: websocket\r\n{upgrade}"), true),
            (offered(), format!("{upgrade}Upgrade: SPDY/3\r\n"), false),
            (offered(), format!("{upgrade}Upgrade: h2c\r\n"), false),
            (offered(), format!("{upgrade}Upgrade: websocket, h2c\r\n"), false),
            (offered(), format!("{upgrade}Upgrade: websocket\r\nUpgrade: h2c\r\n"), false),
            (offered(), format!("{upgrade}Upgrade: ,\r\n"), false),
            (offered(), upgrade.to_owned(), false),
            (offered(), "Upgrade: websocket\r\n".to_owned(), false),
            (offered(), "Connection: close\r\nUpgrade: websocket\r\n".to_owned(), false),
            (Answers::Other, format!("{upgrade}Upgrade: websocket\r\n"), false),
            (Answers::Head, format!("{upgrade}Upgrade: websocket\r\n"), false),
        ] {
            let switch = |version: &str| format!("HTTP/{version} 101 Switching Protocols\r\n{lines}\r\n");
            assert_eq!(
                read(switch("1.1").as_bytes(), 0, answers.clone()).is_ok(),
                valid,
                "{answers:?} {lines}"
            );
            assert!(read(switch("1.0").as_bytes(), 0, answers).is_err());
        }
    }

    #[test]
    fn what_is_no_response_is_refused_before_its_end() {
        assert!(read(b"SSH-2.0-x", 0, Answers::Other).is_err());
        assert!(read(b"HTTP/1.1 200 OK\r\nA: b", 0, Answers::Other).unwrap().0.is_empty());
        let endless = [&b"HTTP/1.1 200 OK\r\nA: "[..], &vec![b'a'; MAX_HEAD]].concat();
        assert!(read(&endless, 0, Answers::Other).is_err());
    }

    #[test]
    fn heads_are_taken_by_their_status() {
        let notes = Arc::new(ResponseNotes::default());
        let mut watch = ResponseWatch::new(Answers::Other, notes.clone());
        watch.read_head(b"HTTP/1.1 103 A\r\n\r\nHTTP/1.1 100 B\r\n\r\nHTTP/1.1 200 C\r\n\r\n").unwrap();
        assert_eq!(notes.take_head(100).unwrap().status, 100);
        assert!(notes.take_head(103).is_none() && notes.take_head(502).is_none());
        assert_eq!(notes.take_head(200).unwrap().status, 200);
    }
}
