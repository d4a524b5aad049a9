//! What pingora writes to the client, and what the client gets in its place: the backend's own head instead of pingora's, and
//! the last chunk with its trailers. It does no I/O.

use std::sync::atomic::{AtomicBool, Ordering};

use super::response_head::status_of;
use super::response_watch::ResponseNotes;

/// How pingora ends a chunked body: always in a write of its own.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The writes of one response.
#[derive(Debug, Default)]
pub(super) struct ResponseWrites {
    /// Whether pingora has written the head of the final response, so that a body follows.
    in_body: bool,
    /// True if the response is one of Countersign's own. Atomic since pingora's hooks see the stream shared.
    is_own: AtomicBool,
}

/// The bytes that a client gets in place of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replacement {
    pub(super) bytes: Vec<u8>,
    /// Whether the bytes may wait for the next write, which comes at once.
    pub(super) may_wait: bool,
}

impl ResponseWrites {
    /// Notes that the next head is not the backend's.
    pub(super) fn mark_own(&self) {
        self.is_own.store(true, Ordering::Relaxed);
    }

    /// Returns what takes the place of a write; `None` if it goes out as it is. pingora writes each head in one piece.
    pub(super) fn replace(&mut self, written: &[u8], notes: &ResponseNotes) -> Option<Replacement> {
        if self.in_body {
            // pingora drops trailers, so it ends the body without them.
            let trailers = if written == LAST_CHUNK { notes.take_trailers() } else { None }?;
            let bytes = [&LAST_CHUNK[..3], &trailers, &LAST_CHUNK[3..]].concat();
            // pingora flushes after the last chunk.
            return Some(Replacement { bytes, may_wait: true });
        }
        let status = status_of(written)?;
        self.in_body = status == 101 || status >= 200;
        let head = if *self.is_own.get_mut() { None } else { notes.take_head(status) }?;
        let may_wait = self.in_body && notes.body_begun();
        Some(Replacement { bytes: head.for_client(written), may_wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::proxy::response_watch::{Answers, ResponseWatch};
    use std::sync::Arc;

    const WRITTEN: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

    #[test]
    fn heads_and_the_last_chunk_are_replaced_and_nothing_else() {
        let notes = Arc::new(ResponseNotes::default());
        let mut watch = ResponseWatch::new(Answers::Other, notes.clone());
        let response = b"HTTP/1.1 103 A\r\nB: 1\r\n\r\nHTTP/1.1 200 C\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: 1\r\n\r\n";
        watch.read_head(response).unwrap();
        let mut writes = ResponseWrites::default();
        let interim = writes.replace(b"HTTP/1.1 103 Early Hints\r\n\r\n", &notes).unwrap();
        assert_eq!(
            interim,
            Replacement { bytes: b"HTTP/1.1 103 A\r\nB: 1\r\n\r\n".to_vec(), may_wait: false }
        );
        let head = writes.replace(WRITTEN, &notes).unwrap();
        assert!(head.bytes.starts_with(b"HTTP/1.1 200 C\r\n") && !head.may_wait);
        assert_eq!(writes.replace(b"HTTP/1.1 200 OK\r\n\r\n", &notes), None, "a body that looks like a head");
        assert_eq!(writes.replace(LAST_CHUNK, &notes).unwrap().bytes, b"0\r\nT: 1\r\n\r\n");
        assert_eq!(writes.replace(LAST_CHUNK, &notes), None);
    }

    #[test]
    fn a_response_of_our_own_goes_out_as_it_is() {
        let notes = Arc::new(ResponseNotes::default());
        let mut watch = ResponseWatch::new(Answers::Other, notes.clone());
        watch.read_head(b"HTTP/1.1 502 C\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut writes = ResponseWrites::default();
        writes.mark_own();
        assert_eq!(writes.replace(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", &notes), None);
    }
}
