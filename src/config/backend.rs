//! `[backend]`: the program behind Countersign, to which webhooks are delivered and other requests are passed through.

use super::ca::CaCertificates;
use super::reader::{InvalidValue, Section, bare_host, decimal_port, duration, timeout, unix_socket};
use rustls::pki_types::ServerName;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The address of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendUrl {
    /// A TCP address `http://host:port`, without a path. The port defaults to 80.
    Http {
        /// A host name or an address. IPv6 addresses have no brackets.
        host: String,
        /// The port, never 0.
        port: u16,
    },
    /// A TCP address `https://host:port` of a TLS server, without a path. The port defaults to 443.
    Https {
        /// A host name or an address, for which the backend's certificate must be. IPv6 addresses have no brackets.
        host: String,
        /// The port, never 0.
        port: u16,
    },
    /// The absolute path of a Unix socket: `unix//run/app.sock`, as in Caddy.
    Unix(PathBuf),
}

/// The section `[backend]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendConfig {
    /// The addresses of the backend, in the order of the file. Each serves every request. Defaults to
    /// `http://backend:8081` alone. There is at least one.
    pub urls: Vec<BackendUrl>,
    /// The authorities that an `https://` backend's certificate may be from. `None`, the default, means the system's.
    pub ca: Option<CaCertificates>,
    /// The time limit for connecting, for deliveries and passed-through requests alike. Defaults to 2 seconds.
    pub connect_timeout: Duration,
    /// The time for which a request is tried again while the backend refuses connections or its name does not resolve.
    /// Defaults to 3 seconds; zero tries once.
    pub connect_retry: Duration,
    /// The time limit for a delivery on an open connection, including the whole response. Defaults to 30 seconds.
    pub response_timeout: Duration,
    /// The time for which an idle connection stays pooled. Defaults to 4 seconds. It must be shorter than the backend's
    /// own keep-alive.
    pub idle_timeout: Duration,
}

impl BackendConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let urls = section.one_or_more("url", "{$BACKEND_URL:http://backend:8081}", BackendUrl::parse);
        let ca = section.text("ca", "", CaCertificates::parse);
        let has_tls = |urls: &Vec<_>| urls.iter().any(|url| matches!(url, BackendUrl::Https { .. }));
        if matches!(&ca, Some(Some(_))) && urls.as_ref().is_some_and(|urls| !has_tls(urls)) {
            section.report(
                "ca",
                "certificates",
                "no value",
                "ca is for a backend with TLS: write https:// in url",
            );
        }
        let connect_timeout = section.text("connect_timeout", "2s", timeout);
        let connect_retry = section.text("connect_retry", "3s", |text| {
            duration(text, Duration::ZERO..=MAX_CONNECT_RETRY, "0s to 60s")
        });
        let response_timeout = section.text("response_timeout", "30s", timeout);
        let idle_timeout = section.text("idle_timeout", "4s", timeout);
        Some(Self {
            urls: urls?,
            ca: ca?,
            connect_timeout: connect_timeout?,
            connect_retry: connect_retry?,
            response_timeout: response_timeout?,
            idle_timeout: idle_timeout?,
        })
    }
}

impl BackendConfig {
    /// Returns the addresses as one text.
    pub fn url_list(&self) -> String {
        self.urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The longest `connect_retry`: callers do not wait longer than this.
const MAX_CONNECT_RETRY: Duration = Duration::from_secs(60);

impl BackendUrl {
    /// Parses `http://host:port`, `https://host:port`, both also without a port, or `unix//path`. One slash at the end of a URL is ignored.
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        if let Some(path) = unix_socket(text) {
            return path.map(BackendUrl::Unix);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let help = match text.is_empty() {
                true => "set the address on which the backend listens",
                false => "start it with http:// or https://",
            };
            return Err(invalid_url().help(help));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        match scheme {
            "http" => parse_authority(authority, 80).map(|(host, port)| Self::Http { host, port }),
            "https" => {
                let (host, port) = parse_authority(authority, 443)?;
                if ServerName::try_from(host.as_str()).is_err() {
                    return Err(invalid_url().help("no certificate can be for this host name"));
                }
                Ok(Self::Https { host, port })
            }
            "h2c" => Err(invalid_url().help("Countersign speaks HTTP/1.1 to the backend: write http://")),
            _ => Err(invalid_url()),
        }
    }
}

/// Parses `host` or `host:port` into the host without brackets and the port.
fn parse_authority(authority: &str, default_port: u16) -> Result<(String, u16), InvalidValue> {
    if authority.contains('@') {
        return Err(invalid_url()
            .found("a URL with a user name")
            .help("remove it: credentials for the backend are not supported"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(invalid_url().help(
                "remove everything after the port: requests keep their own path; to change it, use Caddy's rewrite",
            ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of "[::1]" is part of the address.
        Some((host, port)) if !port.ends_with(']') => (host, decimal_port(port).filter(|port| *port != 0)),
        Some(_) | None => (authority, Some(default_port)),
    };
    let host = bare_host(host).ok_or_else(invalid_url)?;
    let port = port.ok_or_else(|| invalid_url().help("a port is a number from 1 to 65535"))?;
    Ok((host.to_owned(), port))
}

fn invalid_url() -> InvalidValue {
    InvalidValue::expected(r#""http://host:port", "https://host:port" or "unix//path""#)
}

/// Writes the address as the file spells it.
impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Https { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix/{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_http_https_or_a_socket_without_a_path() {
        let http = |host: &str, port| Ok(BackendUrl::Http { host: host.to_owned(), port });
        let https = |host: &str, port| Ok(BackendUrl::Https { host: host.to_owned(), port });
        for (text, expected) in [
            ("http://backend:8081", http("backend", 8081)),
            ("http://backend:8081/", http("backend", 8081)),
            ("http://backend", http("backend", 80)),
            ("http://10.0.0.1:1", http("10.0.0.1", 1)),
            ("http://[::1]:81", http("::1", 81)),
            ("http://[::1]", http("::1", 80)),
            ("https://shop.example", https("shop.example", 443)),
            ("https://my_backend:8443/", https("my_backend", 8443)),
            ("https://10.0.0.1:1", https("10.0.0.1", 1)),
            ("https://[::1]", https("::1", 443)),
            ("unix//run/app.sock", Ok(BackendUrl::Unix("/run/app.sock".into()))),
        ] {
            assert_eq!(BackendUrl::parse(text), expected, "{text}");
        }
        let help = |text: &str| BackendUrl::parse(text).unwrap_err().help;
        for (text, expected) in [
            ("", "set the address on which the backend listens"),
            ("backend:8081", "start it with http:// or https://"),
            ("https://-", "no certificate can be for this host name"),
            ("http://backend:0", "a port is a number from 1 to 65535"),
            ("http://backend:99999", "a port is a number from 1 to 65535"),
            ("h2c://backend", "Countersign speaks HTTP/1.1 to the backend: write http://"),
            ("http://", ""),
            ("http://:80", ""),
            ("http://a b", ""),
            ("http://::1", ""),
            ("ftp://backend", ""),
            ("http://u:p@backend", "remove it: credentials for the backend are not supported"),
        ] {
            assert_eq!(help(text), expected, "{text}");
        }
        for text in ["http://b/x", "http://b?x", "http://b#x", "http://b//"] {
            assert!(help(text).starts_with("remove everything after the port"), "{text}");
        }
    }
}
