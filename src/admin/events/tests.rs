//! Tests of the events API over a scripted ledger.

use super::*;
use crate::admin::{AdminState, Readiness, router as admin_router};
use crate::backend::{Backend, Resolver};
use crate::config::{BackendConfig, BackendUrl, Livemode, OnOutage, WebhookConfig};
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::wakeup::Wakeup;
use crate::delivery_mode::DeliveryMode;
use crate::endpoint::{Endpoint, InlineLimit};
use crate::ledger::{
    ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Health, Lease, LedgerError,
    OperatorAction, Page, Record, RecordFilter, SettleError, Settled, Settlement, State as At, StoredRequest,
};
use crate::metrics::Metrics;
use crate::use_count::UseCount;
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http;
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower_service::Service;

const TOKEN: &str = "a-token-of-the-tests";
const SHOP: &str = "/webhooks/stripe";

/// A ledger with these records, in this order. It notes the actions and the enqueued events.
#[derive(Default)]
struct Scripted {
    records: Mutex<Vec<(Record, Option<StoredRequest>)>>,
    acted: Mutex<Vec<(String, OperatorAction)>>,
    running: Mutex<bool>,
    down: Mutex<bool>,
    enqueued: Mutex<Vec<(Arrival, StoredRequest)>>,
}

impl Scripted {
    fn up(&self) -> Result<(), LedgerError> {
        if *self.down.lock().unwrap() { Err(LedgerError::new("disk full")) } else { Ok(()) }
    }
}

#[async_trait]
impl Ledger for Scripted {
    async fn claim(&self, _: Arrival, _: Duration) -> Result<Claim, LedgerError> {
        panic!("the events API claims nothing")
    }

    async fn settle(&self, _: Lease, _: Settlement) -> Result<Settled, SettleError> {
        panic!("the events API settles nothing")
    }

    fn health(&self) -> Health {
        match self.up() {
            Ok(()) => Health::Ready,
            Err(error) => Health::NotReady { reason: error.to_string().into() },
        }
    }

    async fn enqueue(
        &self,
        arrival: Arrival,
        stored: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        self.up()?;
        assert_eq!(lease, None);
        if *self.running.lock().unwrap() {
            return Ok(EnqueueResult::InFlight { retry_after: Duration::from_millis(1500) });
        }
        let mut enqueued = self.enqueued.lock().unwrap();
        if enqueued.iter().any(|(known, _)| known.key == arrival.key) {
            return Ok(EnqueueResult::Duplicate);
        }
        enqueued.push((arrival, stored));
        Ok(EnqueueResult::Queued)
    }

    async fn claim_due(
        &self,
        _: &str,
        _: usize,
        _: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        panic!("the events API delivers nothing")
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        Ok(vec![])
    }

    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, LedgerError> {
        self.up()?;
        let from: usize = match after {
            None => 0,
            Some(place) => {
                place.parse().map_err(|_| LedgerError::new("there is no page that begins there"))?
            }
        };
        let all = self.records.lock().unwrap();
        let records: Vec<Record> =
            all.iter().map(|(record, _)| record.clone()).skip(from).take(limit).collect();
        let next = (from + records.len() < all.len()).then(|| (from + records.len()).to_string());
        Ok(Page { records: records.into_iter().filter(|record| filter.matches(record)).collect(), next })
    }

    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
        self.up()?;
        Ok(self.records.lock().unwrap().iter().find(|(record, _)| record.key == *key).cloned())
    }

    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
        self.up()?;
        let Some((_, stored)) = self.get(key).await? else { return Ok(ActionResult::Unknown) };
        if *self.running.lock().unwrap() {
            return Ok(ActionResult::Running);
        }
        if stored.is_none() && action == OperatorAction::Redeliver {
            return Ok(ActionResult::PayloadGone);
        }
        self.acted.lock().unwrap().push((key.to_string(), action));
        Ok(ActionResult::Done)
    }

    async fn last_arrival(&self, _: &str) -> Result<Option<String>, LedgerError> {
        Ok(None)
    }

    async fn remember_arrival(&self, _: &str, _: &str) -> Result<(), LedgerError> {
        Ok(())
    }
}

