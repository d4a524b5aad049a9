//! From a file to a [`Config`]: where the file is, what stands in it, and what its sections may not say together.
//! How a section is read stands in the section's own file. Loading changes nothing and may be repeated.

use super::faults::{ConfigError, ConfigErrors};
use super::placeholder::Env;
use super::section::{Reading, Section};
use super::webhook::UniqueNames;
use super::{
    AdminConfig, BackendConfig, BackendUrl, CheckoutConfig, CheckoutState, Config, LedgerConfig, LedgerUrl,
    Listen, LogConfig, ServerConfig, WebhookConfig,
};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The configuration without any file: every key with its default, `config/countersign.toml`.
pub const BUILT_IN: &str = include_str!("../../config/countersign.toml");

/// Where a file is looked for when none is named.
const SYSTEM_FILE: &str = "/etc/countersign/countersign.toml";

/// Names the file when `--config` does not.
const VARIABLE: &str = "COUNTERSIGN_CONFIG";

/// Where the configuration comes from. [`Source::load`] may be called again: on SIGHUP it reads the file, and the
/// files its placeholders name, anew; the environment is the one it was given.
#[derive(Clone)]
pub struct Source {
    /// `None` for the built-in default.
    path: Option<PathBuf>,
    env: Env,
}

impl Source {
    /// `path` if given, else the file that `COUNTERSIGN_CONFIG` names, else `/etc/countersign/countersign.toml` if
    /// there is one, else the built-in default.
    pub fn new(path: Option<PathBuf>, env: impl IntoIterator<Item = (String, String)>) -> Source {
        Source::find(path, env.into_iter().collect(), Path::new(SYSTEM_FILE))
    }

    fn find(path: Option<PathBuf>, env: Env, system: &Path) -> Source {
        let named = || env.get(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        // Whether it can be read is for `load` to say: a file that is there is meant.
        let present = || system.symlink_metadata().is_ok().then(|| system.to_owned());
        Source { path: path.or_else(named).or_else(present), env }
    }

    /// The file's path as it was given, or `built-in configuration`.
    pub fn name(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "built-in configuration".to_owned(),
        }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        self.read(|file| file.config())
    }

    /// Reads where the running program answers for its health, and nothing else: a fault elsewhere in a file that
    /// the program has not taken up says nothing about its health.
    ///
    /// # Errors
    /// Everything that is wrong with `[admin]`, or a file that cannot be read.
    pub fn load_admin(&self) -> Result<AdminConfig, ConfigErrors> {
        self.read(|file| {
            let mut section = file.section("admin");
            let admin = AdminConfig::read(&mut section);
            section.finish();
            admin
        })
    }

    fn read<T>(&self, take: impl FnOnce(&ConfigFile) -> Option<T>) -> Result<T, ConfigErrors> {
        let text = match &self.path {
            None => BUILT_IN.to_owned(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                let help = match &self.env.get(VARIABLE) {
                    Some(named) if Path::new(named) == path => "COUNTERSIGN_CONFIG names it",
                    _ => "",
                };
                ConfigErrors::of_file(self.name(), format!("a file that cannot be read: {error}"), help)
            })?,
        };
        self.judge(&text, take)
    }

    fn judge<T>(&self, text: &str, take: impl FnOnce(&ConfigFile) -> Option<T>) -> Result<T, ConfigErrors> {
        let reading = Reading::new(text, &self.env);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reading.fault(syntax(&reading, error));
        }
        let config = take(&ConfigFile { reading: &reading, table: table.get_ref() });
        let mut faults = reading.finish();
        if !errors.is_empty() {
            // What follows from half a file would mislead.
            faults.retain(|fault| fault.key.is_empty());
        }
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(ConfigErrors::new(self.name(), faults)),
        }
    }
}

/// The environment holds secrets: only where the configuration comes from is shown.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.name()).finish()
    }
}

/// A fault of the TOML itself. Its text is the parser's own description, which quotes nothing of the file.
fn syntax(reading: &Reading, error: &toml::de::Error) -> ConfigError {
    let message = error.message();
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    ConfigError {
        line: error.span().map(|span| reading.line(span.start)),
        key: String::new(),
        found: format!("malformed TOML: {found}"),
        expected: expected.to_owned(),
        help: String::new(),
    }
}

/// A parsed file.
struct ConfigFile<'r, 'a, 'i> {
    reading: &'r Reading<'a>,
    table: &'r DeTable<'i>,
}

