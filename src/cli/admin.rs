//! The HTTP client of a running program's admin listener: [`AdminClient`] for any path, [`EventsClient`] for the events API
//! with its token. It owns the connection and explains failures of the listener as a whole; the requests are the commands'.

use super::error::CliError;
use crate::config::{AdminConfig, Listen, Token};
use crate::stripe_api::root_cause;
use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, redirect};
use serde_json::Value;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// The time for one response of the events API; longer than the program lets its ledger take.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(30);
/// A host name for the listener's addresses. It is in the `Host` header and is never looked up.
const HOST_NAME: &str = "countersign-admin";

/// A client of the admin listener, on TCP or a Unix socket.
pub(super) struct AdminClient {
    client: Client,
    /// `http://HOST` or `http://HOST:PORT`.
    base: String,
    /// The address as it is configured, for messages.
    listen: Listen,
    timeout: Duration,
}

impl AdminClient {
    /// Prepares a client for the listener at `listen`, and connects to nothing yet. `timeout` bounds each request from
    /// the start of its connection to the end of its response.
    ///
    /// # Errors
    /// The address has no fixed port, or its host cannot be resolved.
    pub(super) fn new(listen: &Listen, timeout: Duration) -> Result<Self, CliError> {
        // The listener speaks plain HTTP: without root certificates none are loaded from the system, which may have none.
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(timeout)
            .no_proxy()
            .tls_certs_only([]);
        let (client, base) = match listen {
            Listen::Unix { path, .. } => (client.unix_socket(path.as_path()), "http://localhost".to_owned()),
            Listen::Tcp(_) => {
                let addresses = addresses(listen)?;
                let port = addresses.first().map_or(0, SocketAddr::port);
                (client.resolve_to_addrs(HOST_NAME, &addresses), format!("http://{HOST_NAME}:{port}"))
            }
        };
        let client = client.build().map_err(|error| {
            CliError::failed(format!("cannot build the HTTP client: {}", root_cause(&error)))
        })?;
        Ok(Self { client, base, listen: listen.clone(), timeout })
    }

    /// Builds a request. `target` is a path with its query, both percent-encoded.
    pub(super) fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{target}", self.base))
    }

    /// Sends a request, and returns the status and the body of its response.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<(u16, Bytes), CliError> {
        let response = request.send().await.map_err(|error| self.no_response(&error))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.no_response(&error))?;
        Ok((status, body))
    }

    fn no_response(&self, error: &reqwest::Error) -> CliError {
        let reason = if error.is_timeout() {
            format!("no response within {} s", self.timeout.as_secs())
        } else {
            root_cause(error)
        };
        CliError::failed(format!("{}: {reason}; is the program running?", self.listen))
    }

    /// The error for a status that no admin listener of ours sends.
    pub(super) fn unexpected_status(&self, status: u16) -> CliError {
        CliError::failed(format!(
            "{}: unexpected status {status}: is this Countersign's admin listener?",
            self.listen
        ))
    }
}

/// A client of the events API.
pub(super) struct EventsClient {
    admin: AdminClient,
    token: Token,
}

/// A response of the events API.
pub(super) struct EventsResponse {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body as JSON; `null` if there is none.
    pub(super) body: Value,
}

impl EventsResponse {
    /// Returns the field `name` if it is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name)?.as_str()
    }

    /// Returns the field `name` as a number, or 0.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.body.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Returns the records of a page; there are none in any other response.
    pub(super) fn records(&self) -> &[Value] {
        self.body["events"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns `error.code`; it is blank unless the response is an error.
    pub(super) fn error_code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// Returns `error.message` of an error.
    pub(super) fn error_message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or("the error response has no message")
    }
}

impl EventsClient {
    /// Prepares a client for the events API of the listener that `section` names. It connects to nothing yet.
    ///
    /// # Errors
    /// The section has no token, or [`AdminClient::new`] fails.
    pub(super) fn new(section: &AdminConfig) -> Result<Self, CliError> {
        let Some(token) = section.token.clone() else {
            return Err(CliError::config(
                "the events API needs a token: set COUNTERSIGN_ADMIN_TOKEN (`openssl rand -hex 32` makes one) for the \
                 running program and for this command, or set [admin] token in the configuration",
            ));
        };
        Ok(Self { admin: AdminClient::new(&section.listen, EVENTS_TIMEOUT)?, token })
    }

