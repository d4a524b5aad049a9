//! `[log]`: how much is said, and in which shape.

use super::section::Section;
use super::units;
use tracing::Level;

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Console on a terminal, else JSON.
    Auto,
    /// For people.
    Console,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `error`, `warn`, `info` (default), `debug`, `trace`.
    pub level: Level,
    /// Default `auto`.
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
    pub(super) fn read(section: &mut Section) -> Option<LogConfig> {
        let level = section.text("level", "info", |text| units::word(text, LEVELS));
        let format = section.text("format", "auto", |text| units::word(text, FORMATS));
        Some(LogConfig { level: level?, format: format? })
    }
}
