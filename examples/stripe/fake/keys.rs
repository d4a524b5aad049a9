//! Idempotency keys, as Stripe keeps them (docs.stripe.com/api/idempotent_requests): for a day, with the first answer,
//! whatever its status, once the work had begun. Knows nothing of what the work is.

use super::wire::Reply;
use std::collections::HashMap;

/// For how long an answer is kept, in seconds.
const KEPT: u64 = 24 * 60 * 60;

/// The keys that were used.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, Used>);

#[derive(Debug)]
struct Used {
    /// What came with the key: method, path and parameters.
    with: String,
    /// Unix seconds.
    at: u64,
    /// `None` while the work is in progress.
    answer: Option<Reply>,
}

/// What a key means for a call.
#[derive(Debug)]
pub enum Verdict {
    /// Nobody used it: do the work, then [`Keys::keep`] or [`Keys::free`] it.
    New,
    /// The work was done: this was the answer.
    Replay(Reply),
    /// The work is in progress.
    InUse,
    /// It was used for something else.
    Mismatch,
}

impl Keys {
    /// Claims a key for a call that comes with this, at this time in Unix seconds.
    pub fn claim(&mut self, key: &str, with: &str, now: u64) -> Verdict {
        match self.0.get(key).filter(|used| used.answer.is_none() || now < used.at + KEPT) {
            None => {
                let used = Used { with: with.to_owned(), at: now, answer: None };
                self.0.insert(key.to_owned(), used);
                Verdict::New
            }
            Some(used) if used.with != with => Verdict::Mismatch,
            Some(Used { answer: Some(reply), .. }) => Verdict::Replay(reply.clone()),
            Some(Used { answer: None, .. }) => Verdict::InUse,
        }
    }

    /// Keeps the answer for a key.
    pub fn keep(&mut self, key: &str, answer: &Reply) {
        if let Some(used) = self.0.get_mut(key) {
            used.answer = Some(answer.clone());
        }
    }

    /// Forgets a key whose work never began.
    pub fn free(&mut self, key: &str) {
        self.0.remove(key);
    }
}
