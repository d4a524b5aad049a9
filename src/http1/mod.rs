//! As much of HTTP/1.1 as webhooks and orders need, pure: heads and the chunked coding. What passes through
//! is pingora's.

pub mod chunked;
pub mod head;
