//! The protocol of `stripe listen`: the call that opens a session, and the WebSocket that carries events to it and the
//! app's responses back. The command line only forwards: this module signs.

use super::auth::DEFAULT_VERSION;
use super::lock::lock;
use super::signature::sign;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{broadcast, oneshot, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The subprotocol of the command line's WebSocket.
const PROTOCOL: &str = "stripecli-devproxy-v1";

/// What the app answered to an event that `stripe listen` forwarded.
#[derive(Debug)]
pub struct Forwarded {
    /// The status code, or 0 if no response came.
    pub status: u64,
    /// The body, or a note that no response came.
    pub body: String,
}

/// Forwarded events that wait for the app's response, by conversation id.
type PendingResponses = Mutex<HashMap<String, oneshot::Sender<Forwarded>>>;

/// Every `stripe listen` that is connected.
#[derive(Debug)]
pub struct Listeners {
    /// The signing secret that each session receives.
    secret: String,
    /// Messages for every connected command line.
    messages: broadcast::Sender<String>,
    /// The number of command lines that are connected.
    connected: watch::Sender<usize>,
    /// The number of conversations so far.
    conversations: AtomicUsize,
    pending: Arc<PendingResponses>,
}

impl Listeners {
    /// Creates the list of listeners, empty, with the signing secret that each session receives.
    pub fn new(secret: String) -> Self {
        Self {
            secret,
            messages: broadcast::Sender::new(64),
            connected: watch::Sender::new(0),
            conversations: AtomicUsize::new(0),
            pending: Arc::default(),
        }
    }

    /// Handles `POST /v1/stripecli/sessions` for a fake that listens on `address`.
    pub fn session(&self, address: &str) -> Value {
        json!({
            "websocket_url": format!("ws://{address}/subscribe"),
            "websocket_id": "wsid_fake",
            "websocket_authorized_feature": "webhooks",
            "reconnect_delay": 60,
            "secret": self.secret,
            "default_version": DEFAULT_VERSION,
            "latest_version": DEFAULT_VERSION,
        })
    }

    /// Signs an event and sends it to every listener. `now` is in Unix seconds.
    pub fn broadcast(&self, payload: &[u8], now: u64) {
        let (message, _) = self.message(payload, &sign(&self.secret, now, payload));
        // Sending fails when nobody listens, which is not an error.
        let _ = self.messages.send(message.to_string());
    }

    /// Sends an event as soon as a listener is connected, and waits for the app's response.
    pub async fn forward(&self, payload: &[u8], signature: &str) -> Forwarded {
        // Waiting cannot fail, because `self` owns the sender.
        let _ = self.connected.subscribe().wait_for(|connected| *connected > 0).await;
        let (message, conversation) = self.message(payload, signature);
        let (response_tx, response_rx) = oneshot::channel();
        lock(&self.pending).insert(conversation, response_tx);
        let _ = self.messages.send(message.to_string());
        response_rx.await.unwrap_or(Forwarded { status: 0, body: "no answer came".into() })
    }

    /// Answers the request for a WebSocket, and serves the WebSocket in a task of its own.
    pub async fn accept(&self, request: &mut Request<Incoming>) -> Response<Body> {
        let key = request.headers().get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
        let mut response = Response::new(Body::empty());
        let Some(key) = key.and_then(|key| HeaderValue::from_str(&key).ok()) else {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        let upgrade = hyper::upgrade::on(request);
        let (messages, connected, pending) =
            (self.messages.subscribe(), self.connected.clone(), self.pending.clone());
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            connected.send_modify(|connected| *connected += 1);
            serve_socket(socket, messages, &pending).await;
            connected.send_modify(|connected| *connected -= 1);
        });
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert("connection", HeaderValue::from_static("Upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-accept", key);
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
        response
    }

    /// Returns the message that carries an event, and the id of its conversation.
    fn message(&self, payload: &[u8], signature: &str) -> (Value, String) {
        let conversation = format!("wc_{}", self.conversations.fetch_add(1, Ordering::Relaxed) + 1);
        let message = json!({
            "type": "webhook_event",
            "endpoint": { "api_version": null },
            "event_payload": String::from_utf8_lossy(payload),
            "http_headers": {
                "Accept": "*/*; q=0.5, application/xml",
                "Cache-Control": "no-cache",
                "Content-Type": "application/json; charset=utf-8",
                "Stripe-Signature": signature,
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            },
            "webhook_conversation_id": conversation,
            "webhook_id": "we_1",
        });
        (message, conversation)
    }
}

/// Sends messages to one command line and reads its replies, until the connection ends.
async fn serve_socket(
    mut socket: WebSocketStream<TokioIo<Upgraded>>,
    mut messages: broadcast::Receiver<String>,
    pending: &PendingResponses,
) {
    loop {
        tokio::select! {
            message = messages.recv() => {
                let message = match message {
                    Ok(message) => message,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if socket.send(Message::text(message)).await.is_err() {
                    return;
                }
            }
            frame = socket.next() => {
                let Some(Ok(frame)) = frame else { return };
                let text = frame.to_text().ok();
                accept_reply(&text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(), pending);
            }
        }
    }
}

/// Hands the app's response to the `forward` that waits for it.
fn accept_reply(reply: &Value, pending: &PendingResponses) {
    if reply["type"] != "webhook_response" {
        return;
    }
    let conversation = reply["webhook_conversation_id"].as_str().unwrap_or_default();
    if let Some(response_tx) = lock(pending).remove(conversation) {
        let body = reply["body"].as_str().unwrap_or_default().to_owned();
        // Sending fails if the caller of `forward` has given up.
        let _ = response_tx.send(Forwarded { status: reply["status"].as_u64().unwrap_or_default(), body });
    }
}
