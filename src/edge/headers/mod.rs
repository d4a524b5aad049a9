//! The headers that concern Countersign on every route: `origin` says which peers are trusted and what the client's browser
//! sees, `strip` names the headers that no client may send, `forwarded` decides about `X-Forwarded-*`, `request_id`
//! about `X-Request-Id`, `hop_by_hop` knows what concerns one connection only, and `syntax` checks values that could name a
//! path. `rewrite` makes the head of a forwarded request from them, `delivery` that of a webhook.
//!
//! It touches no other header and knows no route. All of it is pure, so a delivery and a forwarded request say the same.

mod delivery;
mod forwarded;
mod hop_by_hop;
mod origin;
mod request_id;
mod rewrite;
mod strip;
mod syntax;

pub(super) use delivery::{delivery_head, unverified_head};
pub(super) use origin::{Origin, X_FORWARDED_FOR, peer_trusted};
pub(super) use request_id::RequestId;
pub(super) use rewrite::{RewrittenHead, rewrite};
