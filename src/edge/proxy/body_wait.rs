//! The wait for the next bytes of a request's body: its time limit, and its end when another request needs the place. It
//! reads nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

use crate::edge::admission::AdmissionPermit;
use crate::outcome::Outcome;

/// The waits of one request that passes through, one after the other.
#[derive(Debug)]
pub(super) struct BodyWait {
    /// The request's place among those that pass through, held until its response or its tunnel has ended.
    permit: AdmissionPermit,
    /// How long one wait may last.
    timeout: Duration,
    /// When the wait ends; `None` before the first wait.
    deadline: Option<Pin<Box<Sleep>>>,
    /// True while the client is awaited.
    waiting: bool,
    /// Why the request was ended, once it was.
    ended: Option<Outcome>,
}

impl BodyWait {
    /// Creates the waits of a request with this permit. Each may last for `timeout`.
    pub(super) fn new(permit: AdmissionPermit, timeout: Duration) -> Self {
        Self { permit, timeout, deadline: None, waiting: false, ended: None }
    }

    /// Why the request was ended; `None` if it was not.
    pub(super) fn ended(&self) -> Option<Outcome> {
        self.ended
    }

    /// Is ready with an error once the wait has lasted too long, or another request needs the place. A wait begins with the
    /// first poll.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.permit.poll_evicted(cx).is_ready() {
            return Poll::Ready(self.end(Outcome::Overloaded));
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        if !self.waiting {
            self.waiting = true;
            deadline.as_mut().reset(Instant::now() + self.timeout);
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(self.end(Outcome::BodyTooSlow))
    }

    /// Ends the wait, if there is one, because the client is not awaited any more.
    ///
    /// # Errors
    /// The request was evicted before.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.waiting) && !self.permit.pin() {
            return Err(self.end(Outcome::Overloaded));
        }
        Ok(())
    }

    fn end(&mut self, outcome: Outcome) -> io::Error {
        self.ended = Some(outcome);
        io::ErrorKind::TimedOut.into()
    }
}
