//! `[log]`: how much the program logs, and in which format.

use super::reader::{Section, one_of};
use tracing::Level;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Console`] on a terminal, otherwise [`LogFormat::Json`].
    Auto,
    /// Text for people to read.
    Console,
    /// One JSON object a line.
    Json,
}

/// The section `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// The lowest level that is logged: `error`, `warn`, `info`, `debug` or `trace`. Defaults to `info`.
    pub level: Level,
    /// The format of log lines. Defaults to `auto`.
    pub format: LogFormat,
}

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

const FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("console", LogFormat::Console), ("json", LogFormat::Json)];

impl LogConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let level = section.text("level", "info", |text| one_of(text, LEVELS));
        let format = section.text("format", "auto", |text| one_of(text, FORMATS));
        Some(Self { level: level?, format: format? })
    }
}
