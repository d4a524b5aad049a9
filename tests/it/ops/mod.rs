//! What an operator sees and does.
//!
//! - `admin`: health, metrics and the admin listener
//! - `advice`: what an operator is told to do about an event in each state
//! - `cli`: the command line, verb by verb
//! - `config`: the golden files in `tests/config`
//! - `events`: the events API, and the verb that calls it
//! - `logging`: a log that nobody reads, whose reader is gone, or whose disk is full
//! - `reconcile`: events that Stripe has and the ledger lacks
//! - `signals`: shutdown on SIGTERM, reload on SIGHUP

mod admin;
mod advice;
mod cli;
mod config;
pub mod events;
mod logging;
mod reconcile;
mod signals;
