//! The option `--config` and the environment: where a command's configuration comes from. The rules for finding and
//! reading the file are [`Source`]'s.

use super::error::CliError;
use crate::config::{AdminConfig, Config, Source};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The environment variables, read once by `main.rs`.
pub(super) type EnvVars = BTreeMap<String, String>;

/// The option that names the configuration file.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConfigArg {
    /// The configuration file [default: $COUNTERSIGN_CONFIG, else
    /// /etc/countersign/countersign.toml, else the built-in defaults]
    #[arg(long = "config", value_name = "FILE", global = true, display_order = 100)]
    path: Option<PathBuf>,
}

impl ConfigArg {
    /// Returns the source of the configuration. It reads nothing yet.
    pub(super) fn source(self, env: EnvVars) -> Source {
        Source::new(self.path, env)
    }

    /// Reads the whole configuration. The error lists everything that is wrong with it.
    pub(super) fn load(self, env: EnvVars) -> Result<Config, CliError> {
        self.source(env).load().map_err(|errors| CliError::config(errors.to_string()))
    }

    /// Reads the section `[admin]` alone, whatever the other sections hold.
    pub(super) fn load_admin(self, env: EnvVars) -> Result<AdminConfig, CliError> {
        self.source(env).load_admin().map_err(|errors| CliError::config(errors.to_string()))
    }
}
