//! The URL of a Redis ledger. `redis://`, `rediss://` and `redis+unix://` are parsed by the `redis` crate;
//! `redis+sentinel://`, for which it has no text form, is parsed here. Pure: it connects to nothing, and neither its
//! errors nor its output show a password.

use super::reader::{InvalidValue, closing_brace};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::str::FromStr;

/// The port of a sentinel whose URL names none.
const SENTINEL_PORT: u16 = 26379;

/// A Redis server, or the sentinels that know it. Two are equal if their texts are. `Display` and `Debug` leave out user
/// and password.
#[derive(Clone)]
pub struct RedisUrl {
    text: SecretString,
    /// The URL without user, password and parameters.
    shown: String,
    target: Box<RedisTarget>,
}

/// What a Redis URL leads to.
#[derive(Clone)]
pub enum RedisTarget {
    /// One server.
    Server(ConnectionInfo),
    /// The server that the sentinels call the primary.
    Sentinel(SentinelTarget),
}

/// A primary that sentinels know by name.
#[derive(Clone)]
pub struct SentinelTarget {
    /// The addresses of the sentinels. Never empty.
    pub sentinels: Vec<ConnectionAddr>,
    /// The name of the primary (`sentinel monitor NAME …`).
    pub name: String,
    /// User, password and database on the servers.
    pub server: RedisConnectionInfo,
    /// User and password on the sentinels.
    pub sentinel: RedisConnectionInfo,
    /// Whether connections to sentinels and servers use TLS.
    pub tls: bool,
}

impl RedisUrl {
    /// Returns what to connect to.
    pub fn target(&self) -> &RedisTarget {
        &self.target
    }

    /// Whether another URL names the same servers and the same database, perhaps with another user or password.
    pub fn same_database(&self, other: &Self) -> bool {
        match (&*self.target, &*other.target) {
            (RedisTarget::Server(one), RedisTarget::Server(two)) => {
                let (settings, others) = (one.redis_settings(), two.redis_settings());
                one.addr() == two.addr() && settings.db() == others.db()
            }
            (RedisTarget::Sentinel(one), RedisTarget::Sentinel(two)) => {
                let place = |target: &SentinelTarget| (target.tls, target.server.db());
                one.sentinels == two.sentinels && one.name == two.name && place(one) == place(two)
            }
            (RedisTarget::Server(_), RedisTarget::Sentinel(_))
            | (RedisTarget::Sentinel(_), RedisTarget::Server(_)) => false,
        }
    }

    /// Whether a text begins like a Redis URL.
    pub(super) fn has_redis_scheme(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| {
            matches!(scheme, "redis" | "rediss" | "redis+unix" | "redis+sentinel" | "rediss+sentinel")
        })
    }

    /// Parses a text that [begins like a Redis URL](Self::has_redis_scheme).
    pub(super) fn parse(text: &str) -> Result<Self, InvalidValue> {
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let target = match scheme {
            "redis+sentinel" | "rediss+sentinel" => parse_sentinel(scheme == "rediss+sentinel", rest)?,
            _ => RedisTarget::Server(parse_server(text)?),
        };
        Ok(Self {
            text: SecretString::from(text),
            shown: without_credentials(scheme, rest),
            target: Box::new(target),
        })
    }

    /// Whether the text, as the file spells it, holds a password outside a placeholder.
    pub(super) fn has_literal_password(text: &str) -> bool {
        let text = without_placeholders(text);
        let Some((_, rest)) = text.split_once("://") else { return false };
        let (authority, query) = rest.split_once('/').unwrap_or((rest, ""));
        let credentials = authority.rsplit_once('@').map_or("", |(credentials, _)| credentials);
        let password = credentials.split_once(':').map_or("", |(_, password)| password);
        let mut parameters = query.split(['?', '&']).filter_map(|pair| pair.split_once('='));
        !password.is_empty()
            || parameters
                .any(|(name, value)| matches!(name, "pass" | "sentinel_password") && !value.is_empty())
    }
}

fn parse_server(text: &str) -> Result<ConnectionInfo, InvalidValue> {
    text.into_connection_info().map_err(|error| {
        let error = error.detail().map_or_else(|| error.to_string(), str::to_owned);
        invalid_url().help(format!("{error}; percent-encode any of @ / : ? # % in a password"))
    })
}

