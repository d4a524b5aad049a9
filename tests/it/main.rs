//! The suite: one binary, a file for each part of the house.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod ledger;
