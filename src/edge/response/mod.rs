//! THE table of responses: what each caller gets, outcome by outcome. Status, body and headers of every response that the
//! edge makes stand here and nowhere else (the admin listener has its own). `checkout` holds the checkout's part of it.
//!
//! A message says what to do, because Stripe shows it in its dashboard. None holds a secret, a signature or a payload.

use bytes::Bytes;
use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use crate::backend::BackendResponse;
use crate::clock;
use crate::http1::headers::write_header;
use crate::intake::{self, WebhookDisposition};
use crate::outcome::Outcome;

mod checkout;

const JSON: &[u8] = b"application/json";
const HTML: &[u8] = b"text/html; charset=utf-8";

/// A response that is ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The stable code of the outcome, sent as `Countersign-Outcome`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
    /// The message within the body; empty in a response of the backend.
    message: Cow<'static, str>,
    /// The value of `Content-Type`.
    content_type: Option<Bytes>,
    /// The value of `Retry-After` in seconds.
    retry_after: Option<u64>,
    /// The value of `Allow`.
    allow: Option<&'static str>,
    /// Further headers in their order.
    extra_headers: Vec<(&'static str, Bytes)>,
}

/// A row of the table: outcome, status, `Retry-After` in seconds, and the message to the caller.
type ResponseRow<O> = (O, u16, Option<u64>, &'static str);

/// The responses to webhooks and passed-through requests, in the order of [`Outcome::ALL`].
#[rustfmt::skip]
static ROWS: [ResponseRow<Outcome>; Outcome::ALL.len()] = [
    // For these two, status and body come from the backend's response.
    (Outcome::Delivered, 200, None, "The backend accepted the event."),
    (Outcome::BackendRefused, 502, None, "The backend refused the event."),
    (Outcome::Queued, 200, None, "The event is queued and will be delivered to the backend later."),
    (Outcome::Duplicate, 200, None, "This event has been delivered, or is queued for delivery."),
    (Outcome::Ignored, 200, None, "The endpoint's configuration does not forward this event."),
    (Outcome::Ping, 200, None, "The event destination is reachable, and its signing secret is configured."),
    (Outcome::InFlight, 409, Some(1), "This event is being delivered right now. Send it again later."),
    (Outcome::SignatureMissing, 400, None, "The Stripe-Signature header is missing. Only Stripe, or a client that signs like Stripe, may call this path."),
    (Outcome::SignatureMalformed, 400, None, "The Stripe-Signature header cannot be parsed. Check whether a proxy on the way changes or repeats it."),
    (Outcome::SignatureNoV1, 400, None, "The Stripe-Signature header has no v1 signature. Other schemes are not accepted."),
    (Outcome::SignatureMismatch, 400, None, "No signature matches. Check that the signing secret (whsec_...) of exactly this endpoint is configured, and that nothing on the way changes the body."),
    (Outcome::TimestampTooOld, 400, None, "The signature is valid but too old. Check this server's clock. Replayed requests are rejected; a new attempt by Stripe has a new timestamp."),
    (Outcome::TimestampInFuture, 400, None, "The signature is valid but its timestamp is in the future. Check this server's clock."),
    (Outcome::PayloadInvalid, 400, None, "The body is signed but is not a Stripe event. An event has an id, a type, and the object event or v2.core.event."),
    (Outcome::MethodNotAllowed, 405, None, "Send webhooks with POST."),
    (Outcome::QueryUnexpected, 400, None, "The query is none of this endpoint's allowed_queries. Stripe's signature does not cover it. Send webhooks to the URL that is configured at Stripe, or add its query."),
    (Outcome::BodyTooLarge, 413, None, "The body is larger than this endpoint's max_body. Raise max_body if such events are expected."),
    (Outcome::BodyTooSlow, 408, None, "The body did not arrive within its time limit. Send it again."),
    (Outcome::BodyMalformed, 400, None, "The body is incomplete, or its Transfer-Encoding is invalid."),
    (Outcome::BodyEncoded, 415, None, "The body has a Content-Encoding, or a form has a charset that hides its letters. Send it without: the bytes are judged as they are sent."),
    (Outcome::RequestMalformed, 400, None, "Check the request line and Host header. Also rejected: a fragment or a space in the target, another host in it than in Host, control characters, two Content-Lengths, Content-Length together with Transfer-Encoding, bare LF, and any protocol but HTTP/1."),
    (Outcome::HeaderTooSlow, 408, None, "The request's headers did not arrive within header_timeout. Send the request again."),
    (Outcome::HeaderTooLarge, 431, None, "The request line and headers are larger than [server] max_head, or there are more than 1,000 headers. Send fewer or smaller headers, often cookies, or raise max_head."),
    (Outcome::AmbiguousPath, 400, None, "This request is another spelling of a webhook's path or query. Spell them exactly as they are configured."),
    (Outcome::BackendUnreachable, 502, None, "The backend cannot be reached, or closed the connection without a response. Check that it runs and that [backend] url is its address."),
    (Outcome::BackendTimeout, 504, None, "The backend did not respond within response_timeout. Raise it if the backend needs longer."),
    (Outcome::BackendInvalid, 502, None, "The backend's response is not valid HTTP/1, or its head has more than 1,000 headers or 256 KiB. Check that [backend] url is the address of an HTTP server."),
    (Outcome::LedgerUnavailable, 503, Some(5), "The ledger is unavailable or unsuitable, so nothing was delivered. Send it again later. See /readyz on the admin listener, or the log, for the reason."),
    (Outcome::Overloaded, 503, Some(1), "Too many requests at once. Send it again later."),
    (Outcome::ShuttingDown, 503, Some(1), "The server is shutting down. Send it again."),
    (Outcome::InternalError, 500, None, "This server had an internal error. Send it again later. The server's log has details."),
];

// An outcome's number is the index of its row, so the order must be that of the enum.
const _: () = {
    let mut index = 0;
    while index < ROWS.len() {
        assert!(ROWS[index].0 as usize == index);
        index += 1;
    }
};

/// The JSON body of each row. Made once, because a rejection under attack must cost little.
static BODIES: LazyLock<Vec<Bytes>> = LazyLock::new(|| ROWS.iter().map(json).collect());

fn json(&(outcome, _, _, message): &ResponseRow<Outcome>) -> Bytes {
    let code = outcome.as_str();
    if matches!(outcome, Outcome::Queued | Outcome::Duplicate | Outcome::Ignored | Outcome::Ping) {
        return format!(r#"{{"received": true, "{code}": true}}"#).into();
    }
    format!(r#"{{"error": {{"code": "{code}", "message": "{message}"}}}}"#).into()
}

impl Response {
    /// Returns the response to an outcome, as the table has it.
    pub fn from_outcome(outcome: Outcome) -> Self {
        let (_, status, retry_after, message) = ROWS[outcome as usize];
        Self {
            code: outcome.as_str(),
            status,
            body: BODIES[outcome as usize].clone(),
            message: message.into(),
            content_type: Some(Bytes::from_static(JSON)),
            retry_after,
            allow: matches!(outcome, Outcome::MethodNotAllowed).then_some("POST"),
            extra_headers: Vec::new(),
        }
    }

    /// Returns the response to a webhook.
    pub fn from_webhook(disposition: &WebhookDisposition) -> Self {
        match disposition {
            WebhookDisposition::Delivered(response) => Self::from_backend(response),
            WebhookDisposition::InFlight { retry_after } => {
                Self::from_outcome(Outcome::InFlight).with_retry_after(*retry_after)
            }
            WebhookDisposition::Queued
            | WebhookDisposition::Duplicate
            | WebhookDisposition::Ignored
            | WebhookDisposition::Ping
            | WebhookDisposition::Overloaded
            | WebhookDisposition::Rejected(_)
            | WebhookDisposition::LedgerUnavailable(_)
            | WebhookDisposition::DeliveryError(_) => Self::from_outcome(disposition.outcome()),
        }
    }

    /// Returns the backend's response to a webhook: its status, the headers that matter, and as much of its body as was read.
    pub fn from_backend(response: &BackendResponse) -> Self {
        let head = &response.head;
        let coding = head.content_encoding.as_deref().map(Bytes::copy_from_slice);
        let headers = [("Content-Encoding", coding), ("Retry-After", head.retry_after.clone())];
        Self {
            code: intake::outcome_of_response(response).as_str(),
            status: head.status,
            body: response.body.clone(),
            message: Cow::default(),
            content_type: head.content_type.clone(),
            retry_after: None,
            allow: None,
            extra_headers: headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        }
    }

    /// Returns this response with an HTML page for a person with a browser as its body.
    pub fn into_html(mut self) -> Self {
        let status = self.status;
        // A message of Stripe's may quote what the client wrote.
        let message = self.message.replace('&', "&amp;").replace('<', "&lt;");
        let page = format!(
            "<!doctype html>\n<html lang=en><meta charset=utf-8><title>{status}</title><h1>{status}</h1><p>{message}</p></html>\n"
        );
        self.body = page.into();
        self.content_type = Some(Bytes::from_static(HTML));
        self
    }

    /// Returns this response with `Retry-After`, rounded up to whole seconds and at least one.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_millis().div_ceil(1000).max(1) as u64);
        self
    }

    /// Returns the head of this response as HTTP/1.1 bytes.
    pub fn head(&self, keep_alive: bool) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        let reason = http::StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason());
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(self.status.to_string().as_bytes());
        head.extend_from_slice(b" ");
        head.extend_from_slice(reason.unwrap_or_default().as_bytes());
        head.extend_from_slice(b"\r\n");
        for (name, value) in self.headers() {
            write_header(&mut head, name, &value);
        }
        write_header(&mut head, "Date", httpdate::fmt_http_date(clock::wall()).as_bytes());
        write_header(&mut head, "Connection", if keep_alive { b"keep-alive" } else { b"close" });
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Returns the headers of this response, without `Date` and `Connection`.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, [u8]>)> {
        // 204 and 304 have no body and must not have a Content-Length (RFC 9110, section 8.6).
        let length = (!matches!(self.status, 204 | 304)).then(|| self.body.len().to_string().into_bytes());
        [
            self.content_type.as_deref().map(|v| ("Content-Type", v.into())),
            length.map(|v| ("Content-Length", v.into())),
            Some(("Countersign-Outcome", self.code.as_bytes().into())),
            self.retry_after.map(|v| ("Retry-After", v.to_string().into_bytes().into())),
            self.allow.map(|v| ("Allow", v.as_bytes().into())),
        ]
        .into_iter()
        .flatten()
        .chain(self.extra_headers.iter().map(|(name, value)| (*name, value[..].into())))
    }
}

