//! `/metrics`: what was counted, and what is not settled, which only the ledger knows.

use super::AdminState;
use crate::ledger::Backlog;
use crate::metrics::{self, Metrics};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long the ledger may take to say what is not settled; far below Prometheus' own time-out for a scrape (10 s).
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(500);

/// One scrape at a time, or one would render while another is still filling in the backlog.
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
    // Without an answer there is no number: a series that is missing can be seen, an old one would be believed.
    refresh(&state.metrics, backlog.ok().and_then(Result::ok));
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.render()).into_response()
}

fn refresh(metrics: &Metrics, backlog: Option<Vec<Backlog>>) {
    metrics.backlog_unknown();
    let Some(backlog) = backlog else { return };
    for endpoint in metrics.endpoints() {
        metrics.set_backlog(&endpoint, 0, 0, 0, Duration::ZERO);
    }
    for Backlog { endpoint, running, pending, dead, oldest_pending, .. } in backlog {
        metrics.set_backlog(&endpoint, running, pending, dead, oldest_pending.unwrap_or_default());
    }
}
