//! Liveness and readiness. The program is ready if the listener is open, the ledger takes claims and no shutdown was
//! requested. The backend's state never counts.

use super::response::json;
use crate::ledger::{Health, Ledger};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state behind `/readyz`. A check costs two atomic loads and the ledger's own, cheap health check.
pub struct Readiness {
    ledger: Arc<dyn Ledger>,
    listening: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// Builds the state of a program that does not listen yet.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, listening: AtomicBool::new(false), draining: AtomicBool::new(false) }
    }

    /// Notes that the proxy listener is open.
    pub fn set_listening(&self) {
        self.listening.store(true, Ordering::Release);
    }

    /// Notes that the program shuts down. It is never ready again.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    fn report(&self) -> Report {
        let ledger = match self.ledger.health() {
            Health::Ready => Check::ok(),
            Health::NotReady { reason } => Check::failed(&reason),
        };
        let listening = self.listening.load(Ordering::Acquire);
        let draining = self.draining.load(Ordering::Acquire);
        let checks = Checks {
            listener: if listening { Check::ok() } else { Check::failed("the listener is not open yet") },
            ledger,
            draining: draining.then(|| Check::failed("the program is shutting down")),
        };
        Report { ready: checks.listener.ok && checks.ledger.ok && !draining, checks }
    }
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Report {
    ready: bool,
    checks: Checks,
}

#[derive(Serialize)]
struct Checks {
    listener: Check,
    ledger: Check,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<Check>,
}

#[derive(Serialize)]
struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    fn ok() -> Self {
        Self { ok: true, reason: None }
    }

    fn failed(reason: &str) -> Self {
        Self { ok: false, reason: Some(reason.to_owned()) }
    }
}

pub(super) async fn live() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "live": true }))
}

pub(super) async fn ready(State(readiness): State<Arc<Readiness>>) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &report)
}
