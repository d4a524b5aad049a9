//! What Stripe failed to deliver, by its Events API (<https://docs.stripe.com/api/events/list>): the newest first, by
//! pages, at the pace that Stripe sets. It reads, and changes nothing.

use super::{Failure, Progress, word};
use crate::config::CheckoutConfig;
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

/// Events of a page, which is the most there can be.
const PAGE: u64 = 100;
/// Types that Stripe lets one ask for at once.
const TYPES: usize = 20;
/// How often in a row Stripe may say that it is asked too much.
const PATIENCE: u32 = 6;
/// The longest that is waited then, whatever it says.
const LONGEST: Duration = Duration::from_secs(60);

/// Stripe's list of events.
pub(super) struct History {
    api: Api,
    base: String,
}

/// An event of the list.
pub(super) struct Past {
    pub(super) id: String,
    pub(super) kind: String,
    /// Unix seconds.
    pub(super) created: u64,
    /// Itself, in Stripe's own spelling.
    pub(super) payload: Box<RawValue>,
}

impl Past {
    /// Returns whether an endpoint with this filter forwards the event.
    pub(super) fn is_forwarded(&self, filter: &EventFilter) -> bool {
        let body = Bytes::copy_from_slice(self.payload.get().as_bytes());
        event::parse_trusted(body).is_ok_and(|event| filter.matches(&event))
    }
}

/// `{"data": […], "has_more": …}`
#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    has_more: bool,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Head {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    created: u64,
}

impl History {
    /// Stripe's list, with the key of `[checkout]`.
    pub(super) fn new(checkout: &CheckoutConfig) -> Result<History, Failure> {
        let Some(key) = &checkout.secret_key else {
            let message = "Stripe cannot be asked without a key: set STRIPE_SECRET_KEY, or [checkout] secret_key in the \
                           configuration; a restricted key needs to read events";
            return Err(Failure::config(message));
        };
        let wire = Arc::new(HttpTransport::new().map_err(Failure::failed)?);
        let access = ApiConfig {
            base: &checkout.api_base,
            key,
            version: &checkout.api_version,
            account: None,
            timeout: checkout.timeout,
        };
        let api = Api::new(wire, &access, Arc::new(Metrics::new())).map_err(Failure::failed)?;
        Ok(History { api, base: checkout.api_base.clone() })
    }

