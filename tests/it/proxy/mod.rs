//! The reverse proxy: everything about a connection and a request that is not the webhook itself.
//!
//! - `descriptors`: the limit of open files, and what works at it
//! - `forwarded`: who the client is, by `X-Forwarded-*`
//! - `front_controller`: webhooks that a query tells apart from pages
//! - `guard`: no spelling of a webhook path passes unverified
//! - `keepalive`: clients and backends that are gone without a word
//! - `limits`: heads and bodies that are too large, too slow or malformed
//! - `names`: a backend whose name ceases to exist, or whose name server fails
//! - `overload`: more connections and webhooks than are allowed at once
//! - `passthrough`: requests and responses that pass unchanged
//! - `smuggling`: requests that two parsers could read in two ways
//! - `streaming`: long responses, uploads and upgraded connections
//! - `tls`: a backend with TLS, and what happens if its certificate is not valid
//! - `unguarded`: webhooks on a path that is not configured
//! - `upstream`: how the backend is reached, and what happens while it is not

mod descriptors;
mod forwarded;
mod front_controller;
mod guard;
mod keepalive;
mod limits;
mod names;
mod overload;
mod passthrough;
mod smuggling;
mod streaming;
mod tls;
mod unguarded;
mod upstream;
