//! The headers that concern Countersign on every route: `origin` tells the backend who the client is, `strip` names the
//! headers that no client may send, `syntax` checks values that could name a path, and `rewrite` makes the head of a
//! forwarded request from them.
//!
//! It touches no other header and knows no route. All of it is pure, so a delivery and a forwarded request say the same.

mod origin;
mod rewrite;
mod strip;
mod syntax;

pub(super) use origin::{Origin, X_FORWARDED_FOR, peer_trusted};
pub(super) use rewrite::{RewrittenHead, rewrite};
pub(super) use strip::{is_forwarding_header, is_stripped};
