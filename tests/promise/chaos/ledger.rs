//! The ledger of a run: an SQLite file, or a Redis server with a replica. A network follows the primary, as a virtual
//! address does. The file, and one of the two servers, is on a disk that can fill up.

use super::network::Network;
use crate::harness::{Disk, Redis, Setup, TestLedger};
use std::net::{Ipv4Addr, SocketAddr};

/// Room for more than a run writes.
const DISK_SIZE: &str = "2g";

/// A ledger that can fail.
pub struct ChaosLedger {
    redis: Option<ReplicatedRedis>,
    /// `None` where the tests may not mount.
    disk: Option<Disk>,
}

impl ChaosLedger {
    /// Prepares the ledger. A Redis server gets a replica.
    pub async fn start(ledger: TestLedger, durability: &str) -> Self {
        let disk = Disk::mount(DISK_SIZE);
        let redis = match ledger {
            TestLedger::Sqlite => None,
            TestLedger::Redis(redis) => {
                Some(ReplicatedRedis::start(redis, disk.as_ref(), durability.to_owned()).await)
            }
        };
        Self { redis, disk }
    }

    /// Adds the ledger to a configuration.
    pub fn configure(&self, setup: Setup) -> Setup {
        match (&self.redis, &self.disk) {
            (Some(redis), _) => setup
                .set("ledger.url", format!("redis://{}", redis.network.address()))
                .set("ledger.durability", redis.durability.as_str())
                // A busy machine may need a while until the replica has a write.
                .set("ledger.command_timeout", "3s"),
            (None, Some(disk)) => setup.ledger_at(disk.path().join("ledger.db")),
            (None, None) => setup,
        }
    }

    /// Returns whether it is on Redis.
    pub fn is_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// Returns whether its disk can fill up.
    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Returns the Redis servers.
    pub fn redis(&mut self) -> &mut ReplicatedRedis {
        self.redis.as_mut().expect("it is on Redis")
    }

    /// Fills the disk.
    pub fn fill_disk(&self) {
        let disk = self.disk.as_ref().expect("it has a disk");
        if self.redis.is_none() {
            truncate_wal(disk);
        }
        disk.fill();
    }

    /// Makes room on the disk. A Redis server ends when it cannot write, so it is started again.
    pub async fn empty_disk(&mut self) {
        self.disk.as_ref().expect("it has a disk").empty();
        if let Some(redis) = &mut self.redis {
            redis.restart_ended().await;
        }
    }
}

/// Gives the disk what the write-ahead log holds in reserve. With it, a full disk would be noticed only after a while.
fn truncate_wal(disk: &Disk) {
    let ledger = rusqlite::Connection::open(disk.path().join("ledger.db")).expect("the ledger");
    ledger.busy_timeout(std::time::Duration::from_secs(1)).expect("a time-out");
    // It stays as it is while the program reads from it.
    let _ = ledger.pragma_query(None, "wal_checkpoint(TRUNCATE)", |_| Ok(()));
}

/// A primary and its replica.
pub struct ReplicatedRedis {
    primary: Redis,
    replica: Redis,
    network: Network,
    durability: String,
}

impl ReplicatedRedis {
    async fn start(replica: Redis, disk: Option<&Disk>, durability: String) -> Self {
        let primary = match disk {
            Some(disk) => Redis::start_with(&["--dir", &disk.path().display().to_string()]).await,
            None => Redis::start().await,
        };
        replica.follow(&primary).await;
        let network = Network::to(address(&primary));
        Self { primary, replica, network, durability }
    }

    /// Kills the primary.
    pub fn kill(&mut self) {
        self.primary.kill();
    }

    /// Starts the primary again, with all that it acknowledged.
    pub async fn up(&mut self) {
        self.primary.up().await;
        self.network.retarget(address(&self.primary));
        self.replica.follow(&self.primary).await;
    }

    /// Cuts the replica off, so that it lags behind.
    pub fn cut_off(&self) {
        self.replica.cut_off(&self.primary);
    }

    /// Kills the primary and promotes the replica that lags behind. The old primary comes back as a replica.
    pub async fn fail_over(&mut self) {
        self.primary.kill();
        self.replica.promote();
        std::mem::swap(&mut self.primary, &mut self.replica);
        self.network.retarget(address(&self.primary));
        self.replica.up().await;
        self.replica.follow(&self.primary).await;
    }

    async fn restart_ended(&mut self) {
        if self.replica.has_ended() {
            self.replica.up().await;
        }
        if self.primary.has_ended() {
            self.primary.up().await;
        }
        self.network.retarget(address(&self.primary));
        self.replica.follow(&self.primary).await;
    }
}

fn address(redis: &Redis) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, redis.port()).into()
}
