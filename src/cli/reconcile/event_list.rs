//! Stripe's list of the events that it could not deliver (<https://docs.stripe.com/api/events/list>). It is read page by
//! page, the newest event first, at the rate that Stripe allows. Reading changes nothing at Stripe.

use super::progress::Progress;
use crate::cli::error::CliError;
use crate::cli::output::display_value;
use crate::config::StripeConfig;
use crate::endpoint::EventFilter;
use crate::metrics::Metrics;
use crate::stripe::event;
use crate::stripe::form::{self, Param, Params};
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
/// The most types that Stripe allows in one request.
const MAX_TYPES: usize = 20;
/// How many times in a row a request is retried after a rate limit.
const MAX_RETRIES: u32 = 6;
/// The longest pause before a retry, even if Stripe's `Retry-After` is longer.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Stripe's list of events.
pub(super) struct EventList {
    api: Api,
    /// The base URL of the API, for messages.
    base: String,
}

/// An event of the list.
pub(super) struct StripeEvent {
    /// The event's id, `evt_…`.
    pub(super) id: String,
    /// The event's `type`.
    pub(super) event_type: String,
    /// When Stripe created the event, in Unix seconds.
    pub(super) created: u64,
    /// The whole event, byte for byte as Stripe's list has it.
    pub(super) payload: Box<RawValue>,
}

impl StripeEvent {
    /// Returns true if an endpoint with this filter forwards the event.
    pub(super) fn is_forwarded(&self, filter: &EventFilter) -> bool {
        let body = Bytes::copy_from_slice(self.payload.get().as_bytes());
        event::parse_trusted(body).is_ok_and(|event| filter.matches(&event))
    }
}

/// A page of the list: `{"data": […], "has_more": …}`.
#[derive(Deserialize)]
struct EventListPage {
    data: Vec<Box<RawValue>>,
    has_more: bool,
}

/// The fields of an event that are read here.
#[derive(Deserialize)]
struct EventFields {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    created: u64,
}

impl EventList {
    /// Prepares the list, with the key and the account of `[stripe]`. It connects to nothing yet.
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
            account: stripe.account.as_deref(),
            timeout: stripe.timeout,
        };
        let api = Api::new(transport, &config, Arc::new(Metrics::new())).map_err(CliError::failed)?;
        Ok(Self { api, base: stripe.api_base.clone() })
    }

    /// Reads every event since `since` (Unix seconds) that Stripe could not deliver, the newest first. Stripe filters by
    /// `types` only where its API can, so `on_event` must check the type itself.
    pub(super) async fn read(
        &self,
        since: u64,
        types: &[String],
        progress: &Progress,
        mut on_event: impl FnMut(StripeEvent),
    ) -> Result<(), CliError> {
        let (mut after, mut limit, mut read) = (None, MAX_PAGE_EVENTS, 0);
        loop {
            progress.show(|| format!("asking Stripe: {read} events"));
            let params = form::encode(&page_params(since, types, limit, after.as_deref()));
            let body = match self.page(&params, progress).await? {
                Some(body) => body,
                // A page of large events can exceed the longest response that the client reads.
                None if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                None => {
                    return Err(CliError::failed(format!(
                        "{}: a single event of Stripe's list is too large to read",
                        self.base
                    )));
                }
            };
            let unexpected =
                |error| CliError::failed(format!("{}: unexpected list of events: {error}", self.base));
            let page: EventListPage = serde_json::from_slice(&body).map_err(unexpected)?;
            for payload in page.data {
                let EventFields { id, event_type, created } =
                    serde_json::from_str(payload.get()).map_err(unexpected)?;
                after = Some(id.clone());
                read += 1;
                on_event(StripeEvent { id, event_type, created, payload });
            }
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// Reads one page, and retries while Stripe limits the rate. Returns `None` if the page is too large.
    async fn page(&self, params: &str, progress: &Progress) -> Result<Option<Bytes>, CliError> {
        let mut retries = 0;
        loop {
            let call = self.api.get(&format!("/v1/events?{params}")).await;
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
                ": set [stripe] secret_key to a key that may read events"
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

/// Returns the query of a page.
fn page_params(since: u64, types: &[String], limit: u64, after: Option<&str>) -> Params {
    let mut params: Params = vec![
        ("delivery_success".into(), "false".into()),
        ("created".into(), Param::Table(vec![("gte".into(), since.into())])),
        ("limit".into(), limit.into()),
    ];
    // Stripe takes one type, which may end in `*`, or several exact ones. Other filters are applied to what it returns.
    let is_exact = |event_type: &String| !event_type.ends_with('*');
    match types {
        [any] if any == "*" => {}
        [one] => params.push(("type".into(), one.as_str().into())),
        several if several.len() <= MAX_TYPES && several.iter().all(is_exact) => {
            let types = several.iter().map(|event_type| event_type.as_str().into()).collect();
            params.push(("types".into(), Param::List(types)));
        }
        _ => {}
    }
    if let Some(after) = after {
        params.push(("starting_after".into(), after.into()));
    }
    params
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
    let backoff = Duration::from_millis(500 << retries.min(MAX_RETRIES));
    (retries < MAX_RETRIES).then(|| retry_after.map_or(backoff, Duration::from_secs).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe_api::StripeError;

    #[test]
    fn types_are_sent_to_stripe_where_its_api_can_filter_by_them() {
        let owned = |types: &[&str]| types.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let many: Vec<String> = (0..21).map(|n| format!("a.{n}")).collect();
        let base = "delivery_success=false&created[gte]=7&limit=100";
        for (types, after, expected) in [
            (owned(&["*"]), None, String::new()),
            (owned(&["invoice.*"]), None, "&type=invoice.*".into()),
            (owned(&["a.b", "c.d"]), None, "&types[0]=a.b&types[1]=c.d".into()),
            (owned(&["a.b", "c.*"]), None, String::new()),
            (many, None, String::new()),
            (owned(&["*"]), Some("evt_1"), "&starting_after=evt_1".into()),
        ] {
            let encoded = form::encode(&page_params(7, &types, 100, after));
            let plain = encoded.replace("%5B", "[").replace("%5D", "]").replace("%2A", "*");
            assert_eq!(plain, format!("{base}{expected}"), "{types:?}");
        }
    }

    #[test]
    fn only_a_rate_limit_is_retried_and_at_most_six_times() {
        let rejected = |status, retry_after| {
            ApiError::Rejected(Box::new(StripeError { status, retry_after, ..StripeError::default() }))
        };
        for (error, retries, millis) in [
            (rejected(429, None), 0, Some(500)),
            (rejected(429, None), 3, Some(4000)),
            (rejected(429, Some(7)), 0, Some(7000)),
            (rejected(429, Some(3600)), 0, Some(60_000)),
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
