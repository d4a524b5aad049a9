//! The outside view: every test here runs the real program on port 0, against backend doubles on real sockets,
//! and says what a caller, the backend or an operator sees. Test names are claims; the verbs are in [`harness`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop right there"
)]

mod chromium;
#[path = "../../examples/stripe/fake/mod.rs"]
mod fake_stripe;
mod front;
mod harness;

mod admin;
mod browser;
mod caddy;
mod checkout;
mod cli;
mod config;
mod crowd;
mod delivery;
mod demo;
mod endpoint;
mod events;
mod fake_stripe_api;
mod guard;
mod gunicorn;
mod house;
mod ledger;
mod ledger_faults;
mod limits;
mod once;
mod papers;
mod passthrough;
mod prometheus;
mod queued;
mod reconcile;
mod redis_faults;
mod replicas;
mod sdk;
mod sdk_kept;
mod sdk_requests;
mod signals;
mod smoke;
mod smuggling;
mod stack;
mod streaming;
mod stripe_cli;
mod upstream;
mod verify;