/// Returns a whole response as bytes, for a connection that closes after it.
pub fn closing_response(outcome: Outcome) -> Vec<u8> {
    let response = Response::from_outcome(outcome);
    let mut bytes = response.head(false);
    bytes.extend_from_slice(&response.body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_is_json_with_its_code() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "Outcome::ALL has the order of the enum");
            let response = Response::from_outcome(outcome);
            let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            if matches!(outcome, Outcome::Queued | Outcome::Duplicate | Outcome::Ignored | Outcome::Ping) {
                assert_eq!(body, serde_json::json!({"received": true, (outcome.as_str()): true}));
            } else {
                assert_eq!(body["error"]["code"], outcome.as_str());
                assert!(!body["error"]["message"].as_str().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn each_409_and_503_has_a_retry_after() {
        for outcome in Outcome::ALL {
            let waits = matches!(Response::from_outcome(outcome).status, 409 | 503);
            assert_eq!(Response::from_outcome(outcome).retry_after.is_some(), waits, "{outcome:?}");
        }
        assert_eq!(
            Response::from_outcome(Outcome::InFlight)
                .with_retry_after(Duration::from_millis(1200))
                .retry_after,
            Some(2)
        );
        assert_eq!(
            Response::from_outcome(Outcome::InFlight).with_retry_after(Duration::ZERO).retry_after,
            Some(1)
        );
    }

    #[test]
    fn a_closing_response_says_that_the_connection_closes() {
        let text = String::from_utf8(closing_response(Outcome::Overloaded)).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nRetry-After: 1\r\n"), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n\r\n{"), "{text}");
    }
}
