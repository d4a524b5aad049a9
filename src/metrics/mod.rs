//! The program's metrics, in a registry of their own; `docs/metrics.md` explains each. Label values come from enums or
//! from the configuration, never from a request. Nothing here reads the clock: durations are arguments.
//!
//! - `families`: the name, type, help and labels of every metric
//! - `labels`: the label values that the program chooses
//! - `endpoint`: the series of one endpoint ([`EndpointMetrics`]), looked up once, so that counting is a few atomic additions
//! - `ledger_files`: the sizes of an SQLite ledger's files
//! - `refusals`: the counter of what the limits of `[server]` refuse

mod endpoint;
mod families;
mod labels;
mod ledger_files;
mod refusals;

pub use endpoint::EndpointMetrics;
pub use labels::{ApiResult, DeliveryResult, LedgerOp, StatusClass};
pub use refusals::RefusalReason;

use families::Families;
use ledger_files::LedgerFiles;
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry, TextEncoder};
use refusals::RefusalCounters;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::hex;
use crate::outcome::checkout::CheckoutOutcome;

/// The `Content-Type` of [`Metrics::render`]: Prometheus' text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What the gauges show of an endpoint's unsettled events. An age is zero if there is no such event.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointBacklog {
    /// Events that are being delivered.
    pub running: u64,
    /// Queued events that wait for their next attempt.
    pub pending: u64,
    /// Queued events whose attempts are used up.
    pub dead: u64,
    /// The time since the oldest running event was leased.
    pub oldest_running: Duration,
    /// The time since the oldest pending event was first received.
    pub oldest_pending: Duration,
}

