//! As much of HTTP/1.1 as the webhook path speaks by itself, pure: heads and the chunked coding. What passes through
//! is pingora's.

pub mod chunked;
pub mod head;
