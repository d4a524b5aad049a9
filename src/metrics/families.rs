//! The metric families: name, type, help and labels of each, in one place. `Metrics` and `EndpointMetrics` decide which
//! series exist and count in them. No family is registered before the program can change it. The file is long because it is
//! one table.

use super::labels::DeliveryResult;
use crate::delivery_mode::DeliveryMode;
use crate::outcome::Outcome;
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};
use prometheus::{Opts, Registry};

const NAMESPACE: &str = "countersign";

/// Buckets in seconds, from a webhook that is rejected at once to a backend that uses up its `response_timeout`.
const WEBHOOK_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Buckets in seconds, from a commit that is shared with others to a disk that is nearly stalled.
const LEDGER_BUCKETS: [f64; 14] =
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Buckets in seconds: those of webhooks, and one more for long downloads.
const PROXY_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets in seconds, from an event that is delivered at once to one for which Stripe's retries are used up: 0.5 s to 60 s,
/// 5 and 15 minutes, 1, 4 and 12 hours, 1 and 3 days.
const LAG_BUCKETS: [f64; 14] =
    [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0];

/// The name, help and labels of one family.
struct Family {
    /// The name without [`NAMESPACE`].
    name: &'static str,
    /// The HELP text.
    help: &'static str,
    /// The label names; empty for a single series.
    labels: &'static [&'static str],
}

impl Family {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help).namespace(NAMESPACE)
    }

    fn histogram_opts(&self, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts { common_opts: self.opts(), buckets: buckets.to_vec() }
    }
}

const WEBHOOK_REQUESTS: Family = Family {
    name: "webhook_requests_total",
    help: "Requests to a webhook path, by outcome.",
    labels: &["endpoint", "outcome"],
};
const WEBHOOK_SECONDS: Family = Family {
    name: "webhook_seconds",
    help: "Time from a webhook request's head to its response.",
    labels: &["endpoint"],
};
const WEBHOOK_ENFORCED: Family = Family {
    name: "webhook_enforced",
    help: "1 if forged webhooks are rejected; 0 in a dry run, which forwards all but those of enforced endpoints.",
    labels: &["endpoint"],
};
const SIGNATURE_MATCHES: Family = Family {
    name: "signature_matches_total",
    help: "Signatures of genuine events, by the position of the secret that matched.",
    labels: &["endpoint", "secret"],
};
const DELIVERIES: Family = Family {
    name: "deliveries_total",
    help: "Attempts to deliver an event to the backend, by result.",
    labels: &["endpoint", "mode", "result"],
};
const DELIVERY_SECONDS: Family = Family {
    name: "delivery_seconds",
    help: "Time from the start of a delivery attempt to its result.",
    labels: &["endpoint"],
};
const EVENT_LAG: Family = Family {
    name: "event_lag_seconds",
    help: "Time from an event's creation at Stripe to the backend's 2xx.",
    labels: &["endpoint"],
};
const UNDEDUPLICATED: Family = Family {
    name: "undeduplicated_total",
    help: "Events delivered without deduplication because the ledger was unavailable.",
    labels: &["endpoint"],
};
const EVENTS: Family = Family {
    name: "events",
    help: "Events in the ledger that are not settled.",
    labels: &["endpoint", "state"],
};
const OLDEST_RUNNING: Family = Family {
    name: "oldest_running_seconds",
    help: "Time since the oldest event that is being delivered was leased for it; 0 if none is.",
    labels: &["endpoint"],
};
const OLDEST_PENDING: Family = Family {
    name: "oldest_pending_seconds",
    help: "Age of the oldest event that waits for its delivery; 0 if none waits.",
    labels: &["endpoint"],
};
const LEDGER_SECONDS: Family =
    Family { name: "ledger_seconds", help: "Duration of a ledger call.", labels: &["op"] };
const LEDGER_ERRORS: Family =
    Family { name: "ledger_errors_total", help: "Ledger calls that failed.", labels: &["op"] };
