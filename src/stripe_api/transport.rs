//! Connections to Stripe and the limits on concurrent calls. They survive a reload. It follows no redirect and decompresses
//! nothing: Stripe's API needs neither.

use reqwest::{Client, redirect};
use std::error::Error;
use std::time::Duration;

use super::concurrency::{CALLS, ConcurrencyLimit, POLLS};

/// The maximum number of idle connections in the pool.
const MAX_IDLE_CONNECTIONS: usize = 16;
/// How long a connection may stay idle in the pool.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("Countersign/", env!("CARGO_PKG_VERSION"));

/// The connection pool and the concurrency limits, shared by all clients.
#[derive(Debug)]
pub struct HttpTransport {
    /// The HTTP client, which owns the pool.
    pub(super) client: Client,
    /// The limit on concurrent calls, without status polls.
    pub(super) calls: ConcurrencyLimit,
    /// The limit on concurrent status polls.
    pub(super) polls: ConcurrencyLimit,
}

impl HttpTransport {
    /// Creates a transport. It opens no connection yet.
    ///
    /// # Errors
    /// Returns a message if the system has no certificates to verify Stripe's with.
    pub fn new() -> Result<Self, String> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| root_cause(&error))?;
        Ok(Self { client, calls: ConcurrencyLimit::new(CALLS), polls: ConcurrencyLimit::new(POLLS) })
    }
}

/// Returns the text of the innermost cause: "connection refused" rather than "error sending request".
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
