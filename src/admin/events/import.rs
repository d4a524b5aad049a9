//! Import of an event that an operator or `reconcile` brings: reads the request and has the intake store the event. Owns no
//! rule about events: those are [`Intake::import`](crate::intake::Intake::import)'s.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest, RawQuery, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::timeout;

use super::error::EventsApiError;
use super::query::Query;
use super::state::{ApiState, HandlerResult, audit_log, with_deadline};
use crate::admin::response::json;
use crate::endpoint::{BodyLimits, Endpoint};
use crate::intake::{ImportResult, ImportTarget};

pub(super) async fn import(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> HandlerResult {
    let params = Query::parse(query.as_deref(), &["endpoint", "segments", "query"])?;
    let endpoint = params.one("endpoint").and_then(|name| api.endpoint(name));
    let endpoint = endpoint.ok_or_else(|| api.no_endpoint())?;
    // A blank query is a query: it says that the URL has none.
    let query = params.given("query");
    // The query becomes part of a request line, where white space would end the target.
    if !query.unwrap_or_default().bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(EventsApiError::Query("query is a raw query, percent-encoded as in a URL.".to_owned()));
    }
    let body = read(request, endpoint.limits).await?;
    let segments = params.one("segments");
    let target = ImportTarget { endpoint: &endpoint, segments, query };
    let imported = with_deadline(api.intake.import(target, body)).await.map_err(EventsApiError::from);
    let (key, result) = imported.inspect_err(|error| {
        // There is no key to log: the body may not even be an event.
        tracing::info!(
            by = "admin",
            action = "import",
            endpoint = &*endpoint.name,
            result = error.as_str(),
            "operator action on an event"
        );
    })?;
    audit_log("import", &key, result.as_str());
    let status = match result {
        ImportResult::Queued => StatusCode::ACCEPTED,
        ImportResult::Duplicate | ImportResult::Ignored => StatusCode::OK,
        ImportResult::InFlight { retry_after } => return Err(EventsApiError::InFlight(Some(retry_after))),
    };
    let body = serde_json::json!({ "key": key.to_string(), "received": true, (result.as_str()): true });
    Ok(json(status, &body))
}

impl ApiState {
    /// Returns the endpoint of this name, if the configuration in force has it.
    fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        (self.endpoints)().into_iter().find(|endpoint| &*endpoint.name == name)
    }
}

/// Reads a whole body within the bounds of the endpoint's webhooks.
async fn read(mut request: Request, limits: BodyLimits) -> Result<Bytes, EventsApiError> {
    let max_body = usize::try_from(limits.max_body).unwrap_or(usize::MAX);
    DefaultBodyLimit::max(max_body).apply(&mut request);
    match timeout(limits.body_timeout, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)))) => {
            Err(EventsApiError::TooLarge(limits.max_body))
        }
        // All other rejections mean that the body could not be read.
        Ok(Err(_)) | Err(_) => Err(EventsApiError::Broken),
    }
}
