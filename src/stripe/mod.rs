//! Stripe's contract, as pure functions: no I/O, no clock, no randomness. `stripe_api` makes the calls.
//!
//! - [`signature`]: the `Stripe-Signature` header: parse, verify, sign
//! - [`event`]: a verified event, the only thing that can be delivered
//! - `envelope`: the top-level members of an event
//! - `event_types`: the types of snapshot events, to tell misspelled ones
//! - `json`: the strict JSON reader that `envelope` uses
//! - [`form`]: parameters in Stripe's form encoding
//! - `locale`: the locales of Stripe's payment page
//! - `retry`: which API calls are retried, and after what delay
//! - `reference_envelope` (tests and fuzzing only): a second, slow reader of the envelope

mod envelope;
pub mod event;
pub(crate) mod event_types;
pub mod form;
mod json;
pub(crate) mod locale;
#[cfg(test)]
mod reference_envelope;
pub(crate) mod retry;
pub mod signature;
