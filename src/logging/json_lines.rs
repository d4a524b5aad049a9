//! The JSON form of a log line: `timestamp` (RFC 3339, UTC), `level`, `target` if asked for, and the event's fields at the
//! top level, `message` among them. The formatter of tracing-subscriber writes the same. This one costs a quarter of it,
//! which matters because each webhook writes a line.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;

/// The target of every event that comes from the `log` crate. Its real target is in the field [`LOG_TARGET`].
const LOG_CRATE: &str = "log";
const LOG_TARGET: &str = "log.target";

/// Formats an event as one JSON object and a line feed.
pub(super) struct JsonLines {
    /// Whether each line has the field `target`, the crate and module that logs.
    pub(super) with_target: bool,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        out.write_str("{\"timestamp\":\"")?;
        write_timestamp(&mut out, clock::unix())?;
        write!(out, "\",\"level\":\"{}\"", metadata.level())?;
        let mut fields = Fields { out, with_target: self.with_target, result: Ok(()) };
        if self.with_target && metadata.target() != LOG_CRATE {
            fields.write("target", |out| write_string(out, metadata.target()));
        }
        event.record(&mut fields);
        fields.result?;
        fields.out.write_str("}\n")
    }
}

/// Writes the time since the Unix epoch as RFC 3339, to the microsecond. The date is formatted once a second and thread.
fn write_timestamp(out: &mut Writer<'_>, unix: Duration) -> fmt::Result {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    DATE.with_borrow_mut(|(second, date)| {
        if *second != unix.as_secs() {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(unix.as_secs());
            date.clear();
            write!(date, "{}", humantime::format_rfc3339_seconds(time))?;
            *second = unix.as_secs();
        }
        let date = date.strip_suffix('Z').unwrap_or(date);
        write!(out, "{date}.{:06}Z", unix.subsec_micros())
    })
}

/// Writes each field as `,"name":value`, and remembers the first error.
struct Fields<'a> {
    out: Writer<'a>,
    with_target: bool,
    result: fmt::Result,
}

impl<'a> Fields<'a> {
    fn write(&mut self, name: &str, value: impl FnOnce(&mut Writer<'a>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = write!(self.out, ",\"{name}\":").and_then(|()| value(&mut self.out));
        }
    }

    /// Returns the name under which a field is written, or `None` if the line does not have it.
    fn name(&self, field: &Field) -> Option<&'static str> {
        match field.name() {
            LOG_TARGET => self.with_target.then_some("target"),
            // The other fields that the bridge from the `log` crate adds.
            name if name.starts_with("log.") => None,
            name => Some(name),
        }
    }

    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'a>) -> fmt::Result) {
        if let Some(name) = self.name(field) {
            self.write(name, value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no form for what is not finite.
        self.field(
            field,
            |out| if value.is_finite() { write!(out, "{value:?}") } else { out.write_str("null") },
        );
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |out| write_string(out, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }
}

fn write_string(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_str(text)?;
    out.write_char('"')
}

/// Escapes what is written as the inside of a JSON string (RFC 8259, 7).
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        // The bytes that need escaping are ASCII, so every index is the border of a character.
        while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            match special.as_bytes()[0] {
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                quoted @ (b'"' | b'\\') => write!(self.0, "\\{}", char::from(quoted))?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &special[1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_character_comes_back_from_the_line() {
        let text: String = (0..0x300).chain([0x2028, 0xfffd, 0x1f600]).filter_map(char::from_u32).collect();
        let mut line = String::new();
        write_string(&mut Writer::new(&mut line), &text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), text);
        assert!(line.bytes().all(|byte| byte >= 0x20), "a line holds no control character");
    }

    #[test]
    fn timestamp_is_that_of_its_own_second() {
        let written = |unix| {
            let mut text = String::new();
            write_timestamp(&mut Writer::new(&mut text), unix).unwrap();
            text
        };
        let second = Duration::from_secs(1_784_021_213);
        assert_eq!(written(second + Duration::from_micros(42)), "2026-07-14T09:26:53.000042Z");
        assert_eq!(written(second + Duration::from_micros(999_999)), "2026-07-14T09:26:53.999999Z");
        assert_eq!(written(second + Duration::from_secs(1)), "2026-07-14T09:26:54.000000Z");
        assert_eq!(written(Duration::ZERO), "1970-01-01T00:00:00.000000Z");
    }
}
