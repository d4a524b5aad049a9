//! A request on its way through pingora: the head that the backend gets, and the outline of it that pingora reads.
//!
//! pingora's parser and header maps change a head and refuse what a backend may well take: quotes in a target, more than 256
//! headers, an `Upgrade` that is no WebSocket. So pingora gets an outline, which says only what it has to know, and the
//! backend's connection writes the real head in place of it.

use bytes::{Bytes, BytesMut};
use std::sync::Arc;

use super::form_check::FormCheck;
use super::response_watch::ResponseNotes;
use crate::edge::headers::RewrittenHead;
use crate::http1::accept;
use crate::http1::framing::{Framing, HttpVersion};
use crate::http1::head::RequestHead;

/// Room for most outlines.
const TYPICAL_OUTLINE: usize = 96;

/// A request that is ready to be forwarded.
#[derive(Debug)]
pub(in crate::edge) struct ForwardedRequest {
    /// What pingora reads as the request's head.
    pub(super) outline: BytesMut,
    /// How the end of the body is found.
    pub(super) framing: Framing,
    /// What the backend gets as the head.
    pub(super) head: Bytes,
    /// The check of the request's form, if it has one.
    pub(super) form: Option<FormCheck>,
    /// The notes about the response to the last attempt.
    pub(super) notes: Arc<ResponseNotes>,
}

impl ForwardedRequest {
    /// Creates the request from its head as it came and as it goes out. `form` checks the body if it is a form that may tell a
    /// webhook.
    pub(in crate::edge) fn new(
        head: &RequestHead,
        rewritten: RewrittenHead,
        form: Option<FormCheck>,
    ) -> Self {
        Self {
            outline: outline(head, rewritten.is_upgrade),
            framing: head.framing(),
            head: rewritten.head,
            form,
            // HTTP/1.0 knows no interim responses.
            notes: Arc::new(ResponseNotes::new(head.version() != HttpVersion::Http10)),
        }
    }

    /// Returns true if the client prefers an HTML page to JSON.
    pub(super) fn prefers_html(&self) -> bool {
        // Only a failure asks for it, so nothing is kept for it.
        RequestHead::parse(BytesMut::from(&self.head[..]))
            .is_ok_and(|head| accept::prefers_html(&head.values("accept").collect::<Vec<_>>()))
    }
}

/// Writes a head with the method, the version and the framing of a request, and with what it says about its connection.
fn outline(head: &RequestHead, is_upgrade: bool) -> BytesMut {
    let mut outline = BytesMut::with_capacity(TYPICAL_OUTLINE);
    outline.extend_from_slice(head.method());
    let is_old = head.version() == HttpVersion::Http10;
    outline.extend_from_slice(if is_old {
        b" / HTTP/1.0\r\nHost: a\r\n"
    } else {
        b" / HTTP/1.1\r\nHost: a\r\n"
    });
    match head.framing() {
        Framing::Length(0) => {}
        Framing::Length(length) => {
            outline.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes())
        }
        Framing::Chunked => outline.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    // pingora opens a tunnel for no other protocol. Which one it is, backend and client agree on.
    outline.extend_from_slice(match (is_upgrade, head.keep_alive()) {
        (true, true) => b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        (true, false) => b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n",
        (false, true) if is_old => b"Connection: keep-alive\r\n",
        (false, true) => b"",
        (false, false) => b"Connection: close\r\n",
    });
    outline.extend_from_slice(b"\r\n");
    outline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_says_what_pingora_has_to_know_and_no_more() {
        let table = [
            ("GET /x?\" HTTP/1.1\r\nHost: shop\r\nCookie: a=b\r\n", false, "GET / HTTP/1.1\r\nHost: a\r\n"),
            (
                "PUT /x HTTP/1.1\r\nHost: b\r\nContent-Length: 7\r\nConnection: close\r\n",
                false,
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nConnection: close\r\n",
            ),
            (
                "X-Y /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
                false,
                "X-Y / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
            ),
            (
                "GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n",
                false,
                "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n",
            ),
            ("GET /x HTTP/1.0\r\n", false, "GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n"),
            (
                "GET /x HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n",
                true,
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            ),
        ];
        for (head, is_upgrade, expected) in table {
            let head = RequestHead::parse(BytesMut::from(format!("{head}\r\n").as_bytes())).unwrap();
            assert_eq!(outline(&head, is_upgrade), format!("{expected}\r\n").as_bytes());
        }
    }
}
