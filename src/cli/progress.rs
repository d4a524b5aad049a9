//! The progress line of long commands: one line on standard error that is overwritten, on a terminal only.

use std::io::{IsTerminal, Write};

/// Shows on a terminal how far the command is. Elsewhere it prints nothing.
pub(in crate::cli) struct Progress {
    is_terminal: bool,
}

impl Progress {
    pub(in crate::cli) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub(in crate::cli) fn show(&self, text: impl FnOnce() -> String) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", text());
        }
    }

    /// Erases the line. Call it before anything else is printed.
    pub(in crate::cli) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
