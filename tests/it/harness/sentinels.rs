//! Real sentinels of Redis.

use super::redis::{Redis, free_port};
use super::until;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Sentinels that watch a primary called `shop`, killed on drop.
pub struct Sentinels {
    _dir: TempDir,
    ports: Vec<u16>,
    children: Vec<Child>,
}

impl Sentinels {
    /// Starts three sentinels with a quorum of two, and waits until they know each other and the replica.
    pub async fn start(primary: &Redis) -> Self {
        let dir = TempDir::new().expect("a folder");
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let mut children = vec![];
        for port in &ports {
            let file = dir.path().join(format!("{port}.conf"));
            let settings = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor shop 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 5000\n",
                dir.path().display(),
                primary.port()
            );
            std::fs::write(&file, settings).expect("a sentinel's configuration");
            let child = Command::new("redis-server")
                .arg(&file)
                .arg("--sentinel")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            children.push(child.expect("a sentinel starts"));
        }
        let sentinels = Self { _dir: dir, ports, children };
        until("the sentinels know each other and the replica", async || {
            sentinels.ports.iter().all(|port| sentinels.knows(*port) == Some((2, 1))).then_some(())
        })
        .await;
        sentinels
    }

    /// Returns how many other sentinels and how many replicas one knows.
    fn knows(&self, port: u16) -> Option<(u32, u32)> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).ok()?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("MASTER").arg("shop");
        let master: std::collections::HashMap<String, String> =
            command.query(&mut client.get_connection().ok()?).ok()?;
        Some((master["num-other-sentinels"].parse().ok()?, master["num-slaves"].parse().ok()?))
    }

    /// Returns the port of one of them.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Returns their URL for `ledger.url`.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/shop", hosts.join(","))
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
