//! `[server]`: the public listener that Caddy forwards to, and its limits.

use super::listen::Listen;
use super::reader::{InvalidValue, Section, duration, timeout};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The largest limit of connections or webhooks. It is far above what one process can hold open.
const MAX_LIMIT: u64 = 1_000_000;

/// The smallest `max_head`, in bytes: most requests of browsers fit.
const MIN_HEAD: u64 = 4 << 10;
/// The largest `max_head`, in bytes. Each connection may hold one in memory.
const MAX_HEAD: u64 = 256 << 10;

/// The section `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// The address of the public listener. Defaults to `:8080`. A change needs a restart.
    pub listen: Listen,
    /// Peers whose `X-Forwarded-*` headers are trusted and pass unchanged. Defaults to Caddy's `private_ranges`. A peer on a
    /// Unix socket is always trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The longest head of a request, in bytes. A longer one gets 431. Defaults to 64 KiB.
    pub max_head: usize,
    /// The time limit for the whole head of a request, from its first byte. Defaults to 10 seconds.
    pub header_timeout: Duration,
    /// The time for which a connection may idle between two requests. Defaults to 60 seconds.
    pub idle_timeout: Duration,
    /// How long a request that passes through may wait for the next bytes of its body. Defaults to 10 minutes.
    pub passthrough_read_timeout: Duration,
    /// How long a TCP connection is silent before the kernel asks whether its peer is still there. Defaults to 30 seconds.
    pub tcp_keepalive: Duration,
    /// The maximum of open connections. For one more, an idle one is closed, or it gets 503. Defaults to 4096.
    pub max_connections: usize,
    /// The maximum of requests passing through at once. One more gets 503. The rest of `max_connections` is a reserve for
    /// webhooks and the checkout. 0 in the file, the default, is three quarters of `max_connections`.
    pub max_passthrough: usize,
    /// The maximum of webhooks being read, stored or delivered inline. One more gets 503. Defaults to 256.
    pub max_webhooks: usize,
    /// The time that work in progress may take after SIGTERM. Defaults to 35 seconds.
    pub shutdown_grace: Duration,
}

impl ServerConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let listen = section.text("listen", ":8080", Listen::parse);
        let trusted_proxies = section.list("trusted_proxies", &["private_ranges"], networks);
        let max_head = section.size("max_head", 64 << 10, MIN_HEAD..=MAX_HEAD);
        let header_timeout = section.text("header_timeout", "10s", timeout);
        let idle_timeout = section.text("idle_timeout", "60s", timeout);
        let passthrough_read_timeout = section.text("passthrough_read_timeout", "10m", timeout);
        let tcp_keepalive = section.text("tcp_keepalive", "30s", keepalive);
        let max_connections = section.integer("max_connections", 4096, 1..=MAX_LIMIT);
        let max_passthrough = section.integer("max_passthrough", 0, 0..=MAX_LIMIT);
        let max_webhooks = section.integer("max_webhooks", 256, 1..=MAX_LIMIT);
        let shutdown_grace = section.text("shutdown_grace", "35s", timeout);
        let max_connections = usize::try_from(max_connections?).ok()?;
        let max_passthrough = match usize::try_from(max_passthrough?).ok()? {
            0 => passthrough_share(max_connections),
            max => max,
        };
        Some(Self {
            listen: listen?,
            trusted_proxies: trusted_proxies?.into_iter().flatten().collect(),
            max_head: usize::try_from(max_head?).ok()?,
            header_timeout: header_timeout?,
            idle_timeout: idle_timeout?,
            passthrough_read_timeout: passthrough_read_timeout?,
            tcp_keepalive: tcp_keepalive?,
            max_connections,
            max_passthrough,
            max_webhooks: usize::try_from(max_webhooks?).ok()?,
            shutdown_grace: shutdown_grace?,
        })
    }

    /// Lowers `max_connections` to `max`, if it is higher, and `max_passthrough` so that a quarter stays in reserve. Returns
    /// whether it did.
    pub fn lower_max_connections(&mut self, max: usize) -> bool {
        let lowers = self.max_connections > max;
        if lowers {
            self.max_connections = max;
            self.max_passthrough = self.max_passthrough.min(passthrough_share(max));
        }
        lowers
    }
}

/// Returns the connections that may carry requests passing through, unless the file says otherwise.
fn passthrough_share(max_connections: usize) -> usize {
    (max_connections * 3 / 4).max(1)
}

/// Parses the silence before a keep-alive probe. Linux takes no more than 32,767 seconds.
fn keepalive(text: &str) -> Result<Duration, InvalidValue> {
    duration(text, Duration::from_secs(1)..=Duration::from_secs(9 * 60 * 60), "1s to 9h")
}

/// Parses a network, an address, or `private_ranges` for Caddy's list.
fn networks(text: &str) -> Result<Vec<IpNet>, InvalidValue> {
    if text == "private_ranges" {
        return Ok(private_ranges().to_vec());
    }
    let network = match text.parse::<IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    };
    network.map(|network| vec![network]).ok_or_else(|| {
        InvalidValue::expected(r#""private_ranges", an address or a network"#)
            .help(r#"write a network as in "10.0.0.0/8" or "fd00::/8"; host names are not resolved here"#)
    })
}

/// Returns the `private_ranges` of Caddy's `trusted_proxies`
/// (<https://caddyserver.com/docs/caddyfile/options#trusted-proxies>).
fn private_ranges() -> [IpNet; 6] {
    let v4 = |a, b, c, d, prefix| IpNet::new_assert(Ipv4Addr::new(a, b, c, d).into(), prefix);
    [
        v4(192, 168, 0, 0, 16),
        v4(172, 16, 0, 0, 12),
        v4(10, 0, 0, 0, 8),
        v4(127, 0, 0, 0, 8),
        IpNet::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
        IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_ranges_or_caddys_list() {
        let list: Vec<_> = networks("private_ranges").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            list,
            ["192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1/128"]
        );
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(networks(text).unwrap()[0].to_string(), expected);
        }
        for text in ["", "caddy", "10.0.0.0/33", "private"] {
            networks(text).unwrap_err();
        }
    }
}
