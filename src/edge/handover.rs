//! The handover of the ledger in a restart with inherited sockets. The new process accepts connections while the old one
//! still finishes its deliveries and holds the ledger. Webhooks wait here for that moment, and all other requests pass. It
//! knows no ledger: the caller says when the handover is over.

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

/// Whether this process still waits for the ledger. It waits once, after it began to accept.
#[derive(Debug, Default)]
pub struct Handover {
    over: SetOnce<()>,
}

impl Handover {
    /// Lets every webhook go on: the ledger is here, or it did not come in time.
    pub fn end(&self) {
        let _ = self.over.set(());
    }

    /// Waits until the handover is over, or the program drains. Costs one atomic load afterwards.
    pub(super) async fn wait(&self, draining: &CancellationToken) {
        if self.over.initialized() {
            return;
        }
        tokio::select! {
            _ = self.over.wait() => {}
            () = draining.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn webhooks_wait_until_the_handover_ends_or_the_program_drains() {
        for drains in [false, true] {
            let (handover, draining) = (Handover::default(), CancellationToken::new());
            let mut waiting = Box::pin(handover.wait(&draining));
            assert!((&mut waiting).now_or_never().is_none());
            if drains {
                draining.cancel()
            } else {
                handover.end()
            }
            waiting.await;
        }
    }
}
