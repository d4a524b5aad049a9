//! Printing to a terminal or a pipe. A closed pipe is not an error, and no value can send control codes to a terminal.

use serde_json::Value;
use std::io::Write;

/// Prints a line to standard output. Unlike `println!` it ignores a closed pipe, as in `countersign events list | head`.
pub(super) fn println_ok(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a whole text to standard output, byte for byte. It ignores a closed pipe, too.
pub(super) fn print_ok(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}

/// Formats a JSON value for a terminal: strings without quotes, control characters replaced, `-` for `null`.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other kind of value is treated alike")]
pub(super) fn display_value(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}

/// Formats a count with its noun, as in `1 event` or `3 events`.
pub(super) fn count_of(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_from_a_payload_cannot_move_the_cursor() {
        assert_eq!(display_value(&json!("acct\u{1b}[2J")), "acct\u{fffd}[2J");
        assert_eq!(
            (display_value(&json!(null)), display_value(&json!(3)), display_value(&json!(true))),
            ("-".into(), "3".into(), "true".into())
        );
    }
}
