//! Stripe's side of `stripe listen`, as far as the command line needs it: the call that opens a session, and the
//! WebSocket over which events come and the app's answers go back. What it sends is signed here; the command line only
//! forwards.

use crate::harness::{Event, SECRET, now, sign, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// The subprotocol of the command line's WebSocket.
const PROTOCOL: &str = "stripecli-devproxy-v1";

/// A fake of Stripe on loopback. It gives every session [`SECRET`].
pub struct FakeStripe {
    address: SocketAddr,
    push: mpsc::UnboundedSender<Value>,
    said: mpsc::UnboundedReceiver<Value>,
    conversations: usize,
}

/// What the command line got for an event.
#[derive(Debug)]
pub struct Forwarded {
    /// The status.
    pub status: u64,
    /// The body.
    pub body: String,
}

impl FakeStripe {
    /// Listens on a free port.
    pub async fn start() -> FakeStripe {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (push, events) = mpsc::unbounded_channel();
        let (say, said) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, address, events, say));
        FakeStripe { address, push, said, conversations: 0 }
    }

    /// What `--api-base` takes.
    pub fn api_base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends an event as Stripe does, freshly signed with this secret, and waits for the app's answer to it.
    pub async fn deliver(&mut self, event: &Event, secret: &str) -> Forwarded {
        self.conversations += 1;
        let conversation = format!("wc_{}", self.conversations);
        let body = event.body();
        let message = json!({
            "type": "webhook_event",
            "endpoint": { "api_version": null },
            "event_payload": String::from_utf8(body.clone()).expect("JSON is UTF-8"),
            "http_headers": {
                "Accept": "*/*; q=0.5, application/xml",
                "Cache-Control": "no-cache",
                "Content-Type": "application/json; charset=utf-8",
                "Stripe-Signature": sign(&[secret], now(), &body),
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            },
            "webhook_conversation_id": conversation,
            "webhook_id": "we_1",
        });
        self.push.send(message).expect("the fake runs");
        loop {
            let said = within("what the command line got", self.said.recv()).await.expect("the fake runs");
            if said["type"] == "webhook_response" && said["webhook_conversation_id"] == conversation {
                return Forwarded {
                    status: said["status"].as_u64().expect("a status"),
                    body: said["body"].as_str().unwrap_or_default().to_owned(),
                };
            }
        }
    }
}

/// Answers calls and holds the conversation, one connection after the other: the command line makes no two at a time
/// that matter here.
async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    mut events: mpsc::UnboundedReceiver<Value>,
    say: mpsc::UnboundedSender<Value>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut start = [0; 4];
        // GET is the WebSocket, POST the call.
        let _ = stream.peek(&mut start).await;
        if &start == b"GET " {
            converse(stream, &mut events, &say).await;
        } else {
            let _ = open_session(stream, address).await;
        }
    }
}

async fn open_session(mut stream: TcpStream, address: SocketAddr) -> std::io::Result<()> {
    let mut asked = Vec::new();
    // The call's body says who calls, and is short: what counts is that a whole head came.
    while !asked.windows(4).any(|four| four == b"\r\n\r\n") && stream.read_buf(&mut asked).await? > 0 {}
    let path = String::from_utf8_lossy(&asked).split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, body) = if path == "/v1/stripecli/sessions" {
        let session = json!({
            "websocket_url": format!("ws://{address}/subscribe"),
            "websocket_id": "wsid_tests",
            "websocket_authorized_feature": "webhooks",
            "reconnect_delay": 60,
            "secret": SECRET,
            "default_version": "2026-04-22.dahlia",
            "latest_version": "2026-04-22.dahlia",
        });
        ("200 OK", session)
    } else {
        ("404 Not Found", json!({ "error": { "type": "invalid_request_error", "message": path } }))
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

async fn converse(
    stream: TcpStream,
    events: &mut mpsc::UnboundedReceiver<Value>,
    say: &mpsc::UnboundedSender<Value>,
) {
    #[expect(clippy::result_large_err, reason = "the library's own signature")]
    let accept = |_: &Request, mut answer: Response| {
        answer.headers_mut().insert("Sec-WebSocket-Protocol", PROTOCOL.parse().expect("a header value"));
        Ok(answer)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, accept).await else { return };
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return };
                if socket.send(Message::text(event.to_string())).await.is_err() {
                    return;
                }
            }
            said = socket.next() => {
                let Some(Ok(said)) = said else { return };
                if let Some(said) = said.to_text().ok().and_then(|text| serde_json::from_str(text).ok()) {
                    let _ = say.send(said);
                }
            }
        }
    }
}
