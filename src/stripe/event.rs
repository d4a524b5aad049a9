//! The event envelope, and the proof that one was verified.
