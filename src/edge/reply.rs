//! THE table: what each caller gets, outcome by outcome. Statuses, bodies and headers of every answer at the edge stand
//! here and nowhere else (the admin listener has its own). A message says what to do about it, since Stripe
//! shows it in its dashboard; none holds a secret, a signature or a payload.

use bytes::Bytes;
use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use crate::backend::BackendResponse;
use crate::clock;
use crate::intake::{self, WebhookDisposition};
use crate::outcome::Outcome;

mod checkout;

const JSON: &[u8] = b"application/json";
const HTML: &[u8] = b"text/html; charset=utf-8";

/// An answer of ours, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What it says, as `Countersign-Outcome`.
    pub code: &'static str,
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
    message: Cow<'static, str>,
    content_type: Option<Bytes>,
    retry_after: Option<u64>,
    allow: Option<&'static str>,
    more: Vec<(&'static str, Bytes)>,
}

/// Status, what the caller should know, `Retry-After` in seconds.
const fn row(outcome: Outcome) -> (u16, &'static str, Option<u64>) {
    match outcome {
        // Of these two the backend says the status and the body.
        Outcome::Delivered => (200, "The backend took the event.", None),
        Outcome::BackendRefused => (502, "The backend refused the event.", None),
        Outcome::Queued => (200, "The event is kept, and reaches the backend later.", None),
        Outcome::Duplicate => (200, "This event was delivered before, or is kept for delivery.", None),
        Outcome::Ignored => (200, "The endpoint does not forward such events.", None),
        Outcome::InFlight => (409, "This event is being delivered right now; send it again later.", Some(1)),
        Outcome::SignatureMissing => (
            400,
            "There is no Stripe-Signature header. Only Stripe, or a client that signs like it, may call this path.",
            None,
        ),
        Outcome::SignatureMalformed => (
            400,
            "The Stripe-Signature header cannot be read. A proxy on the way may have changed or repeated it.",
            None,
        ),
        Outcome::SignatureNoV1 => (400, "The Stripe-Signature header has no v1 signature.", None),
        Outcome::SignatureMismatch => (
            400,
            "No signature matches. Check that this endpoint's own signing secret (whsec_...) is configured, and that nothing on the way changes the body.",
            None,
        ),
        Outcome::TimestampTooOld => (
            400,
            "The signature is genuine but too old. Check this server's clock; a replayed request is refused, a fresh attempt is not.",
            None,
        ),
        Outcome::TimestampInFuture => {
            (400, "The signature is genuine but from the future. Check this server's clock.", None)
        }
        Outcome::PayloadInvalid => (
            400,
            "The body is signed but is not a Stripe event: it needs an id, a type and an object of event or v2.core.event.",
            None,
        ),
        Outcome::MethodNotAllowed => (405, "Webhooks are sent with POST.", None),
        Outcome::BodyTooLarge => (413, "The body is longer than this endpoint's max_body.", None),
        Outcome::BodyTooSlow => (408, "The body did not arrive within body_timeout.", None),
        Outcome::BodyMalformed => (400, "The body broke off, or its framing is faulty.", None),
        Outcome::BodyEncoded => (
            415,
            "The body has a Content-Encoding. A signature is over the bytes as they are: send them so.",
            None,
        ),
        Outcome::RequestMalformed => (
            400,
            "The request's head is faulty or ambiguous. Look at its first line and its Host, and for more than 128 fields, two lengths, a length beside a transfer coding or a bare line feed.",
            None,
        ),
        Outcome::HeaderTooSlow => (408, "The request's head did not arrive within header_timeout.", None),
        Outcome::HeaderTooLarge => (431, "The request's head is longer than 64 KiB.", None),
        Outcome::AmbiguousPath => (
            400,
            "This is a spelling of a webhook path that is not the path. Use the path exactly as it is configured.",
            None,
        ),
        Outcome::BackendUnreachable => (
            502,
            "The backend cannot be reached, or closed the connection without an answer. Check that it runs and that [backend] url is its address.",
            None,
        ),
        Outcome::BackendTimeout => (504, "The backend did not answer within response_timeout.", None),
        Outcome::BackendInvalid => (502, "The backend's answer is not HTTP.", None),
        Outcome::LedgerUnavailable => (
            503,
            "The ledger is out of reach or not fit for this, so nothing was delivered; send it again later. /readyz on the admin listener and the log say why.",
            Some(5),
        ),
        Outcome::Overloaded => (503, "Too much at once; send it again later.", Some(1)),
        Outcome::ShuttingDown => (503, "The server is shutting down; send it again.", Some(1)),
        Outcome::InternalError => {
            (500, "A fault of this server; send it again later. Its log says more.", None)
        }
    }
}

static BODIES: LazyLock<Vec<Bytes>> = LazyLock::new(|| Outcome::ALL.iter().map(|o| json(*o)).collect());

