//! How single values are written: durations, sizes, words, addresses. Pure: text to value, or what was expected
//! instead. It knows no keys and no files.

use super::{BackendUrl, LedgerUrl, Listen, RedisUrl};
use ipnet::IpNet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A value that is not what its key takes.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong {
    /// What to show instead of the value itself, where the value would not help or must not be shown.
    pub found: Option<String>,
    /// What is expected.
    pub expected: String,
    /// What to do about it; may be empty.
    pub help: String,
}

impl Wrong {
    pub(super) fn expected(what: impl Into<String>) -> Wrong {
        Wrong { found: None, expected: what.into(), help: String::new() }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Wrong {
        self.help = help.into();
        self
    }

    pub(super) fn found(mut self, found: impl Into<String>) -> Wrong {
        self.found = Some(found.into());
        self
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A time-out: from a millisecond to a day. The upper end keeps sums of them far from overflowing.
pub(super) fn timeout(text: &str) -> Result<Duration, Wrong> {
    duration(text, Duration::from_millis(1)..=DAY, "1ms to 1d")
}

/// A tolerance in whole seconds, which is what a signature's timestamp counts in: from a second to a day.
pub(super) fn tolerance(text: &str) -> Result<Duration, Wrong> {
    let tolerance = duration(text, SECOND..=DAY, "1s to 1d").map_err(|wrong| {
        wrong.help("a tolerance of zero would refuse genuine events; leave the key out for 5m")
    })?;
    if tolerance.subsec_nanos() != 0 {
        return Err(Wrong::expected("whole seconds").help("Stripe's timestamps count seconds"));
    }
    Ok(tolerance)
}

/// A wait between two attempts: from nothing to 30 days.
pub(super) fn wait(text: &str) -> Result<Duration, Wrong> {
    duration(text, Duration::ZERO..=30 * DAY, "0s to 30d")
}

/// A retention: from an hour to ten years.
pub(super) fn retention(text: &str) -> Result<Duration, Wrong> {
    duration(text, 3600 * SECOND..=3650 * DAY, "1h to 3650d")
}

/// What Redis keys begin with: nothing that an ACL pattern, a hash tag or a shell would read as something else.
pub(super) fn key_prefix(text: &str) -> Result<String, Wrong> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err(Wrong::expected("1 to 64 letters, digits and _ - . :"));
    }
    Ok(text.to_owned())
}

fn duration(text: &str, range: RangeInclusive<Duration>, bounds: &str) -> Result<Duration, Wrong> {
    let wrong = || Wrong::expected(format!("a duration from {bounds}"));
    match humantime::parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        Ok(_) => Err(wrong()),
        Err(_) => Err(wrong().help(r#"write it with its units: "500ms", "10s", "5m", "1h30m", "35d""#)),
    }
}

/// A number of bytes: `"1MiB"`, `"64KiB"`, `"1500"`. `KB` and `MB` are powers of ten, `KiB` and `MiB` of two.
pub(super) fn bytes(text: &str) -> Option<u64> {
    text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64())
}

/// One of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(Wrong::expected(choice(words.iter().map(|(word, _)| format!("{word:?}"))))),
    }
}

