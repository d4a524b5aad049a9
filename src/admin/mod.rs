//! The admin listener: health, metrics and the events API, for operators and their tools, never for the site's visitors.
//! It never asks the backend: a backend that is down must not take the proxy out of service.
//!
//! Files: `health` (liveness and [`Readiness`]), `scrape` (`/metrics`), [`events`] (the events API), `listener` (axum's view of
//! our listener), `response` (JSON responses), `state` ([`AdminState`]).

pub mod events;
mod health;
mod listener;
mod response;
mod scrape;
mod state;

use listener::AdminListener;

pub use health::Readiness;
pub use state::AdminState;

use self::response::{method_not_allowed, not_found};
use crate::socket::Listener;
use axum::Router;
use axum::routing::get;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The maximum time of the responses under way once the listener is to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the listener until `shutdown`, and then for `SHUTDOWN_TIMEOUT` at most the requests under way.
pub async fn serve(listener: Listener, state: AdminState, shutdown: CancellationToken) {
    let end = shutdown.clone();
    let serving = axum::serve(AdminListener::new(listener), router(state))
        .with_graceful_shutdown(end.cancelled_owned());
    let timed_out = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    tokio::select! {
        // Never an error: the listener retries a connection that it cannot accept.
        _ = serving.into_future() => {}
        () = timed_out => {}
    }
}

