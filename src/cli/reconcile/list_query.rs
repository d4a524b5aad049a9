//! What is asked of a list of events at Stripe: which list, of which account, since when. It builds targets and sends
//! nothing.
//!
//! - `/v1/events` (<https://docs.stripe.com/api/events/list>) has snapshot events, and knows which were delivered.
//! - `/v2/core/events` (<https://docs.stripe.com/api/v2/core/events/list>) has thin events, and does not know that.

use super::stripe_event::rfc3339;
use crate::stripe::form::{self, Param, Params};
use crate::stripe_api::AccountHeader;

/// The most types that Stripe allows in one request.
const MAX_TYPES: usize = 20;

/// A list of events at Stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventListKind {
    /// `/v1/events`.
    V1,
    /// `/v2/core/events`.
    V2,
}

impl EventListKind {
    /// Returns the lists that an endpoint's events are in. `types` are the types that it forwards; `thin` tells that it
    /// gets thin events, too.
    pub(super) fn of_endpoint(types: &[String], thin: bool) -> Vec<Self> {
        let is_thin = |event_type: &String| is_thin_type(event_type);
        let mut kinds = Vec::new();
        if !types.iter().all(is_thin) {
            kinds.push(Self::V1);
        }
        if thin || types.iter().any(is_thin) {
            kinds.push(Self::V2);
        }
        kinds
    }

    /// Returns the header that names a connected account to this list.
    pub(super) fn account_header(self) -> AccountHeader {
        match self {
            Self::V1 => AccountHeader::Account,
            Self::V2 => AccountHeader::Context,
        }
    }

    /// Returns the field of an event that names the connected account.
    pub(super) fn account_field(self) -> &'static str {
        match self {
            Self::V1 => "account",
            Self::V2 => "context",
        }
    }
}

/// Whether a type is one of thin events: `v1.billing.meter.error_report_triggered`, `v2.core.account.created`.
pub(super) fn is_thin_type(event_type: &str) -> bool {
    event_type.starts_with("v1.") || event_type.starts_with("v2.")
}

/// What is asked of a list.
pub(super) struct ListQuery<'a> {
    pub(super) kind: EventListKind,
    /// The connected account whose list is read; `None` for that of the key, or of `[stripe] account`.
    pub(super) account: Option<&'a str>,
    /// The time of the oldest event, in Unix seconds.
    pub(super) since: u64,
    /// The types that the endpoint forwards. Stripe filters by them only where its API can.
    pub(super) types: &'a [String],
    /// Whether events that Stripe counts as delivered are left out, where the list knows.
    pub(super) undelivered_only: bool,
}

/// The place in a list at which a page begins.
pub(super) enum PageStart {
    /// The newest event.
    Newest,
    /// The event after this one, in `/v1/events`.
    After(String),
    /// The target that the page before named, in `/v2/core/events`.
    Target(String),
}

impl ListQuery<'_> {
    /// Returns the target of the page that begins there, with up to `limit` events.
    pub(super) fn target(&self, start: &PageStart, limit: u64) -> String {
        match (start, self.kind) {
            (PageStart::Target(target), _) => target.clone(),
            (PageStart::Newest, EventListKind::V1) => self.v1_target(None, limit),
            (PageStart::After(id), _) => self.v1_target(Some(id), limit),
            (PageStart::Newest, EventListKind::V2) => {
                // Filtering by type is left to the caller: the SDKs do not agree on how this API takes a list.
                let since = Param::Table(vec![("gte".into(), rfc3339(self.since).as_str().into())]);
                let params = vec![("created".into(), since), ("limit".into(), limit.into())];
                format!("/v2/core/events?{}", form::encode(&params))
            }
        }
    }

    fn v1_target(&self, after: Option<&str>, limit: u64) -> String {
        let mut params: Params = Vec::new();
        if self.undelivered_only {
            params.push(("delivery_success".into(), "false".into()));
        }
        params.push(("created".into(), Param::Table(vec![("gte".into(), self.since.into())])));
        params.push(("limit".into(), limit.into()));
        // Stripe takes one type, which may end in `*`, or several exact ones. Other filters are applied to what it returns.
        let is_exact = |event_type: &String| !event_type.ends_with('*');
        match self.types {
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
        format!("/v1/events?{}", form::encode(&params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(types: &[&str]) -> Vec<String> {
        types.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn types_are_sent_to_stripe_where_its_api_can_filter_by_them() {
        let many: Vec<String> = (0..21).map(|n| format!("a.{n}")).collect();
        for (types, undelivered_only, start, expected) in [
            (owned(&["*"]), true, PageStart::Newest, ""),
            (owned(&["*"]), false, PageStart::Newest, ""),
            (owned(&["invoice.*"]), true, PageStart::Newest, "&type=invoice.*"),
            (owned(&["a.b", "c.d"]), true, PageStart::Newest, "&types[0]=a.b&types[1]=c.d"),
            (owned(&["a.b", "c.*"]), true, PageStart::Newest, ""),
            (many, true, PageStart::Newest, ""),
            (owned(&["*"]), true, PageStart::After("evt_1".into()), "&starting_after=evt_1"),
        ] {
            let query = ListQuery {
                kind: EventListKind::V1,
                account: None,
                since: 7,
                types: &types,
                undelivered_only,
            };
            let target = query.target(&start, 100);
            let plain = target.replace("%5B", "[").replace("%5D", "]").replace("%2A", "*");
            let delivered = if undelivered_only { "delivery_success=false&" } else { "" };
            let expected = format!("/v1/events?{delivered}created[gte]=7&limit=100{expected}");
            assert_eq!(plain, expected, "{types:?}");
        }
    }

    #[test]
    fn thin_events_are_asked_for_since_a_time_and_page_by_page() {
        let types = owned(&["v2.core.account.created"]);
        let kind = EventListKind::V2;
        let query = ListQuery { kind, account: None, since: 7, types: &types, undelivered_only: true };
        let plain = query.target(&PageStart::Newest, 100).replace("%5B", "[").replace("%5D", "]");
        assert_eq!(plain.replace("%3A", ":"), "/v2/core/events?created[gte]=1970-01-01T00:00:07Z&limit=100");
        let next = "/v2/core/events?page=x";
        assert_eq!(query.target(&PageStart::Target(next.into()), 100), next);
    }

    #[test]
    fn the_types_tell_which_lists_are_read() {
        use EventListKind::{V1, V2};
        for (types, thin, expected) in [
            (&["*"][..], false, &[V1][..]),
            (&["*"], true, &[V1, V2]),
            (&["invoice.*", "v2.core.account.created"], false, &[V1, V2]),
            (&["v2.*"], false, &[V2]),
            (&["v1.billing.meter.no_meter_found"], false, &[V2]),
        ] {
            assert_eq!(EventListKind::of_endpoint(&owned(types), thin), expected, "{types:?} {thin}");
        }
    }
}
