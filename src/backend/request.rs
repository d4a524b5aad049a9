//! A request to the backend: the builder of its head, and the bytes on their way out. It knows whether any byte has left,
//! because only an untouched request may be sent on another connection.

use bytes::{Buf, Bytes};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt;

use super::stream::BackendStream;
use crate::http1::headers::write_header;

/// The longest body that is copied behind its head, in bytes, so that both leave in one buffer.
const MAX_JOINED_BODY: usize = 16 * 1024;

/// A request's head under construction, in the bytes that are sent.
///
/// Callers must pass names and values without line breaks: from parsed headers, or from checked text of our own.
#[derive(Debug)]
pub struct RequestHeadBuilder(Vec<u8>);

impl RequestHeadBuilder {
    /// Begins a head with the request line `POST <target> HTTP/1.1`.
    pub fn post(target: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(b"POST ");
        bytes.extend_from_slice(target);
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        Self(bytes)
    }

    /// Continues a head that [`as_bytes`](RequestHeadBuilder::as_bytes) returned earlier.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Returns the unfinished head, for storage.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds one header.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        write_header(&mut self.0, name, value);
    }

    /// Returns the complete head for a body of `length` bytes, with its `Content-Length` and the blank line.
    pub fn finish(mut self, length: usize) -> Vec<u8> {
        self.add("Content-Length", length.to_string().as_bytes());
        self.0.extend_from_slice(b"\r\n");
        self.0
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

    #[test]
    fn a_head_is_what_goes_over_the_wire() {
        let mut head = RequestHeadBuilder::post(b"/webhooks/stripe?version=2");
        head.add("Host", b"shop.example");
        assert_eq!(
            String::from_utf8(head.finish(3)).unwrap(),
            "POST /webhooks/stripe?version=2 HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\n"
        );
    }
}
