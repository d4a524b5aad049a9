//! Records for a person at a terminal, or a line of JSON each for a tool. It prints, and asks nobody anything.

use serde_json::Value;
use std::io::Write;

/// Records on standard output, a line each.
pub(super) struct Printer {
    pub(super) json: bool,
    pub(super) printed: usize,
}

impl Printer {
    /// Prints one more.
    pub(super) fn line(&mut self, record: &Value) {
        if self.json {
            say(&record.to_string());
        } else {
            if self.printed == 0 {
                say(&format!(
                    "{:<30} {:<9} {:>5} {:>6}  {:<20}  {:<34} ENDPOINT",
                    "ID", "STATE", "TRIES", "STATUS", "SEEN", "TYPE"
                ));
            }
            let word = |field: &str| word(&record[field]);
            let endpoint = match record["query"].as_str() {
                None | Some("") => word("endpoint"),
                Some(_) => format!("{} ?{}", word("endpoint"), word("query")),
            };
            let seen = second(&word("seen"));
            say(&format!(
                "{:<30} {:<9} {:>5} {:>6}  {seen:<20}  {:<34} {endpoint}",
                word("id"),
                word("state"),
                word("attempts"),
                word("status"),
                word("type")
            ));
        }
        self.printed += 1;
    }
}

/// A record for a person: a line for all that there is to say.
pub(super) fn described(record: &Value) -> String {
    let fields = [
        ("key", "key"),
        ("type", "type"),
        ("created", "created by Stripe"),
        ("livemode", "live"),
        ("account", "account"),
        ("state", "state"),
        ("attempts", "attempts"),
        ("status", "last status"),
        ("seen", "first seen"),
        ("due", "due"),
        ("lease_ends", "lease ends"),
        ("settled", "settled"),
    ];
    let mut lines = String::new();
    for (field, label) in fields {
        if !record[field].is_null() {
            lines += &format!("{label:<18} {}\n", word(&record[field]));
        }
    }
    let payload = &record["payload"];
    let kept = match payload["bytes"].as_u64() {
        Some(bytes) => format!("kept, {bytes} bytes, {}", word(&payload["delivery"])),
        None => "not kept".to_owned(),
    };
    lines + &format!("{:<18} {kept}", "payload")
}

/// A value without its quotes, and without what would move a terminal's cursor.
pub(in crate::cli) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}

/// A time of the API, to the second.
fn second(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(second, _)| format!("{second}Z"))
}

/// On standard output; a closed pipe leaves nobody to tell.
pub(in crate::cli) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_payload_calls_itself_cannot_move_the_cursor() {
        assert_eq!(word(&json!("acct\u{1b}[2J")), "acct\u{fffd}[2J");
        assert_eq!(
            (word(&json!(null)), word(&json!(3)), word(&json!(true))),
            ("-".into(), "3".into(), "true".into())
        );
    }

    #[test]
    fn times_are_told_to_the_second() {
        assert_eq!(second("2026-01-02T03:04:05.678Z"), "2026-01-02T03:04:05Z");
        assert_eq!(second("-"), "-");
    }
}
