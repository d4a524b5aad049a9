//! Black-box tests: one binary, through the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod cli;
mod config;
