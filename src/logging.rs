//! Whose log lines are written, and in which shape: builds the one subscriber of the process.
//! It decides nothing about what is logged: whoever handles a thing logs it, once.
//!
//! Lines go to standard error, each in one write under its lock, so that none is torn. JSON is one object a line:
//! `timestamp` (RFC 3339, UTC), `level`, `message`, and the event's own fields beside them.

use crate::config::{LogConfig, LogFormat};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How much of a panic's message is logged.
const PANIC_CHARS: usize = 200;

/// Starts logging to standard error, for the life of the process; `terminal` says whether that is one. A second call
/// changes nothing. In JSON a panic is a line too.
pub fn init(log: &LogConfig, terminal: bool) {
    let json = shape(log, terminal) == Shape::Json;
    let subscriber = subscriber(log, terminal, std::io::stderr);
    let first = if libraries(log.level) == LevelFilter::OFF {
        // Without the bridge from `log`, what libraries say that way is dropped before it costs anything.
        tracing::subscriber::set_global_default(subscriber).is_ok()
    } else {
        subscriber.try_init().is_ok()
    };
    if first && json {
        std::panic::set_hook(Box::new(log_panic));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Console,
    Json,
}

fn shape(log: &LogConfig, terminal: bool) -> Shape {
    match log.format {
        LogFormat::Auto if terminal => Shape::Console,
        LogFormat::Auto | LogFormat::Json => Shape::Json,
        LogFormat::Console => Shape::Console,
    }
}

/// What others' crates may say. pingora calls it an error when a client leaves, which is no news to an operator; and
/// below warnings libraries quote heads and bodies, which must never be logged. So: nothing, or warnings for whoever is
/// looking for a fault.
fn libraries(level: Level) -> LevelFilter {
    if level >= Level::DEBUG { LevelFilter::WARN } else { LevelFilter::OFF }
}

fn subscriber<W>(log: &LogConfig, terminal: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let libraries = libraries(log.level);
    let filter = Targets::new().with_target(env!("CARGO_CRATE_NAME"), log.level).with_default(libraries);
    let base = tracing_subscriber::registry().with(filter);
    // Every line is ours, unless libraries are let in: only then it matters whose it is.
    let layer =
        tracing_subscriber::fmt::layer().with_writer(writer).with_target(libraries != LevelFilter::OFF);
    match shape(log, terminal) {
        Shape::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(base.with(layer))
        }
        // On a terminal `NO_COLOR` is heeded by the layer itself.
        Shape::Console if terminal => Box::new(base.with(layer)),
        Shape::Console => Box::new(base.with(layer.with_ansi(false))),
    }
}

/// As a line of the log, so that every line is JSON. The backtrace is there if `RUST_BACKTRACE` asks for it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    // Ours never quote what they met, but a library's might: a message is enough, a payload is too much.
    let said: String = said.chars().take(PANIC_CHARS).collect();
    let place = panic.location().map(ToString::to_string);
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    tracing::error!(panic = said, place, backtrace = trace, "panicked, which is a bug");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::io;
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

    fn logged(level: Level, format: LogFormat, terminal: bool, speak: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(&LogConfig { level, format }, terminal, move || writer.clone());
        tracing::subscriber::with_default(subscriber, speak);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn webhook() {
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
            "webhook"
        );
    }

    #[test]
    fn a_webhook_is_one_json_object_with_its_fields_at_the_top() {
        let text = logged(Level::INFO, LogFormat::Json, false, webhook);
        assert_eq!(text.matches('\n').count(), 1);
        let mut line: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        let timestamp = line.remove("timestamp").unwrap();
        let timestamp = timestamp.as_str().unwrap();
        assert!(humantime::parse_rfc3339(timestamp).is_ok(), "{timestamp}");
        let wanted = serde_json::json!({
            "level": "INFO", "message": "webhook", "endpoint": "/webhooks/stripe", "event.id": "evt_1",
            "event.type": "charge.succeeded", "attempt": 2, "outcome": "delivered", "status": 200, "duration_ms": 1.5,
        });
        assert_eq!(Value::Object(line), wanted);
    }

    #[test]
    fn a_value_with_line_breaks_stays_on_its_line() {
        for format in [LogFormat::Json, LogFormat::Console] {
            let text =
                logged(Level::INFO, format, false, || tracing::info!(value = "a\nb\u{1b}[31m", "said"));
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
            let text = logged(Level::INFO, format, terminal, webhook);
            assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), json, "{format:?} {terminal}: {text}");
            assert!(text.contains("evt_1"), "{text}");
        }
    }

    #[test]
    fn only_a_search_for_faults_lets_libraries_speak_and_only_of_warnings() {
        let speak = || {
            tracing::error!(target: "pingora_proxy", "lib error");
            tracing::warn!(target: "hyper::proto", "lib warn");
            tracing::info!(target: "pingora_core", "lib info");
            tracing::error!("our error");
            tracing::info!("our info");
            tracing::debug!("our debug");
            tracing::trace!("our trace");
        };
        for (level, wanted) in [
            (Level::ERROR, vec!["our error"]),
            (Level::INFO, vec!["our error", "our info"]),
            (Level::DEBUG, vec!["lib error", "lib warn", "our error", "our info", "our debug"]),
            (Level::TRACE, vec!["lib error", "lib warn", "our error", "our info", "our debug", "our trace"]),
        ] {
            let text = logged(level, LogFormat::Json, false, speak);
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let said: Vec<_> = lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect();
            assert_eq!(said, wanted, "{level}");
        }
    }
}
