//! The Stripe contract: signatures, the event envelope, how parameters are written and when a call is made again, all of it
//! pure, without I/O and clock. `api` alone talks to Stripe.

pub mod api;
mod envelope;
pub mod event;
pub mod form;
mod json;
mod lanes;
#[cfg(test)]
mod oracle;
mod retry;
pub mod signature;
mod skip;
