//! Calls to the fake, as they were received: target, headers and raw body, with readers for their parts.

use super::form;
use axum::http::HeaderMap;

/// One HTTP request, read to its end.
#[derive(Debug, Clone)]
pub struct Call {
    /// The number of the connection that carried the call, counted from 1.
    pub connection: usize,
    /// The method: `POST`.
    pub method: String,
    /// Path and query, undecoded.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: HeaderMap,
    /// The body, undecoded.
    pub body: String,
}

impl Call {
    /// Returns the value of a header that was sent exactly once and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok();
        value.filter(|_| values.next().is_none())
    }

    /// Returns the decoded parameters of the body, in the order in which they were sent.
    pub fn params(&self) -> Vec<(String, String)> {
        form::pairs(&self.body)
    }

    /// Returns one parameter of the body by its full name: `line_items[0][price]`.
    pub fn param(&self, name: &str) -> Option<String> {
        self.params().into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Returns the path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the query without its question mark.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map(|(_, query)| query).unwrap_or_default()
    }
}
