//! The JSON responses of the admin listener, errors included. Every other file decides what they say.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Builds an error response: `{"error": {"code": "...", "message": "..."}}`.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    json(status, &serde_json::json!({ "error": { "code": code, "message": message } }))
}

/// Builds a JSON response. Health and records change at any moment, so no cache may store it.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(body) {
        Ok(body) => (status, headers, body).into_response(),
        // Serialization fails only for maps with other keys than strings, and there are none.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Returns the response to a path that does not exist.
pub(super) fn not_found() -> Response {
    let message = "The paths are /livez, /readyz and /metrics, and /api/events if [admin] has a token.";
    error(StatusCode::NOT_FOUND, "not_found", message)
}

/// Returns the response to a method that the path does not take. axum adds the `Allow` header.
pub(super) fn method_not_allowed() -> Response {
    error(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "The path does not take this method. Use one that the Allow header names.",
    )
}
