//! What an operator sees and does.
//!
//! - `admin`: health, metrics and the admin listener
//! - `advice`: what an operator is told to do about an event in each state
//! - `cli`: the command line, verb by verb
//! - `config`: the golden files in `tests/config`
//! - `events`: the events API, and the verb that calls it
//! - `imports`: the head of an imported event, from `url` and from the last webhook
//! - `inherited_sockets`: sockets that systemd passes, and a process that stands by on them
//! - `logging`: a log that nobody reads, whose reader is gone, or whose disk is full
//! - `process_manager`: what systemd is told of the program's state
//! - `reconcile`: events that Stripe has and the ledger lacks
//! - `reconcile_lost`: events that the ledger lost, or that died with their process
//! - `reconcile_lists`: the lists of connected accounts and of thin events; the output for scripts
//! - `signals`: shutdown on SIGTERM, reload on SIGHUP

mod admin;
mod advice;
mod cli;
mod config;
pub mod events;
mod imports;
mod inherited_sockets;
mod logging;
mod process_manager;
pub mod reconcile;
mod reconcile_lists;
mod reconcile_lost;
mod signals;
