//! `/metrics`: the program's metrics, with the backlog that only the ledger knows. It counts nothing itself.

use super::state::AdminState;
use crate::ledger::Backlog;
use crate::logging;
use crate::metrics::{self, EndpointBacklog, Metrics};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The maximum time of the ledger's backlog query; far below Prometheus' own scrape timeout (10 s).
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(500);

/// The state of the handler. The lock admits one scrape at a time: another could render a half-filled backlog.
#[derive(Clone)]
pub(super) struct Scrape(Arc<Mutex<AdminState>>);

impl Scrape {
    pub(super) fn new(state: AdminState) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }
}

pub(super) async fn metrics(State(scrape): State<Scrape>) -> Response {
    let state = scrape.0.lock().await;
    let backlog = tokio::time::timeout(BACKLOG_TIMEOUT, state.ledger.backlog()).await;
    // Without a reply the series are omitted: a missing series is noticed, a stale one is taken as current.
    state.metrics.set_log_lines_dropped(logging::dropped_lines());
    refresh(&state.metrics, backlog.ok().and_then(Result::ok));
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.render()).into_response()
}

fn refresh(metrics: &Metrics, backlog: Option<Vec<Backlog>>) {
    metrics.backlog_unknown();
    let Some(backlog) = backlog else { return };
    for endpoint in metrics.endpoints() {
        metrics.set_backlog(&endpoint, EndpointBacklog::default());
    }
    for backlog in backlog {
        let Backlog { endpoint, running, pending, dead, oldest_running, oldest_pending, .. } = backlog;
        let oldest_running = oldest_running.unwrap_or_default();
        let oldest_pending = oldest_pending.unwrap_or_default();
        let backlog = EndpointBacklog { running, pending, dead, oldest_running, oldest_pending };
        metrics.set_backlog(&endpoint, backlog);
    }
}
