//! What the program sets while a Redis ledger runs, and a look at a server without one. It sends no command of a call.

use std::sync::Arc;
use std::time::Duration;

use super::connect::RedisConnector;
use super::{RedisLedger, RedisOptions};
use crate::config::RedisUrl;

impl RedisLedger {
    /// Connects once and describes the server: version, persistence, and what may make it lose records.
    ///
    /// # Errors
    /// Why the server cannot be a ledger, without the server's name.
    pub async fn inspect(options: &RedisOptions) -> Result<String, String> {
        let server = RedisConnector::new(options.clone()).inspect().await?;
        if options.queueing_enabled {
            server.check_durability(options.durability)?;
        }
        let summary = format!("version {}, persistence: {}", server.version(), server.persistence());
        Ok([vec![summary], server.concerns()].concat().join("; "))
    }

    /// Sets whether any endpoint queues events from now on. A reload calls it.
    pub fn set_queueing_enabled(&self, enabled: bool) {
        self.connection.set_queueing_enabled(enabled);
    }

    /// Uses user and password of `url` from the next connection on. A reload calls it.
    pub fn set_credentials(&self, url: &RedisUrl) {
        Arc::clone(&self.connection).set_credentials(url);
    }

    /// Sets the lease that callers request, by which the age of a running delivery is known.
    pub fn set_usual_lease(&self, lease: Duration) {
        self.usual_lease.set(lease);
    }
}
