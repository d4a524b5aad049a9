//! The record of every event's state.