const SETTLE_FAILURES: Family = Family {
    name: "settle_failures_total",
    help: "Deliveries with a 2xx response that the ledger could not record in time.",
    labels: &[],
};
const LEDGER_RESETS: Family = Family {
    name: "ledger_resets_total",
    help: "Times that the ledger lost events that it had acknowledged.",
    labels: &[],
};
const LEDGER_INFO: Family = Family {
    name: "ledger_info",
    help: "1, with a hash that identifies the ledger's data.",
    labels: &["id"],
};
const UNGUARDED_WEBHOOKS: Family = Family {
    name: "unguarded_webhooks_total",
    help: "POST requests with a Stripe-Signature that passed through unverified, since no webhook has their path.",
    labels: &[],
};
const LOG_LINES_DROPPED: Family = Family {
    name: "log_lines_dropped_total",
    help: "Log lines that were dropped because standard error did not take them in time.",
    labels: &[],
};
const PROXY_REQUESTS: Family = Family {
    name: "proxy_requests_total",
    help: "Requests passed through to the backend, by the class of their status.",
    labels: &["class"],
};
const PROXY_SECONDS: Family = Family {
    name: "proxy_seconds",
    help: "Time from the head of a passed-through request to its end.",
    labels: &[],
};
const GUARD_REJECTIONS: Family = Family {
    name: "guard_rejections_total",
    help: "Requests that the guard rejected, by reason; those that only a dry run would reject are counted and pass.",
    labels: &["reason"],
};
const CHECKOUT_REQUESTS: Family = Family {
    name: "checkout_requests_total",
    help: "Requests to a checkout path, by outcome.",
    labels: &["outcome"],
};
const CHECKOUT_SECONDS: Family = Family {
    name: "checkout_seconds",
    help: "Time from a checkout request's head to its response.",
    labels: &[],
};
const STRIPE_API_SECONDS: Family = Family {
    name: "stripe_api_seconds",
    help: "Duration of one attempt to call Stripe's API, by outcome.",
    labels: &["outcome"],
};
const RELOAD_SUCCESSFUL: Family = Family {
    name: "config_last_reload_successful",
    help: "1 if the configuration was put in force by the last reload, or by the start; 0 if the reload was refused.",
    labels: &[],
};
const RELOAD_TIMESTAMP: Family = Family {
    name: "config_last_reload_timestamp_seconds",
    help: "Unix time of the last reload, successful or not; of the start if there was none.",
    labels: &[],
};
const IN_FLIGHT: Family = Family { name: "inflight", help: "Requests in progress.", labels: &[] };
const BUILD_INFO: Family = Family {
    name: "build_info",
    help: "Always 1; the label holds the program's version.",
    labels: &["version"],
};

