//! `[admin]`: the listener for health and metrics.

use super::Listen;

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Where to listen. Default `127.0.0.1:9464`.
    pub listen: Listen,
}
