//! Taking an event in as if it had come: what an operator brings is read as strictly, signed as Stripe would have, and
//! kept under the same key, so that it and Stripe's own copies are one event.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest, RawQuery, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

use super::query::Query;
use super::refusal::Refusal;
use super::{Answer, Desk, in_time, json, note};
use crate::clock;
use crate::delivery_mode::DeliveryMode;
use crate::endpoint::Endpoint;
use crate::ledger::{Arrival, EnqueueResult, EventKey, Ledger, StoredRequest};
use crate::stripe::event;
use crate::stripe::signature;

/// An endpoint, and where it stands.
pub struct Place {
    /// The guarded path.
    pub path: String,
    /// Who it is.
    pub endpoint: Arc<Endpoint>,
}

/// Finds an endpoint of the configuration in force by its name.
type Find = Box<dyn Fn(&str) -> Option<Place> + Send + Sync>;

/// Takes events in that did not come by themselves. They are delivered as queued ones are.
pub struct Importer {
    ledger: Arc<dyn Ledger>,
    host: String,
    find: Find,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is kept, and due.
    Queued,
    /// It is kept already, or was delivered before.
    Duplicate,
    /// The endpoint does not forward such events.
    Ignored,
    /// A delivery of it, which is not kept, is under way.
    InFlight {
        /// When that one's lease ends, from now.
        retry_after: Duration,
    },
}

impl Taken {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Taken::Queued => "queued",
            Taken::Duplicate => "duplicate",
            Taken::Ignored => "ignored",
            Taken::InFlight { .. } => "in_flight",
        }
    }
}

impl Importer {
    /// Keeps events in `ledger` for the endpoints that `find` knows by name. `host` is what the app is asked under: there
    /// is no request that would tell.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        host: String,
        find: impl Fn(&str) -> Option<Place> + Send + Sync + 'static,
    ) -> Importer {
        Importer { ledger, host, find: Box::new(find) }
    }

    /// Takes a payload in at an endpoint and a raw query. Durable when it returns [`Taken::Queued`].
    async fn take(&self, place: &Place, query: &str, body: Bytes) -> Result<(EventKey, Taken), Refusal> {
        let Place { path, endpoint } = place;
        let event = event::parse_trusted(body).map_err(Refusal::Rejected)?;
        let key = EventKey { endpoint: endpoint.name.clone(), query: query.into(), id: event.id().into() };
        if !endpoint.forwards(&event) {
            return Ok((key, Taken::Ignored));
        }
        let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
        let signature = signature::sign(&endpoint.secrets, now, event.body());
        let arrival = Arrival {
            key: key.clone(),
            event_type: event.event_type().into(),
            created: event.created(),
            livemode: event.livemode(),
            account: event.account().map(Into::into),
        };
        let parcel = StoredRequest {
            mode: DeliveryMode::Queued,
            head: head(path, query, &self.host),
            signature: signature.into(),
            body: event.body().clone(),
        };
        let taken = match in_time(self.ledger.enqueue(arrival, parcel, None)).await? {
            // Without a lease asked for none is given; were one, it would end by itself and the event be due.
            EnqueueResult::Queued | EnqueueResult::Leased(_) => Taken::Queued,
            EnqueueResult::Duplicate => Taken::Duplicate,
            EnqueueResult::InFlight { retry_after } => Taken::InFlight { retry_after },
        };
        Ok((key, taken))
    }
}

/// The head of the request that the app will get, as far as the original would have determined it.
fn head(path: &str, query: &str, host: &str) -> Bytes {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("POST {path}{mark}{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n").into()
}

pub(super) async fn take(
    State(desk): State<Arc<Desk>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let params = Query::parse(query.as_deref(), &["endpoint", "query"])?;
    let place = params.one("endpoint").and_then(|name| (desk.take_in.find)(name));
    let place = place.ok_or(Refusal::NoEndpoint)?;
    let query = params.one("query").unwrap_or_default();
    if !query.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(Refusal::Query("query is a raw query, percent-encoded as in a URL.".to_owned()));
    }
    let body = read(request, &place.endpoint).await?;
    let (key, taken) = match desk.take_in.take(&place, query, body).await {
        Ok(taken) => taken,
        Err(refusal) => {
            let (endpoint, result) = (&*place.endpoint.name, refusal.as_str());
            tracing::info!(by = "admin", action = "take_in", endpoint, result, "operator");
            return Err(refusal);
        }
    };
    note("take_in", &key, taken.as_str());
    let status = match taken {
        Taken::Queued => {
            desk.bell.notify_one();
            StatusCode::ACCEPTED
        }
        Taken::Duplicate | Taken::Ignored => StatusCode::OK,
        Taken::InFlight { retry_after } => return Err(Refusal::InFlight(Some(retry_after))),
    };
    Ok(json(status, &serde_json::json!({ "key": key.to_string(), "received": true, (taken.as_str()): true })))
}

/// A whole body, as long and as slow as the endpoint lets a webhook's be.
async fn read(mut request: Request, endpoint: &Endpoint) -> Result<Bytes, Refusal> {
    let most = endpoint.max_body;
    DefaultBodyLimit::max(usize::try_from(most).unwrap_or(usize::MAX)).apply(&mut request);
    match timeout(endpoint.body_timeout, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)))) => {
            Err(Refusal::TooLarge(most))
        }
        // Of what else the library may find none is about length.
        Ok(Err(_)) | Err(_) => Err(Refusal::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_that_of_a_webhook_up_to_what_is_ours_to_say() {
        let told = |query| String::from_utf8(head("/w", query, "app:8081").to_vec()).unwrap();
        let fields = "Host: app:8081\r\nContent-Type: application/json\r\n";
        assert_eq!(told(""), format!("POST /w HTTP/1.1\r\n{fields}"));
        assert_eq!(told("version=2"), format!("POST /w?version=2 HTTP/1.1\r\n{fields}"));
    }
}
