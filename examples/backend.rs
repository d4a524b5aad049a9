//! A sample backend, like one that stands behind Caddy today: it grants and revokes access when a webhook says so. It trusts
//! every webhook, because it does not check signatures. It keeps its state in memory.
//!
//! `LISTEN=127.0.0.1:8081 cargo run --example backend` (this address is the default; port 0 takes a free port).

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state of the backend.
#[derive(Default)]
struct Site {
    /// The customers who may read the posts.
    members: BTreeSet<String>,
    /// Every event that was received, oldest first.
    events: Vec<ReceivedEvent>,
}

/// An event that a webhook delivered, and what the backend did about it.
struct ReceivedEvent {
    id: String,
    event_type: String,
    /// The id of the object that the event is about.
    object_id: String,
    /// What the backend did: "access granted to …".
    action: String,
}

type SharedSite = Arc<Mutex<Site>>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "an example of its own, not the program")]
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8081".to_owned());
    let router = Router::new()
        .route("/webhooks/stripe", post(webhook))
        .route("/api/events", get(events_json))
        .route("/api/access", get(access))
        .route("/posts/events", get(events_page))
        .route("/posts/{slug}", get(post_page))
        .with_state(SharedSite::default());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("backend: listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await
}

/// Handles `POST /webhooks/stripe`: acts on two types of events and acknowledges all others.
async fn webhook(State(site): State<SharedSite>, body: Bytes) -> impl IntoResponse {
    let Ok(event) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON\n");
    };
    let [id, event_type] = ["id", "type"].map(|key| event[key].as_str().unwrap_or("?").to_owned());
    let object = &event["data"]["object"];
    let customer = customer(object);
    let object_id = object["id"].as_str().unwrap_or("?").to_owned();
    let mut site = lock(&site);
    let action = match event_type.as_str() {
        "checkout.session.completed" => {
            site.members.insert(customer.clone());
            format!("access granted to {customer}")
        }
        "customer.subscription.deleted" => {
            site.members.remove(&customer);
            format!("access revoked from {customer}")
        }
        _ => "acknowledged".to_owned(),
    };
    println!("backend: received {event_type} {id}: {action}");
    site.events.push(ReceivedEvent { id, event_type, object_id, action });
    (StatusCode::OK, "ok\n")
}

/// Returns the customer of an object, or the e-mail address that the buyer gave at the checkout.
fn customer(object: &Value) -> String {
    [&object["customer"], &object["customer_details"]["email"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or("somebody")
        .to_owned()
}

/// Handles `GET /api/access`: who may read the posts.
async fn access(State(site): State<SharedSite>) -> impl IntoResponse {
    json_response(json!({ "members": lock(&site).members }))
}

/// Handles `GET /api/events`: every event that was received, oldest first, as JSON.
async fn events_json(State(site): State<SharedSite>) -> impl IntoResponse {
    let site = lock(&site);
    let events = site.events.iter().map(|event| {
        json!({
            "id": event.id,
            "type": event.event_type,
            "object_id": event.object_id,
            "action": event.action,
        })
    });
    json_response(events.collect())
}

/// Handles `GET /posts/events`: every event that was received, newest first, as a page that reloads itself.
async fn events_page(State(site): State<SharedSite>) -> impl IntoResponse {
    let rows: String = lock(&site)
        .events
        .iter()
        .rev()
        .map(|event| {
            let [event_type, action, id] = [&event.event_type, &event.action, &event.id].map(|t| escape(t));
            format!("<tr><td>{event_type}<td>{action}<td>{id}\n")
        })
        .collect();
    Html(format!(
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2><title>Events at the backend</title>\n\
         <style>body{{font:1em system-ui;margin:2em}}td,th{{padding:.2em 1em .2em 0;text-align:left}}</style>\n\
         <h1>Events at the backend</h1>\n<table><tr><th>event<th>action<th>id\n{rows}</table>\n"
    ))
}

/// Handles `GET /posts/{slug}`: a post, to show that the backend serves such pages.
async fn post_page(Path(slug): Path<String>) -> impl IntoResponse {
    Html(format!("<!doctype html><meta charset=utf-8><title>{0}</title>\n<h1>{0}</h1>\n", escape(&slug)))
}

fn json_response(value: Value) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], format!("{value}\n"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Locks the state, poisoned or not: no update here can be left half done.
fn lock(site: &SharedSite) -> MutexGuard<'_, Site> {
    site.lock().unwrap_or_else(PoisonError::into_inner)
}
