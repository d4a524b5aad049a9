//! HTTP/1 syntax without I/O: `head` (a request's head, parsed once), `framing` (what its lines say about the request as a
//! whole), `headers` (what a header line may hold), `chunked` (the chunked transfer coding) and `accept` (content
//! negotiation).
//!
//! It never decides what a request means to Countersign, and it knows no route.

pub mod accept;
pub mod chunked;
pub mod framing;
pub mod head;
pub mod headers;