fn record(id: &str, query: &str, event_type: &str, state: At) -> (Record, Option<StoredRequest>) {
    let stored = matches!(state, At::Pending | At::Dead).then(|| StoredRequest {
        mode: DeliveryMode::Queued,
        head: "POST /hush HTTP/1.1\r\n".into(),
        signature: "t=1,v1=hush".into(),
        body: "{\"hush\": 1}".into(),
    });
    let record = Record {
        key: EventKey { endpoint: SHOP.into(), segments: "".into(), query: query.into(), id: id.into() },
        event_type: event_type.into(),
        created: Some(1_767_323_045),
        livemode: Some(false),
        account: None,
        state,
        attempts: 1,
        status: None,
        seen: 1_767_323_046_000,
        due: None,
        settled: None,
    };
    (record, stored)
}

struct Api {
    ledger: Arc<Scripted>,
    router: Router,
    rescan: Arc<Notify>,
}

impl Api {
    fn new(records: Vec<(Record, Option<StoredRequest>)>) -> Self {
        let ledger = Arc::new(Scripted { records: Mutex::new(records), ..Scripted::default() });
        let webhook = WebhookConfig {
            locations: vec![SHOP.into()],
            allowed_queries: vec!["*".to_owned()],
            url: None,
            name: SHOP.into(),
            secrets: vec![SecretString::from("whsec_1"), SecretString::from("whsec_2")],
            delivery_secrets: vec![],
            tolerance: Duration::from_secs(300),
            max_body: 200,
            body_timeout: Duration::from_secs(1),
            enforce: true,
            types: vec!["invoice.*".into()],
            livemode: Livemode::Any,
            accounts: vec!["*".into()],
            delivery: DeliveryMode::Inline,
            deadline: Duration::from_secs(8),
            retry: vec![],
            jitter: 0.0,
            max_concurrent: 8,
            max_inline: 0,
            rules: vec![],
        };
        let metrics = Arc::new(Metrics::new());
        let endpoint =
            Arc::new(Endpoint::new(&webhook, InlineLimit::new(0, 1, 1, UseCount::default()), &metrics));
        let endpoints = Arc::new(move || vec![endpoint.clone()]);
        let wakeup = Wakeup::default();
        let intake = Arc::new(intake(ledger.clone(), &metrics, wakeup.clone()));
        let rescan = wakeup.rescan;
        let token = Arc::new(ArcSwapOption::from_pointee(Token::new(TOKEN)));
        let events = Some(EventsApi { token, intake, endpoints, rescan: rescan.clone() });
        let readiness = Arc::new(Readiness::new(ledger.clone()));
        let router = admin_router(AdminState { metrics, readiness, ledger: ledger.clone(), events });
        Self { ledger, router, rescan }
    }

    async fn send(&self, request: http::Request<Body>) -> (u16, http::HeaderMap, Bytes) {
        let mut router = self.router.clone();
        let answer = router.as_service().call(request).await.unwrap();
        let (head, body) = answer.into_parts();
        (head.status.as_u16(), head.headers, to_bytes(body, usize::MAX).await.unwrap())
    }

