//! Countersign: a reverse-proxy sidecar that verifies Stripe's webhooks at the edge and delivers each event once.
//!
//! The crate is layered: a module never imports from a higher layer. A test reads the imports of every file.
//!
//! | layer | modules | what they own |
//! |---|---|---|
//! | 5 | `main.rs`, [`cli`], [`app`] | arguments and exit codes; one command per file; the module that builds all concrete parts |
//! | 4 | [`edge`], [`admin`], [`logging`] | the public listener and its table of responses; health, metrics and the events API; the format of log lines |
//! | 3 | [`intake`], [`checkout`] | a webhook or an import: verify, claim, deliver or queue; an order and its Checkout Session |
//! | 2 | [`delivery`], [`endpoint`] | one attempt, the queues, the retry schedule; a configured endpoint in the running program: secrets, filter, limits |
//! | 1 | [`ledger`], [`backend`], [`stripe_api`], [`config`], [`socket`], [`descriptors`] | the state of every event; the HTTP client of the backend; the client of Stripe's API; the configuration; sockets, TCP or Unix; the limit of open files |
//! | 0 | [`guard`], [`stripe`], [`http1`], [`metrics`], [`outcome`], [`delivery_mode`], [`pattern`], [`use_count`], [`random`], [`hex`], [`clock`], [`failpoint`] | no I/O, no async, time is an argument |
//!
//! `docs/architecture.md` leads from a question to the function that answers it: the states of an event, threads, clocks,
//! and a walk through the code for each kind of request. It also lists the files that a new delivery mode or key touches.
//!
//! Where to find a rule:
//!
//! - [`stripe::signature`]: which signatures are valid; [`stripe::event`]: which payloads are events
//! - [`guard`]: which paths are spellings of a webhook path
//! - [`edge::response`]: the response to each outcome
//! - [`ledger`]: the states and leases of events; how duplicates are recognised
//! - [`delivery::retry_schedule`]: when a failed event is retried
//! - [`checkout::order`]: what can be ordered

// Tests and examples have no public surface, so these hold for the library alone.
#![warn(unreachable_pub, clippy::wildcard_enum_match_arm)]

pub mod admin;
pub mod app;
pub mod backend;
pub mod checkout;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod delivery_mode;
pub mod descriptors;
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
pub mod use_count;
