//! From a file to a [`Config`]: where the file is, and the TOML of it. Loading changes nothing and may be repeated, which a
//! reload does. What the sections mean is decided in `file` and in the section files.

use super::admin::AdminConfig;
use super::file::{Config, ConfigFile};
use super::reader::{ConfigError, Diagnostic, Environment, Reading};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// The configuration without any file: every key with its default, `config/countersign.toml`.
pub const BUILT_IN: &str = include_str!("../../config/countersign.toml");

/// The file that is used if none is named.
const SYSTEM_FILE: &str = "/etc/countersign/countersign.toml";

/// The environment variable that names the file if `--config` does not.
const VARIABLE: &str = "COUNTERSIGN_CONFIG";

/// The origin of the configuration. Each [`Source::load`] reads the file, and the files that its placeholders name,
/// again. The environment stays the one that it was created with.
#[derive(Clone)]
pub struct Source {
    /// The file's path. `None` stands for the built-in configuration.
    path: Option<PathBuf>,
    environment: Environment,
}

impl Source {
    /// Creates a source from `path` if given, else the file that `COUNTERSIGN_CONFIG` names, else
    /// `/etc/countersign/countersign.toml` if it exists, else the built-in configuration.
    pub fn new(path: Option<PathBuf>, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::find(path, environment.into_iter().collect(), Path::new(SYSTEM_FILE))
    }

    fn find(path: Option<PathBuf>, environment: Environment, system: &Path) -> Self {
        let named = || environment.get(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        // Only presence counts here. A file that exists but cannot be read is an error, which `load` reports.
        let present = || system.symlink_metadata().is_ok().then(|| system.to_owned());
        Self { path: path.or_else(named).or_else(present), environment }
    }

    /// Returns the file's path as it was given, or `built-in configuration`.
    pub fn name(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "built-in configuration".to_owned(),
        }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Returns everything that is wrong with it, at once.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.read(|file| file.config())
    }

    /// Reads `[admin]` alone, for commands that ask the running program. Errors in other sections do not matter to them:
    /// the running program may never have loaded this version of the file.
    ///
    /// # Errors
    /// Returns everything that is wrong with `[admin]`, or that the file cannot be read.
    pub fn load_admin(&self) -> Result<AdminConfig, ConfigError> {
        self.read(|file| file.admin())
    }

    fn read<T>(&self, take: impl FnOnce(&ConfigFile) -> Option<T>) -> Result<T, ConfigError> {
        let text = match &self.path {
            None => BUILT_IN.to_owned(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                let help = match self.environment.get(VARIABLE) {
                    Some(named) if Path::new(named) == path => "COUNTERSIGN_CONFIG names this file",
                    Some(_) | None => "",
                };
                ConfigError::from_file(self.name(), format!("a file that cannot be read: {error}"), help)
            })?,
        };
        self.parse(&text, take)
    }

    fn parse<T>(&self, text: &str, take: impl FnOnce(&ConfigFile) -> Option<T>) -> Result<T, ConfigError> {
        let reading = Reading::new(text, &self.environment);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reading.report(syntax_error(&reading, error));
        }
        let taken = take(&ConfigFile::new(&reading, table.get_ref()));
        let mut diagnostics = reading.finish();
        if !errors.is_empty() {
            // The parser dropped parts of the file, so errors about keys would mislead. Syntax errors have no key.
            diagnostics.retain(|diagnostic| diagnostic.key.is_empty());
        }
        match taken {
            Some(taken) if diagnostics.is_empty() => Ok(taken),
            Some(_) | None => Err(ConfigError::new(self.name(), diagnostics)),
        }
    }
}

/// Shows the source's name alone, because the environment holds secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.name()).finish()
    }
}

