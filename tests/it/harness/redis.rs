//! A real `redis-server`: started on a free port, stopped, killed, paused, queried, replicated.

use super::clock::FakeClock;
use super::{until, within};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A Redis server, killed on drop. It writes an append-only file and syncs it before each response.
pub struct Redis {
    dir: TempDir,
    arguments: Vec<String>,
    env: Vec<(&'static str, String)>,
    port: u16,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server and waits until it responds.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with further settings, such as `--maxmemory-policy`, `allkeys-lru`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::prepared(arguments);
        redis.up().await;
        redis
    }

    /// Starts a server that has this clock.
    pub async fn start_under(clock: &FakeClock) -> Self {
        let mut redis = Self::prepared(&[]);
        redis.env = clock.env().into();
        // jemalloc asks for the time before libfaketime is ready, so the server gets libc's allocator.
        redis.env.iter_mut().filter(|(name, _)| *name == "LD_PRELOAD").for_each(|(_, libraries)| {
            libraries.push_str(" libc.so.6");
        });
        redis.up().await;
        redis
    }

    /// Prepares a server that does not run yet and already has a port.
    pub fn prepared(arguments: &[&str]) -> Self {
        Self {
            dir: TempDir::new().expect("a folder"),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            env: vec![],
            port: free_port(),
            child: None,
        }
    }

    /// Returns its URL for `ledger.url`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Makes it listen for TLS as well, and returns the port.
    pub fn serve_tls(&mut self, certificate: &str, key: &str) -> u16 {
        let port = free_port();
        let file = |name: &str| self.path(name).display().to_string();
        let (certificate, key) = (file(certificate), file(key));
        let more = ["--tls-port", &port.to_string(), "--tls-cert-file", &certificate, "--tls-key-file", &key];
        self.arguments.extend(more.map(str::to_owned));
        self.arguments.extend(["--tls-auth-clients", "no"].map(str::to_owned));
        port
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts it with the data in its folder.
    pub async fn up(&mut self) {
        for _ in 0..5 {
            self.launch();
            let up = until("redis answers, or ends", async || {
                if self.has_ended() {
                    return Some(false);
                }
                (self.connection().is_ok() && !self.is_loading()).then_some(true)
            });
            if up.await {
                return;
            }
            // Another process took the port in between.
            self.port = free_port();
        }
        panic!("redis-server does not start with {:?}", self.arguments);
    }

    fn launch(&mut self) {
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--dir"])
            .arg(self.dir.path())
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .args(&self.arguments)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server starts"));
    }

    /// Stops it as `systemctl stop` does.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        let mut child = self.child.take().expect("it runs");
        let exited = tokio::task::spawn_blocking(move || child.wait());
        within("redis ends", exited).await.expect("no panic").expect("our own child");
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Returns whether it has ended by itself, as with a full disk.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("our own child").is_some())
    }

    /// Suspends it: it stays up and does not respond.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes it after [`Redis::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Makes it listen on another port, as a server that takes over another one's address.
    pub async fn move_to(&mut self, port: u16) {
        until("the port is free", async || self.try_ask::<()>(&format!("CONFIG SET port {port}")).ok()).await;
        self.port = port;
    }

    /// Makes it a replica of another server, and waits until it has everything.
    pub async fn follow(&self, primary: &Self) {
        // The primary would wait 5 s for more replicas.
        let () = primary.ask("CONFIG SET repl-diskless-sync-delay 0");
        let () = self.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
        self.caught_up(primary).await;
    }

    /// Waits until this replica has everything that its primary has by now.
    pub async fn caught_up(&self, primary: &Self) {
        let offset = |redis: &Self, name: &str| {
            let info: String = redis.ask("INFO replication");
            let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
            of(name).filter(|_| !info.contains("master_link_status:down"))
        };
        let wanted = offset(primary, "master_repl_offset:").expect("it is a primary");
        until("the replica has everything", async || {
            (offset(self, "slave_repl_offset:")? >= wanted).then_some(())
        })
        .await;
    }

    /// Cuts this replica off: what the primary acknowledges from now on never reaches it. It stays suspended.
    pub fn cut_off(&self, primary: &Self) {
        self.pause();
        let _: u32 = primary.ask("CLIENT KILL TYPE replica");
    }

    /// Makes this suspended replica the primary, with what it has.
    pub fn promote(&self) {
        self.resume();
        let () = self.ask("REPLICAOF NO ONE");
    }

    /// Deletes its data. Panics if it runs.
    pub fn wipe(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.dir = TempDir::new().expect("a folder");
    }

    /// Sends a command, with its words separated by spaces. Panics if it fails.
    #[track_caller]
    pub fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        self.try_ask(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Sends a command that may fail.
    pub fn try_ask<T: FromRedisValue>(&self, command: &str) -> RedisResult<T> {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().expect("a command"));
        words.for_each(|word| {
            command.arg(word);
        });
        self.try_send(&command)
    }

    fn try_send<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query(&mut self.connection()?)
    }

    /// Returns whether it still loads its data. It takes connections then, and refuses every command.
    fn is_loading(&self) -> bool {
        let loading = ErrorKind::Server(ServerErrorKind::BusyLoading);
        self.try_ask::<String>("PING").is_err_and(|error: RedisError| error.kind() == loading)
    }

    fn connection(&self) -> RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection()
    }

    /// Returns how often a command has run.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = self.ask("INFO commandstats");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().expect("a number").parse().expect("a number"))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id();
        let kill = format!("kill -{name} {pid}");
        assert!(Command::new("/bin/sh").args(["-c", &kill]).status().expect("a shell").success(), "{kill}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}