fn json(outcome: Outcome) -> Bytes {
    let code = outcome.as_str();
    if matches!(outcome, Outcome::Queued | Outcome::Duplicate | Outcome::Ignored) {
        return format!(r#"{{"received": true, "{code}": true}}"#).into();
    }
    format!(r#"{{"error": {{"code": "{code}", "message": "{}"}}}}"#, row(outcome).1).into()
}

impl Response {
    /// The answer that needs nothing but its outcome.
    pub fn from_outcome(outcome: Outcome) -> Response {
        let (status, message, retry_after) = row(outcome);
        Response {
            code: outcome.as_str(),
            status,
            body: BODIES[outcome as usize].clone(),
            message: message.into(),
            content_type: Some(Bytes::from_static(JSON)),
            retry_after,
            allow: matches!(outcome, Outcome::MethodNotAllowed).then_some("POST"),
            more: Vec::new(),
        }
    }

    /// The answer to a webhook.
    pub fn to_webhook(disposition: &WebhookDisposition) -> Response {
        match disposition {
            WebhookDisposition::Delivered(answer) => Response::passed_on(answer),
            WebhookDisposition::InFlight { retry_after } => {
                Response::from_outcome(Outcome::InFlight).after(*retry_after)
            }
            WebhookDisposition::Queued
            | WebhookDisposition::Duplicate
            | WebhookDisposition::Ignored
            | WebhookDisposition::Refused(_)
            | WebhookDisposition::LedgerUnavailable(_)
            | WebhookDisposition::DeliveryError(_) => Response::from_outcome(disposition.outcome()),
        }
    }

    /// The backend's own answer: status, type and as much of the body as was kept.
    pub fn passed_on(answer: &BackendResponse) -> Response {
        Response {
            code: intake::outcome_of_answer(answer).as_str(),
            status: answer.head.status,
            body: answer.body.clone(),
            message: Cow::default(),
            content_type: answer.head.content_type.clone(),
            retry_after: None,
            allow: None,
            more: Vec::new(),
        }
    }

    /// The same for a person with a browser.
    pub fn for_people(mut self) -> Response {
        let status = self.status;
        // What Stripe says may quote what the client wrote.
        let message = self.message.replace('&', "&amp;").replace('<', "&lt;");
        let page = format!(
            "<!doctype html>\n<html lang=en><meta charset=utf-8><title>{status}</title><h1>{status}</h1><p>{message}</p></html>\n"
        );
        self.body = page.into();
        self.content_type = Some(Bytes::from_static(HTML));
        self
    }

    /// How long the caller has to wait, in whole seconds.
    pub fn after(mut self, wait: Duration) -> Response {
        self.retry_after = Some(wait.as_millis().div_ceil(1000).max(1) as u64);
        self
    }

    /// Its head, as it goes over the wire.
    pub fn head(&self, keep_alive: bool) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        let reason = http::StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason());
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(self.status.to_string().as_bytes());
        head.extend_from_slice(b" ");
        head.extend_from_slice(reason.unwrap_or_default().as_bytes());
        head.extend_from_slice(b"\r\n");
        let mut add = |name: &str, value: &[u8]| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        for (name, value) in self.headers() {
            add(name, &value);
        }
        add("Date", httpdate::fmt_http_date(clock::wall()).as_bytes());
        add("Connection", if keep_alive { b"keep-alive" } else { b"close" });
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Its headers, without those that depend on the connection.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, [u8]>)> {
        // 204 and 304 have no body, and say no length (RFC 9110, 8.6).
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
        .chain(self.more.iter().map(|(name, value)| (*name, value[..].into())))
    }
}

/// An answer as bytes, for a connection that ends with it.
pub fn raw(outcome: Outcome) -> Vec<u8> {
    let reply = Response::from_outcome(outcome);
    let mut bytes = reply.head(false);
    bytes.extend_from_slice(&reply.body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_ours_is_json_with_its_code() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "the table is laid out by Outcome::ALL");
            let reply = Response::from_outcome(outcome);
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            if matches!(outcome, Outcome::Queued | Outcome::Duplicate | Outcome::Ignored) {
                assert_eq!(body, serde_json::json!({"received": true, (outcome.as_str()): true}));
            } else {
                assert_eq!(body["error"]["code"], outcome.as_str());
                assert!(!body["error"]["message"].as_str().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn whoever_shall_come_again_is_told_when() {
        for outcome in Outcome::ALL {
            let waits = matches!(row(outcome).0, 409 | 503);
            assert_eq!(Response::from_outcome(outcome).retry_after.is_some(), waits, "{outcome:?}");
        }
        assert_eq!(
            Response::from_outcome(Outcome::InFlight).after(Duration::from_millis(1200)).retry_after,
            Some(2)
        );
        assert_eq!(Response::from_outcome(Outcome::InFlight).after(Duration::ZERO).retry_after, Some(1));
    }

    #[test]
    fn a_raw_answer_ends_the_connection() {
        let raw = String::from_utf8(raw(Outcome::Overloaded)).unwrap();
        assert!(raw.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{raw}");
        assert!(raw.contains("\r\nRetry-After: 1\r\n"), "{raw}");
        assert!(raw.contains("\r\nConnection: close\r\n\r\n{"), "{raw}");
    }
}
