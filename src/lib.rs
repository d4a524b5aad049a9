//! Countersign: a reverse-proxy sidecar that lets no Stripe webhook reach the backend unless its signature is valid.
//!
//! The crate is layered: a module may only import from lower layers. An architecture test reads every file's imports.
//!
//! | layer | modules | what they own |
//! |---|---|---|
//! | 5 | `main.rs`, [`cli`], [`app`] | arguments and exit codes; one verb a file; the only module that names every concrete part |
//! | 4 | [`edge`], [`admin`], [`logging`] | the public listener and its table of responses; health, metrics and the events API; the format of log lines |
//! | 3 | [`intake`], [`checkout`] | a webhook or an import: verify, claim, hand on; an order and its Checkout Session |
//! | 2 | [`delivery`], [`endpoint`] | one attempt, the queues, the retry schedule; a configured webhook at work: secrets, filter, limits, slots |
//! | 1 | [`ledger`], [`backend`], [`stripe_api`], [`config`], [`socket`] | the state of every event; the HTTP client of the backend; the client of Stripe's API; the configuration; sockets, TCP or Unix |
//! | 0 | [`guard`], [`stripe`], [`http1`], [`metrics`], [`outcome`], [`delivery_mode`], [`pattern`], [`random`], [`hex`], [`clock`], [`failpoint`] | no I/O, no async, time is an argument |
//!
//! Where a rule lives: signatures in [`stripe::signature`], the envelope in [`stripe::event`], what each caller
//! gets in [`edge::reply`], what may be ordered in [`checkout::order`], the path guard in [`guard`], states and leases in
//! [`ledger`], when a failed event is tried again in [`delivery::retry_schedule`].

pub mod admin;
pub mod app;
pub mod backend;
pub mod checkout;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod delivery_mode;
pub mod edge;
pub mod endpoint;
pub mod failpoint;
pub mod guard;
pub mod hex;
pub mod http1;
pub mod intake;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod outcome;
pub mod pattern;
pub mod random;
pub mod socket;
pub mod stripe;
pub mod stripe_api;