impl<'r, 'a, 'i> ConfigFile<'r, 'a, 'i> {
    fn section(&self, name: &'static str) -> Section<'r, 'a, 'i> {
        Section::new(self.reading, name, self.table.get(name))
    }

    fn config(&self) -> Option<Config> {
        let mut top = Section::top(self.reading, self.table);
        for name in ["server", "admin", "log", "backend", "ledger", "webhook", "checkout"] {
            top.know(name);
        }
        top.finish();

        let mut sections = ["server", "admin", "log", "backend", "ledger"].map(|name| self.section(name));
        let [server_section, admin_section, log_section, backend_section, ledger_section] = &mut sections;
        let server = ServerConfig::read(server_section);
        let admin = AdminConfig::read(admin_section);
        let log = LogConfig::read(log_section);
        let backend = BackendConfig::read(backend_section);
        let ledger = LedgerConfig::read(ledger_section);
        let webhooks = self.webhooks();
        let mut checkout_section = self.section("checkout");
        let checkout = CheckoutConfig::read(&mut checkout_section);

        if let (Some(server), Some(admin)) = (&server, &admin)
            && same_address(&server.listen, &admin.listen)
        {
            admin_section.fault(
                "listen",
                format!("\"{}\"", admin.listen),
                "another address than that of server.listen",
                "health and metrics have a listener of their own, which Caddy does not pass on",
            );
        }
        if let (Some(server), Some(backend)) = (&server, &backend)
            && reaches(&backend.url, &server.listen)
        {
            backend_section.fault(
                "url",
                format!("\"{}\"", backend.url),
                "another address than that of server.listen",
                "the program would hand every request to itself",
            );
        }
        if let (Some(checkout), Some(webhooks)) = (&checkout, &webhooks) {
            no_path_twice(&checkout_section, checkout, webhooks);
        }
        checkout_section.finish();
        if let (Some(ledger), Some(webhooks)) = (&ledger, &webhooks)
            && ledger.url == LedgerUrl::None
            && let Some(webhook) = webhooks.iter().find(|webhook| webhook.keeps())
        {
            ledger_section.fault(
                "url",
                "\"none\"".to_owned(),
                "a ledger that keeps events",
                &format!(
                    "webhook \"{}\" has delivery queued or hybrid, for some types at least",
                    webhook.name
                ),
            );
        }
        for section in sections {
            section.finish();
        }
        Some(Config {
            server: server?,
            admin: admin?,
            log: log?,
            backend: backend?,
            ledger: ledger?,
            webhooks: webhooks?,
            checkout: checkout?,
        })
    }

    /// The endpoints: those of the file, or the default one if it names none.
    fn webhooks(&self) -> Option<Vec<WebhookConfig>> {
        let value = self.table.get("webhook");
        let mut sections: Vec<Section> = match value.map(|value| (value, value.get_ref())) {
            None => vec![self.section("webhook")],
            Some((_, DeValue::Array(list))) if !list.is_empty() => {
                list.iter().map(|value| Section::new(self.reading, "webhook", Some(value))).collect()
            }
            Some((value, other)) => {
                let found = match other {
                    DeValue::Array(_) => "an empty list",
                    DeValue::Table(_) => "a table",
                    _ => "a value",
                };
                self.reading.fault(ConfigError {
                    line: Some(self.reading.line(value.span().start)),
                    key: "webhook".to_owned(),
                    found: found.to_owned(),
                    expected: "a list of tables".to_owned(),
                    help: "there may be several: write [[webhook]]".to_owned(),
                });
                return None;
            }
        };
        let mut taken = UniqueNames::default();
        let webhooks: Vec<_> =
            sections.iter_mut().map(|section| WebhookConfig::read(section, &mut taken)).collect();
        for section in sections {
            section.finish();
        }
        webhooks.into_iter().collect()
    }
}

/// A checkout's path must not mean a webhook's, nor lie beneath one, where the guard would refuse it.
fn no_path_twice(section: &Section, checkout: &CheckoutConfig, webhooks: &[WebhookConfig]) {
    if checkout.state() != CheckoutState::On {
        return;
    }
    for path in &checkout.paths {
        let low = path.to_ascii_lowercase();
        let guarded = webhooks.iter().find(|webhook| {
            let guarded = webhook.path.trim_end_matches('/').to_ascii_lowercase();
            let rest = low.strip_prefix(&guarded);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
        });
        if let Some(webhook) = guarded {
            let expected = "a path that is not a webhook's, nor beneath one";
            let help = format!("the webhook \"{}\" guards it", webhook.path);
            section.fault("paths", format!("\"{path}\""), expected, &help);
        }
    }
}

/// Whether two listeners would ask for one address. Port 0 takes a free one.
fn same_address(one: &Listen, other: &Listen) -> bool {
    if let (Listen::Unix { path, .. }, Listen::Unix { path: other, .. }) = (one, other) {
        return path == other;
    }
    match (one.host_and_port(), other.host_and_port()) {
        (Some((host, port)), Some((other_host, other_port))) => {
            port != 0
                && port == other_port
                && (host == other_host || is_unspecified(host) || is_unspecified(other_host))
        }
        _ => false,
    }
}

/// Whether the backend is the listener itself, as far as that shows without resolving names.
fn reaches(backend: &BackendUrl, listen: &Listen) -> bool {
    match (backend, listen.host_and_port()) {
        (BackendUrl::Http { host, port }, Some((listen_host, listen_port))) => {
            *port == listen_port
                && is_loopback(host)
                && (is_unspecified(listen_host) || is_loopback(listen_host))
        }
        (BackendUrl::Unix(backend), None) => matches!(listen, Listen::Unix { path, .. } if path == backend),
        (BackendUrl::Http { .. }, None) | (BackendUrl::Unix(_), Some(_)) => false,
    }
}

fn is_unspecified(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
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
    fn the_built_in_file_says_what_is_taken_for_missing_keys() {
        let missing = Path::new("/nonexistent");
        let built_in = Source::find(None, env(&[SECRET]), missing).load().unwrap();
        assert_eq!(secrets(&built_in.webhooks[0]), ["whsec_test"]);
        for minimal in ["", "[[webhook]]\n", "[server]\n[admin]\n[log]\n[backend]\n[ledger]\n[checkout]\n"] {
            let config = load(minimal, &[SECRET]).unwrap();
            assert_eq!(format!("{config:#?}"), format!("{built_in:#?}"), "{minimal:?}");
            assert_eq!(secrets(&config.webhooks[0]), ["whsec_test"]);
        }
    }

    #[test]
    fn the_built_in_file_names_every_key() {
        for section in ["server", "admin", "log", "backend", "ledger", "webhook", "checkout"] {
            let wrong =
                if section == "webhook" { "[[webhook]]\nx = 1" } else { &format!("[{section}]\nx = 1") };
            let faults = load(wrong, &[SECRET]).unwrap_err();
            let known = faults.iter().next().unwrap().expected.strip_prefix("one of ").unwrap().to_owned();
            // What has no default stands there as an example, behind a # without a space.
            let plain = |line: &str| match line.strip_prefix('#') {
                Some(example) if !example.starts_with(' ') => example.to_owned(),
                Some(_) | None => line.to_owned(),
            };
            let text: Vec<String> = BUILT_IN.lines().map(plain).collect();
            let table: toml::Table = text.join("\n").parse().unwrap();
            let table = match &table[section] {
                toml::Value::Array(list) => list[0].as_table().unwrap().clone(),
                other => other.as_table().unwrap().clone(),
            };
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
        assert_eq!(config.backend.url, BackendUrl::Unix("/run/app.sock".into()));
        assert_eq!(config.ledger.url, crate::config::LedgerUrl::None);
        assert_eq!(config.admin.listen, Listen::Tcp(":9464".to_owned()));
    }

    #[test]
    fn the_file_is_the_one_named_else_the_variables_else_the_systems() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("countersign.toml");
        let absent = folder.path().join("absent");
        std::fs::write(&system, "").unwrap();
        let variable = env(&[(VARIABLE, "/by/variable")]);
        let blank = env(&[(VARIABLE, "")]);
        let name = |path: Option<&str>, env: &Env, system: &Path| {
            Source::find(path.map(PathBuf::from), env.clone(), system).name()
        };
        assert_eq!(name(Some("/by/flag"), &variable, &system), "/by/flag");
        assert_eq!(name(None, &variable, &system), "/by/variable");
        assert_eq!(name(None, &blank, &system), system.display().to_string());
        assert_eq!(name(None, &Env::new(), &system), system.display().to_string());
        assert_eq!(name(None, &Env::new(), &absent), "built-in configuration");
    }

    #[test]
    fn a_second_load_sees_the_file_as_it_is_then() {
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
    fn the_admin_listener_is_known_whatever_else_is_wrong() {
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
    fn what_weakens_the_program_is_warned_of() {
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
        let selling = "[checkout]\nsuccess_url = \"https://a\"\n[[checkout.price]]\nid = \"price_1\"\n";
        for (timeout, warned) in [("11s", 0), ("12s", 1)] {
            let text = selling.replacen("success", &format!("timeout = \"{timeout}\"\nsuccess"), 1);
            let warnings = load(&text, &[SECRET, ("STRIPE_SECRET_KEY", "sk_test_1")]).unwrap().warnings();
            assert_eq!(warnings.len(), warned, "{warnings:?}");
        }
    }

    #[test]
    fn addresses_that_meet_are_known() {
        let tcp = |text: &str| Listen::Tcp(text.to_owned());
        let http = |host: &str, port| BackendUrl::Http { host: host.to_owned(), port };
        for (one, other, expected) in [
            (":80", ":80", true),
            (":80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(same_address(&tcp(one), &tcp(other)), expected, "{one} {other}");
        }
        for (backend, listen, expected) in [
            (http("localhost", 80), ":80", true),
            (http("::1", 80), "[::1]:80", true),
            (http("127.0.0.1", 80), "0.0.0.0:80", true),
            (http("127.0.0.1", 81), ":80", false),
            (http("backend", 80), ":80", false),
            (http("127.0.0.1", 80), "10.0.0.1:80", false),
        ] {
            assert_eq!(reaches(&backend, &tcp(listen)), expected, "{backend} {listen}");
        }
    }
    proptest! {
        /// Pieces of a good file, torn and stuck together anyhow.
        #[test]
        fn whatever_stands_in_a_file_it_is_a_configuration_or_has_faults(
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
            if let Err(faults) = source.judge(&text, |file| file.config()) {
                prop_assert!(faults.count() > 0, "{text}");
                prop_assert!(!faults.to_string().contains("whsec_test"));
            }
        }
    }
}
