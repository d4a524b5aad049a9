//! One call to Stripe's API, with the retries that Stripe's contract allows. It never shows the key and never interprets
//! the body of a successful response.

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, Version};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

use super::concurrency::ConcurrencyLimit;
use super::error::{ApiError, StripeError};
use super::transport::{HttpTransport, root_cause};
use crate::clock;
use crate::metrics::{ApiResult, Metrics};
use crate::random::random_unit;
use crate::stripe::form::{self, Params};
use crate::stripe::retry::{self, AttemptOutcome};

/// The maximum length of a response body, in bytes. Stripe's own are shorter.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const STRIPE_ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");
const STRIPE_CONTEXT: HeaderName = HeaderName::from_static("stripe-context");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CLIENT_USER_AGENT: HeaderName = HeaderName::from_static("x-stripe-client-user-agent");
/// The description of this client, in the form that the SDKs use. Stripe's dashboard shows it beside each request.
const CLIENT_INFO: &str = concat!(
    r#"{"bindings_version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","lang":"rust","publisher":"countersign","application":{"name":"Countersign","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}"#
);

/// A client with one configuration. A reload creates a new one over the same transport.
#[derive(Clone)]
pub struct Api {
    transport: Arc<HttpTransport>,
    base: String,
    headers: HeaderMap,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

/// The configuration of an [`Api`].
pub struct ApiConfig<'a> {
    /// The URL of the API without a trailing slash, such as `https://api.stripe.com`.
    pub base: &'a str,
    /// The secret key, `sk_…` or `rk_…`.
    pub key: &'a SecretString,
    /// The value of `Stripe-Version`.
    pub version: &'a str,
    /// The value of `Stripe-Account`: the connected account to act for.
    pub account: Option<&'a str>,
    /// The maximum duration of each attempt.
    pub timeout: Duration,
}

/// The header that names the connected account to act for. `/v1` takes the first
/// (<https://docs.stripe.com/connect/authentication>), `/v2` the second (<https://docs.stripe.com/context>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountHeader {
    /// `Stripe-Account`.
    Account,
    /// `Stripe-Context`.
    Context,
}

/// The result of one call with its retries. It has no `Debug`: a response may hold a client secret.
pub struct CallResult {
    /// The body of a 2xx response, or why there is none.
    pub result: Result<Bytes, ApiError>,
    /// The number of attempts that were sent; 0 if the concurrency limit stopped the call.
    pub attempts: u32,
    /// The `Request-Id` of the last response, by which Stripe's dashboard finds the request.
    pub request_id: Option<String>,
    /// Whether the response repeats that of an earlier call with the same idempotency key.
    pub replayed: bool,
}

impl Api {
    /// Creates a client over `transport` that counts its attempts in `metrics`.
    ///
    /// # Errors
    /// Returns a message if a value of `config` cannot stand in a header.
    pub fn new(
        transport: Arc<HttpTransport>,
        config: &ApiConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let mut authorization = value(&format!("Bearer {}", config.key.expose_secret()))?;
        // A sensitive value is hidden in `Debug` output.
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (ACCEPT, HeaderValue::from_static("application/json")),
            (STRIPE_VERSION, value(config.version)?),
            (CLIENT_USER_AGENT, HeaderValue::from_static(CLIENT_INFO)),
        ]);
        if let Some(account) = config.account {
            headers.insert(STRIPE_ACCOUNT, value(account)?);
        }
        Ok(Self { transport, base: config.base.to_owned(), headers, timeout: config.timeout, metrics })
    }

    /// Returns this client, acting for a connected account.
    ///
    /// # Errors
    /// Returns a message if the account cannot stand in a header.
    pub fn acting_for(&self, account: &str, header: AccountHeader) -> Result<Self, String> {
        let mut client = self.clone();
        let name = match header {
            AccountHeader::Account => STRIPE_ACCOUNT,
            AccountHeader::Context => STRIPE_CONTEXT,
        };
        let value = HeaderValue::from_str(account).map_err(|error| error.to_string())?;
        client.headers.insert(name, value);
        Ok(client)
    }

    /// Sends a POST. Stripe executes all attempts with the same `idempotency_key` only once.
    pub async fn post(&self, path: &str, params: &Params, idempotency_key: &str) -> CallResult {
        let body = Bytes::from(form::encode(params));
        let key = HeaderValue::from_str(idempotency_key).ok();
        self.call(&self.transport.calls, Method::POST, path, body, key).await
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> CallResult {
        self.call(&self.transport.calls, Method::GET, path, Bytes::new(), None).await
    }

    /// Sends a GET that clients may cause at will. It has a concurrency limit of its own, so no other call waits for it.
    pub async fn poll(&self, path: &str) -> CallResult {
        self.call(&self.transport.polls, Method::GET, path, Bytes::new(), None).await
    }

    async fn call(
        &self,
        limit: &ConcurrencyLimit,
        method: Method,
        path: &str,
        body: Bytes,
        key: Option<HeaderValue>,
    ) -> CallResult {
        let mut call =
            CallResult { result: Err(ApiError::Busy), attempts: 0, request_id: None, replayed: false };
        loop {
            // One permit for each attempt: a call that waits for its retry blocks no other call.
            let Some(permit) = limit.acquire(clock::instant()).await else {
                return call;
            };
            let started = clock::instant();
            let attempt = self.attempt(&method, path, body.clone(), key.clone()).await;
            permit.release_later();
            call.attempts += 1;
            let outcome = match attempt {
                Ok((head, body)) => {
                    if head.http2 {
                        limit.raise_limit(clock::instant());
                    }
                    call.request_id = header_text(&head.headers, "request-id");
                    call.replayed =
                        header_text(&head.headers, "idempotent-replayed").as_deref() == Some("true");
                    let outcome = head.attempt_outcome();
                    call.result = response_body(head, body);
                    outcome
                }
                Err(error) => {
                    call.result = Err(error);
                    AttemptOutcome::NoResponse
                }
            };
            self.metrics.stripe_called(metric_result(&call.result), started.elapsed());
            if call.result.is_ok() {
                return call;
            }
            // Without randomness the delay has no jitter, which is better than no retry.
            let random = random_unit();
            match retry::retry_delay(outcome, call.attempts, random) {
                Some(delay) => sleep(delay).await,
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
    ) -> Result<(StripeResponseHead, Bytes), ApiError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.transport.client.request(method.clone(), url);
        request = request.headers(self.headers.clone()).timeout(self.timeout);
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let into_api_error = |error: reqwest::Error| match error.is_timeout() {
            true => ApiError::Timeout,
            false => ApiError::Unreachable(root_cause(&error)),
        };
        let response = request.send().await.map_err(into_api_error)?;
        let head = StripeResponseHead {
            status: response.status().as_u16(),
            http2: response.version() == Version::HTTP_2,
            headers: response.headers().clone(),
        };
        let body = read_body(response).await.map_err(into_api_error)?;
        Ok((head, body))
    }
}

/// The status and headers of a response.
struct StripeResponseHead {
    status: u16,
    /// Whether it came over HTTP/2.
    http2: bool,
    headers: HeaderMap,
}

impl StripeResponseHead {
    fn attempt_outcome(&self) -> AttemptOutcome {
        let should_retry = match header_text(&self.headers, "stripe-should-retry").as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) | None => None,
        };
        AttemptOutcome::Response { status: self.status, should_retry, retry_after: self.retry_after() }
    }

    fn retry_after(&self) -> Option<u64> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
    }
}

