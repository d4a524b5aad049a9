//! Every metric this program counts, in a registry of its own; `docs/metrics.md` says what each of them means.
//! Label values come from the enums in `labels` or from the configuration, never from a request. What a webhook
//! touches is resolved once for each endpoint ([`EndpointMetrics`]): counting is then a few atomic additions.
//! It never reads the clock: what took how long is an argument.

mod endpoint;
mod families;
mod labels;

pub use endpoint::EndpointMetrics;
pub use labels::{ApiResult, DeliveryResult, LedgerOp, StatusClass};

use families::Families;
use prometheus::{Histogram, IntCounter, IntGauge, Registry, TextEncoder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::outcome::checkout::CheckoutOutcome;

/// The `Content-Type` of what [`Metrics::render`] makes: Prometheus' text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of one program. Shared behind an `Arc`; every method takes `&self`.
pub struct Metrics {
    registry: Registry,
    families: Families,
    endpoints: Mutex<HashMap<String, Arc<EndpointMetrics>>>,
    /// By [`StatusClass`], as it is declared.
    proxied: [IntCounter; StatusClass::ALL.len()],
    proxy_seconds: Histogram,
    /// By [`LedgerOp`], as it is declared: how long it took, how often it failed.
    ledger: [(Histogram, IntCounter); LedgerOp::ALL.len()],
    settle_failures: IntCounter,
    ledger_resets: IntCounter,
    in_flight: IntGauge,
    /// By [`CheckoutOutcome`], as it is declared.
    checkouts: [IntCounter; CheckoutOutcome::ALL.len()],
    checkout_seconds: Histogram,
    /// By [`ApiResult`], as it is declared.
    stripe_api: [Histogram; ApiResult::ALL.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything that needs no endpoint, counting from 0, in a registry of its own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Families::new(&registry);
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            proxied: StatusClass::ALL
                .map(|class| families.proxy_requests.with_label_values(&[class.as_str()])),
            proxy_seconds: families.proxy_seconds.clone(),
            ledger: LedgerOp::ALL.map(|op| {
                let label = [op.as_str()];
                (
                    families.ledger_seconds.with_label_values(&label),
                    families.ledger_errors.with_label_values(&label),
                )
            }),
            settle_failures: families.settle_failures.clone(),
            ledger_resets: families.ledger_resets.clone(),
            in_flight: families.in_flight.clone(),
            checkouts: CheckoutOutcome::ALL
                .map(|outcome| families.checkout_requests.with_label_values(&[outcome.as_str()])),
            checkout_seconds: families.checkout_seconds.clone(),
            stripe_api: ApiResult::ALL
                .map(|result| families.stripe_api_seconds.with_label_values(&[result.as_str()])),
            endpoints: Mutex::default(),
            families,
            registry,
        }
    }

    /// The endpoint's own metrics, for as many `secrets` as it has now. Called at start and at every reload; keep what it
    /// returns beside the secrets. All its series exist from then on, so that they count from 0; those that existed go on
    /// counting, and those of secrets it no longer has are gone. A new endpoint counts as enforced until
    /// [`EndpointMetrics::set_enforced`] says otherwise.
    pub fn endpoint(&self, name: &str, secrets: usize) -> Arc<EndpointMetrics> {
        let mut known = self.known();
        let before = known.get(name);
        if let Some(same) = before.filter(|endpoint| endpoint.secrets() == secrets) {
            return same.clone();
        }
        let surplus = before.map_or(0, |endpoint| endpoint.secrets());
        let is_new = before.is_none();
        for position in secrets..surplus {
            self.families.forget_secret(name, position);
        }
        let endpoint = Arc::new(EndpointMetrics::new(&self.families, name, secrets));
        if is_new {
            endpoint.set_enforced(true);
        }
        known.insert(name.to_owned(), endpoint.clone());
        endpoint
    }

    /// Drops the series of every endpoint that is not among `names`. Called after a reload: otherwise an endpoint that is
    /// gone would be shown as a dry run for ever.
    pub fn retain(&self, names: &[&str]) {
        self.known().retain(|name, endpoint| {
            let stays = names.contains(&name.as_str());
            if !stays {
                self.families.forget_endpoint(name, endpoint.secrets());
            }
            stays
        });
    }

    /// The names of all endpoints with metrics, in no particular order.
    pub fn endpoints(&self) -> Vec<String> {
        self.known().keys().cloned().collect()
    }

    /// Says which reasons [`Metrics::guard_rejected`] may be given, so that each of them counts from 0.
    pub fn guard_reasons(&self, reasons: &[&'static str]) {
        for reason in reasons {
            self.families.guard_rejections.with_label_values(&[reason]);
        }
    }

    /// The guard refused a request.
    pub fn guard_rejected(&self, reason: &'static str) {
        self.families.guard_rejections.with_label_values(&[reason]).inc();
    }

    /// A request that is no webhook was passed through, or ended on the way.
    pub fn proxied(&self, class: StatusClass, took: Duration) {
        self.proxied[class as usize].inc();
        self.proxy_seconds.observe(took.as_secs_f64());
    }

    /// A request is being dealt with for as long as the guard lives.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A call of the ledger came back; `ok` is false only if the ledger itself failed, or is not fit.
    pub fn ledger(&self, op: LedgerOp, took: Duration, ok: bool) {
        let (seconds, errors) = &self.ledger[op as usize];
        seconds.observe(took.as_secs_f64());
        if !ok {
            errors.inc();
        }
    }

    /// The backend answered 2xx and the ledger could not record it in time.
    pub fn settle_failed(&self) {
        self.settle_failures.inc();
    }

    /// The ledger's server came back without what it had recorded.
    pub fn ledger_reset(&self) {
        self.ledger_resets.inc();
    }

    /// A request to a checkout path was answered; `took` counts from its head.
    pub fn checked_out(&self, outcome: CheckoutOutcome, took: Duration) {
        self.checkouts[outcome as usize].inc();
        self.checkout_seconds.observe(took.as_secs_f64());
    }

    /// One attempt at Stripe's API is over.
    pub fn stripe_called(&self, result: ApiResult, took: Duration) {
        self.stripe_api[result as usize].observe(took.as_secs_f64());
    }

    /// How many events of an endpoint are not settled, as the ledger has it, and how long the oldest of those that wait
    /// has been here; zero if none does.
    pub fn set_backlog(&self, endpoint: &str, running: u64, pending: u64, dead: u64, oldest: Duration) {
        for (state, count) in [("running", running), ("pending", pending), ("dead", dead)] {
            let gauge = self.families.events.with_label_values(&[endpoint, state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.families.oldest_pending.with_label_values(&[endpoint]).set(oldest.as_secs_f64());
    }

    /// Nobody knows what is not settled: leaves the series out until [`Metrics::set_backlog`] says it again.
    pub fn backlog_unknown(&self) {
        self.families.events.reset();
        self.families.oldest_pending.reset();
    }

    /// Everything in Prometheus' text format ([`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // The encoder fails only for a family without a name or without a series, and the registry gathers neither.
        let whole = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        debug_assert!(whole.is_ok(), "{whole:?}");
        text
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<EndpointMetrics>>> {
        // The map is whole at every step, so a panic elsewhere does not spoil it.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request being dealt with; dropping it says that it is over.
#[must_use = "dropped at once, it says that the request is over"]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery_mode::DeliveryMode;
    use crate::outcome::Outcome;

    /// The value of one series, written as the text format has it.
    fn value(metrics: &Metrics, series: &str) -> Option<f64> {
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    fn full() -> Metrics {
        let metrics = Metrics::new();
        metrics.endpoint("/webhooks/stripe", 2);
        metrics.guard_reasons(&["spelling"]);
        metrics.set_backlog("/webhooks/stripe", 0, 0, 0, Duration::ZERO);
        metrics
    }

    type Count<'a> = Box<dyn Fn() + 'a>;

    #[test]
    fn outcomes_are_laid_out_in_the_order_of_their_enum() {
        assert!(Outcome::ALL.iter().enumerate().all(|(i, outcome)| *outcome as usize == i));
    }

    #[test]
    fn every_series_of_an_endpoint_counts_from_zero() {
        let metrics = full();
        for outcome in Outcome::ALL {
            let series = format!(
                r#"countersign_webhook_requests_total{{endpoint="/webhooks/stripe",outcome="{}"}}"#,
                outcome.as_str()
            );
            assert_eq!(value(&metrics, &series), Some(0.0), "{series}");
        }
        for series in [
            r#"countersign_signature_matches_total{endpoint="/webhooks/stripe",secret="0"}"#,
            r#"countersign_signature_matches_total{endpoint="/webhooks/stripe",secret="1"}"#,
            r#"countersign_deliveries_total{endpoint="/webhooks/stripe",mode="inline",result="timeout"}"#,
            r#"countersign_undeduplicated_total{endpoint="/webhooks/stripe"}"#,
            r#"countersign_webhook_seconds_count{endpoint="/webhooks/stripe"}"#,
            r#"countersign_delivery_seconds_count{endpoint="/webhooks/stripe"}"#,
            r#"countersign_proxy_requests_total{class="aborted"}"#,
            r#"countersign_ledger_errors_total{op="claim"}"#,
            r#"countersign_ledger_seconds_count{op="settle"}"#,
            r#"countersign_guard_rejections_total{reason="spelling"}"#,
            "countersign_settle_failures_total",
            "countersign_ledger_resets_total",
            "countersign_inflight",
            r#"countersign_checkout_requests_total{outcome="created"}"#,
            "countersign_checkout_seconds_count",
            r#"countersign_stripe_api_seconds_count{outcome="timeout"}"#,
        ] {
            assert_eq!(value(&metrics, series), Some(0.0), "{series}");
        }
    }

    #[test]
    fn each_call_counts_in_its_own_series_and_in_no_other() {
        let metrics = full();
        let endpoint = metrics.endpoint("/webhooks/stripe", 2);
        let second = Duration::from_secs(1);
        let table: [(&str, Count); 13] = [
            (
                r#"countersign_webhook_requests_total{endpoint="/webhooks/stripe",outcome="in_flight"}"#,
                Box::new(|| endpoint.answered(Outcome::InFlight, second)),
            ),
            (
                r#"countersign_signature_matches_total{endpoint="/webhooks/stripe",secret="1"}"#,
                Box::new(|| endpoint.matched(1)),
            ),
            (
                r#"countersign_deliveries_total{endpoint="/webhooks/stripe",mode="inline",result="refused"}"#,
                Box::new(|| endpoint.delivery(DeliveryMode::Inline, DeliveryResult::Refused, second)),
            ),
            (
                r#"countersign_undeduplicated_total{endpoint="/webhooks/stripe"}"#,
                Box::new(|| endpoint.undeduplicated()),
            ),
            (
                r#"countersign_proxy_requests_total{class="3xx"}"#,
                Box::new(|| metrics.proxied(StatusClass::Redirection, second)),
            ),
            (
                r#"countersign_ledger_errors_total{op="settle"}"#,
                Box::new(|| metrics.ledger(LedgerOp::Settle, second, false)),
            ),
            (
                r#"countersign_ledger_seconds_count{op="claim"}"#,
                Box::new(|| metrics.ledger(LedgerOp::Claim, second, true)),
            ),
            ("countersign_settle_failures_total", Box::new(|| metrics.settle_failed())),
            ("countersign_ledger_resets_total", Box::new(|| metrics.ledger_reset())),
            (
                r#"countersign_guard_rejections_total{reason="spelling"}"#,
                Box::new(|| metrics.guard_rejected("spelling")),
            ),
            (
                r#"countersign_events{endpoint="/webhooks/stripe",state="running"}"#,
                Box::new(|| metrics.set_backlog("/webhooks/stripe", 1, 0, 0, Duration::ZERO)),
            ),
            (
                r#"countersign_checkout_requests_total{outcome="price_unknown"}"#,
                Box::new(|| metrics.checked_out(CheckoutOutcome::PriceUnknown, second)),
            ),
            (
                r#"countersign_stripe_api_seconds_count{outcome="refused"}"#,
                Box::new(|| metrics.stripe_called(ApiResult::Refused, second)),
            ),
        ];
        let counts = || -> std::collections::BTreeMap<String, f64> {
            let text = metrics.render();
            let ours = text.lines().filter(|line| line.starts_with("countersign_"));
            ours.filter(|line| !line.contains("_bucket") && !line.contains("_seconds_sum"))
                .map(|line| line.rsplit_once(' ').unwrap())
                .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
                .collect()
        };
        for (series, count) in &table {
            let before = counts();
            count();
            let moved: Vec<_> = counts().into_iter().filter(|(name, value)| before[name] != *value).collect();
            // A counter and the histogram beside it move together.
            assert!(moved.iter().any(|(name, value)| name == series && *value == 1.0), "{series}: {moved:?}");
            let others = moved.iter().filter(|(name, _)| name != series && !name.contains("_seconds_count"));
            assert_eq!(others.count(), 0, "{series}: {moved:?}");
        }
    }

    #[test]
    fn a_request_is_in_flight_for_as_long_as_its_guard_lives() {
        let metrics = full();
        let first = metrics.in_flight();
        let second = metrics.in_flight();
        assert_eq!(value(&metrics, "countersign_inflight"), Some(2.0));
        drop(first);
        drop(second);
        assert_eq!(value(&metrics, "countersign_inflight"), Some(0.0));
    }

    #[test]
    fn a_reload_keeps_the_counts_and_drops_the_secrets_that_are_gone() {
        let metrics = full();
        let before = metrics.endpoint("/webhooks/stripe", 2);
        before.matched(0);
        before.answered(Outcome::Delivered, Duration::ZERO);
        before.set_enforced(false);
        assert!(Arc::ptr_eq(&before, &metrics.endpoint("/webhooks/stripe", 2)));

        let after = metrics.endpoint("/webhooks/stripe", 1);
        after.matched(0);
        after.matched(1);
        let secret =
            |n| format!(r#"countersign_signature_matches_total{{endpoint="/webhooks/stripe",secret="{n}"}}"#);
        assert_eq!(value(&metrics, &secret(0)), Some(2.0));
        assert_eq!(value(&metrics, &secret(1)), None);
        let delivered =
            r#"countersign_webhook_requests_total{endpoint="/webhooks/stripe",outcome="delivered"}"#;
        assert_eq!(value(&metrics, delivered), Some(1.0));
        let enforced = r#"countersign_webhook_enforced{endpoint="/webhooks/stripe"}"#;
        assert_eq!(value(&metrics, enforced), Some(0.0));

        metrics.endpoint("/webhooks/stripe", 3);
        assert_eq!(value(&metrics, &secret(0)), Some(2.0));
        assert_eq!(value(&metrics, &secret(2)), Some(0.0));
    }

    #[test]
    fn an_endpoint_that_is_gone_leaves_no_series_behind() {
        let metrics = full();
        metrics.endpoint("old", 3).set_enforced(false);
        metrics.set_backlog("old", 1, 0, 0, Duration::ZERO);
        metrics.retain(&["/webhooks/stripe"]);
        metrics.backlog_unknown();
        metrics.set_backlog("/webhooks/stripe", 0, 0, 0, Duration::ZERO);
        assert!(!metrics.render().contains(r#"endpoint="old""#), "{}", metrics.render());
        assert!(metrics.render().contains(r#"endpoint="/webhooks/stripe""#));
        assert_eq!(metrics.endpoints(), ["/webhooks/stripe"]);
    }

    #[test]
    fn a_new_endpoint_counts_as_enforced() {
        let metrics = full();
        let series = r#"countersign_webhook_enforced{endpoint="/webhooks/stripe"}"#;
        assert_eq!(value(&metrics, series), Some(1.0));
    }

    #[test]
    fn nobody_knowing_what_runs_leaves_the_series_out() {
        let metrics = full();
        metrics.set_backlog("/webhooks/stripe", 3, 0, 0, Duration::ZERO);
        let series = r#"countersign_events{endpoint="/webhooks/stripe",state="running"}"#;
        assert_eq!(value(&metrics, series), Some(3.0));
        metrics.backlog_unknown();
        assert_eq!(value(&metrics, series), None);
    }

    #[test]
    fn an_odd_endpoint_name_cannot_break_out_of_its_label() {
        let metrics = Metrics::new();
        metrics.endpoint("a\"b\\c\nd", 1);
        let text = metrics.render();
        assert!(text.contains(r#"countersign_webhook_enforced{endpoint="a\"b\\c\nd"} 1"#), "{text}");
    }

    /// The table rows of the page's section `heading`: of each cell, the words in backticks.
    fn rows(page: &str, heading: &str) -> Vec<Vec<Vec<String>>> {
        let section = page.split_once(heading).unwrap().1.split("\n## ").next().unwrap();
        let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| row.trim_matches('|').split('|').map(words).collect()).collect()
    }

    const PAGE: &str = include_str!("../../docs/metrics.md");

    #[test]
    fn the_page_lists_each_metric_with_its_type_and_labels_and_nothing_else() {
        let text = full().render();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut registered: Vec<String> = types
            .map(|line| {
                let (name, kind) = line.split_once(' ').unwrap();
                let mut samples = text.lines().filter(|line| line.starts_with(name));
                let sample = samples.next().unwrap();
                let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
                // Paths hold no comma, so that commas part the labels.
                let labels = labels.split(',').map(|label| label.split('=').next().unwrap());
                let labels: Vec<_> = labels.filter(|label| !matches!(*label, "" | "le")).collect();
                format!("{name} {kind} {labels:?}")
            })
            .collect();
        let mut documented: Vec<String> = PAGE
            .lines()
            .filter(|line| line.starts_with("| `countersign_") || line.starts_with("| `process_"))
            .map(|line| {
                let cells: Vec<_> = line.split('|').map(str::trim).collect();
                let labels: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
                format!("{} {} {labels:?}", cells[1].trim_matches('`'), cells[2])
            })
            .collect();
        registered.sort();
        documented.sort();
        assert_eq!(documented, registered);
        assert!(documented.len() > 20, "{documented:?}");
    }

    #[test]
    fn the_page_lists_the_values_of_every_label_that_has_a_fixed_set() {
        let outcomes: Vec<_> =
            rows(PAGE, "\n## Outcomes\n").into_iter().map(|mut row| row[0].remove(0)).collect();
        assert_eq!(outcomes, Outcome::ALL.map(Outcome::as_str));

        let outcomes: Vec<_> =
            rows(PAGE, "\n## Checkout outcomes\n").into_iter().map(|mut row| row[0].remove(0)).collect();
        assert_eq!(outcomes, CheckoutOutcome::ALL.map(CheckoutOutcome::as_str));

        let others = rows(PAGE, "\n## Other labels\n");
        let values = |label: &str| others.iter().find(|row| row[0] == [label]).map(|row| row[1].clone());
        assert_eq!(values("mode").unwrap(), DeliveryMode::ALL.map(DeliveryMode::as_str));
        assert_eq!(values("result").unwrap(), DeliveryResult::ALL.map(DeliveryResult::as_str));
        assert_eq!(values("op").unwrap(), LedgerOp::ALL.map(LedgerOp::as_str));
        assert_eq!(values("class").unwrap(), StatusClass::ALL.map(StatusClass::as_str));
        let api = others.iter().find(|row| row[0] == ["outcome", "stripe_api_seconds"]).unwrap();
        assert_eq!(api[1], ApiResult::ALL.map(ApiResult::as_str));
        assert_eq!(values("state").unwrap(), ["running", "pending", "dead"]);
    }
}
