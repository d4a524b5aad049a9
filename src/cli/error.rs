//! The error of a command: the exit status and the text for standard error. It prints nothing itself.

use crate::app::EX_CONFIG;

/// The reason why a command did not succeed.
#[derive(Debug)]
pub(super) struct CliError {
    /// The exit status of the process.
    pub(super) exit_code: u8,
    /// The text for standard error, without a final newline.
    pub(super) message: String,
}

impl CliError {
    /// The command tried its work, and the work failed: exit status 1.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { exit_code: 1, message: message.into() }
    }

    /// The arguments do not fit together or are not enough: exit status 2, as clap's own.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit_code: 2, message: message.into() }
    }

    /// The configuration or the environment does not allow the work: exit status 78.
    pub(super) fn config(message: impl Into<String>) -> Self {
        Self { exit_code: EX_CONFIG, message: message.into() }
    }
}
