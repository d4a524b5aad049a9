//! `/metrics`: what was counted, and how many events are running, which only the ledger knows.

use super::AdminState;
use crate::metrics::{self, Metrics};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long the ledger may take to say what is running; far below Prometheus' own time-out for a scrape (10 s).
const RUNNING_TIMEOUT: Duration = Duration::from_millis(500);

/// One scrape at a time, or one would render while another is still filling in what runs.
#[derive(Clone)]
pub(super) struct Scrape(Arc<Mutex<AdminState>>);

impl Scrape {
    pub(super) fn new(state: AdminState) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }
}

pub(super) async fn metrics(State(scrape): State<Scrape>) -> Response {
    let state = scrape.0.lock().await;
    let running = tokio::time::timeout(RUNNING_TIMEOUT, state.ledger.running()).await;
    // Without an answer there is no number: a series that is missing can be seen, an old one would be believed.
    refresh(&state.metrics, running.ok().and_then(Result::ok));
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.render()).into_response()
}

fn refresh(metrics: &Metrics, running: Option<Vec<(Arc<str>, u64)>>) {
    metrics.running_unknown();
    let Some(running) = running else { return };
    for endpoint in metrics.endpoints() {
        metrics.set_running(&endpoint, 0);
    }
    for (endpoint, n) in running {
        metrics.set_running(&endpoint, n);
    }
}
