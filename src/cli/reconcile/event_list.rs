//! Stripe's lists of events. They are read page by page, the newest event first, at the rate that Stripe allows. Reading
//! changes nothing at Stripe.

use super::list_query::{ListQuery, PageStart};
use super::stripe_event::StripeEvent;
use crate::cli::error::CliError;
use crate::cli::output::display_value;
use crate::cli::progress::Progress;
use crate::config::StripeConfig;
use crate::metrics::Metrics;
use crate::stripe_api::{Api, ApiConfig, ApiError, HttpTransport};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The most events of one page that Stripe allows.
const MAX_PAGE_EVENTS: u64 = 100;
/// How many times in a row one page is requested again after a rate limit.
const MAX_RETRIES: u32 = 10;
/// The longest pause before a retry without a `Retry-After`.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The longest `Retry-After` that is waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Stripe's lists of events.
pub(super) struct EventLists {
    api: Api,
    /// `[stripe] account`.
    own_account: Option<String>,
    /// The base URL of the API, for messages.
    base: String,
}

/// A page of a list: `{"data": […], "has_more": …}`, or `{"data": […], "next_page_url": …}`.
#[derive(Deserialize)]
struct EventListPage {
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    next_page_url: Option<String>,
}

impl EventLists {
    /// Prepares the lists, with the key and the account of `[stripe]`. It connects to nothing yet.
    ///
    /// # Errors
    /// There is no key, or the system has no root certificates.
    pub(super) fn new(stripe: &StripeConfig) -> Result<Self, CliError> {
        let Some(key) = &stripe.secret_key else {
            return Err(CliError::config(
                "a key for Stripe's API is needed: set STRIPE_SECRET_KEY, or [stripe] secret_key in the configuration; a \
                 restricted key needs to read events",
            ));
        };
        let transport = Arc::new(HttpTransport::new().map_err(CliError::failed)?);
        let config = ApiConfig {
            base: &stripe.api_base,
            key,
            version: &stripe.api_version,
            account: None,
            timeout: stripe.timeout,
        };
        let api = Api::new(transport, &config, Arc::new(Metrics::new())).map_err(CliError::failed)?;
        Ok(Self { api, own_account: stripe.account.clone(), base: stripe.api_base.clone() })
    }

    /// Reads every event that the query asks for, the newest first. Stripe filters by type only where its API can, so
    /// `on_event` must check the type itself. After a rate limit it waits and goes on at the same page.
    pub(super) async fn read(
        &self,
        query: &ListQuery<'_>,
        progress: &Progress,
        mut on_event: impl FnMut(StripeEvent),
    ) -> Result<(), CliError> {
        let unexpected = |error: &dyn std::fmt::Display| {
            CliError::failed(format!("{}: unexpected list of events: {error}", self.base))
        };
        let api = self.api_for(query)?;
        let of = query.account.map(|account| format!(" of {account}")).unwrap_or_default();
        let (mut start, mut limit, mut read) = (PageStart::Newest, MAX_PAGE_EVENTS, 0);
        loop {
            progress.show(|| format!("asking Stripe{of}: {read} events"));
            let body = match self.page(&api, &query.target(&start, limit), progress).await? {
                Some(body) => body,
                // A page of large events can exceed the longest response that the client reads.
                None if limit > 1 && !matches!(start, PageStart::Target(_)) => {
                    limit /= 2;
                    continue;
                }
                None => return Err(unexpected(&"a page is too large to read")),
            };
            let page: EventListPage = serde_json::from_slice(&body).map_err(|error| unexpected(&error))?;
            let mut last = None;
            for payload in page.data {
                let event = StripeEvent::parse(&payload, query.account, query.kind.account_field())
                    .map_err(|error| unexpected(&error))?;
                last = Some(event.id.clone());
                read += 1;
                on_event(event);
            }
            start = match (page.next_page_url, last) {
                (Some(target), _) if target.starts_with("/v2/core/events?") => PageStart::Target(target),
                (Some(_), _) => return Err(unexpected(&"its next page is another resource")),
                (None, Some(last)) if page.has_more => PageStart::After(last),
                (None, _) => return Ok(()),
            };
        }
    }

