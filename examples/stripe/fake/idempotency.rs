//! Idempotency keys, as Stripe stores them (docs.stripe.com/api/idempotent_requests): for a day, with the first response,
//! whatever its status, once the work has begun. This module does not know what the work is.

use super::response::Response;
use std::collections::HashMap;

/// How long a response is stored, in seconds.
const RETENTION: u64 = 24 * 60 * 60;

/// The idempotency keys that were used.
#[derive(Debug, Default)]
pub struct IdempotencyKeys(HashMap<String, KeyRecord>);

#[derive(Debug)]
struct KeyRecord {
    /// Method, path and parameters of the first call. Another call with the key must have the same.
    fingerprint: String,
    /// The time of the first call, in Unix seconds.
    claimed_at: u64,
    /// The response to the first call, or `None` while its work is in progress.
    response: Option<Response>,
}

/// What an idempotency key means for a call.
#[derive(Debug)]
pub enum KeyClaim {
    /// The key is new. The caller does the work, then calls [`IdempotencyKeys::store`] or [`IdempotencyKeys::release`].
    New,
    /// The work was done before, with this response.
    Replay(Response),
    /// The work of an earlier call is in progress.
    InUse,
    /// An earlier call had the key and another fingerprint.
    Mismatch,
}

impl IdempotencyKeys {
    /// Claims a key for a call with this fingerprint. `now` is in Unix seconds.
    pub fn claim(&mut self, key: &str, fingerprint: &str, now: u64) -> KeyClaim {
        let live = |record: &&KeyRecord| record.response.is_none() || now < record.claimed_at + RETENTION;
        match self.0.get(key).filter(live) {
            None => {
                let fingerprint = fingerprint.to_owned();
                self.0.insert(key.to_owned(), KeyRecord { fingerprint, claimed_at: now, response: None });
                KeyClaim::New
            }
            Some(record) if record.fingerprint != fingerprint => KeyClaim::Mismatch,
            Some(KeyRecord { response: Some(response), .. }) => KeyClaim::Replay(response.clone()),
            Some(KeyRecord { response: None, .. }) => KeyClaim::InUse,
        }
    }

    /// Stores the response for a claimed key.
    pub fn store(&mut self, key: &str, response: &Response) {
        if let Some(record) = self.0.get_mut(key) {
            record.response = Some(response.clone());
        }
    }

    /// Releases a claimed key whose work never began, so that the next call can claim it.
    pub fn release(&mut self, key: &str) {
        self.0.remove(key);
    }
}
