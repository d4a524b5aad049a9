//! The promise: an acknowledged event reaches the backend, and two requests for one event are never open at the same
//! time. `crash` kills the program at each transition of the protocol (with the feature `failpoints`), `soak` kills
//! it at random under load (by `make soak`), and `model` explores all states of a model. `backend` and `sender` are
//! the doubles of the two ends.

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
