//! The meaning of a Redis error: a text that tells an operator what to do, and whether another connection may help. The
//! texts never hold a command's arguments, because the redis crate's errors do not.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Describes why a command failed and what to do, without the server's name.
pub(super) fn describe(error: &RedisError) -> String {
    let text = error.to_string();
    let has_code = |code| has_code(error, &text, code);
    let advice = if error.is_timeout() {
        return "no reply in time; check the server's load and the network, or raise ledger.command_timeout"
            .to_owned();
    } else if has_code("WRONGPASS") || has_code("NOAUTH") || error.kind() == ErrorKind::AuthenticationFailed {
        "the server rejects these credentials; check user and password in ledger.url"
    } else if has_code("OOM") {
        "the server's memory is full; raise its maxmemory"
    } else if is_read_only(error) {
        "the server is a read-only replica; name the primary in ledger.url, or the sentinels that know it"
    } else if has_code("MISCONF") {
        "the server cannot write to its disk and refuses writes until it can; check its disk"
    } else if has_code("LOADING") {
        "the server is loading its data; wait until it has finished"
    } else if has_code("NOREPLICAS") {
        "the server reaches too few replicas to accept writes; check its replicas and min-replicas-to-write"
    } else if has_code("NOPERM") || text.contains("can't run this command") {
        "this user may not do that; docs/configuration.md lists what it needs, SADD and HSET among it"
    } else if has_code("BUSY") {
        "the server is busy with another client's script"
    } else if error.kind() == ErrorKind::MasterNameNotFoundBySentinel {
        "the sentinels know no reachable primary of that name; check the name in ledger.url"
    } else if error.is_connection_dropped() {
        "the connection broke"
    } else {
        return text;
    };
    format!("{advice} ({text})")
}

/// Returns whether another connection may help: this one is dead, or its server is not the primary.
pub(super) fn needs_another_connection(error: &RedisError) -> bool {
    is_connection_lost(error) || error.is_timeout() || is_read_only(error)
}

/// Returns whether the connection was lost. The server may or may not have run the command then.
pub(super) fn is_connection_lost(error: &RedisError) -> bool {
    !error.is_timeout()
        && (error.is_connection_dropped() || error.is_io_error() || error.is_unrecoverable_error())
}

/// Returns whether the server has no memory for new data.
pub(super) fn is_out_of_memory(error: &RedisError) -> bool {
    has_code(error, &error.to_string(), "OOM")
}

/// Returns whether the server does not know a script, as after SCRIPT FLUSH or a failover.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || has_code(error, &error.to_string(), "READONLY")
}

/// Returns whether the server replied with this error code. Servers before Redis 7 put the code of a command inside a
/// script into the text of the script's own error.
fn has_code(error: &RedisError, text: &str, code: &str) -> bool {
    error.code() == Some(code) || text.contains(&format!("-{code} "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{Value, parse_redis_value};

    fn error(line: &str) -> RedisError {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).and_then(Value::extract_error).unwrap_err()
    }

    #[test]
    fn an_error_is_described_with_what_to_do() {
        for (line, words) in [
            ("WRONGPASS invalid username-password pair or user is disabled.", "check user and password"),
            ("NOAUTH Authentication required.", "check user and password"),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 8d, on @user_script:5.",
                "maxmemory",
            ),
            (
                "ERR Error running script (call to f_8d): @user_script:5: -OOM command not allowed",
                "maxmemory",
            ),
            ("READONLY You can't write against a read only replica.", "name the primary"),
            ("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist", "its disk"),
            ("LOADING Redis is loading the dataset in memory", "loading"),
            ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
            ("NOPERM this user has no permissions to run the 'script|load' command", "lists what it needs"),
            ("ERR The user executing the script can't run this command or subcommand script: 9f", "SADD"),
            ("BUSY Redis is busy running a script.", "busy"),
            ("ERR something else", "something else"),
        ] {
            let description = describe(&error(line));
            assert!(description.contains(words), "{line}: {description}");
        }
    }

    #[test]
    fn a_replica_and_a_broken_connection_need_another_connection() {
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let slow = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        for (error, another, lost) in [
            (error("READONLY You can't write against a read only replica."), true, false),
            (error("OOM command not allowed"), false, false),
            (broken, true, true),
            (slow, true, false),
        ] {
            assert_eq!(
                (needs_another_connection(&error), is_connection_lost(&error)),
                (another, lost),
                "{error}"
            );
        }
        assert!(is_unknown_script(&error("NOSCRIPT No matching script.")));
    }
}
