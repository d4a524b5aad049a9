//! The only floor that knows pingora.

pub mod forwarded;
pub mod path;