/// All metrics of one program, shared behind an `Arc`.
pub struct Metrics {
    registry: Registry,
    families: Families,
    /// The endpoints by name; a reload adds and removes some.
    endpoints: Mutex<HashMap<String, Arc<EndpointMetrics>>>,
    /// One counter for each [`StatusClass`], in the order of the enum.
    proxy_requests: [IntCounter; StatusClass::ALL.len()],
    proxy_seconds: Histogram,
    /// The duration and the failures of each [`LedgerOp`], in the order of the enum.
    ledger: [(Histogram, IntCounter); LedgerOp::ALL.len()],
    settle_failures: IntCounter,
    ledger_resets: IntCounter,
    log_lines_dropped: IntCounter,
    unguarded_webhooks: IntCounter,
    refusals: RefusalCounters,
    ledger_files: LedgerFiles,
    reload_successful: IntGauge,
    reload_timestamp: Gauge,
    in_flight: IntGauge,
    /// One counter for each [`CheckoutOutcome`], in the order of the enum.
    checkout_requests: [IntCounter; CheckoutOutcome::ALL.len()],
    checkout_seconds: Histogram,
    /// One histogram for each [`ApiResult`], in the order of the enum.
    stripe_api_seconds: [Histogram; ApiResult::ALL.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every family, and creates the series that need no endpoint, so that they count from 0.
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Families::new(&registry);
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            proxy_requests: StatusClass::ALL
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
            log_lines_dropped: families.log_lines_dropped.clone(),
            unguarded_webhooks: families.unguarded_webhooks.clone(),
            refusals: RefusalCounters::new(&registry),
            ledger_files: LedgerFiles::new(&registry),
            reload_successful: families.reload_successful.clone(),
            reload_timestamp: families.reload_timestamp.clone(),
            in_flight: families.in_flight.clone(),
            checkout_requests: CheckoutOutcome::ALL
                .map(|outcome| families.checkout_requests.with_label_values(&[outcome.as_str()])),
            checkout_seconds: families.checkout_seconds.clone(),
            stripe_api_seconds: ApiResult::ALL
                .map(|result| families.stripe_api_seconds.with_label_values(&[result.as_str()])),
            endpoints: Mutex::default(),
            families,
            registry,
        }
    }

    /// Returns the metrics of the endpoint `name`, which has `secrets` secrets. It is called at start and at every reload.
    ///
    /// All series of the endpoint exist afterwards, so that they count from 0. Existing ones continue; those of secrets that
    /// the endpoint no longer has are removed. A new endpoint counts as enforced until [`EndpointMetrics::set_enforced`].
    pub fn endpoint(&self, name: &str, secrets: usize) -> Arc<EndpointMetrics> {
        let mut endpoints = self.lock_endpoints();
        let existing = endpoints.get(name);
        if let Some(unchanged) = existing.filter(|endpoint| endpoint.secrets() == secrets) {
            return unchanged.clone();
        }
        let previous_secrets = existing.map_or(0, |endpoint| endpoint.secrets());
        let is_new = existing.is_none();
        for position in secrets..previous_secrets {
            self.families.remove_secret(name, position);
        }
        let endpoint = Arc::new(EndpointMetrics::new(&self.families, name, secrets));
        if is_new {
            endpoint.set_enforced(true);
        }
        endpoints.insert(name.to_owned(), endpoint.clone());
        endpoint
    }

    /// Removes the series of every endpoint that is not in `names`. It is called after a reload: otherwise the gauges of a
    /// removed endpoint would show its last state until the next restart.
    pub fn retain(&self, names: &[&str]) {
        self.lock_endpoints().retain(|name, endpoint| {
            let is_configured = names.contains(&name.as_str());
            if !is_configured {
                self.families.remove_endpoint(name, endpoint.secrets());
            }
            is_configured
        });
    }

    /// Returns the names of all endpoints with metrics, in no particular order.
    pub fn endpoints(&self) -> Vec<String> {
        self.lock_endpoints().keys().cloned().collect()
    }

    /// Creates a series for each reason of [`Metrics::guard_rejected`], so that it counts from 0.
    pub fn guard_reasons(&self, reasons: &[&'static str]) {
        for reason in reasons {
            self.families.guard_rejections.with_label_values(&[reason]);
        }
    }

    /// Counts a request that the guard rejected, or would have rejected without the dry run.
    pub fn guard_rejected(&self, reason: &'static str) {
        self.families.guard_rejections.with_label_values(&[reason]).inc();
    }

    /// Counts a passed-through request that is over, with or without a finished response.
    pub fn record_proxied(&self, class: StatusClass, took: Duration) {
        self.proxy_requests[class as usize].inc();
        self.proxy_seconds.observe(took.as_secs_f64());
    }

    /// Counts a request as in progress until the returned guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a ledger call. `ok` is false only if the ledger itself failed, or is less durable than required.
    pub fn ledger(&self, op: LedgerOp, took: Duration, ok: bool) {
        let (seconds, errors) = &self.ledger[op as usize];
        seconds.observe(took.as_secs_f64());
        if !ok {
            errors.inc();
        }
    }

    /// Counts a delivery with a 2xx response that the ledger could not record in time.
    pub fn settle_failed(&self) {
        self.settle_failures.inc();
    }

    /// Counts that the ledger came back without its recorded events.
    pub fn ledger_reset(&self) {
        self.ledger_resets.inc();
    }

    /// Records which ledger this process uses, by the marker of its data. The label is a hash of the marker, so processes
    /// that share a ledger report the same one. It replaces the ledger recorded before.
    pub fn set_ledger(&self, marker: &str) {
        let id = hex::encode(&Sha256::digest(marker)[..8]);
        self.families.ledger_info.reset();
        self.families.ledger_info.with_label_values(&[&id]).set(1);
    }

    /// Sets the size of the SQLite ledger's write-ahead log, in bytes.
    pub fn set_ledger_wal(&self, bytes: u64) {
        self.ledger_files.set_wal(bytes);
    }

    /// Sets the free room on the disk of the SQLite ledger, in bytes.
    pub fn set_ledger_disk_free(&self, bytes: u64) {
        self.ledger_files.set_disk_free(bytes);
    }

    /// Counts a POST request with a `Stripe-Signature` that passed through, since no webhook has its path.
    pub fn unguarded_webhook(&self) {
        self.unguarded_webhooks.inc();
    }

    /// Counts a connection or a request that a limit of `[server]` refused.
    pub fn connection_refused(&self, reason: RefusalReason) {
        self.refusals.record(reason);
    }

    /// Sets the number of dropped log lines, which the log counts itself, since the start of the process.
    pub fn set_log_lines_dropped(&self, total: u64) {
        self.log_lines_dropped.inc_by(total.saturating_sub(self.log_lines_dropped.get()));
    }

    /// Records a reload, or the start: whether it put the configuration in force, and the Unix time.
    pub fn record_reload(&self, successful: bool, now: Duration) {
        self.reload_successful.set(i64::from(successful));
        self.reload_timestamp.set(now.as_secs_f64());
    }

    /// Counts a request to a checkout path that got its response; `took` is the time since its head.
    pub fn record_checkout(&self, outcome: CheckoutOutcome, took: Duration) {
        self.checkout_requests[outcome as usize].inc();
        self.checkout_seconds.observe(took.as_secs_f64());
    }

    /// Counts a finished attempt to call Stripe's API.
    pub fn stripe_called(&self, result: ApiResult, took: Duration) {
        self.stripe_api_seconds[result as usize].observe(took.as_secs_f64());
    }

    /// Sets what the ledger has of an endpoint's unsettled events.
    pub fn set_backlog(&self, endpoint: &str, backlog: EndpointBacklog) {
        let EndpointBacklog { running, pending, dead, oldest_running, oldest_pending } = backlog;
        for (state, count) in [("running", running), ("pending", pending), ("dead", dead)] {
            let gauge = self.families.events.with_label_values(&[endpoint, state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.families.oldest_running.with_label_values(&[endpoint]).set(oldest_running.as_secs_f64());
        self.families.oldest_pending.with_label_values(&[endpoint]).set(oldest_pending.as_secs_f64());
    }

    /// Removes the series of [`Metrics::set_backlog`] until its next call, because the ledger does not respond. A stale
    /// number would hide a growing backlog.
    pub fn backlog_unknown(&self) {
        self.families.events.reset();
        self.families.oldest_running.reset();
        self.families.oldest_pending.reset();
    }

    /// Renders all metrics in Prometheus' text format ([`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // The encoder fails only for a family without a name or a series, and the registry gathers neither.
        let result = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        debug_assert!(result.is_ok(), "{result:?}");
        text
    }

    fn lock_endpoints(&self) -> MutexGuard<'_, HashMap<String, Arc<EndpointMetrics>>> {
        // No step leaves the map incomplete, so it is valid after a panic of another thread.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in progress; dropping it ends the count.
#[must_use = "the request counts as over when this is dropped"]
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

    /// Returns the value of one series, named as in the text format.
    fn value(metrics: &Metrics, series: &str) -> Option<f64> {
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    fn full() -> Metrics {
        let metrics = Metrics::new();
        metrics.endpoint("/webhooks/stripe", 2);
        metrics.guard_reasons(&["spelling"]);
        metrics.set_ledger("marker");
        metrics.set_ledger_wal(0);
        metrics.set_ledger_disk_free(0);
        metrics.set_backlog("/webhooks/stripe", EndpointBacklog::default());
        metrics
    }

    /// A call that counts one thing.
    type Count<'a> = Box<dyn Fn() + 'a>;

    #[test]
    fn outcomes_are_in_the_order_of_their_enum() {
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
            "countersign_log_lines_dropped_total",
            "countersign_unguarded_webhooks_total",
            "countersign_inflight",
            r#"countersign_connections_refused_total{reason="max_passthrough"}"#,
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
        let table: [(&str, Count); 16] = [
            (
                r#"countersign_webhook_requests_total{endpoint="/webhooks/stripe",outcome="in_flight"}"#,
                Box::new(|| endpoint.record_response(Outcome::InFlight, second)),
            ),
            (
                r#"countersign_signature_matches_total{endpoint="/webhooks/stripe",secret="1"}"#,
                Box::new(|| endpoint.record_secret_match(1)),
            ),
            (
                r#"countersign_deliveries_total{endpoint="/webhooks/stripe",mode="inline",result="refused"}"#,
                Box::new(|| endpoint.delivery(DeliveryMode::Inline, DeliveryResult::Refused, second)),
            ),
            (
                r#"countersign_undeduplicated_total{endpoint="/webhooks/stripe"}"#,
                Box::new(|| endpoint.record_undeduplicated()),
            ),
            (
                r#"countersign_proxy_requests_total{class="3xx"}"#,
                Box::new(|| metrics.record_proxied(StatusClass::Redirection, second)),
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
            ("countersign_unguarded_webhooks_total", Box::new(|| metrics.unguarded_webhook())),
            (
                r#"countersign_connections_refused_total{reason="max_connections"}"#,
                Box::new(|| metrics.connection_refused(RefusalReason::MaxConnections)),
            ),
            ("countersign_log_lines_dropped_total", Box::new(|| metrics.set_log_lines_dropped(1))),
            (
                r#"countersign_guard_rejections_total{reason="spelling"}"#,
                Box::new(|| metrics.guard_rejected("spelling")),
            ),
            (
                r#"countersign_events{endpoint="/webhooks/stripe",state="running"}"#,
                Box::new(|| {
                    metrics.set_backlog(
                        "/webhooks/stripe",
                        EndpointBacklog { running: 1, ..EndpointBacklog::default() },
                    )
                }),
            ),
            (
                r#"countersign_checkout_requests_total{outcome="price_unknown"}"#,
                Box::new(|| metrics.record_checkout(CheckoutOutcome::PriceUnknown, second)),
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
            let changed: Vec<_> =
                counts().into_iter().filter(|(name, value)| before[name] != *value).collect();
            // A counter and its histogram change together.
            assert!(
                changed.iter().any(|(name, value)| name == series && *value == 1.0),
                "{series}: {changed:?}"
            );
            let others =
                changed.iter().filter(|(name, _)| name != series && !name.contains("_seconds_count"));
            assert_eq!(others.count(), 0, "{series}: {changed:?}");
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
    fn a_reload_preserves_the_counts_and_removes_the_series_of_removed_secrets() {
        let metrics = full();
        let before = metrics.endpoint("/webhooks/stripe", 2);
        before.record_secret_match(0);
        before.record_response(Outcome::Delivered, Duration::ZERO);
        before.set_enforced(false);
        assert!(Arc::ptr_eq(&before, &metrics.endpoint("/webhooks/stripe", 2)));

        let after = metrics.endpoint("/webhooks/stripe", 1);
        after.record_secret_match(0);
        after.record_secret_match(1);
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
    fn a_removed_endpoint_leaves_no_series() {
        let metrics = full();
        metrics.endpoint("old", 3).set_enforced(false);
        metrics.set_backlog("old", EndpointBacklog { running: 1, ..EndpointBacklog::default() });
        metrics.retain(&["/webhooks/stripe"]);
        metrics.backlog_unknown();
        metrics.set_backlog("/webhooks/stripe", EndpointBacklog::default());
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
    fn an_unknown_backlog_has_no_series() {
        let metrics = full();
        metrics.set_backlog("/webhooks/stripe", EndpointBacklog { running: 3, ..EndpointBacklog::default() });
        let series = r#"countersign_events{endpoint="/webhooks/stripe",state="running"}"#;
        assert_eq!(value(&metrics, series), Some(3.0));
        metrics.backlog_unknown();
        assert_eq!(value(&metrics, series), None);
    }

    #[test]
    fn special_characters_in_an_endpoint_name_are_escaped() {
        let metrics = Metrics::new();
        metrics.endpoint("a\"b\\c\nd", 1);
        let text = metrics.render();
        assert!(text.contains(r#"countersign_webhook_enforced{endpoint="a\"b\\c\nd"} 1"#), "{text}");
    }

    /// Returns the table rows of the page's section `heading`: for each cell, the texts in backticks.
    fn rows(page: &str, heading: &str) -> Vec<Vec<Vec<String>>> {
        let section = page.split_once(heading).unwrap().1.split("\n## ").next().unwrap();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| row.trim_matches('|').split('|').map(quoted).collect()).collect()
    }

    const PAGE: &str = include_str!("../../docs/metrics.md");

    #[test]
    fn the_page_lists_exactly_the_registered_metrics_with_type_and_labels() {
        let text = full().render();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut registered: Vec<String> = types
            .map(|line| {
                let (name, metric_type) = line.split_once(' ').unwrap();
                let mut samples = text.lines().filter(|line| line.starts_with(name));
                let sample = samples.next().unwrap();
                let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
                // No label value of the test holds a comma, so commas separate the labels.
                let labels = labels.split(',').map(|label| label.split('=').next().unwrap());
                let labels: Vec<_> = labels.filter(|label| !matches!(*label, "" | "le")).collect();
                format!("{name} {metric_type} {labels:?}")
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
    fn the_page_lists_all_values_of_every_fixed_label() {
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
