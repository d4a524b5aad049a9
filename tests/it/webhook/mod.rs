//! A webhook from Stripe to the backend.
//!
//! - `smoke`: the shortest way through everything; if it fails, read it first
//! - `request_id`: the id of a request, at the backend and in the log
//! - `signatures`: which signatures hold, and what a forged webhook gets
//! - `delivery`: what arrives at the backend, and what Stripe gets back
//! - `headers`: the head of the request to the backend, in every delivery mode
//! - `exactly_once`: duplicates, and copies that arrive at the same time
//! - `hybrid_reserve`: first attempts of hybrid events beside a backlog
//! - `locations`: what tells a webhook: spellings, variable segments, queries that are taken
//! - `capacity`: how many webhooks are read and delivered inline at once
//! - `endpoint`: what the settings of one endpoint change
//! - `queued`: events that are stored first and delivered later

mod capacity;
mod delivery;
mod endpoint;
mod exactly_once;
mod headers;
mod hybrid_reserve;
mod locations;
mod queued;
mod request_id;
mod signatures;
mod smoke;
