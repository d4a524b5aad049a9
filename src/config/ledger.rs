//! `[ledger]`: where the state of every event is stored.

use super::reader::{
    DAY, Environment, InvalidValue, PlaceholderError, SECOND, SECRETS_STAY_OUTSIDE, Section, duration,
    expand, one_of, timeout,
};
use super::redis_url::RedisUrl;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The longest prefix of Redis keys, in bytes.
const MAX_PREFIX: usize = 64;

/// The place of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerUrl {
    /// No ledger (`none`): nothing is recorded, and an event that Stripe sends twice is delivered twice.
    None,
    /// A SQLite file (`sqlite:PATH`). A relative path starts at the working directory.
    Sqlite(PathBuf),
    /// A Redis server, or sentinels that know one.
    Redis(RedisUrl),
}

/// How a webhook is handled while the ledger is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOutage {
    /// The response is 503, and nothing is delivered. This is the default.
    Refuse,
    /// The event is delivered without deduplication, and counted.
    Deliver,
}

/// The durability that a Redis server must have before events are queued on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Redis syncs to disk before it replies, and a replica has confirmed the event (`WAIT`).
    Replicated,
    /// Redis syncs to disk before it replies (`appendfsync always`). This is the default.
    Always,
    /// Redis syncs every second (`appendfsync everysec`). A crash may lose the last second.
    EverySecond,
    /// Any durability is accepted.
    None,
}

const DURABILITIES: &[(&str, Durability)] = &[
    ("replicated", Durability::Replicated),
    ("always", Durability::Always),
    ("everysec", Durability::EverySecond),
    ("none", Durability::None),
];

/// The section `[ledger]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerConfig {
    /// The place of the ledger. Defaults to `sqlite:data/ledger.db`.
    pub url: LedgerUrl,
    /// The beginning of every Redis key. Defaults to `countersign`.
    pub prefix: String,
    /// The time limit for a connection to Redis, including its first commands. Defaults to 2 seconds.
    pub connect_timeout: Duration,
    /// The time limit for the reply to one Redis command. Defaults to 1 second.
    pub command_timeout: Duration,
    /// The time for which settled events are remembered. Defaults to 35 days; Stripe resends for 30.
    pub retention: Duration,
    /// How webhooks are handled while the ledger is unavailable. Defaults to `refuse`.
    pub on_outage: OnOutage,
    /// The durability that Redis must have for queued events. Defaults to `always`. SQLite always syncs.
    pub durability: Durability,
}

impl LedgerConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let url = section.text("url", "{$LEDGER_URL:sqlite:data/ledger.db}", LedgerUrl::parse);
        if section.raw_str("url").is_some_and(RedisUrl::has_literal_password) {
            section.report(
                "url",
                "a password in plain text",
                "a placeholder in its place, as in \"redis://:{$REDIS_PASSWORD}@redis:6379\"",
                SECRETS_STAY_OUTSIDE,
            );
        }
        let prefix = section.text("prefix", "countersign", key_prefix);
        let connect_timeout = section.text("connect_timeout", "2s", timeout);
        let command_timeout = section.text("command_timeout", "1s", timeout);
        let retention = section.text("retention", "35d", retention);
        let on_outage = section.text("on_outage", "refuse", |text| {
            one_of(text, &[("refuse", OnOutage::Refuse), ("deliver", OnOutage::Deliver)])
        });
        let durability = section.text("durability", "always", |text| one_of(text, DURABILITIES));
        Some(Self {
            url: url?,
            prefix: prefix?,
            connect_timeout: connect_timeout?,
            command_timeout: command_timeout?,
            retention: retention?,
            on_outage: on_outage?,
            durability: durability?,
        })
    }

    /// Returns these settings for the ledger that the command line names, where it names one. Placeholders in the URL are
    /// replaced, as in the configuration file.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write. It shows no password.
    pub fn named_by(
        &self,
        url: Option<&str>,
        prefix: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, String> {
        let mut named = self.clone();
        if let Some(text) = url {
            named.url = argument_url(text, environment)?;
        }
        if let Some(text) = prefix {
            named.prefix = key_prefix(text).map_err(|error| format!("a prefix has {}", error.expected))?;
        }
        Ok(named)
    }
}

