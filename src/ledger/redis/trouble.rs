//! What an error of Redis' means: in words that tell a person what to do, and whether the connection has to be made
//! anew. It never holds a command's arguments, since the crate's errors do not.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a command failed, without the server's name.
pub(super) fn explain(error: &RedisError) -> String {
    let text = error.to_string();
    let says = |code| says(error, &text, code);
    let advice = if error.is_timeout() {
        return "it did not answer in time".to_owned();
    } else if says("WRONGPASS") || says("NOAUTH") || error.kind() == ErrorKind::AuthenticationFailed {
        "it does not take these credentials; check user and password in ledger.url"
    } else if says("OOM") {
        "its memory is full; raise its maxmemory"
    } else if is_read_only(error) {
        "it is a read-only replica; name the primary in ledger.url, or the sentinels that know it"
    } else if says("MISCONF") {
        "it cannot write to its disk, and takes no writes until it can"
    } else if says("LOADING") {
        "it is loading its data"
    } else if says("NOREPLICAS") {
        "it has too few replicas in reach to take writes (min-replicas-to-write)"
    } else if says("NOPERM") || text.contains("can't run this command") {
        "its user may not do that; docs/configuration.md lists what it needs, SADD and HSET among it"
    } else if says("BUSY") {
        "it is busy with a script"
    } else if error.kind() == ErrorKind::MasterNameNotFoundBySentinel {
        "the sentinels know no primary of that name that is in reach"
    } else if error.is_connection_dropped() {
        "the connection broke"
    } else {
        return text;
    };
    format!("{advice} ({text})")
}

/// Whether another connection might do better: this one is dead, or it leads to a server that is no primary.
pub(super) fn needs_another_connection(error: &RedisError) -> bool {
    is_gone(error) || error.is_timeout() || is_read_only(error)
}

/// Whether the connection was lost, so that the command may or may not have been carried out.
pub(super) fn is_gone(error: &RedisError) -> bool {
    !error.is_timeout()
        && (error.is_connection_dropped() || error.is_io_error() || error.is_unrecoverable_error())
}

/// Whether the server has no memory for anything new.
pub(super) fn is_full(error: &RedisError) -> bool {
    says(error, &error.to_string(), "OOM")
}

/// Whether the server does not know a script, as after SCRIPT FLUSH or a failover.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || says(error, &error.to_string(), "READONLY")
}

/// Whether the server said so: by the error's code, or where a script passed it on (servers before 7).
fn says(error: &RedisError, text: &str, code: &str) -> bool {
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
    fn what_a_server_says_becomes_what_to_do() {
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
            let explained = explain(&error(line));
            assert!(explained.contains(words), "{line}: {explained}");
        }
    }

    #[test]
    fn a_replica_and_a_broken_connection_ask_for_another_one() {
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let slow = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        for (error, another, gone) in [
            (error("READONLY You can't write against a read only replica."), true, false),
            (error("OOM command not allowed"), false, false),
            (broken, true, true),
            (slow, true, false),
        ] {
            assert_eq!((needs_another_connection(&error), is_gone(&error)), (another, gone), "{error}");
        }
        assert!(is_unknown_script(&error("NOSCRIPT No matching script.")));
    }
}
