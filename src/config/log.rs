//! `[log]`: how much is said, and in which shape.

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
pub struct Log {
    /// `error`, `warn`, `info` (default), `debug`, `trace`.
    pub level: tracing::Level,
    /// Default `auto`.
    pub format: LogFormat,
}