/// Describes an error of the TOML syntax with the parser's own message, which quotes nothing of the file.
fn syntax_error(reading: &Reading, error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    Diagnostic {
        line: error.span().map(|span| reading.line_at(span.start)),
        key: String::new(),
        found: format!("malformed TOML: {found}"),
        expected: expected.to_owned(),
        help: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BackendUrl, LedgerUrl, Listen, WebhookConfig};
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        Source::new(Some(path), env(variables)).load()
    }

    fn secrets(webhook: &WebhookConfig) -> Vec<&str> {
        webhook.secrets.iter().map(|secret| secret.expose_secret()).collect()
    }

    const SECRET: (&str, &str) = ("STRIPE_WEBHOOK_SECRET", "whsec_test");

    #[test]
    fn missing_keys_have_the_values_of_the_built_in_file() {
        let missing = Path::new("/nonexistent");
        let built_in = Source::find(None, env(&[SECRET]), missing).load().unwrap();
        assert_eq!(secrets(&built_in.webhooks[0]), ["whsec_test"]);
        for minimal in
            ["", "[[webhook]]\n", "[server]\n[admin]\n[log]\n[backend]\n[ledger]\n[stripe]\n[checkout]\n"]
        {
            let config = load(minimal, &[SECRET]).unwrap();
            assert_eq!(format!("{config:#?}"), format!("{built_in:#?}"), "{minimal:?}");
            assert_eq!(secrets(&config.webhooks[0]), ["whsec_test"]);
        }
    }

    #[test]
    fn the_built_in_file_names_every_key() {
        for section in ["server", "admin", "log", "backend", "ledger", "webhook", "stripe", "checkout"] {
            let text =
                if section == "webhook" { "[[webhook]]\nx = 1" } else { &format!("[{section}]\nx = 1") };
            let error = load(text, &[SECRET]).unwrap_err();
            let known = error.iter().next().unwrap().expected.strip_prefix("one of ").unwrap().to_owned();
            // A key without a default is there as an example, after a # without a space.
            let plain = |line: &str| match line.strip_prefix('#') {
                Some(example) if !example.starts_with(' ') => example.to_owned(),
                Some(_) | None => line.to_owned(),
            };
            let text: Vec<String> = BUILT_IN.lines().map(plain).collect();
            let table: toml::Table = text.join("\n").parse().unwrap();
            let value = &table[section];
            let table = value.as_array().map_or(value, |list| &list[0]).as_table().unwrap();
            let mut keys: Vec<_> = table.keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys.join(", "), known, "[{section}]");
        }
    }

    #[test]
    fn four_variables_run_the_built_in_file() {
        let variables = [
            ("STRIPE_WEBHOOK_SECRET", "whsec_new,whsec_old"),
            ("BACKEND_URL", "unix//run/app.sock"),
            ("LEDGER_URL", "none"),
            ("ADMIN_LISTEN", ":9464"),
        ];
        let config = Source::find(None, env(&variables), Path::new("/nonexistent")).load().unwrap();
        assert_eq!(secrets(&config.webhooks[0]), ["whsec_new", "whsec_old"]);
        assert_eq!(config.backend.urls, [BackendUrl::Unix("/run/app.sock".into())]);
        assert_eq!(config.ledger.url, LedgerUrl::None);
        assert_eq!(config.admin.listen, Listen::Tcp(":9464".to_owned()));
    }

    #[test]
    fn the_file_is_the_named_one_else_the_variables_else_the_systems() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("countersign.toml");
        let absent = folder.path().join("absent");
        std::fs::write(&system, "").unwrap();
        let variable = env(&[(VARIABLE, "/by/variable")]);
        let blank = env(&[(VARIABLE, "")]);
        let name = |path: Option<&str>, env: &Environment, system: &Path| {
            Source::find(path.map(PathBuf::from), env.clone(), system).name()
        };
        assert_eq!(name(Some("/by/flag"), &variable, &system), "/by/flag");
        assert_eq!(name(None, &variable, &system), "/by/variable");
        assert_eq!(name(None, &blank, &system), system.display().to_string());
        assert_eq!(name(None, &Environment::new(), &system), system.display().to_string());
        assert_eq!(name(None, &Environment::new(), &absent), "built-in configuration");
    }

    #[test]
    fn a_second_load_reads_the_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("c.toml"), folder.path().join("secret"));
        std::fs::write(&file, format!("[[webhook]]\nsecrets = [\"{{file.{}}}\"]", secret.display())).unwrap();
        let source = Source::new(Some(file), []);
        for expected in ["whsec_one", "whsec_two"] {
            std::fs::write(&secret, format!("{expected}\n")).unwrap();
            assert_eq!(secrets(&source.load().unwrap().webhooks[0]), [expected]);
        }
        std::fs::remove_file(&secret).unwrap();
        assert_eq!(source.load().unwrap_err().count(), 1);
    }

    #[test]
    fn load_admin_ignores_errors_of_other_sections() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "[admin]\nlisten = \":1\"\n[server]\nlisten = 3\nx = 1\n").unwrap();
        let source = Source::new(Some(path.clone()), []);
        assert_eq!(source.load_admin().unwrap().listen, Listen::Tcp(":1".to_owned()));
        std::fs::write(&path, "[admin]\nlisten = \"1\"\n[server]\nlisten = 3\n").unwrap();
        assert_eq!(source.load_admin().unwrap_err().count(), 1);
    }

    #[test]
    fn neither_source_nor_configuration_shows_a_secret() {
        let source = Source::find(None, env(&[SECRET]), Path::new("/nonexistent"));
        let config = source.load().unwrap();
        assert!(!format!("{source:?} {config:?}").contains("whsec_test"));
    }

    #[test]
    fn each_setting_that_weakens_the_program_has_a_warning() {
        let text = "
            [server]
            shutdown_grace = \"1s\"
            [ledger]
            retention = \"2d\"
            on_outage = \"deliver\"
            [[webhook]]
            enforce = false";
        let warnings = load(text, &[SECRET]).unwrap().warnings();
        let begin =
            ["webhook \"/webhooks/stripe\"", "ledger.retention", "ledger.on_outage", "server.shutdown_grace"];
        assert_eq!(warnings.len(), begin.len(), "{warnings:?}");
        for (warning, begin) in warnings.iter().zip(begin) {
            assert!(warning.starts_with(begin), "{warning}");
        }
        assert_eq!(load("", &[SECRET]).unwrap().warnings(), Vec::<String>::new());
        assert_eq!(load("[ledger]\nurl = \"none\"", &[SECRET]).unwrap().warnings().len(), 1);
        let checkout = "[checkout]\nsuccess_url = \"https://a\"\n[[checkout.price]]\nid = \"price_1\"\n";
        for (timeout, warned) in [("11s", 0), ("12s", 1)] {
            let text = format!("[stripe]\ntimeout = \"{timeout}\"\n{checkout}");
            let warnings = load(&text, &[SECRET, ("STRIPE_SECRET_KEY", "sk_test_1")]).unwrap().warnings();
            assert_eq!(warnings.len(), warned, "{warnings:?}");
        }
    }

    proptest! {
        /// Joins pieces of a valid file at random.
        #[test]
        fn any_file_is_a_configuration_or_has_errors(
            pieces in proptest::collection::vec((0..BUILT_IN.len(), 0..80_usize, ".{0,3}"), 0..8)
        ) {
            let bytes = BUILT_IN.as_bytes();
            let text: String = pieces
                .iter()
                .map(|(start, length, between)| {
                    let end = (start + length).min(bytes.len());
                    String::from_utf8_lossy(&bytes[*start..end]).into_owned() + between
                })
                .collect();
            let source = Source::find(None, env(&[SECRET]), Path::new("/nonexistent"));
            if let Err(error) = source.parse(&text, |file| file.config()) {
                prop_assert!(error.count() > 0, "{text}");
                prop_assert!(!error.to_string().contains("whsec_test"));
            }
        }
    }
}