/// Parses `[user:password@]host[:port],…/name[/db][?sentinel_user=…&sentinel_password=…]`.
fn parse_sentinel(tls: bool, rest: &str) -> Result<RedisTarget, InvalidValue> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), authority),
    };
    let (name, db) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(invalid_url()
            .help("write the primary's name after the sentinels: \"redis+sentinel://s1,s2,s3/mymaster\""));
    }
    let scheme = if tls { "rediss" } else { "redis" };
    let mut sentinels = Vec::new();
    for host in hosts.split(',') {
        let host = if has_port(host) { host.to_owned() } else { format!("{host}:{SENTINEL_PORT}") };
        sentinels.push(parse_server(&format!("{scheme}://{host}"))?.addr().clone());
    }
    let (mut user, mut password) = ("", "");
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sentinel_user", value)) => user = value,
            Some(("sentinel_password", value)) => password = value,
            Some(_) | None => {
                return Err(
                    invalid_url().help("only sentinel_user and sentinel_password are allowed after the ?")
                );
            }
        }
    }
    // The crate decodes percent-encoded credentials only as part of a URL, so a URL is built around them.
    Ok(RedisTarget::Sentinel(SentinelTarget {
        sentinels,
        name: name.to_owned(),
        server: parse_server(&format!("redis://{credentials}server/{db}"))?.redis_settings().clone(),
        sentinel: match password {
            "" => RedisConnectionInfo::default(),
            _ => parse_server(&format!("redis://{user}:{password}@sentinel"))?.redis_settings().clone(),
        },
        tls,
    }))
}

/// Whether a host is followed by a port. An IPv6 address is in brackets.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(before, _)| !before.contains(':') || before.ends_with(']'))
}

/// Returns scheme, servers, name and database of a URL, without user, password and parameters.
fn without_credentials(scheme: &str, rest: &str) -> String {
    let rest = rest.split('?').next().unwrap_or_default();
    let (authority, path) =
        rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    match path {
        Some(path) => format!("{scheme}://{hosts}/{path}"),
        None => format!("{scheme}://{hosts}"),
    }
}

/// Removes `{$NAME}` and `{file.…}` from a text. The default of `{$NAME:default}` stays, without its own placeholders.
fn without_placeholders(text: &str) -> String {
    let Some((before, inside)) = text.split_once('{') else { return text.to_owned() };
    let Some(end) = closing_brace(inside) else { return text.to_owned() };
    let (placeholder, after) = (&inside[..end], &inside[end + 1..]);
    let default = placeholder.strip_prefix('$').and_then(|variable| variable.split_once(':'));
    let default = default.map_or_else(String::new, |(_, default)| without_placeholders(default));
    [before, &default, &without_placeholders(after)].concat()
}

fn invalid_url() -> InvalidValue {
    InvalidValue::expected(
        "\"redis://host:port/db\", \"rediss://…\", \"redis+unix:///path\" or \"redis+sentinel://host:port,…/name\"",
    )
    // The URL may hold a password, so it is not shown.
    .found("a Redis URL that cannot be read")
}

impl FromStr for RedisUrl {
    type Err = String;

    /// Parses a Redis URL. The error says what is expected, and shows nothing of the text.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| format!("expected {}; {}", error.expected, error.help))
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text.expose_secret() == other.text.expose_secret()
    }
}

