//! The promise, put to the proof: an event that was acknowledged reaches the app, and never are two of our requests for one
//! event open at the same time. The program is killed at each transition of the protocol (`crash`, with the feature
//! `failpoints`), at random under load (`soak`, by `make soak`), and a model of the protocol is explored whole (`model`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop right there"
)]

#[allow(dead_code, unused_imports, reason = "the other suite uses the rest")]
#[path = "../it/harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the other suite uses the rest")]
#[path = "../it/tools.rs"]
mod tools;

mod backend;
#[cfg(feature = "failpoints")]
mod crash;
mod model;
mod sender;
mod soak;
