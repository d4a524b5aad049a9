//! `Stripe-Signature`: parse, verify, sign.
