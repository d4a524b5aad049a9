//! The conversation with `stripe listen`: the call that opens a session, and the WebSocket over which events go and the
//! app's answers come back. The command line only forwards; what it gets is signed here.

use super::events::sign;
use super::state::lock;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{broadcast, oneshot, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The subprotocol of the command line's WebSocket.
const PROTOCOL: &str = "stripecli-devproxy-v1";

/// What the app answered to an event that `stripe listen` handed to it.
#[derive(Debug)]
pub struct Forwarded {
    /// The status.
    pub status: u64,
    /// The body.
    pub body: String,
}

/// Every `stripe listen` that is connected.
#[derive(Debug)]
pub struct Listeners {
    secret: String,
    say: broadcast::Sender<String>,
    connected: watch::Sender<usize>,
    conversations: AtomicUsize,
    waiting: std::sync::Arc<Mutex<HashMap<String, oneshot::Sender<Forwarded>>>>,
}

impl Listeners {
    /// None yet; whoever comes is given this secret.
    pub fn new(secret: String) -> Listeners {
        let (connected, conversations) = (watch::Sender::new(0), AtomicUsize::new(0));
        Listeners {
            secret,
            say: broadcast::Sender::new(64),
            connected,
            conversations,
            waiting: Default::default(),
        }
    }

    /// The answer to `POST /v1/stripecli/sessions`, from a fake at this address.
    pub fn session(&self, address: &str) -> Value {
        json!({
            "websocket_url": format!("ws://{address}/subscribe"),
            "websocket_id": "wsid_fake",
            "websocket_authorized_feature": "webhooks",
            "reconnect_delay": 60,
            "secret": self.secret,
            "default_version": super::door::VERSION,
            "latest_version": super::door::VERSION,
        })
    }

    /// Signs an event with the session's secret and hands it to all that listen.
    pub fn tell(&self, payload: &[u8], now: u64) {
        let (message, _) = self.message(payload, &sign(&self.secret, now, payload));
        // Nobody may be listening.
        let _ = self.say.send(message.to_string());
    }

    /// Hands over an event once somebody listens, and waits for what the app answered.
    pub async fn forward(&self, payload: &[u8], signature: &str) -> Forwarded {
        // The sender lives in `self`.
        let _ = self.connected.subscribe().wait_for(|connected| *connected > 0).await;
        let (message, conversation) = self.message(payload, signature);
        let (tell, told) = oneshot::channel();
        lock(&self.waiting).insert(conversation, tell);
        let _ = self.say.send(message.to_string());
        told.await.unwrap_or(Forwarded { status: 0, body: "no answer came".into() })
    }

    /// Answers the request for a WebSocket, and serves it in a task of its own.
    pub async fn accept(&self, request: &mut Request<Incoming>) -> Response<Body> {
        let key = request.headers().get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
        let mut response = Response::new(Body::empty());
        let Some(key) = key.and_then(|key| HeaderValue::from_str(&key).ok()) else {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        let upgrade = hyper::upgrade::on(request);
        let (events, connected, waiting) =
            (self.say.subscribe(), self.connected.clone(), self.waiting.clone());
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            connected.send_modify(|connected| *connected += 1);
            converse(socket, events, &waiting).await;
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

async fn converse(
    mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    mut events: broadcast::Receiver<String>,
    waiting: &Mutex<HashMap<String, oneshot::Sender<Forwarded>>>,
) {
    loop {
        tokio::select! {
            event = events.recv() => {
                let event = match event {
                    Ok(event) => event,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if socket.send(Message::text(event)).await.is_err() {
                    return;
                }
            }
            said = socket.next() => {
                let Some(Ok(said)) = said else { return };
                let said: Value = said.to_text().ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
                if said["type"] == "webhook_response" {
                    let conversation = said["webhook_conversation_id"].as_str().unwrap_or_default();
                    if let Some(tell) = lock(waiting).remove(conversation) {
                        let body = said["body"].as_str().unwrap_or_default().to_owned();
                        // Whoever waited may have given up.
                        let _ = tell.send(Forwarded { status: said["status"].as_u64().unwrap_or_default(), body });
                    }
                }
            }
        }
    }
}
