//! Events that an operator brings: their target, and their way into the queue. The head of their request is made at delivery.

use bytes::Bytes;

use super::Intake;
use super::incoming::{IncomingEvent, record_id};
use super::request::ImportTarget;
use super::result::{ImportError, ImportResult};
use crate::clock;
use crate::delivery::import_head;
use crate::delivery_mode::DeliveryMode;
use crate::ledger::{EnqueueResult, EventKey};
use crate::random::unique_id;
use crate::stripe::event;

/// The target of an imported event, and the parts of it that belong to the event's key.
struct ResolvedTarget {
    target: String,
    segments: Box<str>,
    query: Box<str>,
}

impl Intake {
    /// Stores an event that did not arrive by itself; the worker delivers it. Its payload is parsed as strictly as a
    /// webhook's and signed with the endpoint's secrets, and its key is that of Stripe's own copies, so both are
    /// deduplicated. [`ImportResult::Queued`] is durable.
    ///
    /// # Errors
    /// The body is not an event, nothing tells the event's target, or the ledger is unavailable.
    pub async fn import(
        &self,
        target: ImportTarget<'_>,
        body: Bytes,
    ) -> Result<(EventKey, ImportResult), ImportError> {
        let ResolvedTarget { target: request_target, segments, query } = self.resolve(&target).await?;
        let endpoint = target.endpoint;
        let event = event::parse_trusted(body)?;
        let signature = endpoint.verification.sign(event.body(), clock::unix_seconds());
        let incoming = IncomingEvent {
            record_id: record_id(&event),
            event,
            endpoint: endpoint.clone(),
            segments,
            query,
            // The rest is built at each attempt: a host that was wrong can be mended, and the event redelivered.
            head: import_head::without_arrival(&request_target, &unique_id(), &signature),
        };
        let key = incoming.key();
        if incoming.event.is_ping() || !endpoint.filter.matches(&incoming.event) {
            return Ok((key, ImportResult::Ignored));
        }
        let result = match self.enqueue(&incoming, DeliveryMode::Queued, None).await? {
            // No lease is asked for, so none is granted. One would expire by itself, and the event would be due.
            EnqueueResult::Queued | EnqueueResult::Leased(_) => ImportResult::Queued,
            EnqueueResult::Duplicate => ImportResult::Duplicate,
            EnqueueResult::InFlight { retry_after } => ImportResult::InFlight { retry_after },
        };
        Ok((key, result))
    }

    /// Completes what the operator did not give: from the endpoint's `url`, else from its last webhook.
    async fn resolve(&self, target: &ImportTarget<'_>) -> Result<ResolvedTarget, ImportError> {
        let ImportTarget { endpoint, segments, query } = *target;
        let policy = &endpoint.policy;
        let arrival = match policy.url {
            Some(_) => None,
            None => {
                policy.last_arrival.get(&*self.ledger, &endpoint.name).await.map_err(ImportError::Ledger)?
            }
        };
        let url = policy.url.as_ref().map(|url| (url.path.as_str(), url.query.as_str()));
        let arrived = arrival.as_ref().and_then(|arrival| arrival.target());
        // The configuration may have changed since the last webhook.
        let known = url.or(arrived).filter(|(path, query)| endpoint.has_target(path, query));
        let known_segments = known.and_then(|(path, _)| endpoint.segments(path));
        let segments = segments.or(known_segments.as_deref()).unwrap_or_default();
        let query = query.or(known.map(|(_, query)| query)).unwrap_or_default();
        let preferred = known.map(|(path, _)| path);
        let request_target = endpoint.target(segments, query, preferred).ok_or(ImportError::NoSuchTarget)?;
        Ok(ResolvedTarget { target: request_target, segments: segments.into(), query: query.into() })
    }
}