/// All families, registered; a field's name is the metric's without prefix and unit.
pub(super) struct Families {
    pub webhook_requests: IntCounterVec,
    pub webhook_seconds: HistogramVec,
    pub webhook_enforced: IntGaugeVec,
    pub signature_matches: IntCounterVec,
    pub deliveries: IntCounterVec,
    pub delivery_seconds: HistogramVec,
    pub event_lag: HistogramVec,
    pub undeduplicated: IntCounterVec,
    pub events: IntGaugeVec,
    pub oldest_running: GaugeVec,
    pub oldest_pending: GaugeVec,
    pub ledger_seconds: HistogramVec,
    pub ledger_errors: IntCounterVec,
    pub settle_failures: IntCounter,
    pub ledger_resets: IntCounter,
    pub ledger_info: IntGaugeVec,
    pub log_lines_dropped: IntCounter,
    pub unguarded_webhooks: IntCounter,
    pub proxy_requests: IntCounterVec,
    pub proxy_seconds: Histogram,
    pub guard_rejections: IntCounterVec,
    pub checkout_requests: IntCounterVec,
    pub checkout_seconds: Histogram,
    pub stripe_api_seconds: HistogramVec,
    pub reload_successful: IntGauge,
    pub reload_timestamp: Gauge,
    pub in_flight: IntGauge,
    pub build_info: IntGaugeVec,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Self {
        let counters = |family: &Family| register(registry, IntCounterVec::new(family.opts(), family.labels));
        let gauges = |family: &Family| register(registry, IntGaugeVec::new(family.opts(), family.labels));
        let histograms = |family: &Family, buckets: &[f64]| {
            register(registry, HistogramVec::new(family.histogram_opts(buckets), family.labels))
        };
        // The collector reads /proc, so it exists on Linux only.
        #[cfg(target_os = "linux")]
        register_collector(registry, prometheus::process_collector::ProcessCollector::for_self());

        Self {
            webhook_requests: counters(&WEBHOOK_REQUESTS),
            webhook_seconds: histograms(&WEBHOOK_SECONDS, &WEBHOOK_BUCKETS),
            webhook_enforced: gauges(&WEBHOOK_ENFORCED),
            signature_matches: counters(&SIGNATURE_MATCHES),
            deliveries: counters(&DELIVERIES),
            delivery_seconds: histograms(&DELIVERY_SECONDS, &WEBHOOK_BUCKETS),
            event_lag: histograms(&EVENT_LAG, &LAG_BUCKETS),
            undeduplicated: counters(&UNDEDUPLICATED),
            events: gauges(&EVENTS),
            oldest_running: register(registry, GaugeVec::new(OLDEST_RUNNING.opts(), OLDEST_RUNNING.labels)),
            oldest_pending: register(registry, GaugeVec::new(OLDEST_PENDING.opts(), OLDEST_PENDING.labels)),
            ledger_seconds: histograms(&LEDGER_SECONDS, &LEDGER_BUCKETS),
            ledger_errors: counters(&LEDGER_ERRORS),
            settle_failures: register(registry, IntCounter::with_opts(SETTLE_FAILURES.opts())),
            ledger_resets: register(registry, IntCounter::with_opts(LEDGER_RESETS.opts())),
            ledger_info: gauges(&LEDGER_INFO),
            log_lines_dropped: register(registry, IntCounter::with_opts(LOG_LINES_DROPPED.opts())),
            unguarded_webhooks: register(registry, IntCounter::with_opts(UNGUARDED_WEBHOOKS.opts())),
            proxy_requests: counters(&PROXY_REQUESTS),
            proxy_seconds: register(
                registry,
                Histogram::with_opts(PROXY_SECONDS.histogram_opts(&PROXY_BUCKETS)),
            ),
            guard_rejections: counters(&GUARD_REJECTIONS),
            checkout_requests: counters(&CHECKOUT_REQUESTS),
            checkout_seconds: register(
                registry,
                Histogram::with_opts(CHECKOUT_SECONDS.histogram_opts(&WEBHOOK_BUCKETS)),
            ),
            stripe_api_seconds: histograms(&STRIPE_API_SECONDS, &WEBHOOK_BUCKETS),
            reload_successful: register(registry, IntGauge::with_opts(RELOAD_SUCCESSFUL.opts())),
            reload_timestamp: register(registry, Gauge::with_opts(RELOAD_TIMESTAMP.opts())),
            in_flight: register(registry, IntGauge::with_opts(IN_FLIGHT.opts())),
            build_info: gauges(&BUILD_INFO),
        }
    }

    /// Removes the series of one secret, if it exists.
    pub(super) fn remove_secret(&self, endpoint: &str, position: usize) {
        let _ = self.signature_matches.remove_label_values(&[endpoint, &position.to_string()]);
    }

    /// Removes every series of an endpoint that exists, except the ledger's gauges, which `set_backlog` owns.
    pub(super) fn remove_endpoint(&self, endpoint: &str, secrets: usize) {
        for outcome in Outcome::ALL {
            let _ = self.webhook_requests.remove_label_values(&[endpoint, outcome.as_str()]);
        }
        for position in 0..secrets {
            self.remove_secret(endpoint, position);
        }
        for mode in DeliveryMode::ALL {
            for result in DeliveryResult::ALL {
                let _ = self.deliveries.remove_label_values(&[endpoint, mode.as_str(), result.as_str()]);
            }
        }
        let _ = self.webhook_seconds.remove_label_values(&[endpoint]);
        let _ = self.webhook_enforced.remove_label_values(&[endpoint]);
        let _ = self.delivery_seconds.remove_label_values(&[endpoint]);
        let _ = self.event_lag.remove_label_values(&[endpoint]);
        let _ = self.undeduplicated.remove_label_values(&[endpoint]);
    }
}

/// Registers a collector that [`Families`] or a file beside it describes.
pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    result: prometheus::Result<C>,
) -> C {
    #[expect(
        clippy::expect_used,
        reason = "names and labels are literals in this file, and every test registers all of them"
    )]
    let collector = result.expect("a valid metric name and valid labels");
    register_collector(registry, collector.clone());
    collector
}

fn register_collector(registry: &Registry, collector: impl Collector + 'static) {
    #[expect(
        clippy::expect_used,
        reason = "the registry is new, and each literal name is in this file once"
    )]
    registry.register(Box::new(collector)).expect("a name that is not taken");
}