fn router(mut state: AdminState) -> Router {
    let health = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .with_state(state.readiness.clone());
    let events = state.events.take().map(|events| events::router(events, state.ledger.clone()));
    let scrape = Router::new().route("/metrics", get(scrape::metrics)).with_state(scrape::Scrape::new(state));
    health
        .merge(scrape)
        .merge(events.unwrap_or_default())
        .method_not_allowed_fallback(async || method_not_allowed())
        .fallback(async || not_found())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Health, Lease, Ledger, LedgerError,
        OperatorAction, Page, Record, RecordFilter, SettleError, Settled, Settlement, StoredRequest,
    };
    use crate::metrics::{EndpointBacklog, Metrics};
    use crate::socket::SocketFile;
    use async_trait::async_trait;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

    type Backlogs = Option<Result<Vec<Backlog>, LedgerError>>;

    /// A ledger whose health and backlog a test sets; with `backlog: None` it never answers.
    struct Scripted {
        health: Mutex<Health>,
        backlog: Mutex<Backlogs>,
    }

    #[async_trait]
    impl Ledger for Scripted {
        async fn claim(&self, _: Arrival, _: Duration) -> Result<Claim, LedgerError> {
            panic!("the admin listener claims nothing")
        }

        async fn settle(&self, _: Lease, _: Settlement) -> Result<Settled, SettleError> {
            panic!("the admin listener settles nothing")
        }

        fn health(&self) -> Health {
            self.health.lock().unwrap().clone()
        }

        async fn enqueue(
            &self,
            _: Arrival,
            _: StoredRequest,
            _: Option<Duration>,
        ) -> Result<EnqueueResult, LedgerError> {
            panic!("the admin listener enqueues nothing")
        }

        async fn claim_due(
            &self,
            _: &str,
            _: usize,
            _: Duration,
        ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
            panic!("the admin listener delivers nothing")
        }

        async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
            let backlog = self.backlog.lock().unwrap().clone();
            match backlog {
                Some(backlog) => backlog,
                None => std::future::pending().await,
            }
        }

        async fn list(&self, _: &RecordFilter, _: Option<&str>, _: usize) -> Result<Page, LedgerError> {
            Ok(Page { records: vec![], next: None })
        }

        async fn get(&self, _: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
            Ok(None)
        }

        async fn apply(&self, _: &EventKey, _: OperatorAction) -> Result<ActionResult, LedgerError> {
            Ok(ActionResult::Unknown)
        }

        async fn last_arrival(&self, _: &str) -> Result<Option<String>, LedgerError> {
            Ok(None)
        }

        async fn remember_arrival(&self, _: &str, _: &str) -> Result<(), LedgerError> {
            Ok(())
        }
    }

    struct Admin {
        ledger: Arc<Scripted>,
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
        address: std::net::SocketAddr,
        shutdown: CancellationToken,
        served: tokio::task::JoinHandle<()>,
    }

    impl Admin {
        async fn start() -> Self {
            let ledger = Arc::new(Scripted {
                health: Mutex::new(Health::Ready),
                backlog: Mutex::new(Some(Ok(Vec::new()))),
            });
            let metrics = Arc::new(Metrics::new());
            metrics.endpoint("/webhooks/stripe", 1);
            let readiness = Arc::new(Readiness::new(ledger.clone()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let state = AdminState {
                metrics: metrics.clone(),
                readiness: readiness.clone(),
                ledger: ledger.clone(),
                events: None,
            };
            let shutdown = CancellationToken::new();
            let served = tokio::spawn(serve(Listener::Tcp(listener), state, shutdown.clone()));
            Self { ledger, metrics, readiness, address, shutdown, served }
        }

        async fn ask(&self, method: &str, target: &str) -> Response {
            ask(TcpStream::connect(self.address).await.unwrap(), method, target).await
        }
    }

    struct Response {
        status: u16,
        head: String,
        body: String,
    }

    impl Response {
        fn json(&self) -> Value {
            assert!(self.head.contains("content-type: application/json\r\n"), "{}", self.head);
            serde_json::from_str(&self.body).unwrap()
        }
    }

    async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, method: &str, target: &str) -> Response {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: format!("{head}\r\n"), body: body.to_owned() }
    }

    #[tokio::test]
    async fn livez_is_200_whatever_else_is_wrong() {
        let admin = Admin::start().await;
        *admin.ledger.health.lock().unwrap() = Health::NotReady { reason: "gone".into() };
        admin.readiness.set_draining();
        let live = admin.ask("GET", "/livez").await;
        assert_eq!((live.status, live.body.as_str()), (200, r#"{"live":true}"#));
        let head = admin.ask("HEAD", "/livez").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }

    #[tokio::test]
    async fn readyz_names_each_check_with_its_reason() {
        let admin = Admin::start().await;
        let starting = admin.ask("GET", "/readyz").await;
        assert_eq!(starting.status, 503);
        let listener = json!({ "ok": false, "reason": "the listener is not open yet" });
        let wanted = json!({ "ready": false, "checks": { "listener": listener, "ledger": { "ok": true } } });
        assert_eq!(starting.json(), wanted);

        admin.readiness.set_listening();
        let ready = admin.ask("GET", "/readyz").await;
        assert_eq!(ready.status, 200);
        let checks = json!({ "listener": { "ok": true }, "ledger": { "ok": true } });
        assert_eq!(ready.json(), json!({ "ready": true, "checks": checks }));

        *admin.ledger.health.lock().unwrap() = Health::NotReady { reason: "disk full".into() };
        let outage = admin.ask("GET", "/readyz").await;
        assert_eq!(outage.status, 503);
        let ledger = json!({ "ok": false, "reason": "disk full" });
        let wanted = json!({ "ready": false, "checks": { "listener": { "ok": true }, "ledger": ledger } });
        assert_eq!(outage.json(), wanted);
        assert_eq!(admin.ask("HEAD", "/readyz").await.status, 503);

        *admin.ledger.health.lock().unwrap() = Health::Ready;
        assert_eq!(admin.ask("GET", "/readyz").await.status, 200);
        admin.readiness.set_draining();
        let draining = admin.ask("GET", "/readyz").await;
        assert_eq!(draining.status, 503);
        assert_eq!(draining.json()["checks"]["draining"]["ok"], json!(false));
    }

    #[tokio::test]
    async fn metrics_are_in_the_text_format() {
        let admin = Admin::start().await;
        let response = admin.ask("GET", "/metrics").await;
        assert_eq!(response.status, 200);
        assert!(response.head.contains("content-type: text/plain; version=0.0.4\r\n"), "{}", response.head);
        assert!(response.body.contains("countersign_build_info{version="), "{}", response.body);
    }

    #[tokio::test]
    async fn metrics_show_the_ledgers_backlog_of_this_moment() {
        let admin = Admin::start().await;
        let series = |endpoint: &str, state: &str, n: u64| {
            format!("countersign_events{{endpoint=\"{endpoint}\",state=\"{state}\"}} {n}\n")
        };
        let oldest = |state: &str, age: &str| {
            format!("countersign_oldest_{state}_seconds{{endpoint=\"/webhooks/stripe\"}} {age}\n")
        };
        let body = admin.ask("GET", "/metrics").await.body;
        assert!(body.contains(&series("/webhooks/stripe", "running", 0)), "{body}");
        assert!(body.contains(&oldest("pending", "0")) && body.contains(&oldest("running", "0")), "{body}");

        // An endpoint that left the configuration can still have events.
        let backlog = |endpoint: &str, running, pending, dead| Backlog {
            endpoint: endpoint.into(),
            running,
            pending,
            dead,
            queued: pending,
            last_polled_ago: None,
            oldest_running: (running > 0).then_some(Duration::from_millis(1500)),
            oldest_pending: (pending > 0).then_some(Duration::from_millis(2500)),
        };
        let backlogs = vec![backlog("/webhooks/stripe", 2, 7, 1), backlog("gone", 1, 0, 0)];
        *admin.ledger.backlog.lock().unwrap() = Some(Ok(backlogs));
        let body = admin.ask("GET", "/metrics").await.body;
        for (state, n) in [("running", 2), ("pending", 7), ("dead", 1)] {
            assert!(body.contains(&series("/webhooks/stripe", state, n)), "{body}");
        }
        assert!(
            body.contains(&oldest("pending", "2.5"))
                && body.contains(&oldest("running", "1.5"))
                && body.contains(&series("gone", "running", 1)),
            "{body}"
        );

        *admin.ledger.backlog.lock().unwrap() = Some(Ok(Vec::new()));
        let body = admin.ask("GET", "/metrics").await.body;
        assert!(
            body.contains(&series("/webhooks/stripe", "pending", 0))
                && body.contains(&oldest("pending", "0")),
            "{body}"
        );
        assert!(!body.contains("gone"), "{body}");
    }

    #[tokio::test]
    async fn a_ledger_that_fails_or_hangs_omits_only_the_backlog() {
        let admin = Admin::start().await;
        for backlog in [Some(Err(LedgerError::new("gone"))), None] {
            admin.metrics.set_backlog(
                "/webhooks/stripe",
                EndpointBacklog { running: 7, ..EndpointBacklog::default() },
            );
            *admin.ledger.backlog.lock().unwrap() = backlog;
            let response = admin.ask("GET", "/metrics").await;
            assert_eq!(response.status, 200);
            assert!(!response.body.contains("countersign_events"), "{}", response.body);
            assert!(!response.body.contains("countersign_oldest"), "{}", response.body);
            assert!(response.body.contains("countersign_inflight 0\n"), "{}", response.body);
        }
    }

    #[tokio::test]
    async fn unknown_paths_get_404_and_unknown_methods_405() {
        let admin = Admin::start().await;
        for target in ["/", "/metrics/", "/readyz/x", "/favicon.ico"] {
            let response = admin.ask("GET", target).await;
            assert_eq!(response.status, 404, "{target}");
            assert_eq!(response.json()["error"]["code"], "not_found", "{target}");
        }
        for target in ["/livez", "/readyz", "/metrics"] {
            let response = admin.ask("POST", target).await;
            assert_eq!(response.status, 405, "{target}");
            assert!(response.head.contains("allow: GET,HEAD\r\n"), "{}", response.head);
            assert_eq!(response.json()["error"]["code"], "method_not_allowed", "{target}");
        }
    }

    #[tokio::test]
    async fn the_admin_listener_can_be_a_unix_socket() {
        let admin = Admin::start().await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let state = AdminState {
            metrics: admin.metrics.clone(),
            readiness: admin.readiness.clone(),
            ledger: admin.ledger.clone(),
            events: None,
        };
        let listener = Listener::Unix(SocketFile(path.clone()), UnixListener::bind(&path).unwrap());
        let served = tokio::spawn(serve(listener, state, admin.shutdown.clone()));
        let response = ask(UnixStream::connect(&path).await.unwrap(), "GET", "/livez").await;
        assert_eq!(response.status, 200);
        admin.shutdown.cancel();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn an_unfinished_request_cannot_delay_the_shutdown() {
        let admin = Admin::start().await;
        let mut slow = TcpStream::connect(admin.address).await.unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
        // A later connection with a response proves that the slow one was accepted.
        assert_eq!(admin.ask("GET", "/livez").await.status, 200);
        admin.shutdown.cancel();
        tokio::time::timeout(SHUTDOWN_TIMEOUT * 10, admin.served).await.unwrap().unwrap();
        assert!(TcpStream::connect(admin.address).await.is_err());
    }
}
