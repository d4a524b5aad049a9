//! The ledger of a run: an SQLite file, or a Redis server with a replica. A network follows the primary, as a virtual
//! address does.

use super::network::Network;
use crate::harness::{Redis, Setup, TestLedger};
use std::net::{Ipv4Addr, SocketAddr};

/// A ledger that can fail.
pub enum ChaosLedger {
    Sqlite,
    Redis(Box<ReplicatedRedis>),
}

impl ChaosLedger {
    /// Prepares the ledger. A Redis server gets a replica.
    pub async fn start(ledger: TestLedger, durability: &str) -> Self {
        match ledger {
            TestLedger::Sqlite => Self::Sqlite,
            TestLedger::Redis(primary) => {
                Self::Redis(Box::new(ReplicatedRedis::start(primary, durability.to_owned()).await))
            }
        }
    }

    /// Adds the ledger to a configuration.
    pub fn configure(&self, setup: Setup) -> Setup {
        match self {
            Self::Sqlite => setup,
            Self::Redis(redis) => setup
                .set("ledger.url", format!("redis://{}", redis.network.address()))
                .set("ledger.durability", redis.durability.as_str()),
        }
    }

    /// Returns the Redis servers, if it has any.
    pub fn redis(&mut self) -> Option<&mut ReplicatedRedis> {
        match self {
            Self::Sqlite => None,
            Self::Redis(redis) => Some(redis),
        }
    }
}

/// A primary and its replica.
pub struct ReplicatedRedis {
    primary: Redis,
    replica: Redis,
    network: Network,
    durability: String,
}

impl ReplicatedRedis {
    async fn start(primary: Redis, durability: String) -> Self {
        let replica = Redis::start().await;
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
}

fn address(redis: &Redis) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, redis.port()).into()
}
