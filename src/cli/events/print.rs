//! The formats of records: a table or a line of JSON each, and the description of a single record. It sends no request.

use crate::cli::output::{display_value, println_ok};
use serde_json::Value;

/// Prints records to standard output, one line each, and counts them.
pub(super) struct RecordPrinter {
    json: bool,
    printed: usize,
}

impl RecordPrinter {
    /// Prints JSON if `json`, else a table for a terminal.
    pub(super) fn new(json: bool) -> Self {
        Self { json, printed: 0 }
    }

    /// Returns how many records were printed.
    pub(super) fn printed(&self) -> usize {
        self.printed
    }

    /// Prints one record. The first record of a table prints the heading as well.
    pub(super) fn print(&mut self, record: &Value) {
        if self.json {
            println_ok(&record.to_string());
        } else {
            if self.printed == 0 {
                println_ok(&format!(
                    "{:<30} {:<9} {:>5} {:>6}  {:<20}  {:<34} ENDPOINT",
                    "ID", "STATE", "TRIES", "STATUS", "SEEN", "TYPE"
                ));
            }
            println_ok(&table_row(record));
        }
        self.printed += 1;
    }
}

fn table_row(record: &Value) -> String {
    let field = |name: &str| display_value(&record[name]);
    let endpoint = match record["query"].as_str() {
        None | Some("") => field("endpoint"),
        Some(_) => format!("{} ?{}", field("endpoint"), field("query")),
    };
    format!(
        "{:<30} {:<9} {:>5} {:>6}  {:<20}  {:<34} {endpoint}",
        field("id"),
        field("state"),
        field("attempts"),
        field("status"),
        without_fraction(&field("seen")),
        field("type")
    )
}

/// Describes a record, one line for each field that it has.
pub(super) fn describe(record: &Value) -> String {
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
            lines += &format!("{label:<18} {}\n", display_value(&record[field]));
        }
    }
    let payload = &record["payload"];
    let stored = match payload["bytes"].as_u64() {
        Some(bytes) => format!("stored, {bytes} bytes, {}", display_value(&payload["delivery"])),
        None => "not stored".to_owned(),
    };
    lines + &format!("{:<18} {stored}", "payload")
}

/// Drops the fraction of a second from a time of the API.
fn without_fraction(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_to_the_second() {
        assert_eq!(without_fraction("2026-01-02T03:04:05.678Z"), "2026-01-02T03:04:05Z");
        assert_eq!(without_fraction("-"), "-");
    }
}