fn argument_url(text: &str, environment: &Environment) -> Result<LedgerUrl, String> {
    if RedisUrl::has_literal_password(text) {
        return Err("everybody on this machine can see a password on the command line: write a placeholder in its place, \
                    as in 'redis://:{$REDIS_PASSWORD}@redis:6379'"
            .to_owned());
    }
    let expanded = expand(text, environment);
    match expanded.errors.first() {
        None => {}
        Some(PlaceholderError::Unclosed) => return Err("a { in the URL has no }".to_owned()),
        Some(PlaceholderError::Unknown(text)) => {
            return Err(format!("{text} is no placeholder: write {{$NAME}} or {{file./path}}"));
        }
        Some(PlaceholderError::Unset(name)) => {
            return Err(format!("the environment variable {name} is not set"));
        }
        Some(PlaceholderError::File(path, reason)) => {
            return Err(format!("cannot read the file {path}: {reason}"));
        }
    }
    LedgerUrl::parse(&expanded.text).map_err(|InvalidValue { expected, help, .. }| match help.is_empty() {
        true => format!("the URL of a ledger is {expected}"),
        false => format!("the URL of a ledger is {expected}: {help}"),
    })
}

impl LedgerUrl {
    /// Whether another URL leads to the same records: it differs at most in the user and the password of a Redis.
    pub fn same_records(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Redis(one), Self::Redis(two)) => one.same_database(two),
            (Self::None | Self::Sqlite(_) | Self::Redis(_), _) => self == other,
        }
    }

    /// Parses `sqlite:PATH`, a Redis URL or `none`.
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::expected(r#""sqlite:PATH", "redis://host:port" or "none""#);
        if text == "none" {
            return Ok(Self::None);
        }
        if RedisUrl::has_redis_scheme(text) {
            return RedisUrl::parse(text).map(LedgerUrl::Redis);
        }
        let Some(path) = text.strip_prefix("sqlite:") else {
            return Err(match text.split_once("://") {
                // The URL may hold a password, so it is not shown.
                Some(_) => invalid()
                    .found("a URL of another scheme")
                    .help("use redis, rediss, redis+unix, redis+sentinel or rediss+sentinel"),
                None => {
                    invalid().help("write the file's path after sqlite:, as in \"sqlite:data/ledger.db\"")
                }
            });
        };
        if path.starts_with("//") {
            let path = path.trim_start_matches('/');
            return Err(invalid().help(format!(
                "sqlite: itself takes no slashes: \"sqlite:{path}\" is relative to the working directory, \
                 \"sqlite:/{path}\" is absolute"
            )));
        }
        if path.starts_with(':') {
            return Err(invalid().help(
                "a ledger in memory would lose every event at a restart; to measure without one, write \"none\"",
            ));
        }
        if path.is_empty() || path.ends_with('/') || path.contains(['?', '\0']) {
            return Err(invalid().help("name a file without parameters, as in \"sqlite:data/ledger.db\""));
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

/// Parses a retention from 1 hour to 10 years.
fn retention(text: &str) -> Result<Duration, InvalidValue> {
    duration(text, 3600 * SECOND..=3650 * DAY, "1h to 3650d")
}

/// Parses the beginning of Redis keys. It holds nothing that an ACL pattern, a hash tag or a shell reads differently.
fn key_prefix(text: &str) -> Result<String, InvalidValue> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    if text.is_empty() || text.len() > MAX_PREFIX || !text.bytes().all(plain) {
        return Err(InvalidValue::expected("1 to 64 letters, digits and _ - . :"));
    }
    Ok(text.to_owned())
}

/// Writes the URL as the file spells it. A Redis URL has neither user nor password.
impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_a_ledger_by_a_url_without_a_password() {
        let environment = Environment::from([("REDIS_PASSWORD".to_owned(), "hush".to_owned())]);
        let url = argument_url("redis://:{$REDIS_PASSWORD}@r:6379/1", &environment).unwrap();
        assert_eq!(url.to_string(), "redis://r:6379/1");
        for (text, expected) in [
            ("redis://:hush@r:6379", "can see a password"),
            ("redis://:{$NOWHERE}@r", "variable NOWHERE is not set"),
            ("sqlite:{oops}", "{oops} is no placeholder"),
            ("data/l.db", "write the file's path after sqlite:"),
        ] {
            let error = argument_url(text, &environment).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hush"), "{text}: {error}");
        }
    }

    #[test]
    fn a_retention_is_at_least_an_hour() {
        assert_eq!(retention("35d"), Ok(35 * DAY));
        assert_eq!(retention("3650d"), Ok(3650 * DAY));
        for text in ["59m", "3651d"] {
            assert_eq!(retention(text).unwrap_err().expected, "a duration from 1h to 3650d", "{text}");
        }
    }

    #[test]
    fn a_ledger_is_a_file_a_redis_url_or_none() {
        assert_eq!(LedgerUrl::parse("none"), Ok(LedgerUrl::None));
        for path in ["data/ledger.db", "/var/lib/l.db", "./l"] {
            assert_eq!(LedgerUrl::parse(&format!("sqlite:{path}")), Ok(LedgerUrl::Sqlite(path.into())));
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
            LedgerUrl::parse(text).unwrap_err();
        }
        assert_eq!(LedgerUrl::parse("redis://r:6379").unwrap().to_string(), "redis://r:6379");
    }
}
