//! The reverse proxy: everything about a connection and a request that is not the webhook itself.
//!
//! - `descriptors`: the limit of open files, and what works at it
//! - `differential`: mutated heads, for the program and for pingora's reader
//! - `faults`: either side fails in the middle of an exchange
//! - `forwarded`: who the client is, by `X-Forwarded-*`
//! - `front_controller`: webhooks that a query tells apart from pages
//! - `guard`: no spelling of a webhook path passes unverified
//! - `heads`: targets and headers that pass as they came, and heads that are refused
//! - `keepalive`: clients and backends that are gone without a word
//! - `limits`: heads and bodies that are too large, too slow or malformed
//! - `names`: a backend whose name ceases to exist, or whose name server fails
//! - `overload`: more connections and webhooks than are allowed at once
//! - `passthrough`: requests and responses that pass unchanged
//! - `pauses`: exchanges that are silent for longer than a minute
//! - `responses`: when the bytes of a response leave, and which of its headers and trailers pass
//! - `several`: several addresses of the backend, one of which leads nowhere
//! - `smuggling`: requests that two parsers could read in two ways
//! - `streaming`: long responses, uploads and upgraded connections
//! - `tls`: a backend with TLS, and what happens if its certificate is not valid
//! - `unguarded`: webhooks on a path that is not configured
//! - `upstream`: how the backend is reached, and what happens while it is not

mod descriptors;
mod differential;
mod faults;
mod forwarded;
mod front_controller;
mod guard;
mod heads;
mod keepalive;
mod limits;
mod names;
mod overload;
mod passthrough;
mod pauses;
mod responses;
mod several;
mod smuggling;
mod streaming;
mod tls;
mod unguarded;
mod upstream;
