//! The process's log subscriber: which crates may log, at which level, in which format. It does not decide what is
//! logged; the code that handles a thing logs it, once.
//!
//! Lines go to standard error, whole and in order, through a queue that never blocks: see `writer`. JSON is one object per
//! line: `timestamp` (RFC 3339, UTC), `level`, `message`, and the event's fields at the top level.
//!
//! - `json_lines.rs`: the JSON form of a line
//! - `writer.rs`: the queue and the thread that writes

mod json_lines;
mod writer;

use crate::config::{LogConfig, LogFormat};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::PanicHookInfo;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::json_lines::JsonLines;
use self::writer::LineWriter;
pub use self::writer::dropped_lines;

/// How many characters of a panic's message are logged.
const MAX_PANIC_CHARS: usize = 200;

/// Writes the last lines when it is dropped, at the end of the program.
#[must_use = "dropping it waits for the lines that are not written yet"]
pub struct Flush(LineWriter);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Starts logging to standard error for the life of the process; a second call changes nothing. `terminal` says whether
/// standard error is a terminal. If the format is JSON, a panic is logged as JSON too.
///
/// # Errors
/// The system refuses the thread that writes.
pub fn init(log: &LogConfig, terminal: bool) -> io::Result<Flush> {
    let json = line_format(log, terminal) == LineFormat::Json;
    let writer = LineWriter::start(io::stderr())?;
    let subscriber = subscriber(log, terminal, writer.clone());
    let first = if library_level(log.level) == LevelFilter::OFF {
        // `try_init` would install the bridge from the `log` crate. Without it, what libraries log costs nothing.
        tracing::subscriber::set_global_default(subscriber).is_ok()
    } else {
        subscriber.try_init().is_ok()
    };
    if first && json {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(Flush(writer))
}

/// The format of a line, with `auto` resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    Console,
    Json,
}

fn line_format(log: &LogConfig, terminal: bool) -> LineFormat {
    match log.format {
        LogFormat::Auto if terminal => LineFormat::Console,
        LogFormat::Auto | LogFormat::Json => LineFormat::Json,
        LogFormat::Console => LineFormat::Console,
    }
}

/// Returns the level for other crates: warnings if our level is `debug` or `trace`, otherwise nothing.
///
/// pingora logs an error when a client disconnects, which an operator does not need. Below `warn`, libraries quote heads
/// and bodies, which must never be logged.
fn library_level(level: Level) -> LevelFilter {
    if level >= Level::DEBUG { LevelFilter::WARN } else { LevelFilter::OFF }
}

fn subscriber<W>(log: &LogConfig, terminal: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let library_level = library_level(log.level);
    let filter = Targets::new().with_target(env!("CARGO_CRATE_NAME"), log.level).with_default(library_level);
    let base = tracing_subscriber::registry().with(filter);
    // The target names the crate. It is only useful if other crates log as well.
    let with_target = library_level != LevelFilter::OFF;
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(with_target);
    match line_format(log, terminal) {
        LineFormat::Json => Box::new(base.with(layer.event_format(JsonLines { with_target }))),
        // On a terminal the layer itself respects `NO_COLOR`.
        LineFormat::Console if terminal => Box::new(base.with(layer)),
        LineFormat::Console => Box::new(base.with(layer.with_ansi(false))),
    }
}

/// Logs a panic, so that every line is JSON. The line has a backtrace if `RUST_BACKTRACE` asks for one.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message =
        message.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    // A library's message may quote data of a request. The limit keeps a payload out of the log.
    let message: String = message.chars().take(MAX_PANIC_CHARS).collect();
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(panic = message, location, backtrace, "the program panicked; please report this bug");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: Level, format: LogFormat, terminal: bool, log_lines: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(&LogConfig { level, format }, terminal, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log_lines);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn log_webhook() {
        let unknown: Option<u16> = None;
        tracing::info!(
            endpoint = "/webhooks/stripe",
            event.id = "evt_1",
            event.r#type = "charge.succeeded",
            attempt = 2,
            outcome = "delivered",
            status = 200,
            duration_ms = 1.5,
            never = unknown,
            "webhook delivered"
        );
    }

    #[test]
    fn a_webhook_is_one_json_object_with_its_fields_at_the_top() {
        let text = logged(Level::INFO, LogFormat::Json, false, log_webhook);
        assert_eq!(text.matches('\n').count(), 1);
        let mut line: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        let timestamp = line.remove("timestamp").unwrap();
        let timestamp = timestamp.as_str().unwrap();
        assert!(humantime::parse_rfc3339(timestamp).is_ok(), "{timestamp}");
        let expected = serde_json::json!({
            "level": "INFO", "message": "webhook delivered", "endpoint": "/webhooks/stripe", "event.id": "evt_1",
            "event.type": "charge.succeeded", "attempt": 2, "outcome": "delivered", "status": 200, "duration_ms": 1.5,
        });
        assert_eq!(Value::Object(line), expected);
    }

    #[test]
    fn a_value_with_line_breaks_stays_on_one_line() {
        for format in [LogFormat::Json, LogFormat::Console] {
            let text =
                logged(Level::INFO, format, false, || tracing::info!(value = "a\nb\u{1b}[31m", "a line"));
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn auto_is_console_on_a_terminal_and_json_elsewhere() {
        for (format, terminal, json) in [
            (LogFormat::Auto, true, false),
            (LogFormat::Auto, false, true),
            (LogFormat::Console, false, false),
            (LogFormat::Json, true, true),
        ] {
            let text = logged(Level::INFO, format, terminal, log_webhook);
            assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), json, "{format:?} {terminal}: {text}");
            assert!(text.contains("evt_1"), "{text}");
        }
    }

    #[test]
    fn libraries_log_only_at_debug_and_below_and_only_warnings() {
        let log_lines = || {
            tracing::error!(target: "pingora_proxy", "lib error");
            tracing::warn!(target: "hyper::proto", "lib warn");
            tracing::info!(target: "pingora_core", "lib info");
            tracing::error!("our error");
            tracing::info!("our info");
            tracing::debug!("our debug");
            tracing::trace!("our trace");
        };
        for (level, expected) in [
            (Level::ERROR, vec!["our error"]),
            (Level::INFO, vec!["our error", "our info"]),
            (Level::DEBUG, vec!["lib error", "lib warn", "our error", "our info", "our debug"]),
            (Level::TRACE, vec!["lib error", "lib warn", "our error", "our info", "our debug", "our trace"]),
        ] {
            let text = logged(level, LogFormat::Json, false, log_lines);
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let messages: Vec<_> = lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect();
            assert_eq!(messages, expected, "{level}");
        }
    }
}
