//! Unix signals: SIGHUP reloads, SIGTERM and SIGINT shut down. Decides nothing about either.

use tokio::signal::unix::{self, SignalKind, signal};

/// What a signal asks for.
pub(super) enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end the program.
    Shutdown,
}

/// The signals that the program handles. From [`Signals::new`] on, their default action is off.
pub(super) struct Signals {
    hangup: unix::Signal,
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// Registers the handlers.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.terminate.recv() => Signal::Shutdown,
            _ = self.interrupt.recv() => Signal::Shutdown,
        }
    }

    /// Resolves on the second SIGTERM or SIGINT; reloads are ignored while draining.
    pub(super) async fn second_shutdown(&mut self) {
        while let Signal::Reload = self.next().await {}
    }
}
