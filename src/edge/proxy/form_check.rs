//! The check of a form that passes through: it must not tell a webhook by its fields. The fields are judged by `guard`; this
//! file owns the verdict's effect on the request.

use bytes::{Bytes, BytesMut};
use pingora::prelude::*;
use std::sync::Arc;

use crate::guard::{FormGuard, FormInspector, Reason};
use crate::metrics::Metrics;

/// The check of one request's form, before its body is read.
#[derive(Debug)]
pub(in crate::edge) struct FormCheck {
    /// What the head says about the form.
    pub guard: FormGuard,
    /// For each of the guard's locations, whether its endpoint rejects ambiguous requests.
    pub enforced: Arc<[bool]>,
}

impl FormCheck {
    /// Judges a whole body, before anything of its request is forwarded. Returns whether the request is rejected.
    pub(in crate::edge) fn rejects(&self, body: &[u8], metrics: &Metrics) -> bool {
        let mut attempt = self.begin();
        attempt.judge(Some(body), true, metrics).is_err()
    }

    /// Returns the check of one attempt to forward the body.
    pub(super) fn begin(&self) -> FormAttempt {
        let enforced = self.enforced.clone();
        FormAttempt {
            inspector: self.guard.inspector(),
            enforced,
            state: FormState::Checking,
            held: BytesMut::new(),
        }
    }
}

/// The check of a body while it is forwarded.
pub(super) struct FormAttempt {
    inspector: FormInspector,
    enforced: Arc<[bool]>,
    state: FormState,
    /// The end of the body so far, if a backend that takes a body which ends there for a whole one would read it as a
    /// webhook's. The guard bounds a field, and so this.
    held: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum FormState {
    /// No webhook is told so far.
    Checking,
    /// Only webhooks of a dry run are told so far: they are counted once, and the body passes.
    Counted,
    /// A webhook is told: nothing more of the body is forwarded.
    Rejected,
}

impl FormAttempt {
    /// Judges the next bytes of the body, and leaves in `body` those that may leave.
    ///
    /// # Errors
    /// The form tells a webhook. These bytes must not leave.
    pub(super) fn check(&mut self, body: &mut Option<Bytes>, is_last: bool, metrics: &Metrics) -> Result<()> {
        self.judge(body.as_deref(), is_last, metrics)?;
        let holds = !is_last && self.inspector.tells_if_cut(|location| self.enforced[location]);
        if holds || !self.held.is_empty() {
            self.held.extend_from_slice(body.as_deref().unwrap_or_default());
            *body = Some(if holds { Bytes::new() } else { self.held.split().freeze() });
        }
        Ok(())
    }

    /// Judges the next bytes of the body.
    ///
    /// # Errors
    /// The form tells a webhook.
    fn judge(&mut self, body: Option<&[u8]>, is_last: bool, metrics: &Metrics) -> Result<()> {
        if self.state == FormState::Rejected {
            return Ok(());
        }
        let mut found = body.and_then(|bytes| self.inspector.feed(bytes));
        if is_last {
            found = self.inspector.finish();
        }
        if found.is_none() {
            return Ok(());
        }
        if self.state == FormState::Checking {
            metrics.guard_rejected(Reason::Form.as_str());
        }
        // A form may tell several webhooks at once, and a later field may tell an enforced one.
        if !self.inspector.tells(|location| self.enforced[location]) {
            self.state = FormState::Counted;
            return Ok(());
        }
        self.state = FormState::Rejected;
        Error::e_explain(ErrorType::new("AmbiguousForm"), "the form tells a webhook")
    }

    /// Returns whether the request was rejected.
    pub(super) fn is_rejected(&self) -> bool {
        self.state == FormState::Rejected
    }
}