/// `a, b or c`.
fn choice(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<_> = words.collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// `host:port`, `:port`, `unix//path` or `unix//path|mode`.
pub(super) fn listen(text: &str) -> Result<Listen, Wrong> {
    let (address, mode) = match text.split_once('|') {
        Some((address, mode)) => (address, Some(mode)),
        None => (text, None),
    };
    if let Some(path) = unix(address) {
        return Ok(Listen::Unix { path: path?, mode: mode.map(socket_mode).transpose()? });
    }
    let wrong = || Wrong::expected(r#""host:port", ":port" or "unix//path""#);
    if text.contains("://") {
        return Err(wrong().help("leave the scheme out"));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong().help(format!(
            "write \":{text}\" for every address, \"127.0.0.1:{text}\" for this machine alone"
        )));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(wrong());
    };
    if !host.is_empty() && bare_host(host).is_none() {
        return Err(wrong().help("an IPv6 address stands in brackets: \"[::1]:8080\""));
    }
    match decimal_port(port) {
        Some(_) => Ok(Listen::Tcp(text.to_owned())),
        None => Err(wrong().help("a port is a number from 0 to 65535; 0 takes a free one")),
    }
}

/// `http://host`, `http://host:port` or `unix//path`; one slash at the end is nothing.
pub(super) fn backend_url(text: &str) -> Result<BackendUrl, Wrong> {
    if let Some(path) = unix(text) {
        return path.map(BackendUrl::Unix);
    }
    let wrong = || Wrong::expected(r#""http://host:port" or "unix//path""#);
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = match text.is_empty() {
            true => "say where the app listens".to_owned(),
            false => "it begins with http://".to_owned(),
        };
        return Err(wrong().help(help));
    };
    match scheme {
        "http" => {}
        "https" => {
            return Err(wrong().help(
                "TLS to the backend is not supported: this program belongs beside it, on the same machine or private \
                 network",
            ));
        }
        "h2c" => return Err(wrong().help("the backend is spoken to in HTTP/1.1: write http://")),
        _ => return Err(wrong()),
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(wrong()
            .found("a URL with a user name")
            .help("credentials cannot be given to the backend here"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong().help(
            "leave out what follows the port: requests keep their own path; to change it, use Caddy's rewrite",
        ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of "[::1]" stands inside the address.
        Some((host, port)) if !port.ends_with(']') => (host, decimal_port(port).filter(|port| *port != 0)),
        _ => (authority, Some(80)),
    };
    let host = bare_host(host).ok_or_else(wrong)?;
    let port = port.ok_or_else(|| wrong().help("a port is a number from 1 to 65535"))?;
    Ok(BackendUrl::Http { host: host.to_owned(), port })
}

/// `sqlite:PATH`, a Redis URL or `none`.
pub(super) fn ledger_url(text: &str) -> Result<LedgerUrl, Wrong> {
    let wrong = || Wrong::expected(r#""sqlite:PATH", "redis://host:port" or "none""#);
    if text == "none" {
        return Ok(LedgerUrl::None);
    }
    if RedisUrl::is_one(text) {
        return RedisUrl::parse(text).map(LedgerUrl::Redis);
    }
    let Some(path) = text.strip_prefix("sqlite:") else {
        return Err(match text.split_once("://") {
            // It may hold a password.
            Some(_) => wrong()
                .found("a URL of another scheme")
                .help("there are redis, rediss, redis+unix, redis+sentinel"),
            None => wrong().help("a file's path follows sqlite:, as in \"sqlite:data/ledger.db\""),
        });
    };
    if path.starts_with("//") {
        let path = path.trim_start_matches('/');
        return Err(wrong().help(format!(
            "no slashes belong to sqlite: itself: \"sqlite:{path}\" is relative to the working directory, \
             \"sqlite:/{path}\" is not"
        )));
    }
    if path.starts_with(':') {
        return Err(wrong()
            .help("a ledger in memory would forget every event at a restart; \"none\" is for measuring"));
    }
    if path.is_empty() || path.ends_with('/') || path.contains(['?', '\0']) {
        return Err(wrong().help("it names a file, as in \"sqlite:data/ledger.db\", without parameters"));
    }
    Ok(LedgerUrl::Sqlite(PathBuf::from(path)))
}

/// A network, an address, or `private_ranges` for the list that Caddy means by it.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Wrong> {
    if text == "private_ranges" {
        return Ok(private_ranges().to_vec());
    }
    let network = match text.parse::<IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    };
    network.map(|network| vec![network]).ok_or_else(|| {
        Wrong::expected(r#""private_ranges", an address or a network"#)
            .help(r#"write networks as in "10.0.0.0/8" or "fd00::/8"; names are not resolved here"#)
    })
}

/// `private_ranges` of Caddy's `trusted_proxies`
/// (<https://caddyserver.com/docs/caddyfile/options#trusted-proxies>).
fn private_ranges() -> [IpNet; 6] {
    use std::net::{Ipv4Addr, Ipv6Addr};
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

/// The longest path of a Unix socket on Linux (`sun_path` less its final zero; unix(7)).
const SOCKET_PATH: usize = 107;

/// The permissions of a socket's file, in octal. Who may write to it may connect, so its owner has to.
fn socket_mode(text: &str) -> Result<u32, Wrong> {
    let octal = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0o200..=0o777) if octal && mode & 0o200 != 0 => Ok(mode),
        _ => Err(Wrong::expected("\"unix//path|mode\"")
            .help("a mode is octal, and lets the owner write: \"0660\" lets its group connect as well")),
    }
}

/// `unix//path`, as Caddy writes it; `None` for what is no Unix socket at all.
fn unix(text: &str) -> Option<Result<PathBuf, Wrong>> {
    let path = text.strip_prefix("unix/").or_else(|| text.strip_prefix("unix:"))?;
    let wrong = |help: &str| Err(Wrong::expected("\"unix//path\"").help(help));
    Some(if !text.starts_with("unix//") {
        wrong("the socket's absolute path follows unix/, as in \"unix//run/app.sock\"")
    } else if path.contains('|') {
        wrong("a mode is for a listener: the app makes its own socket")
    } else if path.contains('\0') {
        wrong("no path has a zero byte in it")
    } else if path.ends_with('/') {
        wrong("it names a file, as in \"unix//run/app.sock\"")
    } else if path.len() > SOCKET_PATH {
        wrong("a socket's path has 107 bytes at most")
    } else {
        Ok(PathBuf::from(path))
    })
}

/// A name, an IPv4 address, or an IPv6 address in brackets, which are taken off.
fn bare_host(text: &str) -> Option<&str> {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']')?;
        return address.parse::<std::net::Ipv6Addr>().ok().map(|_| address);
    }
    let name = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    name.then_some(text)
}

fn decimal_port(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help<T: std::fmt::Debug>(got: Result<T, Wrong>) -> String {
        got.unwrap_err().help
    }

    #[test]
    fn durations_have_units_and_bounds() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1h 30m", 5_400_000)]
        {
            assert_eq!(timeout(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        let wrong = Wrong::expected("a duration from 1ms to 1d");
        for text in ["0s", "0ms", "25h"] {
            assert_eq!(timeout(text).unwrap_err(), wrong, "{text}");
        }
        for text in ["", "10", "10 apples", "-5s", "s"] {
            assert_eq!(timeout(text).unwrap_err().expected, wrong.expected, "{text}");
            assert!(timeout(text).unwrap_err().help.starts_with("write it with its units"), "{text}");
        }
    }

    #[test]
    fn a_tolerance_is_whole_seconds_and_never_zero() {
        assert_eq!(tolerance("5m"), Ok(Duration::from_secs(300)));
        for text in ["0s", "999ms", "1s500ms", "2d", "x"] {
            tolerance(text).unwrap_err();
        }
    }

    #[test]
    fn a_retention_is_an_hour_at_least() {
        assert_eq!(retention("35d"), Ok(35 * DAY));
        assert_eq!(retention("3650d"), Ok(3650 * DAY));
        for text in ["59m", "3651d"] {
            assert_eq!(retention(text).unwrap_err().expected, "a duration from 1h to 3650d", "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes() {
        for (text, expected) in [
            ("1MiB", Some(1 << 20)),
            ("64KiB", Some(64 << 10)),
            ("64kib", Some(64 << 10)),
            ("1 MiB", Some(1 << 20)),
            ("1MB", Some(1_000_000)),
            ("1500", Some(1500)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1 apple", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn a_listener_is_written_as_in_caddy() {
        for text in [":8080", "127.0.0.1:0", "[::1]:9464", "localhost:65535", "my_host-1.example:1"] {
            assert_eq!(listen(text), Ok(Listen::Tcp(text.to_owned())), "{text}");
        }
        let unix = |mode| Ok(Listen::Unix { path: "/run/c.sock".into(), mode });
        for (text, mode) in [
            ("unix//run/c.sock", None),
            ("unix//run/c.sock|0200", Some(0o200)),
            ("unix//run/c.sock|0660", Some(0o660)),
            ("unix//run/c.sock|777", Some(0o777)),
        ] {
            assert_eq!(listen(text), unix(mode), "{text}");
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
            listen(text).unwrap_err();
        }
        assert_eq!(
            help(listen("8080")),
            r#"write ":8080" for every address, "127.0.0.1:8080" for this machine alone"#
        );
        listen(&format!("unix/{}", "/".repeat(107).replace("//", "/a"))).unwrap_err();
        listen(&format!("unix//{}", "a".repeat(106))).unwrap();
        listen(&format!("unix//{}", "a".repeat(107))).unwrap_err();
    }

    #[test]
    fn a_backend_is_http_or_a_socket_without_a_path() {
        let http = |host: &str, port| Ok(BackendUrl::Http { host: host.to_owned(), port });
        for (text, expected) in [
            ("http://backend:8081", http("backend", 8081)),
            ("http://backend:8081/", http("backend", 8081)),
            ("http://backend", http("backend", 80)),
            ("http://10.0.0.1:1", http("10.0.0.1", 1)),
            ("http://[::1]:81", http("::1", 81)),
            ("http://[::1]", http("::1", 80)),
            ("unix//run/app.sock", Ok(BackendUrl::Unix("/run/app.sock".into()))),
        ] {
            assert_eq!(backend_url(text), expected, "{text}");
        }
        for (text, expected) in [
            ("", "say where the app listens"),
            ("backend:8081", "it begins with http://"),
            ("http://backend:0", "a port is a number from 1 to 65535"),
            ("http://backend:99999", "a port is a number from 1 to 65535"),
            ("h2c://backend", "the backend is spoken to in HTTP/1.1: write http://"),
            ("http://", ""),
            ("http://:80", ""),
            ("http://a b", ""),
            ("http://::1", ""),
            ("ftp://backend", ""),
            ("http://u:p@backend", "credentials cannot be given to the backend here"),
        ] {
            assert_eq!(help(backend_url(text)), expected, "{text}");
        }
        for text in ["http://b/x", "http://b?x", "http://b#x", "http://b//"] {
            assert!(help(backend_url(text)).starts_with("leave out what follows the port"), "{text}");
        }
        assert!(help(backend_url("https://b")).starts_with("TLS to the backend is not supported"));
    }

    #[test]
    fn a_ledger_is_a_file_or_none() {
        assert_eq!(ledger_url("none"), Ok(LedgerUrl::None));
        for path in ["data/ledger.db", "/var/lib/l.db", "./l"] {
            assert_eq!(ledger_url(&format!("sqlite:{path}")), Ok(LedgerUrl::Sqlite(path.into())));
        }
        for text in [
            "",
            "data/l.db",
            "sqlite:",
            "sqlite:x/",
            "sqlite:x?mode=ro",
            "sqlite://x",
            "sqlite::memory:",
            "redis://",
            "redis:r",
            "memcached://r",
        ] {
            ledger_url(text).unwrap_err();
        }
        assert_eq!(ledger_url("redis://r:6379").unwrap().to_string(), "redis://r:6379");
    }

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