    /// Returns the client that acts for the account of the query.
    fn api_for(&self, query: &ListQuery<'_>) -> Result<Api, CliError> {
        let header = query.kind.account_header();
        match query.account.or(self.own_account.as_deref()) {
            Some(account) => self.api.acting_for(account, header).map_err(CliError::failed),
            None => Ok(self.api.clone()),
        }
    }

    /// Reads one page, and retries while Stripe limits the rate. Returns `None` if the page is too large.
    async fn page(&self, api: &Api, target: &str, progress: &Progress) -> Result<Option<Bytes>, CliError> {
        let mut retries = 0;
        loop {
            let call = api.get(target).await;
            let error = match call.result {
                Ok(body) => return Ok(Some(body)),
                // The client reports a body beyond its limit as an invalid response with status 200.
                Err(ApiError::Invalid(200)) => return Ok(None),
                Err(error) => error,
            };
            let Some(pause) = pause(&error, retries) else {
                return Err(self.describe(&error, call.request_id));
            };
            retries += 1;
            progress.show(|| format!("Stripe limits the rate: waiting {} s", pause.as_secs_f32()));
            sleep(pause).await;
        }
    }

    fn describe(&self, error: &ApiError, request_id: Option<String>) -> CliError {
        let advice = match error {
            ApiError::Rejected(rejection) if matches!(rejection.status, 401 | 403) => {
                ": set [stripe] secret_key to a key that may read events, of every account that is asked for"
            }
            ApiError::Rejected(_)
            | ApiError::Invalid(_)
            | ApiError::Unreachable(_)
            | ApiError::Timeout
            | ApiError::Busy => "",
        };
        let request_id =
            request_id.map(|id| format!(" ({})", display_value(&Value::from(id)))).unwrap_or_default();
        CliError::failed(format!("{}: {error}{advice}{request_id}", self.base))
    }
}

/// Returns the pause before the next attempt after `retries` retries, or `None` to give up. Only a rate limit is
/// retried here: the client has already retried everything else.
fn pause(error: &ApiError, retries: u32) -> Option<Duration> {
    let retry_after = match error {
        ApiError::Rejected(rejection) if rejection.status == 429 => rejection.retry_after,
        ApiError::Invalid(429) | ApiError::Busy => None,
        ApiError::Rejected(_) | ApiError::Invalid(_) | ApiError::Unreachable(_) | ApiError::Timeout => {
            return None;
        }
    };
    let backoff = Duration::from_millis(500 << retries.min(MAX_RETRIES)).min(MAX_BACKOFF);
    let pause = retry_after.map_or(backoff, Duration::from_secs);
    (retries < MAX_RETRIES && pause <= MAX_RETRY_AFTER).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe_api::StripeError;

    #[test]
    fn only_a_rate_limit_is_retried_and_its_retry_after_is_waited_for() {
        let rejected = |status, retry_after| {
            ApiError::Rejected(Box::new(StripeError { status, retry_after, ..StripeError::default() }))
        };
        for (error, retries, millis) in [
            (rejected(429, None), 0, Some(500)),
            (rejected(429, None), 3, Some(4000)),
            (rejected(429, None), 9, Some(60_000)),
            (rejected(429, Some(7)), 0, Some(7000)),
            (rejected(429, Some(600)), 0, Some(600_000)),
            (rejected(429, Some(86_400)), 0, None),
            (rejected(429, Some(1)), MAX_RETRIES, None),
            (ApiError::Invalid(429), 1, Some(1000)),
            (ApiError::Busy, 0, Some(500)),
            (rejected(401, None), 0, None),
            (rejected(500, None), 0, None),
            (ApiError::Timeout, 0, None),
        ] {
            assert_eq!(pause(&error, retries), millis.map(Duration::from_millis), "{error:?} {retries}");
        }
    }
}
