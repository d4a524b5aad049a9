//! The only floor that knows pingora.

pub mod path;
