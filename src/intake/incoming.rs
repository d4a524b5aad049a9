//! An event on its way through the intake, received or imported: the one place that builds what the ledger records and stores
//! of it, and what the dispatcher delivers. It decides nothing.

use std::sync::Arc;

use crate::backend::RequestHeadBuilder;
use crate::clock;
use crate::delivery::attempt::{Delivery, SIGNATURE_HEADER};
use crate::delivery::slots::Slot;
use crate::delivery_mode::DeliveryMode;
use crate::endpoint::Endpoint;
use crate::ledger::{Arrival, EventKey, StoredRequest};
use crate::random::random_u64;
use crate::stripe::event::VerifiedEvent;

/// An event that its endpoint forwards, on its way to the ledger or the backend.
pub(super) struct IncomingEvent {
    /// The event itself.
    pub(super) event: VerifiedEvent,
    /// The id that the ledger knows the event by, where its own identifies nothing.
    pub(super) record_id: Option<Box<str>>,
    /// The endpoint that it arrived at, or is imported to.
    pub(super) endpoint: Arc<Endpoint>,
    /// The values of the path's variable segments, separated by `/`.
    pub(super) segments: Box<str>,
    /// The raw query, without `?`.
    pub(super) query: Box<str>,
    /// The backend's request as far as the original request determines it, `Stripe-Signature` included.
    pub(super) head: RequestHeadBuilder,
}

impl IncomingEvent {
    /// Returns the key that all copies of the event share. A sample event has no copies.
    pub(super) fn key(&self) -> EventKey {
        EventKey {
            endpoint: self.endpoint.name.clone(),
            segments: self.segments.clone(),
            query: self.query.clone(),
            id: self.record_id.as_deref().unwrap_or(self.event.id()).into(),
        }
    }

    /// Returns what the ledger records of the event.
    pub(super) fn arrival(&self) -> Arrival {
        Arrival {
            key: self.key(),
            event_type: self.event.event_type().into(),
            created: self.event.created(),
            livemode: self.event.livemode(),
            account: self.event.account().map(Into::into),
        }
    }

    /// Returns what the ledger stores for a later delivery.
    pub(super) fn stored_request(&self, mode: DeliveryMode) -> StoredRequest {
        // Most later deliveries are signed again, so the signature is stored beside the head.
        let (head, signature) = self.head.without_value(SIGNATURE_HEADER);
        StoredRequest { mode, head, signature, body: self.event.body().clone() }
    }

    /// Returns the delivery of the event. It is fresh, so Stripe's signature still holds.
    pub(super) fn into_delivery(self, mode: DeliveryMode, slot: Option<Slot>) -> Delivery {
        Delivery {
            event: self.event,
            policy: self.endpoint.policy.clone(),
            head: self.head,
            mode,
            signature_is_fresh: true,
            slot,
        }
    }
}

/// Returns an id of its own for an event whose `id` identifies nothing, so that the ledger takes no two for copies.
pub(super) fn record_id(event: &VerifiedEvent) -> Option<Box<str>> {
    if event.is_identified() {
        return None;
    }
    // Nanoseconds tell events apart as well, where the system has no randomness.
    let unique = random_u64().unwrap_or_else(|| u64::try_from(clock::unix().as_nanos()).unwrap_or_default());
    Some(format!("{}_{unique:016x}", event.id()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::event;

    #[test]
    fn each_sample_event_has_a_record_of_its_own_and_other_events_do_not() {
        let id_of = |id: &str| {
            let body = format!(r#"{{"id": "{id}", "object": "event", "type": "a"}}"#);
            record_id(&event::parse_trusted(body.into()).unwrap())
        };
        assert_eq!(id_of("evt_1"), None);
        let (one, other) = (id_of("evt_00000000000000").unwrap(), id_of("evt_00000000000000").unwrap());
        assert_ne!(one, other);
        assert!(one.starts_with("evt_00000000000000_") && one.len() == 35, "{one}");
    }
}
