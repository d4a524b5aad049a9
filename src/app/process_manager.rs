//! What the process manager is told of the program's state, if it asked for that (sd_notify(3)): ready, reloading,
//! stopping, alive, and one line for `systemctl status`. It decides nothing.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Tells that the program serves, or stands by to serve.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that a reload begins. [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => {
            tracing::warn!(%error, "cannot tell the process manager of the reload: no monotonic clock")
        }
    }
}

/// Tells that the shutdown begins.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing requests in progress")]);
}

/// Tells until the end of the program that it is alive, if the process manager watches it (`WatchdogSec=`). A runtime that
/// runs no task any more tells nothing, and the process manager restarts the program.
pub(super) fn start_watchdog() {
    if let Some(limit) = sd_notify::watchdog_enabled() {
        tokio::spawn(keep_alive(limit));
    }
}

async fn keep_alive(limit: Duration) {
    // sd_watchdog_enabled(3) recommends half of the limit.
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the process manager of the program's state");
    }
}
