//! The outside view: every test here runs the real program on port 0, against backend doubles on real sockets, and checks
//! what a caller, the backend or an operator sees. Test names are claims; the verbs are in [`harness`].
//!
//! One folder a concern: `webhook`, `checkout`, `proxy` (everything that is not a webhook), `ops` (command line, admin API,
//! signals), `packaging` (what users install), `ledger`, `external` (programs that are not ours), `meta` (the sources and
//! documents themselves).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop right there"
)]

#[path = "../../examples/stripe/fake/mod.rs"]
mod fake_stripe;
mod harness;
mod tools;

mod checkout;
mod external;
mod ledger;
mod meta;
mod ops;
mod packaging;
mod proxy;
mod webhook;
