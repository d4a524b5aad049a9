//! Faults that a test injects into the fake: a delay, an error, a broken connection. One fault is for one call: the next
//! call whose API key is valid and whose idempotency key is free.

use super::errors::Error;
use super::response::Response;
use std::time::Duration;
use tokio::sync::oneshot;

/// What happens to one call in place of the normal work.
#[derive(Debug)]
pub struct Fault {
    /// The delay after the call was read, before `action`.
    pub(super) delay: Delay,
    /// What happens after the delay.
    pub(super) action: FaultAction,
}

/// How long a call is delayed.
#[derive(Debug)]
pub(super) enum Delay {
    /// The call is not delayed.
    None,
    /// The call is delayed for this time.
    For(Duration),
    /// The call is delayed until its [`Release`] is used or dropped.
    Until(oneshot::Receiver<()>),
}

/// What happens to a call after its delay.
#[derive(Debug)]
pub(super) enum FaultAction {
    /// The work is done and its response is sent.
    Proceed,
    /// The work is not done and this response is sent. `stored` says whether the idempotency key remembers it.
    Respond { response: Response, stored: bool },
    /// The connection is closed before the body is read. The work is not done.
    DropUnread,
    /// The connection is closed after the call is read. The work is not done.
    DropRead,
    /// The work is done, then the connection is closed in place of a response.
    DropAfterWork,
    /// The work is done, then the connection is closed halfway through the response.
    Truncate,
}

/// Ends the delay of [`Fault::held`], when used or when dropped.
#[derive(Debug)]
pub struct Release(oneshot::Sender<()>);

impl Release {
    /// Ends the delay.
    pub fn now(self) {
        // The receiver is gone if the caller hung up.
        let _ = self.0.send(());
    }
}

impl Fault {
    /// No fault: the work is done without a delay.
    pub(super) const NONE: Self = Self { delay: Delay::None, action: FaultAction::Proceed };

    /// Does the work after a delay.
    pub fn slow(delay: Duration) -> Self {
        Self { delay: Delay::For(delay), action: FaultAction::Proceed }
    }

    /// Does the work once the returned [`Release`] is used or dropped.
    pub fn held() -> (Self, Release) {
        Self::NONE.until_released()
    }

    /// Delays this fault until the returned [`Release`] is used or dropped.
    pub fn until_released(self) -> (Self, Release) {
        let (release, released) = oneshot::channel();
        (Self { delay: Delay::Until(released), ..self }, Release(release))
    }

    /// Responds with a named error ([`Error::named`] lists the names). The idempotency key remembers it as in
    /// [`Fault::error`].
    #[track_caller]
    pub fn named(name: &str) -> Self {
        Self::error(Error::named(name).unwrap_or_else(|| panic!("no error is named {name}")))
    }

    /// Responds with this error. The idempotency key remembers a 402 and a 500, which happen after work has begun, and no
    /// other error.
    pub fn error(error: Error) -> Self {
        let stored = matches!(error.status, 402 | 500);
        Self::respond(error.into(), stored)
    }

    /// Responds with this response. `stored` says whether the idempotency key remembers it. If the key already has a
    /// response, that one is sent and the fault is left for the next call.
    pub fn respond(response: Response, stored: bool) -> Self {
        Self::immediate(FaultAction::Respond { response, stored })
    }

    /// Responds with 502 and an HTML page, as a proxy in front of Stripe does.
    pub fn bad_gateway() -> Self {
        let page = "<html><body>502 Bad Gateway</body></html>";
        Self::respond(Response::new(502, "text/html", page.as_bytes().to_vec()), false)
    }

    /// Closes the connection before the body is read.
    pub fn drop_unread() -> Self {
        Self::immediate(FaultAction::DropUnread)
    }

    /// Reads the call, then closes the connection. The work is not done.
    pub fn drop_read() -> Self {
        Self::immediate(FaultAction::DropRead)
    }

    /// Does the work, then closes the connection in place of a response. The idempotency key remembers the response.
    pub fn drop_after_work() -> Self {
        Self::immediate(FaultAction::DropAfterWork)
    }

    /// Does the work, then closes the connection halfway through the response. The idempotency key remembers the whole
    /// response.
    pub fn truncate() -> Self {
        Self::immediate(FaultAction::Truncate)
    }

    /// Returns whether this is [`Fault::NONE`].
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self { delay: Delay::None, action: FaultAction::Proceed })
    }

    /// Returns whether the connection is closed before the body is read.
    pub(super) fn drops_unread(&self) -> bool {
        matches!(self.action, FaultAction::DropUnread)
    }

    pub(super) fn immediate(action: FaultAction) -> Self {
        Self { delay: Delay::None, action }
    }
}

impl Delay {
    /// Waits until the delay is over.
    pub(super) async fn wait(self) {
        match self {
            Self::None => {}
            Self::For(time) => tokio::time::sleep(time).await,
            // An error says that the `Release` was dropped, which ends the delay too.
            Self::Until(released) => drop(released.await),
        }
    }
}
