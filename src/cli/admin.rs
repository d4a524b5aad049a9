//! The events API of a running program, asked from outside: where `[admin] listen` says, with its token. It owns the
//! connection and what a failure means to whoever typed the command; what is asked is the verbs'.

use super::Failure;
use crate::config::{AdminConfig, Listen, Token};
use crate::stripe_api::root;
use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, redirect};
use serde_json::Value;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// For one answer; longer than the program lets its ledger take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A name for the listener's addresses, which is never looked up.
const NAME: &str = "countersign-admin";

/// The API.
pub(super) struct Admin {
    client: Client,
    base: String,
    token: Token,
    listen: Listen,
}

/// What it answered.
pub(super) struct Answer {
    /// The status, below 400 or one that was asked to be let through.
    pub status: u16,
    /// The body as JSON; `null` if there is none.
    pub said: Value,
}

impl Answer {
    /// A field's text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.said.get(field)?.as_str()
    }

    /// A field's number.
    pub(super) fn count(&self, field: &str) -> u64 {
        self.said.get(field).and_then(Value::as_u64).unwrap_or_default()
    }

    /// `error.code`, if it is an error.
    pub(super) fn code(&self) -> &str {
        self.said["error"]["code"].as_str().unwrap_or_default()
    }

    /// `error.message`, if it is an error.
    pub(super) fn message(&self) -> &str {
        self.said["error"]["message"].as_str().unwrap_or("an answer that is none of the events API's")
    }
}

impl Admin {
    /// The API where this section says. Connects to nothing yet.
    pub(super) fn new(section: &AdminConfig) -> Result<Admin, Failure> {
        let Some(token) = section.token.clone() else {
            return Err(Failure::config(
                "there is no events API without a token: set COUNTERSIGN_ADMIN_TOKEN (openssl rand -hex 32 makes one), for \
                 the running program and for this command, or [admin] token in the configuration",
            ));
        };
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT).no_proxy();
        let (client, base) = match &section.listen {
            Listen::Unix { path, .. } => (client.unix_socket(path.as_path()), "http://localhost".to_owned()),
            Listen::Tcp(_) => {
                let addresses = addresses(&section.listen)?;
                (client.resolve_to_addrs(NAME, &addresses), format!("http://{NAME}:{}", port(&addresses)))
            }
        };
        let client =
            client.build().map_err(|error| Failure::failed(format!("no HTTP client: {}", root(&error))))?;
        Ok(Admin { client, base, token, listen: section.listen.clone() })
    }

    /// Reads something. `path` is beneath `/api/events`, percent-encoded.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Failure> {
        accepted(self.send(self.request(Method::GET, path, query)).await?)
    }

    /// Does something.
    pub(super) async fn post(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Failure> {
        accepted(self.try_send(Method::POST, path, query, Vec::new()).await?)
    }

    /// The same, where the caller makes something of a refusal; only what concerns the API as a whole is a failure.
    pub(super) async fn try_send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        self.send(self.request(method, path, query).body(body)).await
    }

    /// An event's payload, byte for byte.
    pub(super) async fn payload(&self, key: &str) -> Result<Vec<u8>, Failure> {
        let request = self.request(Method::GET, &format!("/{}/payload", escaped(key)), &[]);
        let (status, body) = self.fetch(request).await?;
        if status == 200 {
            return Ok(body.to_vec());
        }
        let answer = self.judged(status, &body)?;
        Err(Failure::failed(answer.message().to_owned()))
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let given = query.iter().filter(|(_, value)| !value.is_empty());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}/api/events{path}{mark}{query}", self.base);
        self.client.request(method, url).bearer_auth(self.token.expose())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let (status, body) = self.fetch(request).await?;
        self.judged(status, &body)
    }

    async fn fetch(&self, request: RequestBuilder) -> Result<(u16, Bytes), Failure> {
        let answer = request.send().await.map_err(|error| self.lost(&error))?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(|error| self.lost(&error))?;
        Ok((status, body))
    }

    /// What is wrong with the API as a whole is told here, once.
    fn judged(&self, status: u16, body: &[u8]) -> Result<Answer, Failure> {
        let answer = Answer { status, said: serde_json::from_slice(body).unwrap_or_default() };
        let listen = &self.listen;
        match (status, answer.code()) {
            (401, "unauthorized") => Err(Failure::failed(format!(
                "{listen}: the running program has another token than this configuration: it takes a new one only at a start"
            ))),
            (404, "not_found") => Err(Failure::failed(format!(
                "{listen}: the running program has no events API: it was started without a token"
            ))),
            (_, "ledger_unavailable") => Err(Failure::failed(answer.message().to_owned())),
            _ if status < 400 || !answer.code().is_empty() => Ok(answer),
            _ => Err(Failure::failed(format!("{listen} answered {status}, as Countersign does not"))),
        }
    }

    fn lost(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() { "no answer in time".to_owned() } else { root(error) };
        Failure::failed(format!("{}: {why}; is the program running?", self.listen))
    }
}

/// A path's segment, percent-encoded.
pub(super) fn escaped(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let escape = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    key.bytes().map(escape).collect()
}

fn accepted(answer: Answer) -> Result<Answer, Failure> {
    if answer.status < 400 { Ok(answer) } else { Err(Failure::failed(answer.message().to_owned())) }
}

/// Where a listener is reached from its own machine.
fn addresses(listen: &Listen) -> Result<Vec<SocketAddr>, Failure> {
    let (host, port) = match listen.host_and_port() {
        Some((_, 0)) | None => {
            let why = "port 0 takes a free port, which nobody else knows";
            return Err(Failure::config(format!("admin.listen is \"{listen}\": {why}")));
        }
        Some(place) => place,
    };
    // One listener on every address answers on the loopback ones, IPv6 or IPv4 as the system has it.
    let hosts: &[&str] = match host {
        "" | "::" => &["127.0.0.1", "::1"],
        "0.0.0.0" => &["127.0.0.1"],
        host => &[host],
    };
    let mut found = Vec::new();
    for host in hosts {
        let addresses = (*host, port).to_socket_addrs();
        found.extend(addresses.map_err(|error| Failure::failed(format!("{listen}: {error}")))?);
    }
    Ok(found)
}

fn port(addresses: &[SocketAddr]) -> u16 {
    addresses.first().map_or(0, SocketAddr::port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fits_into_a_path() {
        assert_eq!(escaped("evt_1?v=2 /webhooks/stripe"), "evt_1%3Fv%3D2%20%2Fwebhooks%2Fstripe");
        assert_eq!(escaped("ä"), "%C3%A4");
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_the_loopback_ones() {
        let of = |text: &str| addresses(&Listen::Tcp(text.to_owned())).map_err(|failure| failure.code);
        let parsed = |texts: &[&str]| Ok(texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(of(":9464"), parsed(&["127.0.0.1:9464", "[::1]:9464"]));
        assert_eq!(of("0.0.0.0:9464"), parsed(&["127.0.0.1:9464"]));
        assert_eq!(of("[::1]:1"), parsed(&["[::1]:1"]));
        assert_eq!(of("127.0.0.1:0"), Err(super::super::EX_CONFIG));
    }
}
