//! Responses of the fake, from JSON, HTML or raw bytes. This module decides no status and knows no endpoint.

use serde_json::Value;

/// A complete HTTP response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names and values, in the order in which they are sent.
    pub headers: Vec<(String, String)>,
    /// The body, in raw bytes.
    pub body: Vec<u8>,
}

impl Response {
    /// Creates a response with one header, `Content-Type`.
    pub fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("Content-Type".into(), content_type.into())], body }
    }

    /// Creates a JSON response, indented by two spaces as Stripe indents it.
    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", format!("{value:#}").into_bytes())
    }

    /// Creates an HTML response.
    pub fn html(status: u16, page: &str) -> Self {
        Self::new(status, "text/html; charset=utf-8", page.as_bytes().to_vec())
    }

    /// Creates a 303 response that redirects a browser to `location`.
    pub fn see_other(location: &str) -> Self {
        Self::html(303, "").header("Location", location)
    }

    /// Appends a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What the HTTP server does at the end of a call.
pub enum ResponseAction {
    /// The server sends the whole response.
    Send(Response),
    /// The server sends the head and half of the body, then closes the connection.
    SendHalf(Response),
    /// The server closes the connection without a response.
    HangUp,
}
