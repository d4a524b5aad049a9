//! The progress line of `reconcile`: one line on standard error that is overwritten, on a terminal only.

use std::io::{IsTerminal, Write};

/// Shows on a terminal how far the command is. Elsewhere it prints nothing.
pub(super) struct Progress {
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub(super) fn show(&self, text: impl FnOnce() -> String) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", text());
        }
    }

    /// Erases the line. Call it before anything else is printed.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
