//! The sources and documents themselves.
//!
//! - `architecture`: layers, import cycles, sizes and names in `src`
//! - `docs`: what the documents say of files, links and variables
//! - `stack`: what the container stack's files repeat from the configuration

mod architecture;
mod docs;
mod stack;
