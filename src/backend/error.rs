//! [`BackendError`]: why a request to the backend has no response. The texts name what to check.

/// Why there is no response to a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The name does not resolve, or no connection can be opened. Nothing was sent.
    #[error("cannot reach the backend: {0}")]
    Unreachable(String),
    /// The backend received at least a part of the request and closed the connection without a byte of a response.
    #[error("the backend gave no response: {0}")]
    Unanswered(String),
    /// Sending the request, or receiving the response's head, exceeded `backend.response_timeout`.
    #[error("the backend did not respond in time")]
    Timeout,
    /// The backend sent something that is not HTTP/1, or closed the connection inside the head.
    #[error("invalid response from the backend: {0}")]
    Invalid(String),
}
