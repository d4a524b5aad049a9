//! The Stripe contract, pure: signatures and the event envelope. No I/O, no clock.

pub mod event;
pub mod signature;
