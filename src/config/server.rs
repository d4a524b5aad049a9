//! `[server]`: the listener that Caddy talks to, and its limits.

use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; `:port` is every address (`[::]:port`, dual stack). Port 0 takes a free one.
    Tcp(String),
    /// `unix//run/countersign.sock`, as Caddy writes it.
    Unix(PathBuf),
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
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
