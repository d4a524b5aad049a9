//! What every connection of the public listener keeps within. It enforces nothing.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The limits that all connections of a listener share.
#[derive(Debug)]
pub struct Limits {
    /// The longest head of a request, in bytes.
    pub max_head: usize,
    /// For the whole head of a request, from its first byte. Before the first request it counts from the accept.
    pub header_timeout: Duration,
    /// For the time between two requests.
    pub idle_timeout: Duration,
    /// Cancelled when the program begins to drain.
    pub drain: CancellationToken,
}
