//! The client of Stripe's API: one call, with the retries that Stripe's contract allows, over a few kept connections.
//! It follows no redirect, decompresses nothing, and never shows the key.

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, Version, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

use super::concurrency::Lanes;
use crate::clock;
use crate::metrics::{ApiResult, Metrics};
use crate::random::random_unit;
use crate::stripe::form::{self, Params};
use crate::stripe::retry::{self, Seen};

/// Connections kept at most.
const CONNECTIONS: usize = 16;
/// How long a connection is kept without a call.
const KEPT: Duration = Duration::from_secs(60);
/// A longer answer is none of Stripe's.
const MOST: usize = 1 << 20;

const VERSION: HeaderName = HeaderName::from_static("stripe-version");
const ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CLIENT: HeaderName = HeaderName::from_static("x-stripe-client-user-agent");
const USER_AGENT: &str = concat!("Countersign/", env!("CARGO_PKG_VERSION"));
/// Who calls, as the SDKs say it: Stripe shows it beside each request in its dashboard.
const CLIENT_INFO: &str = concat!(
    r#"{"bindings_version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","lang":"rust","publisher":"countersign","application":{"name":"Countersign","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}"#
);

/// Connections and lanes. Outlives reloads.
#[derive(Debug)]
pub struct HttpTransport {
    client: Client,
    lanes: Lanes,
}

impl HttpTransport {
    /// Without a connection yet.
    ///
    /// # Errors
    /// Where the system has no certificates to verify Stripe's with.
    pub fn new() -> Result<HttpTransport, String> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(CONNECTIONS)
            .pool_idle_timeout(KEPT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| root(&error))?;
        Ok(HttpTransport { client, lanes: Lanes::new() })
    }
}

/// How Stripe is reached; made anew on a reload.
pub struct Api {
    wire: Arc<HttpTransport>,
    base: String,
    headers: HeaderMap,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

/// What an [`Api`] is told of the configuration.
pub struct ApiConfig<'a> {
    /// `https://api.stripe.com`, without a slash at the end.
    pub base: &'a str,
    /// `sk_…` or `rk_…`.
    pub key: &'a SecretString,
    /// `Stripe-Version`.
    pub version: &'a str,
    /// `Stripe-Account`.
    pub account: Option<&'a str>,
    /// For each attempt.
    pub timeout: Duration,
}

/// One call and what came of it. Without `Debug`: an answer may hold what pays.
pub struct Call {
    /// The answer's body.
    pub result: Result<Bytes, ApiError>,
    /// How often Stripe was asked; 0 if it never was.
    pub attempts: u32,
    /// The last answer's `Request-Id`: by it Stripe's dashboard finds the request.
    pub request_id: Option<String>,
    /// The answer is the one that an earlier call with the same idempotency key got.
    pub replayed: bool,
}

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Stripe said no.
    #[error("Stripe answered {} ({}{}{})", .0.status, .0.kind, said(", code ", &.0.code), said(", param ", &.0.param))]
    Rejected(Box<StripeError>),
    /// A status or a body that is none of Stripe's API.
    #[error("an answer with status {0} that is not of Stripe's API")]
    Invalid(u16),
    /// No connection, or it broke off.
    #[error("{0}")]
    Unreachable(String),
    /// The last attempt took longer than it may.
    #[error("no answer in time")]
    Timeout,
    /// No lane came free.
    #[error("too many calls at once")]
    Busy,
}

/// An error as Stripe's API tells it (<https://docs.stripe.com/api/errors>).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StripeError {
    /// The status, 300 to 599.
    pub status: u16,
    /// `type`, such as `invalid_request_error`.
    pub kind: String,
    /// `code`, such as `resource_missing`.
    pub code: Option<String>,
    /// `param`: which of the parameters is meant.
    pub param: Option<String>,
    /// `message`. It may quote what was sent, and so is not for the log.
    pub message: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl StripeError {
    /// Whether the idempotency key was used for something else before.
    pub fn is_key_reuse(&self) -> bool {
        self.status == 400 && self.kind == "idempotency_error"
    }
}

