//! Verbs for tests of the program from outside: start it ([`Program`], configured by [`Setup`]), put a backend behind
//! it ([`Backend`], scripted by [`Reply`]), send it bytes ([`Client`], [`Request`]), act as Stripe ([`Event`]), and
//! run a test on each ledger ([`TestLedger`], with [`Redis`]). Nothing here asks the program's own code what is
//! right. Every wait has a deadline, and a failed test prints the log of each program that it started.

mod backend;
mod client;
mod clock;
mod disk;
mod event;
mod gate;
mod ledgers;
mod name_server;
mod program;
mod raw;
mod redis;
mod reply;
mod request;
mod sentinels;
mod setup;
mod tls;
mod wire;

pub use self::redis::Redis;
pub use backend::{Backend, Received};
pub use client::{Client, Response};
pub use clock::{FakeClock, YEAR};
pub use disk::Disk;
pub use event::{Event, OTHER_SECRET, SECRET, now, sign, webhook};
pub use gate::Gate;
pub use ledgers::TestLedger;
pub(crate) use ledgers::on_each_ledger;
pub use name_server::{NameServer, Names, alone};
pub use program::Program;
pub use raw::{BlackHole, End, RawBackend, RawStream};
pub use reply::Reply;
pub use request::Request;
pub use sentinels::Sentinels;
pub use setup::{Setup, Sockets};
pub use tls::TestAuthority;
pub use wire::{Address, Pattern};

use std::future::Future;
use std::time::Duration;

/// How long any one step may take before the test fails. Only failures wait this long.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Returns an upper bound on wall time, multiplied by `COUNTERSIGN_TEST_TIME_FACTOR` (default 1) for busy machines.
pub fn at_most(bound: Duration) -> Duration {
    let factor = std::env::var_os("COUNTERSIGN_TEST_TIME_FACTOR").unwrap_or_else(|| "1".into());
    let factor = factor.to_str().and_then(|text| text.parse().ok()).filter(|factor| *factor > 0.0);
    bound.mul_f64(factor.expect("COUNTERSIGN_TEST_TIME_FACTOR is a positive number"))
}

/// Waits for a future, and panics with `what` when the deadline passes.
#[track_caller]
pub fn within<F: Future>(what: impl Into<String>, future: F) -> impl Future<Output = F::Output> {
    let (what, location) = (what.into(), std::panic::Location::caller());
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{location}: waited {DEADLINE:?} without success: {what}"),
        }
    }
}

/// Calls `ask` until it returns a value. For conditions that cannot be awaited, such as a gauge or a state behind
/// HTTP.
#[track_caller]
pub fn until<T>(what: impl Into<String>, mut ask: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    within(what, async move {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}
