//! The metric families: name, type, help and labels of each, in one place. Which of their series exist, and who
//! counts in them, is `Metrics`' and `EndpointMetrics`'. It registers nothing that cannot move yet.

use super::labels::DeliveryResult;
use crate::delivery_mode::DeliveryMode;
use crate::outcome::Outcome;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};
use prometheus::{Opts, Registry};

const NAMESPACE: &str = "countersign";

/// Seconds: from a webhook that is refused at once to a backend that uses up its `response_timeout`.
const WEBHOOK_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds: from a commit that rides along with others to a disk that hardly answers.
const LEDGER_BUCKETS: [f64; 14] =
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Seconds: as webhooks, and on to long downloads.
const PROXY_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The families, registered.
pub(super) struct Families {
    pub webhook_requests: IntCounterVec,
    pub webhook_seconds: HistogramVec,
    pub webhook_enforced: IntGaugeVec,
    pub signature_matches: IntCounterVec,
    pub deliveries: IntCounterVec,
    pub delivery_seconds: HistogramVec,
    pub undeduplicated: IntCounterVec,
    pub events: IntGaugeVec,
    pub oldest_pending: GaugeVec,
    pub ledger_seconds: HistogramVec,
    pub ledger_errors: IntCounterVec,
    pub settle_failures: IntCounter,
    pub ledger_resets: IntCounter,
    pub proxy_requests: IntCounterVec,
    pub proxy_seconds: Histogram,
    pub guard_rejections: IntCounterVec,
    pub checkout_requests: IntCounterVec,
    pub checkout_seconds: Histogram,
    pub stripe_api_seconds: HistogramVec,
    pub in_flight: IntGauge,
    pub build_info: IntGaugeVec,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(registry, IntCounterVec::new(named(name, help), labels))
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            registered(registry, IntGaugeVec::new(named(name, help), labels))
        };
        let seconds = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let opts = HistogramOpts { common_opts: named(name, help), buckets: buckets.to_vec() };
            registered(registry, HistogramVec::new(opts, labels))
        };
        // Linux only, as /proc is.
        #[cfg(target_os = "linux")]
        registered_once(registry, prometheus::process_collector::ProcessCollector::for_self());

        Self {
            webhook_requests: counters(
                "webhook_requests_total",
                "Requests to a webhook path, by what they were answered.",
                &["endpoint", "outcome"],
            ),
            webhook_seconds: seconds(
                "webhook_seconds",
                "From a webhook's head to its answer.",
                &["endpoint"],
                &WEBHOOK_BUCKETS,
            ),
            webhook_enforced: gauges(
                "webhook_enforced",
                "1 if forged webhooks are refused; 0 in a dry run, which refuses nothing.",
                &["endpoint"],
            ),
            signature_matches: counters(
                "signature_matches_total",
                "Signatures of genuine events, by the position of the secret that matched.",
                &["endpoint", "secret"],
            ),
            deliveries: counters(
                "deliveries_total",
                "Attempts to hand an event to the backend, by what came of them.",
                &["endpoint", "mode", "result"],
            ),
            delivery_seconds: seconds(
                "delivery_seconds",
                "From the start of an attempt to its result.",
                &["endpoint"],
                &WEBHOOK_BUCKETS,
            ),
            undeduplicated: counters(
                "undeduplicated_total",
                "Events delivered without dedup because the ledger was out of reach.",
                &["endpoint"],
            ),
            events: gauges("events", "Events in the ledger that are not settled.", &["endpoint", "state"]),
            oldest_pending: registered(
                registry,
                GaugeVec::new(
                    named(
                        "oldest_pending_seconds",
                        "How long the oldest event that waits for its delivery has been here; 0 if none waits.",
                    ),
                    &["endpoint"],
                ),
            ),
            ledger_seconds: seconds(
                "ledger_seconds",
                "How long a call of the ledger took.",
                &["op"],
                &LEDGER_BUCKETS,
            ),
            ledger_errors: counters("ledger_errors_total", "Calls of the ledger that failed.", &["op"]),
            settle_failures: registered(
                registry,
                IntCounter::with_opts(named(
                    "settle_failures_total",
                    "Deliveries with a 2xx that the ledger could not record in time.",
                )),
            ),
            ledger_resets: registered(
                registry,
                IntCounter::with_opts(named(
                    "ledger_resets_total",
                    "Times that the ledger's server came back without what it had recorded.",
                )),
            ),
            proxy_requests: counters(
                "proxy_requests_total",
                "Requests passed through, by the class of their status.",
                &["class"],
            ),
            proxy_seconds: registered(
                registry,
                Histogram::with_opts(HistogramOpts {
                    common_opts: named(
                        "proxy_seconds",
                        "From the head of a request passed through to its end.",
                    ),
                    buckets: PROXY_BUCKETS.to_vec(),
                }),
            ),
            guard_rejections: counters(
                "guard_rejections_total",
                "Requests refused before they were routed, by why; in a dry run they pass.",
                &["reason"],
            ),
            checkout_requests: counters(
                "checkout_requests_total",
                "Requests to a checkout path, by what they were answered.",
                &["outcome"],
            ),
            checkout_seconds: registered(
                registry,
                Histogram::with_opts(HistogramOpts {
                    common_opts: named("checkout_seconds", "From an order's head to its answer."),
                    buckets: WEBHOOK_BUCKETS.to_vec(),
                }),
            ),
            stripe_api_seconds: seconds(
                "stripe_api_seconds",
                "How long one attempt at Stripe's API took, by what came of it.",
                &["outcome"],
                &WEBHOOK_BUCKETS,
            ),
            in_flight: registered(
                registry,
                IntGauge::with_opts(named("inflight", "Requests being dealt with.")),
            ),
            build_info: gauges("build_info", "Always 1; the labels say which build runs.", &["version"]),
        }
    }

    /// Drops one secret's series; it need not exist.
    pub(super) fn forget_secret(&self, endpoint: &str, position: usize) {
        let _ = self.signature_matches.remove_label_values(&[endpoint, &position.to_string()]);
    }

    /// Drops every series of an endpoint; what does not exist is passed over.
    pub(super) fn forget_endpoint(&self, endpoint: &str, secrets: usize) {
        for outcome in Outcome::ALL {
            let _ = self.webhook_requests.remove_label_values(&[endpoint, outcome.as_str()]);
        }
        for position in 0..secrets {
            self.forget_secret(endpoint, position);
        }
        for mode in DeliveryMode::ALL {
            for result in DeliveryResult::ALL {
                let _ = self.deliveries.remove_label_values(&[endpoint, mode.as_str(), result.as_str()]);
            }
        }
        let _ = self.webhook_seconds.remove_label_values(&[endpoint]);
        let _ = self.webhook_enforced.remove_label_values(&[endpoint]);
        let _ = self.delivery_seconds.remove_label_values(&[endpoint]);
        let _ = self.undeduplicated.remove_label_values(&[endpoint]);
    }
}

fn named(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    #[expect(
        clippy::expect_used,
        reason = "names and labels are literals here, and every test builds them all"
    )]
    let collector = made.expect("a valid metric name and valid labels");
    registered_once(registry, collector.clone());
    collector
}

fn registered_once(registry: &Registry, collector: impl Collector + 'static) {
    #[expect(clippy::expect_used, reason = "the registry is new, and each literal name stands here once")]
    registry.register(Box::new(collector)).expect("a name that is not taken");
}
