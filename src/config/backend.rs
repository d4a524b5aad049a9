//! `[backend]`: the app behind us.

use super::section::Section;
use super::units;
use std::fmt;
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
pub struct BackendConfig {
    /// Where the app listens. Default `http://backend:8081`.
    pub url: BackendUrl,
    /// To connect, deliveries and passed-through requests alike. Default 2 s.
    pub connect_timeout: Duration,
    /// For a delivery once it is connected, the whole answer included. Default 30 s.
    pub response_timeout: Duration,
    /// How long an idle connection is kept; keep it below the app's own keep-alive. Default 4 s.
    pub idle_timeout: Duration,
}

impl BackendConfig {
    pub(super) fn read(section: &mut Section) -> Option<BackendConfig> {
        let url = section.text("url", "{$BACKEND_URL:http://backend:8081}", units::backend_url);
        let connect_timeout = section.text("connect_timeout", "2s", units::timeout);
        let response_timeout = section.text("response_timeout", "30s", units::timeout);
        let idle_timeout = section.text("idle_timeout", "4s", units::timeout);
        Some(BackendConfig {
            url: url?,
            connect_timeout: connect_timeout?,
            response_timeout: response_timeout?,
            idle_timeout: idle_timeout?,
        })
    }
}

/// As it is written in the file.
impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendUrl::Http { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            BackendUrl::Http { host, port } => write!(f, "http://{host}:{port}"),
            BackendUrl::Unix(path) => write!(f, "unix/{}", path.display()),
        }
    }
}
