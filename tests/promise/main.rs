//! The promise: an acknowledged event reaches the backend, and two requests for one event are never open at the same
//! time. `crash` kills the program at each transition of the protocol (with the feature `failpoints`), `chaos` causes
//! faults of all kinds at random under load, and `model` explores all states of a model. `backend` and `sender` are the
//! doubles of the two ends.

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
mod chaos;
#[cfg(feature = "failpoints")]
mod crash;
mod model;
#[cfg(feature = "failpoints")]
mod sender;