/// Without the message.
impl std::fmt::Debug for StripeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StripeError { status, kind, code, param, .. } = self;
        f.debug_struct("StripeError")
            .field("status", status)
            .field("kind", kind)
            .field("code", code)
            .field("param", param)
            .finish_non_exhaustive()
    }
}

fn said(before: &str, word: &Option<String>) -> String {
    word.as_ref().map(|word| format!("{before}{word}")).unwrap_or_default()
}

impl Api {
    /// Calls over `wire`; counts in `metrics`.
    pub fn new(wire: Arc<HttpTransport>, access: &ApiConfig, metrics: Arc<Metrics>) -> Result<Api, String> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let mut authorization = value(&format!("Bearer {}", access.key.expose_secret()))?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (ACCEPT, HeaderValue::from_static("application/json")),
            (VERSION, value(access.version)?),
            (CLIENT, HeaderValue::from_static(CLIENT_INFO)),
        ]);
        if let Some(account) = access.account {
            headers.insert(ACCOUNT, value(account)?);
        }
        Ok(Api { wire, base: access.base.to_owned(), headers, timeout: access.timeout, metrics })
    }

    /// The longest that one call can take once it has a lane, retries and the waits between them included.
    pub fn longest(timeout: Duration) -> Duration {
        retry::max_call_duration(timeout)
    }

    /// Creates something. The key makes that happen once, however often the call is made.
    pub async fn post(&self, path: &str, params: &Params, idempotency_key: &str) -> Call {
        let body = Bytes::from(form::encode(params));
        self.call(Method::POST, path, body, HeaderValue::from_str(idempotency_key).ok()).await
    }

    /// Reads something.
    pub async fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path, Bytes::new(), None).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes, key: Option<HeaderValue>) -> Call {
        let mut call = Call { result: Err(ApiError::Busy), attempts: 0, request_id: None, replayed: false };
        loop {
            let Some(lane) = self.wire.lanes.take(clock::instant()).await else { return call };
            let started = clock::instant();
            let attempt = self.attempt(&method, path, body.clone(), key.clone()).await;
            lane.clear();
            call.attempts += 1;
            let seen = match attempt {
                Ok((head, body)) => {
                    call.request_id = text(&head.headers, "request-id");
                    call.replayed = text(&head.headers, "idempotent-replayed").as_deref() == Some("true");
                    let seen = head.seen();
                    call.result = judged(head, body);
                    seen
                }
                Err(fault) => {
                    call.result = Err(fault);
                    Seen::Lost
                }
            };
            self.metrics.stripe_called(result_of(&call.result), started.elapsed());
            if call.result.is_ok() {
                return call;
            }
            // Without randomness all who failed together come back together; that is no reason to fail.
            let random = random_unit();
            match retry::again(seen, call.attempts, random) {
                Some(wait) => sleep(wait).await,
                None => return call,
            }
        }
    }

    async fn attempt(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        key: Option<HeaderValue>,
    ) -> Result<(Head, Bytes), ApiError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.wire.client.request(method.clone(), url);
        request = request.headers(self.headers.clone()).timeout(self.timeout);
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let lost = |error: reqwest::Error| match error.is_timeout() {
            true => ApiError::Timeout,
            false => ApiError::Unreachable(root(&error)),
        };
        let response = request.send().await.map_err(lost)?;
        let head = Head { status: response.status().as_u16(), headers: response.headers().clone() };
        if response.version() == Version::HTTP_2 {
            self.wire.lanes.widen(clock::instant());
        }
        let body = whole(response).await.map_err(lost)?;
        Ok((head, body))
    }
}

/// An answer's status and headers.
struct Head {
    status: u16,
    headers: HeaderMap,
}