    /// Reads all that Stripe failed to deliver since then (Unix seconds), the newest first. Types that Stripe can be asked
    /// for alone are; `take` has to look itself.
    pub(super) async fn read(
        &self,
        since: u64,
        types: &[String],
        progress: &Progress,
        mut take: impl FnMut(Past),
    ) -> Result<(), Failure> {
        let (mut after, mut limit, mut read) = (None, PAGE, 0);
        loop {
            progress.say(|| format!("asking Stripe: {read} events"));
            let params = form::encode(&params(since, types, limit, after.as_deref()));
            let body = match self.page(&params, progress).await? {
                Some(body) => body,
                // A page of long events is longer than an answer may be.
                None if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                None => return Err(Failure::failed("Stripe's list of events cannot be read")),
            };
            let odd = |error| Failure::failed(format!("Stripe's list of events makes no sense: {error}"));
            let page: Page = serde_json::from_slice(&body).map_err(odd)?;
            for payload in page.data {
                let Head { id, kind, created } = serde_json::from_str(payload.get()).map_err(odd)?;
                after = Some(id.clone());
                read += 1;
                take(Past { id, kind, created, payload });
            }
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// One page; `None` if it is too long. Where Stripe is asked too much, it waits and asks again.
    async fn page(&self, params: &str, progress: &Progress) -> Result<Option<Bytes>, Failure> {
        let mut refused = 0;
        loop {
            let call = self.api.get(&format!("/v1/events?{params}")).await;
            let fault = match call.result {
                Ok(body) => return Ok(Some(body)),
                Err(ApiError::Invalid(200)) => return Ok(None),
                Err(fault) => fault,
            };
            let Some(pause) = pause(&fault, refused) else {
                return Err(self.failed(&fault, call.request_id));
            };
            refused += 1;
            progress.say(|| format!("Stripe is busy: waiting {} s", pause.as_secs_f32()));
            sleep(pause).await;
        }
    }

    fn failed(&self, fault: &ApiError, request: Option<String>) -> Failure {
        let what_to_do = match fault {
            ApiError::Rejected(refused) if matches!(refused.status, 401 | 403) => {
                ": the key of [checkout] is not one that may read events"
            }
            ApiError::Rejected(_)
            | ApiError::Invalid(_)
            | ApiError::Unreachable(_)
            | ApiError::Timeout
            | ApiError::Busy => "",
        };
        let request = request.map(|id| format!(" ({})", word(&Value::from(id)))).unwrap_or_default();
        Failure::failed(format!("{}: {fault}{what_to_do}{request}", self.base))
    }
}

/// The query of a page.
fn params(since: u64, types: &[String], limit: u64, after: Option<&str>) -> Params {
    let mut params: Params = vec![
        ("delivery_success".into(), "false".into()),
        ("created".into(), Param::Table(vec![("gte".into(), since.into())])),
        ("limit".into(), limit.into()),
    ];
    let exact = |kind: &String| !kind.ends_with('*');
    match types {
        [any] if any == "*" => {}
        [one] => params.push(("type".into(), one.as_str().into())),
        some if some.len() <= TYPES && some.iter().all(exact) => {
            let types = some.iter().map(|kind| kind.as_str().into()).collect();
            params.push(("types".into(), Param::List(types)));
        }
        _ => {}
    }
    if let Some(after) = after {
        params.push(("starting_after".into(), after.into()));
    }
    params
}

/// How long to wait before asking again after this many refusals in a row, or `None`: only for being asked too much.
fn pause(fault: &ApiError, refused: u32) -> Option<Duration> {
    let asked = match fault {
        ApiError::Rejected(refused) if refused.status == 429 => refused.retry_after,
        ApiError::Invalid(429) | ApiError::Busy => None,
        ApiError::Rejected(_) | ApiError::Invalid(_) | ApiError::Unreachable(_) | ApiError::Timeout => {
            return None;
        }
    };
    let backoff = Duration::from_millis(500 << refused.min(PATIENCE));
    (refused < PATIENCE).then(|| asked.map_or(backoff, Duration::from_secs).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe_api::StripeError;

    #[test]
    fn stripe_is_asked_for_the_types_that_it_can_be_asked_for() {
        let own = |types: &[&str]| types.iter().map(|&kind| kind.to_owned()).collect::<Vec<_>>();
        let many: Vec<String> = (0..21).map(|n| format!("a.{n}")).collect();
        let base = "delivery_success=false&created[gte]=7&limit=100";
        for (types, after, expected) in [
            (own(&["*"]), None, String::new()),
            (own(&["invoice.*"]), None, "&type=invoice.*".into()),
            (own(&["a.b", "c.d"]), None, "&types[0]=a.b&types[1]=c.d".into()),
            (own(&["a.b", "c.*"]), None, String::new()),
            (many, None, String::new()),
            (own(&["*"]), Some("evt_1"), "&starting_after=evt_1".into()),
        ] {
            let asked = form::encode(&params(7, &types, 100, after));
            let plain = asked.replace("%5B", "[").replace("%5D", "]").replace("%2A", "*");
            assert_eq!(plain, format!("{base}{expected}"), "{types:?}");
        }
    }

    #[test]
    fn only_being_asked_too_much_is_waited_for_and_not_for_ever() {
        let refused = |status, retry_after| {
            ApiError::Rejected(Box::new(StripeError { status, retry_after, ..StripeError::default() }))
        };
        for (fault, times, millis) in [
            (refused(429, None), 0, Some(500)),
            (refused(429, None), 3, Some(4000)),
            (refused(429, Some(7)), 0, Some(7000)),
            (refused(429, Some(3600)), 0, Some(60_000)),
            (refused(429, Some(1)), PATIENCE, None),
            (ApiError::Invalid(429), 1, Some(1000)),
            (ApiError::Busy, 0, Some(500)),
            (refused(401, None), 0, None),
            (refused(500, None), 0, None),
            (ApiError::Timeout, 0, None),
        ] {
            assert_eq!(pause(&fault, times), millis.map(Duration::from_millis), "{fault:?} {times}");
        }
    }
}
