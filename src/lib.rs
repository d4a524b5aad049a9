//! Countersign: a reverse-proxy sidecar that lets no Stripe webhook reach the app unless its signature holds.
//!
//! The house has floors, and imports go to lower floors only (`tests/house.rs` holds it to that):
//!
//! | floor | room | what it owns |
//! |---|---|---|
//! | 5 | `main.rs`, [`cli`], [`app`] | arguments and exit codes; one verb a file; the only file that names every concrete part |
//! | 4 | [`edge`] | everything that knows pingora: connections, routes, the guard, THE table of answers |
//! | 4 | [`admin`] | health, metrics, the events API |
//! | 4 | [`worker`] | kept events: leases what is due and has it delivered |
//! | 4 | [`logging`] | whose log lines are written, and in which shape |
//! | 3 | [`intake`] | a webhook: verify, admit, hand on, say what became of it |
//! | 3 | [`checkout`] | an order: what may be bought, by whom, and the session at Stripe that comes of it |
//! | 2 | [`courier`] | one leased event → backend → settled |
//! | 1 | [`ledger`], [`backend`], [`endpoint`], [`socket`] | what was seen and what was applied; the HTTP client to the app; one guarded path at work; sockets, TCP or Unix |
//! | 0 | [`stripe`], [`http1`], [`config`], [`metrics`], [`outcome`], [`schedule`], [`clock`], [`crash`] | no I/O beyond reading a file, no async, time is an argument; only `stripe::api` talks to somebody |
//!
//! Where a rule lives: signatures in [`stripe::signature`], the envelope in [`stripe::event`], what each caller
//! gets in [`edge::reply`], what may be ordered in [`checkout::order`], the path guard in [`edge::path`], states and leases in [`ledger`].

pub mod admin;
pub mod app;
pub mod backend;
pub mod checkout;
pub mod cli;
pub mod clock;
pub mod config;
pub mod courier;
pub mod crash;
pub mod edge;
pub mod endpoint;
pub mod http1;
pub mod intake;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod outcome;
pub mod schedule;
pub mod socket;
pub mod stripe;
pub mod worker;
