//! A client that controls every byte it sends.

use super::request::Request;
use super::wire::{Address, Body, Framing, Headers, Stream, Wire, parse_head};
use super::within;
use std::io;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;

/// One connection.
pub struct Client {
    wire: Wire,
}

/// One response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status of the final response.
    pub status: u16,
    /// The head with its blank line.
    pub head: Vec<u8>,
    /// The headers in their order and spelling.
    pub headers: Headers,
    /// The body without its framing.
    pub body: Body,
    /// The 1xx responses before it, each with its headers.
    pub interim: Vec<(u16, Headers)>,
    /// The row of a table that the response belongs to, for failures. Set by [`Response::case`].
    case: String,
}

impl Response {
    /// Names the row of a table that this response belongs to. A failed expectation prints it.
    pub fn case(mut self, name: impl std::fmt::Display) -> Self {
        self.case = format!("{name}: ");
        self
    }

    /// Returns the value of a header. Panics if it occurs more than once.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.one(name)
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: no JSON ({e}): {text:?}", self.status))
    }

    /// Returns `error.code` of the program's own error, or an empty string.
    pub fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.text()).unwrap_or_default();
        json["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns `Countersign-Outcome`, or an empty string.
    pub fn outcome(&self) -> &str {
        self.header("countersign-outcome").unwrap_or_default()
    }

    /// Checks the common shape of errors: status, `error.code`, a message, `Countersign-Outcome`.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> &Self {
        let seen = (self.status, self.code(), self.outcome().to_owned());
        assert_eq!(seen, (status, code.to_owned(), code.to_owned()), "{}body {:?}", self.case, self.text());
        assert_eq!(self.header("content-type"), Some("application/json"), "{}{code}", self.case);
        let json = self.json();
        let message = json["error"]["message"].as_str().unwrap_or_default();
        assert!(message.len() > 10, "{}{code}: the message says nothing: {message:?}", self.case);
        self
    }

    /// Checks the shape of an acknowledgement: 200, `{"received": true, "<what>": true}`, `Countersign-Outcome:
    /// <what>`.
    #[track_caller]
    pub fn expect_received(&self, what: &str) -> &Self {
        assert_eq!((self.status, self.outcome()), (200, what), "{}body {:?}", self.case, self.text());
        assert_eq!(self.json(), serde_json::json!({ "received": true, what: true }), "{}", self.case);
        self
    }

    /// Checks that this is the backend's response, passed on.
    #[track_caller]
    pub fn expect_delivered(&self, status: u16) -> &Self {
        let outcome = if (200..300).contains(&status) { "delivered" } else { "backend_refused" };
        assert_eq!((self.status, self.outcome()), (status, outcome), "{}body {:?}", self.case, self.text());
        self
    }
}

impl Client {
    /// Connects, or panics.
    pub async fn connect(address: &Address) -> Self {
        Self::try_connect(address).await.unwrap_or_else(|e| panic!("connect to {}: {e}", address.text()))
    }

    /// Connects, or returns the error.
    pub async fn try_connect(address: &Address) -> io::Result<Self> {
        let wire = within(format!("connect to {}", address.text()), address.connect()).await?;
        Ok(Self { wire })
    }

    /// Sends bytes unchanged. Ignores a closed connection, which shows in the response.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_write(bytes).await;
    }

    /// Sends bytes unchanged, or returns the error.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("the program reads what was sent", self.wire.write(bytes.as_ref())).await
    }

    /// Sends a request and reads its response.
    pub async fn send(&mut self, request: &Request) -> Response {
        self.write(request.bytes()).await;
        let framed = !request.is_head();
        within("a response", self.read(framed)).await.unwrap_or_else(|e| panic!("no response: {e}"))
    }

    /// Reads one response, or panics.
    pub async fn response(&mut self) -> Response {
        within("a response", self.read(true)).await.unwrap_or_else(|e| panic!("no response: {e}"))
    }

    /// Reads one response, or returns how the connection ended.
    pub async fn try_response(&mut self) -> io::Result<Response> {
        within("a response or the end", self.read(true)).await
    }

    /// Sends one byte at a time with this pause, until the peer responds or closes. After the last byte it waits for
    /// that. Returns an error if the connection ends without a response.
    pub async fn drip(&mut self, bytes: &[u8], every: Duration) -> io::Result<Response> {
        within("a response or the end, while dripping", async {
            for byte in bytes {
                self.wire.write(&[*byte]).await?;
                if tokio::time::timeout(every, self.wire.peek()).await.is_ok() {
                    break;
                }
            }
            self.read(true).await
        })
        .await
    }

    /// Reads only the head of a response, also of a 1xx. [`Client::some`] reads the body.
    pub async fn response_head(&mut self) -> Response {
        let head = within("a head", self.wire.head()).await.expect("a head").expect("a head, not the end");
        let (line, headers) = parse_head(&head);
        Response {
            status: status(&line),
            head,
            headers,
            body: Body::new(),
            interim: vec![],
            case: String::new(),
        }
    }

    /// Returns the next bytes that arrive, or none at the end of the connection.
    pub async fn some(&mut self) -> Vec<u8> {
        // A reset counts as the end.
        within("more bytes, or the end", self.wire.some()).await.unwrap_or_default()
    }

    /// Returns the next chunk of a chunked body, after [`Client::response_head`], or `None` after the last.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        within("a chunk", async {
            let size = usize::from_str_radix(self.wire.line().await.ok()?.trim(), 16).expect("a chunk size");
            let mut body = Body::new();
            self.wire.body(Framing::Length(size as u64), &mut body).await.ok()?;
            self.wire.line().await.ok()?;
            (size > 0).then_some(body.bytes)
        })
        .await
    }

    /// Waits until the peer closes. Panics if it sends anything first.
    pub async fn closed(&mut self) {
        let bytes = self.some().await;
        assert!(bytes.is_empty(), "not the end: {:?}", String::from_utf8_lossy(&bytes));
    }

    /// Upgrades to a WebSocket.
    pub async fn web_socket(self, target: &str) -> WebSocketStream<Box<dyn Stream>> {
        let url = format!("ws://{}{target}", Request::HOST);
        let upgrade = tokio_tungstenite::client_async(url, self.wire.into_stream());
        within("an upgrade to WebSocket", upgrade).await.expect("an upgrade to WebSocket").0
    }

    async fn read(&mut self, framed: bool) -> io::Result<Response> {
        let mut interim = vec![];
        loop {
            let Some(head) = self.wire.head().await? else {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a response"));
            };
            let (line, headers) = parse_head(&head);
            let status = status(&line);
            if (100..200).contains(&status) && status != 101 {
                interim.push((status, headers));
                continue;
            }
            let mut body = Body::new();
            if framed && !matches!(status, 101 | 204 | 304) {
                let framing = headers.framing().unwrap_or(Framing::UntilClose);
                self.wire.body(framing, &mut body).await?;
            }
            return Ok(Response { status, head, headers, body, interim, case: String::new() });
        }
    }
}

fn status(line: &str) -> u16 {
    let number = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|s| s.parse().ok());
    number.unwrap_or_else(|| panic!("no status line: {line:?}"))
}