impl Eq for RedisUrl {}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentinel(text: &str) -> SentinelTarget {
        match *RedisUrl::parse(text).unwrap().target {
            RedisTarget::Sentinel(target) => target,
            RedisTarget::Server(_) => panic!("a server: {text}"),
        }
    }

    #[test]
    fn a_server_is_what_the_redis_crate_reads() {
        for (text, shown, db, user, password) in [
            ("redis://r", "redis://r", 0, None, None),
            ("redis://r:7000/3", "redis://r:7000/3", 3, None, None),
            ("redis://:pw@r", "redis://r", 0, None, Some("pw")),
            ("rediss://me:p%40w@r:1/2", "rediss://r:1/2", 2, Some("me"), Some("p@w")),
            ("redis+unix:///run/r.sock?db=1&pass=pw", "redis+unix:///run/r.sock", 1, None, Some("pw")),
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("{shown:?}")));
            let RedisTarget::Server(info) = url.target() else { panic!("{text}") };
            let settings = info.redis_settings();
            assert_eq!(
                (settings.db(), settings.username(), settings.password()),
                (db, user, password),
                "{text}"
            );
        }
    }

    #[test]
    fn sentinels_are_separated_by_commas_before_the_primarys_name() {
        let target = sentinel(
            "redis+sentinel://app:pw@s1,s2:7000,[::1]/shop/4?sentinel_password=spw&sentinel_user=su",
        );
        let addresses: Vec<_> = target.sentinels.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["s1:26379", "s2:7000", "::1:26379"]);
        assert_eq!((target.name.as_str(), target.server.db(), target.tls), ("shop", 4, false));
        assert_eq!((target.server.username(), target.server.password()), (Some("app"), Some("pw")));
        assert_eq!((target.sentinel.username(), target.sentinel.password()), (Some("su"), Some("spw")));
        let target = sentinel("rediss+sentinel://s1/shop");
        assert!(target.tls && matches!(target.sentinels[0], ConnectionAddr::TcpTls { .. }));
        assert_eq!((target.server.password(), target.sentinel.password()), (None, None));
    }

    #[test]
    fn urls_that_differ_in_user_or_password_alone_name_the_same_database() {
        let same = |one: &str, two: &str| {
            RedisUrl::parse(one).unwrap().same_database(&RedisUrl::parse(two).unwrap())
        };
        for (one, two) in [
            ("redis://:a@r:1/2", "redis://me:b@r:1/2"),
            ("redis://r", "redis://:b@r:6379/0"),
            ("redis+unix:///r.sock?db=1&pass=a", "redis+unix:///r.sock?db=1&pass=b"),
            (
                "redis+sentinel://:a@s1,s2/m/1?sentinel_password=a",
                "redis+sentinel://:b@s1,s2/m/1?sentinel_password=b",
            ),
        ] {
            assert!(same(one, two), "{one} {two}");
        }
        for (one, two) in [
            ("redis://r:1", "redis://r:2"),
            ("redis://r", "redis://other"),
            ("redis://r", "rediss://r"),
            ("redis://r/1", "redis://r/2"),
            ("redis+unix:///r.sock?db=1", "redis+unix:///r.sock?db=2"),
            ("redis+sentinel://s1,s2/m", "redis+sentinel://s1/m"),
            ("redis+sentinel://s1/m", "redis+sentinel://s1/other"),
            ("redis+sentinel://s1/m", "rediss+sentinel://s1/m"),
            ("redis+sentinel://r/m", "redis://r"),
        ] {
            assert!(!same(one, two), "{one} {two}");
        }
    }

    #[test]
    fn an_error_does_not_show_the_url() {
        for text in [
            "redis://",
            "redis://:hush@",
            "redis://:hush@r/db",
            "redis://:hush/@r",
            "redis+sentinel://:hush@s1",
            "redis+sentinel://:hush@s1/",
            "redis+sentinel://:hush@s1/m/x",
            "redis+sentinel://:hush@/m",
            "redis+sentinel://:hush@s1/m?x=hush",
        ] {
            let error = RedisUrl::parse(text).unwrap_err();
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
            assert!(error.found.is_some() && !error.help.is_empty(), "{error:?}");
        }
    }

    #[test]
    fn a_password_outside_a_placeholder_is_found() {
        for (text, literal) in [
            ("redis://:pw@r", true),
            ("redis://me:pw@r/1", true),
            ("{$URL:redis://:pw@r}", true),
            ("redis+unix:///r.sock?pass=pw", true),
            ("redis+sentinel://s1/m?sentinel_password=pw", true),
            ("redis://:{$PW}@r", false),
            ("redis://me:{file./run/secrets/pw}@r", false),
            ("{$URL:redis://:{$PW}@r}", false),
            ("{$URL:redis://:{$PW:pw}@r}", true),
            ("{$URL}", false),
            ("{$URL:redis://r:6379}", false),
            ("redis://r:6379/1", false),
            ("redis://me@r", false),
            ("redis+sentinel://s1/m?sentinel_password={$PW}", false),
            ("sqlite:data/a@b.db", false),
        ] {
            assert_eq!(RedisUrl::has_literal_password(text), literal, "{text}");
        }
    }
}
