//! Where a listener binds: a TCP address or a Unix socket, written as in Caddy. `[server]` and `[admin]` share it.
//! It opens nothing.

use super::reader::{InvalidValue, bare_host, decimal_port, unix_socket};
use std::fmt;
use std::path::PathBuf;

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address `host:port`; `:port` is every address (`[::]:port`, dual stack). Port 0 picks a free one.
    Tcp(String),
    /// A Unix socket: `unix//run/countersign.sock` or `unix//run/countersign.sock|0660`.
    Unix {
        /// The absolute path of the socket's file.
        path: PathBuf,
        /// The file's permissions. `None` leaves them to the umask.
        mode: Option<u32>,
    },
}

impl Listen {
    /// Parses `host:port`, `:port`, `unix//path` or `unix//path|mode`.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidValue> {
        let (address, mode) = match text.split_once('|') {
            Some((address, mode)) => (address, Some(mode)),
            None => (text, None),
        };
        if let Some(path) = unix_socket(address) {
            return Ok(Self::Unix { path: path?, mode: mode.map(socket_mode).transpose()? });
        }
        let invalid = || InvalidValue::expected(r#""host:port", ":port" or "unix//path""#);
        if text.contains("://") {
            return Err(invalid().help("remove the scheme"));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid().help(format!(
                "write \":{text}\" for every address, \"127.0.0.1:{text}\" for this machine only"
            )));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        if !host.is_empty() && bare_host(host).is_none() {
            return Err(invalid().help("write an IPv6 address in brackets: \"[::1]:8080\""));
        }
        match decimal_port(port) {
            Some(_) => Ok(Self::Tcp(text.to_owned())),
            None => Err(invalid().help("a port is a number from 0 to 65535; 0 picks a free one")),
        }
    }

    /// Returns host and port, or `None` for a Unix socket. The host has no brackets, and is blank for every address.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let Self::Tcp(address) = self else { return None };
        let (host, port) = address.rsplit_once(':')?;
        Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
    }
}

/// Parses the permissions of a socket's file, in octal.
fn socket_mode(text: &str) -> Result<u32, InvalidValue> {
    let octal = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        // Connecting needs write permission, and the owner must always be able to connect.
        Ok(mode @ 0o200..=0o777) if octal && mode & 0o200 != 0 => Ok(mode),
        Ok(_) | Err(_) => Err(InvalidValue::expected("\"unix//path|mode\"")
            .help("write the mode in octal and let the owner write: \"0660\" also lets the group connect")),
    }
}

/// Writes the address as the file spells it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix { path, mode: None } => write!(f, "unix/{}", path.display()),
            Self::Unix { path, mode: Some(mode) } => write!(f, "unix/{}|{mode:04o}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_written_as_in_caddy() {
        for text in [":8080", "127.0.0.1:0", "[::1]:9464", "localhost:65535", "my_host-1.example:1"] {
            assert_eq!(Listen::parse(text), Ok(Listen::Tcp(text.to_owned())), "{text}");
        }
        let unix = |mode| Ok(Listen::Unix { path: "/run/c.sock".into(), mode });
        for (text, mode) in [
            ("unix//run/c.sock", None),
            ("unix//run/c.sock|0200", Some(0o200)),
            ("unix//run/c.sock|0660", Some(0o660)),
            ("unix//run/c.sock|777", Some(0o777)),
        ] {
            assert_eq!(Listen::parse(text), unix(mode), "{text}");
        }
        for text in [
            "",
            ":",
            "8080",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "host:+1",
            "http://:8080",
            "::1:8080",
            "a b:80",
            "[x]:80",
            "[::1]",
            "unix/run/c.sock",
            "unix:/run/c.sock",
            "unix//run/c.sock|",
            "unix//run/c.sock|0",
            "unix//run/c.sock|0460",
            "unix//run/c.sock|0680",
            "unix//run/c.sock|+660",
            "unix//run/c.sock|1777",
            "unix//run/c.sock|00660",
            "unix//run/c.sock|0660|0660",
            ":8080|0660",
            "unix//",
        ] {
            Listen::parse(text).unwrap_err();
        }
        assert_eq!(
            Listen::parse("8080").unwrap_err().help,
            r#"write ":8080" for every address, "127.0.0.1:8080" for this machine only"#
        );
        Listen::parse(&format!("unix/{}", "/".repeat(107).replace("//", "/a"))).unwrap_err();
        Listen::parse(&format!("unix//{}", "a".repeat(106))).unwrap();
        Listen::parse(&format!("unix//{}", "a".repeat(107))).unwrap_err();
    }
}
