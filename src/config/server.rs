//! `[server]`: the listener that Caddy talks to, and its limits.

use super::section::Section;
use super::units;
use ipnet::IpNet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; `:port` is every address (`[::]:port`, dual stack). Port 0 takes a free one.
    Tcp(String),
    /// `unix//run/countersign.sock` or `unix//run/countersign.sock|0660`, as Caddy writes them.
    Unix {
        /// The socket's file.
        path: PathBuf,
        /// Its permissions; without, what the umask leaves.
        mode: Option<u32>,
    },
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where to listen. Default `:8080`.
    pub listen: Listen,
    /// Peers whose `X-Forwarded-*` is believed and extended. `private_ranges` stands for Caddy's list of them. A peer on a Unix socket is always trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// For the whole head of a request, from its first byte. Default 10 s.
    pub header_timeout: Duration,
    /// How long a kept-alive connection may idle between requests. Default 60 s.
    pub idle_timeout: Duration,
    /// Open connections at most; further ones get 503. Default 4096.
    pub max_connections: usize,
    /// Webhooks being read or delivered at most; further ones get 503. Default 256.
    pub max_webhooks: usize,
    /// How long in-flight work may take after SIGTERM. Default 35 s.
    pub shutdown_grace: Duration,
}

/// Far above what one process can hold open.
const MOST: u64 = 1_000_000;

impl ServerConfig {
    pub(super) fn read(section: &mut Section) -> Option<ServerConfig> {
        let listen = section.text("listen", ":8080", units::listen);
        let trusted_proxies = section.list("trusted_proxies", &["private_ranges"], units::networks);
        let header_timeout = section.text("header_timeout", "10s", units::timeout);
        let idle_timeout = section.text("idle_timeout", "60s", units::timeout);
        let max_connections = section.whole("max_connections", 4096, 1..=MOST);
        let max_webhooks = section.whole("max_webhooks", 256, 1..=MOST);
        let shutdown_grace = section.text("shutdown_grace", "35s", units::timeout);
        Some(ServerConfig {
            listen: listen?,
            trusted_proxies: trusted_proxies?.into_iter().flatten().collect(),
            header_timeout: header_timeout?,
            idle_timeout: idle_timeout?,
            max_connections: usize::try_from(max_connections?).ok()?,
            max_webhooks: usize::try_from(max_webhooks?).ok()?,
            shutdown_grace: shutdown_grace?,
        })
    }
}

impl Listen {
    /// Host, without brackets and blank for every address, and port; `None` for a Unix socket.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let Listen::Tcp(address) = self else { return None };
        let (host, port) = address.rsplit_once(':')?;
        Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
    }
}

/// As it is written in the file.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => f.write_str(address),
            Listen::Unix { path, mode: None } => write!(f, "unix/{}", path.display()),
            Listen::Unix { path, mode: Some(mode) } => write!(f, "unix/{}|{mode:04o}", path.display()),
        }
    }
}
