//! The Stripe contract: signatures, the event envelope, how parameters are written and when a call is made again, all of it
//! pure, without I/O and clock. `api` alone talks to Stripe.

mod envelope;
pub mod event;
pub mod form;
mod json;
#[cfg(test)]
mod oracle;
pub(crate) mod retry;
pub mod signature;
mod skip;
