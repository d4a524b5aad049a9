//! A request to the backend: the builder of its head, and the bytes on their way out. It knows whether any byte has left,
//! because only an untouched request may be sent on another connection.

use bytes::{Buf, Bytes};
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt;

use super::stream::BackendStream;
use crate::http1::headers::write_header;

/// The longest body that is copied behind its head, in bytes, so that both leave in one buffer.
const MAX_JOINED_BODY: usize = 16 * 1024;

/// Room in a head for the lines that are added to those that came, in bytes.
const ADDED_LINES: usize = 512;

/// A request's head under construction, in the bytes that are sent.
///
/// Callers must pass names, values and lines without further line breaks: from parsed headers, or from checked text of our
/// own.
pub struct RequestHeadBuilder(Vec<u8>);

impl RequestHeadBuilder {
    /// Begins a head with the request line `POST <target> HTTP/1.1`. `original_length` is the length of the head that most
    /// of its lines come from, 0 if there is none.
    pub fn post(target: &[u8], original_length: usize) -> Self {
        let mut bytes = Vec::with_capacity(original_length + ADDED_LINES);
        bytes.extend_from_slice(b"POST ");
        bytes.extend_from_slice(target);
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        Self(bytes)
    }

    /// Continues a head that [`without_value`](RequestHeadBuilder::without_value) split, with this value at its place.
    pub fn from_stored(head: &[u8], name: &str, value: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(head.len() + value.len() + ADDED_LINES);
        bytes.extend_from_slice(head);
        let mut head = Self(bytes);
        head.set(name, value);
        head
    }

    /// Splits the unfinished head for storage: into the head without the value of the header `name`, and that value. The
    /// value is empty if there is no such header.
    pub fn without_value(&self, name: &str) -> (Bytes, Bytes) {
        let Range { start, end } = self.find_value(name).unwrap_or_default();
        let head = [&self.0[..start], &self.0[end..]].concat();
        (head.into(), Bytes::copy_from_slice(&self.0[start..end]))
    }

    /// Returns the unfinished head.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the value of the first header of this name, trimmed.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.find_value(name).map(|range| &self.0[range])
    }

    /// Adds one header.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        write_header(&mut self.0, name, value);
    }

    /// Adds one header line as it came, with its CRLF.
    pub fn add_line(&mut self, line: &[u8]) {
        self.0.extend_from_slice(line);
    }

    /// Sets the value of the first header of this name at its place, or adds the header.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        match self.find_value(name) {
            Some(range) => drop(self.0.splice(range, value.iter().copied())),
            None => self.add(name, value),
        }
    }

    /// Returns the complete head for a body of `length` bytes, with its `Content-Length` and the blank line.
    pub fn finish(mut self, length: usize) -> Vec<u8> {
        // A `Content-Length` that came is that of the same body.
        if self.find_value("Content-Length").is_none() {
            self.add("Content-Length", length.to_string().as_bytes());
        }
        self.0.extend_from_slice(b"\r\n");
        self.0
    }

    /// Returns where the trimmed value of the first header of this name stands.
    fn find_value(&self, name: &str) -> Option<Range<usize>> {
        let mut at = memchr::memchr(b'\n', &self.0)? + 1;
        while let Some(length) = memchr::memchr(b'\n', &self.0[at..]) {
            let line = &self.0[at..at + length];
            let value = line.split_at_checked(name.len()).and_then(|(found, rest)| {
                rest.strip_prefix(b":").filter(|_| found.eq_ignore_ascii_case(name.as_bytes()))
            });
            if let Some(value) = value {
                let value = value.strip_suffix(b"\r").unwrap_or(value);
                let start = at + name.len() + 1 + (value.len() - value.trim_ascii_start().len());
                return Some(start..start + value.trim_ascii().len());
            }
            at += length + 1;
        }
        None
    }
}

/// Hides the content: a head holds passwords and cookies.
impl std::fmt::Debug for RequestHeadBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHeadBuilder").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

/// A request that is being sent.
pub(super) struct OutgoingRequest {
    /// The unsent part of the head, joined with a short body.
    head: Bytes,
    /// The unsent part of a long body.
    body: Bytes,
    /// The length of the whole request, in bytes.
    length: usize,
    /// Whether sending was given up before the end.
    abandoned: bool,
}

