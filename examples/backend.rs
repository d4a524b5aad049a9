//! A legacy app, as one stands behind Caddy today: it grants and revokes access when Stripe says so, believes every
//! webhook it gets, and has never heard of signatures. It keeps all it knows in memory.
//!
//! `LISTEN=127.0.0.1:8081 cargo run --example backend` (that address is the default; port 0 takes a free one).

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

/// What the app knows: who may read the posts, and every event it was told, oldest first.
#[derive(Default)]
struct Shop {
    members: BTreeSet<String>,
    told: Vec<Told>,
}

/// One webhook, and what the app did about it.
struct Told {
    id: String,
    kind: String,
    /// The id of the object that it is about.
    about: String,
    did: String,
}

type Shared = Arc<Mutex<Shop>>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a sample on its own, not the program")]
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8081".to_owned());
    let app = Router::new()
        .route("/webhooks/stripe", post(webhook))
        .route("/api/told", get(told_json))
        .route("/api/access", get(access))
        .route("/posts/told", get(told_page))
        .route("/posts/{slug}", get(article))
        .with_state(Shared::default());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("backend: listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

/// `POST /webhooks/stripe`: applies the two events that concern the app and acknowledges all others.
async fn webhook(State(shop): State<Shared>, body: Bytes) -> impl IntoResponse {
    let Ok(event) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON\n");
    };
    let [id, kind] = ["id", "type"].map(|key| event[key].as_str().unwrap_or("?").to_owned());
    let object = &event["data"]["object"];
    let customer = customer(object);
    let about = object["id"].as_str().unwrap_or("?").to_owned();
    let mut shop = lock(&shop);
    let did = match kind.as_str() {
        "checkout.session.completed" => {
            shop.members.insert(customer.clone());
            format!("access granted to {customer}")
        }
        "customer.subscription.deleted" => {
            shop.members.remove(&customer);
            format!("access revoked from {customer}")
        }
        _ => "acknowledged".to_owned(),
    };
    println!("backend: told {kind} {id}: {did}");
    shop.told.push(Told { id, kind, about, did });
    (StatusCode::OK, "ok\n")
}

/// Whom an object is about: its customer, else the e-mail address given at the checkout.
fn customer(object: &Value) -> String {
    [&object["customer"], &object["customer_details"]["email"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or("somebody")
        .to_owned()
}

/// `GET /api/access`: who may read the posts.
async fn access(State(shop): State<Shared>) -> impl IntoResponse {
    json_answer(json!({ "members": lock(&shop).members }))
}

/// `GET /api/told`: every event the app was told, oldest first.
async fn told_json(State(shop): State<Shared>) -> impl IntoResponse {
    let shop = lock(&shop);
    let told =
        shop.told.iter().map(|t| json!({ "id": t.id, "type": t.kind, "about": t.about, "did": t.did }));
    json_answer(told.collect())
}

/// `GET /posts/told`: the same as a page that keeps itself fresh.
async fn told_page(State(shop): State<Shared>) -> impl IntoResponse {
    let rows: String = lock(&shop)
        .told
        .iter()
        .rev()
        .map(|t| format!("<tr><td>{}<td>{}<td>{}\n", escape(&t.kind), escape(&t.did), escape(&t.id)))
        .collect();
    Html(format!(
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2><title>What the backend was told</title>\n\
         <style>body{{font:1em system-ui;margin:2em}}td,th{{padding:.2em 1em .2em 0;text-align:left}}</style>\n\
         <h1>What the backend was told</h1>\n<table><tr><th>event<th>done<th>id\n{rows}</table>\n"
    ))
}

/// `GET /posts/{slug}`: an article, to show that such pages come from the backend.
async fn article(Path(slug): Path<String>) -> impl IntoResponse {
    Html(format!("<!doctype html><meta charset=utf-8><title>{0}</title>\n<h1>{0}</h1>\n", escape(&slug)))
}

fn json_answer(value: Value) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], format!("{value}\n"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A poisoned lock is no reason to stop: no update here can be left half done.
fn lock(shop: &Shared) -> MutexGuard<'_, Shop> {
    shop.lock().unwrap_or_else(PoisonError::into_inner)
}
