//! The client of Stripe's API. Owns connections, retries and the limit on concurrent calls; it never logs a key or a message of Stripe.
//!
//! - [`client`]: one call with its retries
//! - `concurrency`: the limit on calls that are open at once

mod client;
mod concurrency;

pub use client::*;