impl OutgoingRequest {
    pub(super) fn new(mut head: Vec<u8>, mut body: Bytes) -> Self {
        let length = head.len() + body.len();
        if body.len() <= MAX_JOINED_BODY {
            head.extend_from_slice(&body);
            body = Bytes::new();
        }
        Self { head: head.into(), body, length, abandoned: false }
    }

    /// Returns whether no byte has been sent.
    pub(super) fn is_untouched(&self) -> bool {
        self.unsent() == self.length
    }

    /// Returns the number of bytes that are still to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Returns whether every byte has been sent.
    pub(super) fn is_fully_sent(&self) -> bool {
        self.unsent() == 0 && !self.abandoned
    }

    /// Gives up sending the rest.
    pub(super) fn abandon(&mut self) {
        (self.head, self.body, self.abandoned) = (Bytes::new(), Bytes::new(), true);
    }

    /// Sends as much as one write takes.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut BackendStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // One vectored write for head and body, so that they leave in as few packets as possible.
        let mut both = (&mut self.head).chain(&mut self.body);
        pin!(stream.write_buf(&mut both)).poll(cx).map_ok(|_| ())
    }

    /// Sends as much as the first write takes, and waits for it.
    pub(super) async fn write_first(&mut self, stream: &mut BackendStream) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(stream, cx)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_head_is_what_goes_over_the_wire() {
        let mut head = RequestHeadBuilder::post(b"/webhooks/stripe?version=2", 0);
        head.add("Host", b"shop.example");
        head.add_line(b"x-a:b\r\n");
        assert_eq!(
            text(&head.finish(3)),
            "POST /webhooks/stripe?version=2 HTTP/1.1\r\nHost: shop.example\r\nx-a:b\r\nContent-Length: 3\r\n\r\n"
        );
    }

    #[test]
    fn a_length_that_came_stays_at_its_place() {
        let mut head = RequestHeadBuilder::post(b"/", 0);
        head.add_line(b"content-LENGTH:3\r\n");
        head.add("A", b"b");
        assert_eq!(text(&head.finish(3)), "POST / HTTP/1.1\r\ncontent-LENGTH:3\r\nA: b\r\n\r\n");
    }

    #[test]
    fn a_value_is_set_at_the_place_of_its_header() {
        for (line, set) in [
            ("Sig: old", "Sig: new"),
            ("sIG:old", "sIG:new"),
            ("sig: \t old \t", "sig: \t new \t"),
            ("Sig:", "Sig:new"),
            ("Sig: ", "Sig: new"),
        ] {
            let mut head = RequestHeadBuilder::post(b"/Sig:", 0);
            head.add_line(format!("{line}\r\nSigs: 1\r\nX: Sig: 2\r\n").as_bytes());
            head.set("Sig", b"new");
            let expected = format!("POST /Sig: HTTP/1.1\r\n{set}\r\nSigs: 1\r\nX: Sig: 2\r\n");
            assert_eq!(text(head.as_bytes()), expected, "{line:?}");
        }
        let mut head = RequestHeadBuilder::post(b"/", 0);
        head.set("Sig", b"new");
        assert_eq!(
            text(head.as_bytes()),
            "POST / HTTP/1.1\r\nSig: new\r\n",
            "it is added where there is none"
        );
    }

    #[test]
    fn a_stored_head_is_the_one_that_was_split() {
        for line in ["Sig: v1=a,v1=b", "sig:v1=a", "X: 1"] {
            let mut head = RequestHeadBuilder::post(b"/", 0);
            head.add_line(format!("A: b\r\n{line}\r\nC: d\r\n").as_bytes());
            let (stored, value) = head.without_value("Sig");
            assert_eq!(stored.len() + value.len(), head.as_bytes().len(), "nothing is stored twice");
            if value.is_empty() {
                assert_eq!(stored, head.as_bytes());
                continue;
            }
            let back = RequestHeadBuilder::from_stored(&stored, "Sig", &value);
            assert_eq!(text(back.as_bytes()), text(head.as_bytes()));
        }
    }

    #[test]
    fn debug_output_of_a_head_hides_its_content() {
        let mut head = RequestHeadBuilder::post(b"/", 0);
        head.add("Authorization", b"Basic hush");
        assert_eq!(format!("{head:?}"), "RequestHeadBuilder { bytes: 44, .. }");
    }
}
