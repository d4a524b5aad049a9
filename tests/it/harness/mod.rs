//! Verbs for tests that look at the program from outside: start it ([`Program`], configured by [`Setup`]), put an
//! app behind it ([`Backend`], scripted by [`Answer`]), talk to it byte by byte ([`Client`], [`Request`]), be Stripe
//! ([`Event`]). Nothing here asks the program's own code what is right.
//!
//! Every wait has a deadline; a test that fails prints the log of each program it had started.

mod answer;
mod backend;
mod client;
mod event;
mod gate;
mod ledgers;
mod program;
mod redis;
mod request;
mod setup;
mod wire;

pub use self::redis::{Redis, Sentinels};
pub use answer::Answer;
pub use backend::{Backend, Received};
pub use client::{Client, Response};
pub use event::{Event, OTHER_SECRET, SECRET, now, sign, webhook};
pub use gate::Gate;
pub use ledgers::TestLedger;
pub(crate) use ledgers::on_each_ledger;
pub use program::Program;
pub use request::Request;
pub use setup::Setup;
pub use wire::{Address, Pattern};

use std::future::Future;
use std::time::Duration;

/// How long any one thing may take before the test gives up. Generous: it is only waited out by failures.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The upper bound on wall time that a test asserts, times `COUNTERSIGN_TEST_TIME_FACTOR` (default 1) for a busy machine.
pub fn at_most(bound: Duration) -> Duration {
    let factor = std::env::var_os("COUNTERSIGN_TEST_TIME_FACTOR").unwrap_or_else(|| "1".into());
    let factor = factor.to_str().and_then(|text| text.parse().ok()).filter(|factor| *factor > 0.0);
    bound.mul_f64(factor.expect("COUNTERSIGN_TEST_TIME_FACTOR is a positive number"))
}

/// Waits for `what`, and panics saying so when the deadline passes.
#[track_caller]
pub fn within<F: Future>(what: impl Into<String>, future: F) -> impl Future<Output = F::Output> {
    let (what, place) = (what.into(), std::panic::Location::caller());
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: waited {DEADLINE:?} in vain: {what}"),
        }
    }
}

/// Asks again and again until the answer is `Some`: for what cannot be awaited, such as a gauge or a state that only
/// shows over HTTP.
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
