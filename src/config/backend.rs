//! `[backend]`: the app behind us.

use std::path::PathBuf;
use std::time::Duration;

/// Where the app listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendUrl {
    /// `http://host:port` (port 80 if none is given), without a path.
    Http {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix//run/app.sock`, as Caddy writes it.
    Unix(PathBuf),
}

/// `[backend]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Where the app listens. Default `http://backend:8081`.
    pub url: BackendUrl,
    /// To connect, deliveries and passed-through requests alike. Default 2 s.
    pub connect_timeout: Duration,
    /// From a delivery's last byte sent to the whole answer; deliveries only. Default 30 s.
    pub response_timeout: Duration,
    /// How long an idle connection is kept; keep it below the app's own keep-alive. Default 4 s.
    pub idle_timeout: Duration,
}
