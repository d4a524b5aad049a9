//! The Stripe contract, pure: signatures and the event envelope. No I/O, no clock.

mod envelope;
pub mod event;
mod json;
#[cfg(test)]
mod oracle;
pub mod signature;
mod skip;
