//! The client of Stripe's API. It owns connections, retries and the limits on concurrent calls. It never logs the key or a
//! message of Stripe.
//!
//! - `client`: one call with its retries
//! - `transport`: the connections that survive a reload
//! - `concurrency`: the limits on concurrent calls, and on status polls apart from them
//! - `error`: why a call failed, and the error object of Stripe's responses

mod client;
mod concurrency;
mod error;
mod transport;

pub use client::{AccountHeader, Api, ApiConfig, CallResult};
pub use error::{ApiError, StripeError};
pub use transport::HttpTransport;
pub(crate) use transport::root_cause;