    async fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(target)
            .header("Authorization", format!("Bearer {TOKEN}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let (status, _, body) = self.send(request).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Returns whether the worker was notified since the last call.
    async fn notified(&self) -> bool {
        timeout(Duration::ZERO, self.rescan.notified()).await.is_ok()
    }

    /// Returns the status and the `error.code` of a response.
    async fn error(&self, method: &str, target: &str) -> (u16, String) {
        let (status, response) = self.ask(method, target, "").await;
        (status, response["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// Returns an intake whose backend is never asked.
fn intake(ledger: Arc<Scripted>, metrics: &Arc<Metrics>, wakeup: Wakeup) -> Intake {
    let urls = vec![BackendUrl::Unix("/nowhere".into())];
    let second = Duration::from_secs(1);
    let config = BackendConfig {
        urls: urls.clone(),
        ca: None,
        connect_timeout: second,
        connect_retry: Duration::ZERO,
        response_timeout: second,
        idle_timeout: second,
    };
    let backend = Backend::new(&config, Resolver::new(&urls), 1, Duration::from_secs(30)).unwrap();
    let dispatcher = Dispatcher::new(backend, ledger.clone(), metrics.clone(), TaskTracker::new());
    Intake::new(ledger, Arc::new(dispatcher), OnOutage::Refuse, wakeup, TaskTracker::new())
}

fn records() -> Vec<(Record, Option<StoredRequest>)> {
    vec![
        record("evt_1", "", "invoice.paid", At::Dead),
        record("evt_2", "", "charge.refunded", At::Dead),
        record("evt_3", "", "invoice.paid", At::Delivered),
        record("evt_4", "", "invoice.paid", At::Pending),
        record("evt_4", "version=2", "invoice.paid", At::Pending),
    ]
}

fn key(id: &str, query: &str) -> String {
    format!("{id}%3F{query}%20%2Fwebhooks%2Fstripe")
}

#[tokio::test]
async fn without_the_token_every_request_gets_401() {
    let api = Api::new(records());
    for given in [None, Some("Bearer wrong"), Some("Bearer"), Some("Basic a-token-of-the-tests"), Some(TOKEN)]
    {
        for (method, target) in [
            ("GET", "/api/events"),
            ("POST", "/api/events?endpoint=/webhooks/stripe"),
            ("POST", "/api/events/redeliver"),
            ("GET", "/api/events/evt_1"),
            ("DELETE", "/api/events/evt_1"),
            ("GET", "/api/events/evt_1/payload"),
            ("POST", "/api/events/evt_1/redeliver"),
        ] {
            let mut request = http::Request::builder().method(method).uri(target);
            if let Some(given) = given {
                request = request.header("Authorization", given);
            }
            let (status, headers, body) = api.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(status, 401, "{method} {target} {given:?}");
            assert_eq!(headers["www-authenticate"], "Bearer");
            let response: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(response["error"]["code"], "unauthorized");
        }
    }
    let twice = http::Request::get("/api/events").header("Authorization", format!("Bearer {TOKEN}"));
    let twice = twice.header("Authorization", format!("Bearer {TOKEN}")).body(Body::empty()).unwrap();
    assert_eq!(api.send(twice).await.0, 401);
    assert!(api.ledger.acted.lock().unwrap().is_empty() && api.ledger.enqueued.lock().unwrap().is_empty());
}

#[tokio::test]
async fn pages_link_to_the_next_and_hold_neither_payload_nor_signature() {
    let api = Api::new(records());
    let (mut after, mut seen) = (String::new(), vec![]);
    loop {
        let (status, page) = api.ask("GET", &format!("/api/events?limit=2&after={after}"), "").await;
        assert_eq!(status, 200);
        assert!(!page.to_string().contains("hush"), "{page}");
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["key"].clone()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[4], "evt_4?version=2 /webhooks/stripe");
    let (_, dead) =
        api.ask("GET", "/api/events?state=dead&type=invoice.*&endpoint=%2Fwebhooks%2Fstripe", "").await;
    assert_eq!(dead["events"].as_array().unwrap().len(), 1);
    assert_eq!(dead["events"][0]["id"], "evt_1");
}

#[tokio::test]
async fn an_event_is_found_by_its_key_or_by_a_unique_id() {
    let api = Api::new(records());
    for named in ["evt_1", &key("evt_1", "")] {
        let (status, shown) = api.ask("GET", &format!("/api/events/{named}"), "").await;
        assert_eq!((status, &shown["id"], &shown["payload"]["bytes"]), (200, &json!("evt_1"), &json!(11)));
    }
    let (status, shown) = api.ask("GET", &format!("/api/events/{}", key("evt_4", "version%3D2")), "").await;
    assert_eq!((status, &shown["query"]), (200, &json!("version=2")));
    let (status, response) = api.ask("GET", "/api/events/evt_4", "").await;
    assert_eq!((status, &response["error"]["code"]), (409, &json!("event_ambiguous")));
    assert!(
        response["error"]["message"].as_str().unwrap().contains("evt_4?version=2 /webhooks/stripe"),
        "{response}"
    );
    for unknown in ["evt_9", "evt%209", "%FF", "evt_1%3F%20other", "evt_1%3F"] {
        assert_eq!(api.error("GET", &format!("/api/events/{unknown}")).await, (404, "event_unknown".into()));
    }
}

#[tokio::test]
async fn a_stored_payload_is_returned_byte_for_byte_until_delivered() {
    let api = Api::new(records());
    let request =
        http::Request::get("/api/events/evt_1/payload").header("Authorization", format!("bearer {TOKEN}"));
    let (status, headers, body) = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((status, &body[..]), (200, &b"{\"hush\": 1}"[..]));
    assert_eq!(
        (&headers["content-type"], &headers["cache-control"]),
        (&"application/json".parse().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(api.error("GET", "/api/events/evt_3/payload").await, (410, "payload_gone".into()));
}

#[tokio::test]
async fn one_event_is_redelivered_or_deleted_unless_in_flight() {
    let api = Api::new(records());
    let (status, response) = api.ask("POST", "/api/events/evt_1/redeliver", "").await;
    assert_eq!((status, response), (202, json!({ "redelivering": "evt_1? /webhooks/stripe" })));
    assert!(api.notified().await);
    assert_eq!(api.ask("DELETE", &format!("/api/events/{}", key("evt_4", "")), "").await.0, 204);
    let expected = [
        ("evt_1? /webhooks/stripe".to_owned(), OperatorAction::Redeliver),
        ("evt_4? /webhooks/stripe".to_owned(), OperatorAction::Delete),
    ];
    assert_eq!(*api.ledger.acted.lock().unwrap(), expected);

    let gone = api.error("POST", "/api/events/evt_3/redeliver").await;
    assert_eq!(gone, (409, "payload_gone".into()));
    for (method, target) in [("POST", "/api/events/evt_9/redeliver"), ("DELETE", "/api/events/evt_9")] {
        assert_eq!(api.error(method, target).await, (404, "event_unknown".into()), "{method} {target}");
    }
    *api.ledger.running.lock().unwrap() = true;
    for (method, target) in [("POST", "/api/events/evt_1/redeliver"), ("DELETE", "/api/events/evt_1")] {
        assert_eq!(api.error(method, target).await, (409, "in_flight".into()), "{method} {target}");
    }
}

#[tokio::test]
async fn matching_events_are_redelivered_by_pages_and_a_dry_run_only_counts() {
    let many: Vec<_> =
        (100..250).map(|n| record(&format!("evt_{n}"), "", "invoice.paid", At::Dead)).collect();
    let api = Api::new([records(), many].concat());
    let (status, dry) = api.ask("POST", "/api/events/redeliver?type=charge.*&dry_run=true", "").await;
    assert_eq!((status, &dry["matched"], &dry["redelivered"]), (200, &json!(1), &json!(0)));
    assert!(api.ledger.acted.lock().unwrap().is_empty() && !api.notified().await);

    let (mut after, mut redelivered) = (String::new(), 0);
    loop {
        let target = format!("/api/events/redeliver?type=invoice.paid&after={after}");
        let (status, response) = api.ask("POST", &target, "").await;
        assert_eq!(
            (status, &response["payload_gone"], &response["in_flight"]),
            (200, &json!(0), &json!(0)),
            "{response}"
        );
        redelivered += response["redelivered"].as_u64().unwrap();
        match response["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(redelivered, 151);
    assert!(api.notified().await);
    assert_eq!(api.ledger.acted.lock().unwrap().len(), 151);
    let (_, pending) = api.ask("POST", "/api/events/redeliver?state=pending", "").await;
    assert_eq!(pending["redelivered"], 2);
    for state in ["delivered", "failed", "running"] {
        let refused = api.error("POST", &format!("/api/events/redeliver?state={state}")).await;
        assert_eq!(refused, (400, "query_invalid".into()));
    }
}

#[tokio::test]
async fn an_imported_event_is_signed_and_stored_like_a_received_one() {
    let api = Api::new(vec![]);
    let event = r#"{"id": "evt_7", "object": "event", "type": "invoice.paid", "created": 1767323045, "livemode": true}"#;
    let target = "/api/events?endpoint=%2Fwebhooks%2Fstripe&query=version%3D2";
    let (status, response) = api.ask("POST", target, event).await;
    let expected = json!({ "key": "evt_7?version=2 /webhooks/stripe", "received": true, "queued": true });
    assert_eq!((status, response), (202, expected));
    assert!(api.notified().await);
    let (status, response) = api.ask("POST", target, event).await;
    assert_eq!((status, &response["duplicate"]), (200, &json!(true)));
    assert!(!api.notified().await);
    let (arrival, stored) = api.ledger.enqueued.lock().unwrap()[0].clone();
    assert_eq!(
        (&*arrival.event_type, arrival.created, arrival.livemode),
        ("invoice.paid", Some(1_767_323_045), Some(true))
    );
    // The rest of the head is built at delivery, by the configuration then in force.
    assert!(stored.head.starts_with(b"POST /webhooks/stripe?version=2 HTTP/1.1\r\nX-Request-Id: "));
    assert!(stored.head.ends_with(b"\r\nStripe-Signature: \r\n"));
    assert_eq!((stored.mode, &stored.body[..]), (DeliveryMode::Queued, event.as_bytes()));
    let signature = String::from_utf8(stored.signature.to_vec()).unwrap();
    assert_eq!(signature.matches("v1=").count(), 2, "one of each secret");

    let other = event.replace("invoice.paid", "charge.refunded");
    let (status, response) = api.ask("POST", target, &other).await;
    assert_eq!((status, &response["ignored"]), (200, &json!(true)));
    *api.ledger.running.lock().unwrap() = true;
    assert_eq!(api.ask("POST", target, &event.replace("evt_7", "evt_8")).await.0, 409);
    assert_eq!(api.ledger.enqueued.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_import_that_is_refused_names_the_reason() {
    let api = Api::new(vec![]);
    let shop = "/api/events?endpoint=%2Fwebhooks%2Fstripe";
    let long = format!("{{\"id\": \"{}\"}}", "x".repeat(300));
    for (target, body, status, code) in [
        ("/api/events", "{}", 404, "endpoint_unknown"),
        ("/api/events?endpoint=other", "{}", 404, "endpoint_unknown"),
        (shop, "{}", 400, "payload_invalid"),
        (shop, "", 400, "payload_invalid"),
        (shop, &long, 413, "body_too_large"),
        (&format!("{shop}&query=a%20b"), "{}", 400, "query_invalid"),
        (&format!("{shop}&state=dead"), "{}", 400, "query_invalid"),
    ] {
        let (got, response) = api.ask("POST", target, body).await;
        assert_eq!((got, &response["error"]["code"]), (status, &json!(code)), "{target} {response}");
    }
}

#[tokio::test]
async fn an_unavailable_ledger_gets_503_and_an_invalid_page_400() {
    let api = Api::new(records());
    assert_eq!(api.error("GET", "/api/events?after=nowhere").await, (400, "after_invalid".into()));
    assert_eq!(api.error("GET", "/api/events?stat=dead").await, (400, "query_invalid".into()));
    *api.ledger.down.lock().unwrap() = true;
    for (method, target) in [
        ("GET", "/api/events"),
        ("GET", "/api/events?after=2"),
        ("GET", "/api/events/evt_1"),
        ("POST", "/api/events/redeliver"),
        ("DELETE", &format!("/api/events/{}", key("evt_1", ""))),
    ] {
        assert_eq!(api.error(method, target).await, (503, "ledger_unavailable".into()), "{method} {target}");
    }
}

#[tokio::test]
async fn unknown_methods_get_405_and_unknown_paths_404() {
    let api = Api::new(vec![]);
    assert_eq!(api.error("PUT", "/api/events").await, (405, "method_not_allowed".into()));
    assert_eq!(api.error("GET", "/api/other").await, (404, "not_found".into()));
}
