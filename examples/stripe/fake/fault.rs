//! What a script may have the fake do instead of its work. A fault is for one call: the next whose keys, secret and
//! idempotency, are in order.

use super::errors::Error;
use super::wire::Reply;
use std::time::Duration;
use tokio::sync::oneshot;

/// What happens to one call.
#[derive(Debug)]
pub struct Fault {
    /// Waited out before anything else, the call's body being read.
    pub(super) wait: Wait,
    /// What happens then.
    pub(super) end: End,
}

#[derive(Debug)]
pub(super) enum Wait {
    No,
    For(Duration),
    Until(oneshot::Receiver<()>),
}

#[derive(Debug)]
pub(super) enum End {
    /// The work, and its answer.
    Work,
    /// This answer; kept under the call's idempotency key or not.
    Say { reply: Reply, kept: bool },
    /// The connection is closed with the call's body unread.
    DropUnread,
    /// The connection is closed, the call being read, the work not done.
    DropRead,
    /// The work is done and kept, but the connection is closed instead of answering.
    DropDone,
    /// The work is done and kept, but the connection is closed halfway through the answer.
    Cut,
}

/// Lets a held call go on: when told, or when dropped.
#[derive(Debug)]
pub struct Release(oneshot::Sender<()>);

impl Release {
    /// Goes on.
    pub fn now(self) {
        // The call may be gone.
        let _ = self.0.send(());
    }
}

impl Fault {
    /// None at all.
    pub(super) const NONE: Fault = Fault { wait: Wait::No, end: End::Work };

    /// The usual answer, only later.
    pub fn slow(wait: Duration) -> Fault {
        Fault { wait: Wait::For(wait), end: End::Work }
    }

    /// The usual answer, once the other half says so.
    pub fn held() -> (Fault, Release) {
        let (release, released) = oneshot::channel();
        (Fault { wait: Wait::Until(released), end: End::Work }, Release(release))
    }

    /// A scripted error by its name ([`Error::named`] lists them). A 402 and a 500 are kept under the call's idempotency
    /// key, as what happened after the work began; the others are not.
    #[track_caller]
    pub fn named(name: &str) -> Fault {
        Fault::error(Error::named(name).unwrap_or_else(|| panic!("no error is named {name}")))
    }

    /// This error, kept or not as [`Fault::named`] tells.
    pub fn error(error: Error) -> Fault {
        let kept = matches!(error.status, 402 | 500);
        Fault::say(error.into(), kept)
    }

    /// This answer; `kept` under the call's idempotency key or not. Where the key has an answer already, that one is
    /// given, and this one waits for the next call.
    pub fn say(reply: Reply, kept: bool) -> Fault {
        Fault { wait: Wait::No, end: End::Say { reply, kept } }
    }

    /// 502 with an HTML page, as from a proxy on the way.
    pub fn bad_gateway() -> Fault {
        let page = "<html><body>502 Bad Gateway</body></html>";
        Fault::say(Reply::new(502, "text/html", page.as_bytes().to_vec()), false)
    }

    /// Closes the connection with the body unread.
    pub fn drop_unread() -> Fault {
        Fault { wait: Wait::No, end: End::DropUnread }
    }

    /// Reads the call and closes the connection; the work is not done.
    pub fn drop_read() -> Fault {
        Fault { wait: Wait::No, end: End::DropRead }
    }

    /// Does the work and keeps its answer, but closes the connection instead of answering.
    pub fn drop_done() -> Fault {
        Fault { wait: Wait::No, end: End::DropDone }
    }

    /// Does the work and keeps its answer, but closes the connection halfway through it.
    pub fn cut() -> Fault {
        Fault { wait: Wait::No, end: End::Cut }
    }

    /// Whether it is none.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Fault { wait: Wait::No, end: End::Work })
    }

    /// Whether the call's body is not even read.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.end, End::DropUnread)
    }

    /// The same, only later.
    pub fn after(mut self, wait: Duration) -> Fault {
        self.wait = Wait::For(wait);
        self
    }
}
