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

use super::response_head::{AnnouncedBody, MAX_HEAD, PassedHead};
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
    /// True if a byte of the response has come: the backend is at work.
    has_come: AtomicBool,
    /// Whether interim heads are left out: the client knows none, so pingora writes none.
    skips_interim: bool,
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
    /// This many bytes of the body are to come. The response is complete once none is.
    Length(u64),
    /// Nothing that remains is of interest, and the response has no certain end.
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
    /// Creates the notes about a response to a client that knows interim responses, or not.
    pub(super) fn new(knows_interim: bool) -> Self {
        Self { skips_interim: !knows_interim, ..Self::default() }
    }

    /// Forgets the response to an attempt that failed.
    pub(super) fn clear(&self) {
        self.has_come.store(false, Ordering::Relaxed);
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

    /// Returns true if a byte of the response has come.
    pub(super) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
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

    /// Returns true once the response has come to its end, and nothing behind it.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, WatchState::Length(0))
    }

    /// Reads the next bytes of the body.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        match &mut self.state {
            WatchState::Chunked(decoder) => {
                let mut input = bytes;
                if decoder.feed(&mut input, |_| {}) != Step::More {
                    self.end_chunked(input);
                }
            }
            WatchState::Length(left) => match left.checked_sub(bytes.len() as u64) {
                Some(now_left) => *left = now_left,
                None => self.state = WatchState::Rest,
            },
            WatchState::Head(_) | WatchState::Rest => {}
        }
    }

    /// Reads the next bytes of heads and what follows them. Returns what pingora reads in place of them: nothing while a head
    /// is incomplete.
    ///
    /// # Errors
    /// The bytes are no valid response. Readers would find different ends of the body, or a tunnel that nobody asked for.
    pub(super) fn read_head(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let WatchState::Head(buffer) = &mut self.state else { return Ok(bytes.to_vec()) };
        self.notes.has_come.store(true, Ordering::Relaxed);
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
            let (status, body, is_old) =
                (head.status, head.announced_body(), head.outline.starts_with(b"HTTP/1.0"));
            let may_switch = status == 101 && !is_old && self.answers.allows(&head.upgrade);
            let is_interim = status < 200 && status != 101;
            if !(is_interim && self.notes.skips_interim) {
                self.notes.lock_heads().push_back(head);
            }
            match status {
                _ if is_interim => {}
                // pingora opens the tunnel for HTTP/1.1 only, and waits for a further head otherwise.
                101 if !may_switch => return Err(self.fail()),
                _ => {
                    self.begin_body(status, body, rest);
                    outlines.extend_from_slice(rest);
                    return Ok(outlines);
                }
            }
        }
    }

    fn begin_body(&mut self, status: u16, body: AnnouncedBody, mut rest: &[u8]) {
        let is_empty = matches!(status, 204 | 304);
        let mut begun = !rest.is_empty();
        self.state = match body {
            // Some apps send a body after a HEAD all the same: the next request would take it for its response.
            _ if self.answers == Answers::Head || status == 101 => WatchState::Rest,
            AnnouncedBody::Nothing | AnnouncedBody::Length(0) if is_empty => WatchState::Length(0),
            // The same holds for a body that a response should not have.
            _ if is_empty => WatchState::Rest,
            AnnouncedBody::Length(length) => WatchState::Length(length),
            AnnouncedBody::Chunked => {
                begun = false;
                let mut decoder = Decoder::new();
                decoder.feed(&mut rest, |data| begun |= !data.is_empty());
                WatchState::Chunked(decoder)
            }
            AnnouncedBody::Nothing | AnnouncedBody::Other => WatchState::Rest,
        };
        // The decoder has taken its part already: this finds its end, if it was there.
        self.read(rest);
        let has_body = self.answers != Answers::Head && status != 101 && !is_empty;
        self.notes.body_begun.store(begun && has_body, Ordering::Relaxed);
    }

    fn fail(&self) -> io::Error {
        self.notes.invalid.store(true, Ordering::Relaxed);
        io::ErrorKind::InvalidData.into()
    }

    /// Notes the trailers, once the decoder has reached the end of the body, or bytes that are no chunks. `behind` is what came
    /// after them.
    fn end_chunked(&mut self, behind: &[u8]) {
        let WatchState::Chunked(decoder) = std::mem::replace(&mut self.state, WatchState::Rest) else {
            return;
        };
        if !decoder.is_done() {
            return;
        }
        if behind.is_empty() {
            self.state = WatchState::Length(0);
        }
        if !decoder.trailers().is_empty() {
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
            && line[colon + 1..].strip_suffix(b"\r\n").is_some_and(is_header_value)
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
    fn a_response_is_complete_at_its_end_and_not_behind_it() {
        for (response, expected) in [
            ("200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            ("200 OK\r\nContent-Length: 2\r\n\r\no", false),
            ("200 OK\r\nContent-Length: 2\r\n\r\nokH", false),
            ("200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("200 OK\r\n\r\nok", false),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", true),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", false),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nH", false),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", false),
            ("204 No Content\r\n\r\n", true),
            ("204 No Content\r\nContent-Length: 0\r\n\r\n", true),
            ("204 No Content\r\n\r\nH", false),
            ("204 No Content\r\nContent-Length: 2\r\n\r\n", false),
            ("204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("304 Not Modified\r\nTransfer-Encoding: gzip\r\n\r\n", false),
            ("304 Not Modified\r\nContent-Length: 2\r\n\r\n", false),
        ] {
            let response = format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 {response}");
            for cut in 0..=response.len() {
                let mut watch = ResponseWatch::new(Answers::Other, Arc::default());
                for part in [&response.as_bytes()[..cut], &response.as_bytes()[cut..]] {
                    if watch.awaits_head() {
                        watch.read_head(part).unwrap();
                    } else {
                        watch.read(part);
                    }
                }
                assert_eq!(watch.is_complete(), expected, "{response} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_trailer_with_a_bare_carriage_return_does_not_pass() {
        assert_eq!(passing_trailers(b"X: a\r\r\nY: b\r\nZ: a\rb\r\n"), &b"Y: b\r\n"[..]);
    }

    #[test]
    fn interim_heads_that_nobody_takes_are_not_noted() {
        for (knows_interim, expected) in [(true, 4), (false, 1)] {
            let notes = Arc::new(ResponseNotes::new(knows_interim));
            let mut watch = ResponseWatch::new(Answers::Other, notes.clone());
            watch.read_head("HTTP/1.1 102 A\r\n\r\n".repeat(3).as_bytes()).unwrap();
            watch.read_head(b"HTTP/1.1 200 A\r\n\r\n").unwrap();
            assert_eq!(notes.lock_heads().len(), expected);
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