impl Head {
    fn seen(&self) -> Seen {
        let should_retry = match text(&self.headers, "stripe-should-retry").as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) | None => None,
        };
        Seen::Answer { status: self.status, should_retry, retry_after: self.retry_after() }
    }

    fn retry_after(&self) -> Option<u64> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
    }
}

/// The body of an answer, cut off where it cannot be Stripe's any more.
async fn whole(mut response: Response) -> reqwest::Result<Bytes> {
    let mut body = BytesMut::new();
    while body.len() <= MOST
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// `{"error": {…}}`
#[derive(Deserialize)]
struct Envelope {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "type", default)]
    kind: String,
    code: Option<String>,
    param: Option<String>,
    message: Option<String>,
}

fn judged(head: Head, body: Bytes) -> Result<Bytes, ApiError> {
    let status = head.status;
    if (200..300).contains(&status) {
        return if body.len() > MOST { Err(ApiError::Invalid(status)) } else { Ok(body) };
    }
    match serde_json::from_slice(&body) {
        Ok(Envelope { error: Inner { kind, code, param, message } }) => {
            let retry_after = head.retry_after();
            Err(ApiError::Rejected(Box::new(StripeError { status, kind, code, param, message, retry_after })))
        }
        // Whoever answers so stands between: a 429 or a 503 of theirs means the same.
        Err(_) => Err(ApiError::Invalid(status)),
    }
}

fn result_of(result: &Result<Bytes, ApiError>) -> ApiResult {
    match result {
        Ok(_) => ApiResult::Ok,
        Err(ApiError::Rejected(refused)) if refused.status < 500 => ApiResult::Refused,
        Err(ApiError::Rejected(_) | ApiError::Invalid(_)) => ApiResult::Failed,
        Err(ApiError::Unreachable(_) | ApiError::Busy) => ApiResult::Unreachable,
        Err(ApiError::Timeout) => ApiResult::Timeout,
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The last cause: "connection refused" rather than "error sending request".
pub(crate) fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16) -> Head {
        Head { status, headers: HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]) }
    }

    #[test]
    fn an_answer_is_judged_by_its_status_and_its_shape() {
        let error =
            br#"{"error": {"type": "invalid_request_error", "code": "x", "param": "y", "message": "z"}}"#;
        let refused = StripeError {
            status: 400,
            kind: "invalid_request_error".into(),
            code: Some("x".into()),
            param: Some("y".into()),
            message: Some("z".into()),
            retry_after: Some(7),
        };
        for (status, body, expected) in [
            (200, &b"{}"[..], Ok(Bytes::from_static(b"{}"))),
            (400, &error[..], Err(ApiError::Rejected(Box::new(refused)))),
            (502, b"<html>", Err(ApiError::Invalid(502))),
            (302, b"", Err(ApiError::Invalid(302))),
            (400, b"{\"error\": \"x\"}", Err(ApiError::Invalid(400))),
        ] {
            assert_eq!(judged(head(status), Bytes::from_static(body)), expected, "{status}");
        }
        let long = Bytes::from(vec![b'x'; MOST + 1]);
        assert_eq!(judged(head(200), long), Err(ApiError::Invalid(200)));
    }

    #[test]
    fn a_fault_tells_what_the_log_needs_and_never_stripes_message() {
        let refused = StripeError {
            status: 400,
            kind: "card_error".into(),
            code: Some("a".into()),
            message: Some("ada@example.com".into()),
            ..StripeError::default()
        };
        let fault = ApiError::Rejected(Box::new(refused));
        assert_eq!(fault.to_string(), "Stripe answered 400 (card_error, code a)");
        assert!(!format!("{fault:?}").contains("ada"), "{fault:?}");
    }

    #[test]
    fn the_longest_call_is_three_attempts_and_two_waits() {
        assert_eq!(Api::longest(Duration::from_secs(10)), Duration::from_millis(31_500));
    }
}
