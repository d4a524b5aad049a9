//! The waits for a client in the middle of a body: for the next bytes of the request's, which has a time limit, and for the
//! client to take those of the response, which has none. Both end when another request needs the place. It reads and writes
//! nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

use crate::edge::admission::AdmissionPermit;
use crate::outcome::Outcome;

/// How long a client may take nothing of a response before another request may have its place.
const STALL_TIME: Duration = Duration::from_secs(10);

/// The waits of one request that passes through, one after the other.
#[derive(Debug)]
pub(super) struct BodyWait {
    /// The request's place among those that pass through, held until its response or its tunnel has ended.
    permit: AdmissionPermit,
    /// How long one wait may last.
    timeout: Duration,
    /// When the wait ends; `None` before the first wait.
    deadline: Option<Pin<Box<Sleep>>>,
    /// True while the client's next bytes are awaited.
    waiting: bool,
    /// When the client has taken nothing for [`STALL_TIME`]; `None` before the first such wait.
    stall: Option<Pin<Box<Sleep>>>,
    /// True while the client takes nothing.
    stalled: bool,
    /// Why the request was ended, once it was.
    ended: Option<Outcome>,
}

impl BodyWait {
    /// Creates the waits of a request with this permit. Each may last for `timeout`.
    pub(super) fn new(permit: AdmissionPermit, timeout: Duration) -> Self {
        Self { permit, timeout, deadline: None, waiting: false, stall: None, stalled: false, ended: None }
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

    /// Is ready with an error once another request needs the place of a client that takes nothing of the response. A wait
    /// begins with the first poll.
    pub(super) fn poll_write_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        // A client whose upload is awaited can be evicted already.
        if !self.waiting {
            let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_TIME)));
            if !std::mem::replace(&mut self.stalled, true) {
                stall.as_mut().reset(Instant::now() + STALL_TIME);
            }
            if !stall.is_elapsed() {
                ready!(stall.as_mut().poll(cx));
            }
        }
        ready!(self.permit.poll_evicted(cx));
        Poll::Ready(self.end(Outcome::Overloaded))
    }

    /// Ends the wait for the client to take something, if there is one.
    ///
    /// # Errors
    /// The request was evicted before.
    pub(super) fn stop_write(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.stalled) && !self.waiting && !self.permit.pin() {
            return Err(self.end(Outcome::Overloaded));
        }
        Ok(())
    }

    fn end(&mut self, outcome: Outcome) -> io::Error {
        self.ended = Some(outcome);
        io::ErrorKind::TimedOut.into()
    }
}
