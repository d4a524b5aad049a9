//! The configuration that a test starts the program with. The defaults suit tests, and each key can be changed.

use super::backend::Backend;
use super::event::SECRET;
use super::redis::Redis;
use super::wire::Address;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::{Table, Value};

/// A configuration and an environment. By default: listeners on free loopback ports, an SQLite ledger in the test's
/// own folder, one webhook at `/webhooks/stripe` with [`SECRET`].
#[derive(Debug, Clone)]
pub struct Setup {
    table: Table,
    pub(super) env: Vec<(String, String)>,
    pub(super) files: Vec<(PathBuf, String)>,
    pub(super) sockets: Option<Arc<Sockets>>,
    /// The soft and the hard limit of open files.
    pub(super) open_files: Option<(u32, u32)>,
}

/// Listening sockets that stay open across restarts, as those of a socket unit of systemd do.
#[derive(Debug)]
pub struct Sockets {
    pub(super) server: OwnedFd,
    pub(super) admin: OwnedFd,
    address: Address,
}

impl Sockets {
    /// Listens on free ports.
    pub fn open() -> Arc<Self> {
        let [server, admin] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let address = Address::Tcp(server.local_addr().expect("bound"));
        Arc::new(Self { server: server.into(), admin: admin.into(), address })
    }

    /// Returns the address of the socket for traffic.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Setup {
    /// The default in front of this backend.
    pub fn new(backend: &Backend) -> Self {
        Self::to(&backend.url())
    }

    /// The default in front of any backend URL.
    pub fn to(backend: &str) -> Self {
        let base = "[[webhook]]\npath = '/webhooks/stripe'\nsecrets = ['{$STRIPE_WEBHOOK_SECRET}']\n";
        let table = base.parse().expect("the base is TOML");
        let env = vec![("STRIPE_WEBHOOK_SECRET".into(), SECRET.into())];
        Self { table, env, files: vec![], sockets: None, open_files: None }
            .set("server.listen", "127.0.0.1:0")
            .set("admin.listen", "127.0.0.1:0")
            .set("log.format", "json")
            .set("backend.url", backend)
            // Tests without a backend do not wait for one.
            .set("backend.connect_retry", "0s")
            .set("ledger.url", "sqlite:ledger.db")
    }

    /// Sets `section.key`. `webhook.key` means the first webhook, `webhook.1.key` the second.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (section, key) = key.split_once('.').expect("section.key");
        let table = if section == "webhook" {
            let webhooks = self.table.get_mut("webhook").and_then(Value::as_array_mut).expect("webhooks");
            let (at, key) = match key.split_once('.') {
                Some((at, key)) => (at.parse::<usize>().expect("a position"), key),
                None => (0, key),
            };
            webhooks[at].as_table_mut().expect("a webhook").insert(key.into(), value.into());
            return self;
        } else {
            self.table.entry(section).or_insert_with(|| Value::Table(Table::new()))
        };
        table.as_table_mut().expect("a section").insert(key.into(), value.into());
        self
    }

    /// Adds a webhook at this path, with secrets as the file spells them.
    pub fn webhook(mut self, path: &str, secrets: &[&str]) -> Self {
        let mut webhook = Table::new();
        webhook.insert("path".into(), path.into());
        webhook.insert("secrets".into(), Value::Array(secrets.iter().map(|&s| s.into()).collect()));
        let webhooks = self.table.get_mut("webhook").and_then(Value::as_array_mut).expect("webhooks");
        webhooks.push(Value::Table(webhook));
        self
    }

    /// Sets the secrets of the first webhook.
    pub fn webhook_secrets(self, secrets: &[&str]) -> Self {
        self.env("STRIPE_WEBHOOK_SECRET", &secrets.join(","))
    }

    /// Sets the first webhook's delivery mode, with nine retries at short intervals.
    pub fn delivery(self, mode: &str) -> Self {
        self.set("webhook.delivery", mode).retry(&["50ms"; 9]).set("webhook.jitter", 0.0)
    }

    /// Sets the first webhook's waits between attempts.
    pub fn retry(self, waits: &[&str]) -> Self {
        self.set("webhook.retry", Value::Array(waits.iter().map(|&wait| wait.into()).collect()))
    }

    /// Turns the ledger off.
    pub fn no_ledger(self) -> Self {
        self.set("ledger.url", "none")
    }

    /// Puts the ledger in this file.
    pub fn ledger_at(self, path: impl AsRef<Path>) -> Self {
        self.set("ledger.url", format!("sqlite:{}", path.as_ref().display()))
    }

    /// Puts the ledger on this server.
    pub fn redis(self, redis: &Redis) -> Self {
        self.set("ledger.url", redis.url())
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds a file, relative to the program's working directory. It is written before the start.
    pub fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Limits the files that the program may have open.
    pub fn open_files(self, soft: u32, hard: u32) -> Self {
        Self { open_files: Some((soft, hard)), ..self }
    }

    /// Has the program inherit these sockets.
    pub fn sockets(self, sockets: &Arc<Sockets>) -> Self {
        Self { sockets: Some(sockets.clone()), ..self }
    }

    /// Returns the text of the configuration file.
    pub fn text(&self) -> String {
        self.table.to_string()
    }
}

impl From<&Backend> for Setup {
    fn from(backend: &Backend) -> Self {
        Self::new(backend)
    }
}
