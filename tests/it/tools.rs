//! Programs from outside for tests: any [`Tool`], a [`Caddy`] with the shipped Caddyfile, and checks that skip a test
//! whose tool is missing.

use crate::harness::{Address, Client, Request, Response, until};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A tool in a process group and a configuration folder of its own. Dropping it kills the group, and prints its
/// output if the test failed.
pub struct Tool {
    child: Child,
    home: TempDir,
}

impl Tool {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Self {
        let home = TempDir::new().expect("a folder");
        let log = File::create(home.path().join("log")).expect("a log");
        let child = command
            .env("XDG_CONFIG_HOME", home.path())
            .env("XDG_DATA_HOME", home.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Self { child, home }
    }

    /// Returns its output so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Waits until its output contains these words.
    pub async fn wait_for_output(&mut self, words: &str) {
        until(format!("{words:?} in the output"), async || self.has_output(words).then_some(())).await
    }

    /// Returns whether its output contains these words. Panics if it ended without them.
    pub fn has_output(&mut self, words: &str) -> bool {
        let ended = self.ended();
        let found = self.log().contains(words);
        assert!(found || !ended, "it ended without printing {words:?}");
        found
    }

    /// Returns whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Sends a signal to its process group, as a terminal does.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} -{}", self.child.id());
        // The processes may have ended already.
        let _ = Command::new("/bin/sh").args(["-c", &kill]).stderr(Stdio::null()).status();
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- output of a tool\n{}\n---", self.log());
        }
    }
}

/// A running Caddy.
pub struct Caddy {
    tool: Tool,
    address: Address,
}

impl Caddy {
    /// Starts Caddy in front of the program at this address, which need not listen yet.
    pub async fn start(program: &Address) -> Self {
        Self::start_serving(program, Path::new("examples/site")).await
    }

    /// Starts Caddy with the files of another site.
    pub async fn start_serving(program: &Address, site: &Path) -> Self {
        Self::start_with(Path::new("Caddyfile"), &program.text(), site).await
    }

    /// Starts Caddy with another Caddyfile, which has `{$SITE_ADDRESS}` pass requests to `{$COUNTERSIGN}`.
    pub async fn start_configured(config: &Path, upstream: &str) -> Self {
        Self::start_with(config, upstream, Path::new("examples/site")).await
    }

    async fn start_with(config: &Path, upstream: &str, site: &Path) -> Self {
        // A free port is not reserved: another process may take it before Caddy does.
        for _ in 0..5 {
            let mut caddy = Self::launch(config, upstream, site, free_port());
            if caddy.listening().await {
                return caddy;
            }
            eprintln!("caddy did not start: {}", caddy.tool.log());
        }
        panic!("caddy found no port");
    }

    fn launch(config: &Path, upstream: &str, site: &Path, port: u16) -> Self {
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(config)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("SITE_ADDRESS", format!("http://:{port}"))
            .env("COUNTERSIGN", upstream)
            .env("SITE_ROOT", site);
        let address = Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
        Self { tool: Tool::start(&mut command), address }
    }

    /// Waits until it listens, and returns false if it ended instead.
    async fn listening(&mut self) -> bool {
        let port = self.port();
        until("caddy listening, or its end", async || {
            if self.tool.ended() { Some(false) } else { is_listening(port).then_some(true) }
        })
        .await
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sends a request on a connection of its own and reads the response.
    pub async fn send(&self, request: &Request) -> Response {
        Client::connect(&self.address).await.send(request).await
    }
}

/// Returns a port that is free at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Returns whether something listens on this port.
pub fn is_listening(port: u16) -> bool {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_secs(1)).is_ok()
}

/// Returns whether a command is installed. If not, prints that the test is skipped, or panics where `CI` is set.
pub fn have(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(command).is_file());
    found || skipped(command)
}

/// Returns the libfaketime library, for `LD_PRELOAD`. `None` skips the test, as with [`have`].
pub fn faketime() -> Option<String> {
    let library = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    if library.is_none() {
        skipped("libfaketime");
    }
    library
}

/// Returns the folder of an npm package, installed by `scripts/setup test`. `None` skips the test, as
/// with [`have`].
pub fn npm(package: &str) -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("npm").join("node_modules").join(package);
    (folder.is_dir() || skipped(package)).then_some(folder)
}

/// Returns the folder with Stripe's Python SDK, gunicorn and Django, installed by `scripts/setup test`. `None` skips the
/// test, as with [`have`].
pub fn python_packages() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python");
    let missing = ["stripe", "gunicorn", "django"].into_iter().find(|package| !folder.join(package).is_dir());
    missing.is_none_or(skipped).then_some(folder)
}

/// Starts gunicorn with an application, `app` in this Python source. Returns it and its address, or `None` to skip the test.
pub async fn gunicorn(source: &str) -> Option<(Tool, TempDir, Address)> {
    gunicorn_with(source, &[]).await
}

/// Starts gunicorn with further options.
pub async fn gunicorn_with(source: &str, options: &[&str]) -> Option<(Tool, TempDir, Address)> {
    let packages = python_packages().filter(|_| have("python3"))?;
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("app.py"), source).unwrap();
    let mut command = Command::new("python3");
    command
        .args(["-m", "gunicorn", "--bind", "127.0.0.1:0"])
        .args(options)
        .arg("app:app")
        .current_dir(&folder);
    command.env("PYTHONPATH", &packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut gunicorn = Tool::start(&mut command);
    gunicorn.wait_for_output("Booting worker").await;
    let log = gunicorn.log();
    let url = log.split_once("Listening at: ").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
    let address = Address::parse(url.strip_prefix("http://").unwrap());
    Some((gunicorn, folder, address))
}

fn skipped(what: &str) -> bool {
    let words = format!("SKIPPED: {what} not found; scripts/setup test brings it");
    assert!(std::env::var_os("CI").is_none(), "{words}");
    eprintln!("{words}");
    false
}

/// Starts PHP's own server, which has every path run this script in the folder. It cannot choose a port by itself.
pub async fn php_server(folder: &Path, script: &str) -> (Tool, u16) {
    for _ in 0..5 {
        let port = free_port();
        let mut command = Command::new("php");
        let mut php =
            Tool::start(command.args(["-S", &format!("127.0.0.1:{port}"), script]).current_dir(folder));
        let listens = until("PHP listening, or its end", async || {
            if php.ended() { Some(false) } else { is_listening(port).then_some(true) }
        });
        if listens.await {
            return (php, port);
        }
    }
    panic!("PHP found no port");
}