/// Reads the body, up to the first chunk that exceeds [`MAX_RESPONSE_BYTES`].
async fn read_body(mut response: Response) -> reqwest::Result<Bytes> {
    let mut body = BytesMut::new();
    while body.len() <= MAX_RESPONSE_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Returns the body of a 2xx response, or the error that any other response stands for.
fn response_body(head: StripeResponseHead, body: Bytes) -> Result<Bytes, ApiError> {
    let status = head.status;
    if (200..300).contains(&status) {
        return if body.len() > MAX_RESPONSE_BYTES { Err(ApiError::Invalid(status)) } else { Ok(body) };
    }
    match StripeError::parse(status, head.retry_after(), &body) {
        Some(error) => Err(ApiError::Rejected(Box::new(error))),
        // A non-JSON error comes from an intermediary; its 429 or 503 has the same meaning.
        None => Err(ApiError::Invalid(status)),
    }
}

fn metric_result(result: &Result<Bytes, ApiError>) -> ApiResult {
    match result {
        Ok(_) => ApiResult::Ok,
        Err(ApiError::Rejected(error)) if error.status < 500 => ApiResult::Refused,
        Err(ApiError::Rejected(_) | ApiError::Invalid(_)) => ApiResult::Failed,
        Err(ApiError::Unreachable(_) | ApiError::Busy) => ApiResult::Unreachable,
        Err(ApiError::Timeout) => ApiResult::Timeout,
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16) -> StripeResponseHead {
        StripeResponseHead {
            status,
            http2: false,
            headers: HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]),
        }
    }

    #[test]
    fn a_response_is_classified_by_its_status_and_its_body() {
        let error =
            br#"{"error": {"type": "invalid_request_error", "code": "x", "param": "y", "message": "z"}}"#;
        let rejected = StripeError {
            status: 400,
            error_type: "invalid_request_error".into(),
            code: Some("x".into()),
            param: Some("y".into()),
            message: Some("z".into()),
            retry_after: Some(7),
        };
        for (status, body, expected) in [
            (200, &b"{}"[..], Ok(Bytes::from_static(b"{}"))),
            (400, &error[..], Err(ApiError::Rejected(Box::new(rejected)))),
            (502, b"<html>", Err(ApiError::Invalid(502))),
            (302, b"", Err(ApiError::Invalid(302))),
            (400, b"{\"error\": \"x\"}", Err(ApiError::Invalid(400))),
        ] {
            assert_eq!(response_body(head(status), Bytes::from_static(body)), expected, "{status}");
        }
        let long = Bytes::from(vec![b'x'; MAX_RESPONSE_BYTES + 1]);
        assert_eq!(response_body(head(200), long), Err(ApiError::Invalid(200)));
    }
}
