//! How single values are written: durations, sizes, choices, sockets, hosts. Pure: a text becomes a value, or an
//! [`InvalidValue`]. It knows no keys and no files.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// One second.
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// One day of 24 hours.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest path of a Unix socket on Linux, in bytes (`sun_path` less its final zero; unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// The longest host name, in bytes (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;

/// A value that does not fit its key.
#[derive(Debug, PartialEq)]
pub(crate) struct InvalidValue {
    /// A description that is shown in place of the value. `None` shows the value itself.
    pub found: Option<String>,
    /// The values that the key takes, as a noun phrase.
    pub expected: String,
    /// The operator's next step. May be empty.
    pub help: String,
}

impl InvalidValue {
    /// Creates an error that shows the value, without help.
    pub(crate) fn expected(what: impl Into<String>) -> Self {
        Self { found: None, expected: what.into(), help: String::new() }
    }

    /// Adds the operator's next step.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Replaces the value by a description of it.
    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }
}

/// Parses a time limit from 1 ms to 1 day. The upper end keeps sums of them far from overflowing.
pub(crate) fn timeout(text: &str) -> Result<Duration, InvalidValue> {
    duration(text, Duration::from_millis(1)..=DAY, "1ms to 1d")
}

/// Parses a duration within `range`. `bounds` is the range as an error shows it.
pub(crate) fn duration(
    text: &str,
    range: RangeInclusive<Duration>,
    bounds: &str,
) -> Result<Duration, InvalidValue> {
    let invalid = || InvalidValue::expected(format!("a duration from {bounds}"));
    match humantime::parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        Ok(_) => Err(invalid()),
        Err(_) => Err(invalid().help(r#"write it with its units: "500ms", "10s", "5m", "1h30m", "35d""#)),
    }
}

/// Parses a number of bytes: `"1MiB"`, `"64KiB"`, `"1500"`. `KB` and `MB` are powers of ten, `KiB` and `MiB` of two.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64())
}

/// Parses one of a few names. An error lists them all.
pub(crate) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, InvalidValue> {
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => {
            Err(InvalidValue::expected(alternatives(choices.iter().map(|(name, _)| format!("{name:?}")))))
        }
    }
}

/// Joins names to `a, b or c`.
fn alternatives(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// Parses `unix//path`, as Caddy writes it. Returns `None` if the text does not name a Unix socket at all.
pub(crate) fn unix_socket(text: &str) -> Option<Result<PathBuf, InvalidValue>> {
    let path = text.strip_prefix("unix/").or_else(|| text.strip_prefix("unix:"))?;
    let invalid = |help: &str| Err(InvalidValue::expected("\"unix//path\"").help(help));
    Some(if !text.starts_with("unix//") {
        invalid("write the socket's absolute path after unix/, as in \"unix//run/app.sock\"")
    } else if path.contains('|') {
        invalid("only a listener has a mode: the backend creates its own socket")
    } else if path.contains('\0') {
        invalid("a path cannot contain a zero byte")
    } else if path.ends_with('/') {
        invalid("name a file, as in \"unix//run/app.sock\"")
    } else if path.len() > MAX_SOCKET_PATH {
        invalid("a socket's path has at most 107 bytes")
    } else {
        Ok(PathBuf::from(path))
    })
}

/// Parses a host: a name, an IPv4 address, or an IPv6 address in brackets, which it removes.
pub(crate) fn bare_host(text: &str) -> Option<&str> {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']')?;
        return address.parse::<std::net::Ipv6Addr>().ok().map(|_| address);
    }
    let name = !text.is_empty()
        && text.len() <= MAX_HOST
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    name.then_some(text)
}

/// Parses a port of digits only, from 0 to 65535.
pub(crate) fn decimal_port(text: &str) -> Option<u16> {
    // `u16::from_str` also accepts a plus sign.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1h 30m", 5_400_000)]
        {
            assert_eq!(timeout(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        let invalid = InvalidValue::expected("a duration from 1ms to 1d");
        for text in ["0s", "0ms", "25h"] {
            assert_eq!(timeout(text).unwrap_err(), invalid, "{text}");
        }
        for text in ["", "10", "10 apples", "-5s", "s"] {
            assert_eq!(timeout(text).unwrap_err().expected, invalid.expected, "{text}");
            assert!(timeout(text).unwrap_err().help.starts_with("write it with its units"), "{text}");
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
}