    /// Sends a GET. `path` lies below `/api/events` and is percent-encoded. A status of 400 or above is an error.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<EventsResponse, CliError> {
        success(self.try_send(Method::GET, path, query, Vec::new()).await?)
    }

    /// Returns a page of records. A backend that is mistaken for the admin listener may respond to its path, too.
    pub(super) async fn page(&self, query: &[(&str, &str)]) -> Result<EventsResponse, CliError> {
        let response = self.get("", query).await?;
        if response.body["events"].is_array() {
            return Ok(response);
        }
        let listen = &self.admin.listen;
        Err(CliError::failed(format!("{listen}: no list of events: is this Countersign's admin listener?")))
    }

    /// Sends a POST without a body, as [`get`](EventsClient::get) does.
    pub(super) async fn post(&self, path: &str, query: &[(&str, &str)]) -> Result<EventsResponse, CliError> {
        success(self.try_send(Method::POST, path, query, Vec::new()).await?)
    }

    /// Sends any request, and also returns an error response that concerns the request alone, whatever its status.
    pub(super) async fn try_send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<EventsResponse, CliError> {
        let (status, body) = self.admin.send(self.request(method, path, query).body(body)).await?;
        self.response(status, &body)
    }

    /// Returns the stored payload of the event that `key` names, byte for byte.
    pub(super) async fn payload(&self, key: &str) -> Result<Vec<u8>, CliError> {
        let request = self.request(Method::GET, &format!("/{}/payload", path_segment(key)), &[]);
        let (status, body) = self.admin.send(request).await?;
        if status == 200 {
            return Ok(body.to_vec());
        }
        let response = self.response(status, &body)?;
        Err(CliError::failed(response.error_message()))
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        // A blank parameter means that it was not given, and the API would reject it. A blank query is one: the URL has none.
        let given = query.iter().filter(|(name, value)| !value.is_empty() || *name == "query");
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        let mark = if query.is_empty() { "" } else { "?" };
        let target = format!("/api/events{path}{mark}{query}");
        self.admin.request(method, &target).bearer_auth(self.token.expose())
    }

    /// Parses a response, and turns errors that concern the API as a whole into a [`CliError`].
    fn response(&self, status: u16, body: &[u8]) -> Result<EventsResponse, CliError> {
        let response = EventsResponse { status, body: serde_json::from_slice(body).unwrap_or_default() };
        let listen = &self.admin.listen;
        match (status, response.error_code()) {
            (401, "unauthorized") => Err(CliError::failed(format!(
                "{listen}: the running program has another token than this configuration; reload it (SIGHUP), or use its \
                 token"
            ))),
            (404, "not_found") => Err(CliError::failed(format!(
                "{listen}: the running program has no events API, because its configuration has no [admin] token; set one, \
                 and reload it (SIGHUP)"
            ))),
            (_, "ledger_unavailable") => Err(CliError::failed(response.error_message())),
            _ if status < 400 || !response.error_code().is_empty() => Ok(response),
            _ => Err(self.admin.unexpected_status(status)),
        }
    }
}

/// Percent-encodes an event's id or key as one segment of a path.
pub(super) fn path_segment(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let escape = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    key.bytes().map(escape).collect()
}

fn success(response: EventsResponse) -> Result<EventsResponse, CliError> {
    if response.status >= 400 {
        return Err(CliError::failed(response.error_message()));
    }
    // The API names them if a filter has another endpoint, and no event of it is left.
    if let Some(names) = response.body["endpoints"].as_array() {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        return Err(CliError::failed(format!(
            "there is no endpoint of this name, and no event of one; the configuration has {}",
            names.join(", ")
        )));
    }
    Ok(response)
}

/// Returns the addresses at which a TCP listener can be reached from its own machine.
fn addresses(listen: &Listen) -> Result<Vec<SocketAddr>, CliError> {
    let (host, port) = match listen.host_and_port() {
        Some((_, 0)) | None => {
            return Err(CliError::config(format!(
                "admin.listen is \"{listen}\": with port 0 the system chooses the port, and this command cannot know it; \
                 set a fixed port"
            )));
        }
        Some(host_and_port) => host_and_port,
    };
    // A listener on every address also listens on the loopback ones: IPv6, IPv4 or both, depending on the system.
    let hosts: &[&str] = match host {
        "" | "::" => &["127.0.0.1", "::1"],
        "0.0.0.0" => &["127.0.0.1"],
        host => &[host],
    };
    let mut found = Vec::new();
    for host in hosts {
        let addresses = (*host, port).to_socket_addrs();
        found.extend(addresses.map_err(|error| CliError::failed(format!("{listen}: {error}")))?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_escaped_to_one_path_segment() {
        assert_eq!(path_segment("evt_1?v=2 /webhooks/stripe"), "evt_1%3Fv%3D2%20%2Fwebhooks%2Fstripe");
        assert_eq!(path_segment("ä"), "%C3%A4");
    }

    #[test]
    fn a_listener_on_every_address_is_reached_on_the_loopback_addresses() {
        let found = |text: &str| addresses(&Listen::Tcp(text.to_owned())).map_err(|error| error.exit_code);
        let parsed = |texts: &[&str]| Ok(texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(found(":9464"), parsed(&["127.0.0.1:9464", "[::1]:9464"]));
        assert_eq!(found("0.0.0.0:9464"), parsed(&["127.0.0.1:9464"]));
        assert_eq!(found("[::1]:1"), parsed(&["[::1]:1"]));
        assert_eq!(found("127.0.0.1:0"), Err(crate::app::EX_CONFIG));
    }
}
