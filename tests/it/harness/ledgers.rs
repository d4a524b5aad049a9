//! Runs a test on each kind of ledger.

use super::redis::Redis;
use super::setup::Setup;

/// A ledger for one test. A Redis server ends with it.
pub enum TestLedger {
    Sqlite,
    Redis(Redis),
}

impl TestLedger {
    /// Adds the ledger to a configuration.
    pub fn configure(&self, setup: Setup) -> Setup {
        match self {
            // SQLite is the default of a setup.
            Self::Sqlite => setup,
            Self::Redis(redis) => setup.redis(redis),
        }
    }
}

/// Makes two tests, `name::sqlite` and `name::redis`, of each `async fn name(ledger: TestLedger)`. A missing Redis skips
/// the second one only.
macro_rules! on_each_ledger {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {$(
        mod $name {
            use $crate::harness::{Redis, TestLedger};

            #[tokio::test]
            $(#[$attribute])*
            async fn sqlite() {
                super::$name(TestLedger::Sqlite).await;
            }

            #[tokio::test]
            $(#[$attribute])*
            async fn redis() {
                if $crate::tools::have("redis-server") {
                    super::$name(TestLedger::Redis(Redis::start().await)).await;
                }
            }
        }
    )+};
}

pub(crate) use on_each_ledger;
