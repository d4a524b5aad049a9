//! A backend that records each event's requests with their times, and what it responded. It goes on working when its
//! client disconnects, as real ones do. It has pages, too, and one of them hangs.

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

/// How the backend handles a request.
#[derive(Debug, Clone, Copy)]
pub enum Reaction {
    /// Works this long, whether or not the client stays, and responds with this status.
    Respond(Duration, u16),
    /// Sends nothing until the client gives up.
    NoResponse,
}

/// One request for an event.
#[derive(Debug, Clone, Copy)]
pub struct RecordedRequest {
    /// When the head had arrived.
    pub opened: Instant,
    /// When the work ended, just before the response. Without a response, when the client disconnected.
    pub closed: Option<Instant>,
    /// The status that it gets or will get, once all of it has arrived.
    pub status: Option<u16>,
}

impl RecordedRequest {
    /// Returns whether the backend accepted the event.
    pub fn applied(&self) -> bool {
        self.closed.is_some() && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Every request by event, in the order of arrival.
pub type RequestLog = HashMap<String, Vec<RecordedRequest>>;

/// Decides how to handle the `n`th request for an event, from 1.
pub type Script = dyn Fn(usize) -> Reaction + Send + Sync;

/// The path of a page that never responds. Every other path but those of webhooks is a page that does.
pub const HUNG_PAGE: &str = "/hung";

/// A running backend, stopped on drop.
pub struct RecordingBackend {
    address: SocketAddr,
    log: Arc<watch::Sender<RequestLog>>,
    listening: JoinHandle<()>,
}

impl RecordingBackend {
    /// Listens on a free port.
    pub async fn start(script: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let log = Arc::new(watch::Sender::new(RequestLog::new()));
        let (server_log, script): (_, Arc<Script>) = (log.clone(), Arc::new(script));
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (server_log.clone(), script.clone());
                let service = service_fn(move |request| serve(request, log.clone(), script.clone()));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, log, listening }
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the requests so far.
    pub fn log(&self) -> RequestLog {
        self.log.borrow().clone()
    }

    /// Waits until the requests meet a condition.
    #[cfg(feature = "failpoints")]
    pub async fn wait_for(&self, what: impl Into<String>, wanted: impl Fn(&RequestLog) -> bool) {
        let mut log = self.log.subscribe();
        crate::harness::within(what, async { drop(log.wait_for(|log| wanted(log)).await) }).await;
    }
}

impl Drop for RecordingBackend {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Counts the requests for one event that were open when an earlier one was.
pub fn overlaps(requests: &[RecordedRequest]) -> usize {
    let is_open = |request: &RecordedRequest, at: Instant| request.closed.is_none_or(|closed| closed > at);
    let overlaps_earlier =
        |n: &usize| requests[..*n].iter().any(|earlier| is_open(earlier, requests[*n].opened));
    (0..requests.len()).filter(overlaps_earlier).count()
}

/// Records the end of a request on drop: when its work ends, or when its client disconnects before.
struct OpenRequest(Arc<watch::Sender<RequestLog>>, String, usize);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        close(&self.0, &self.1, self.2);
    }
}

async fn serve(
    request: Request<Incoming>,
    log: Arc<watch::Sender<RequestLog>>,
    script: Arc<Script>,
) -> Result<Response<String>, Infallible> {
    match request.uri().path() {
        HUNG_PAGE => return pending().await,
        path if !path.starts_with("/webhooks/") => return Ok(Response::new("a page".into())),
        _ => {}
    }
    let id = request.headers().get("idempotency-key").and_then(|id| id.to_str().ok()).expect("an event");
    let (id, mut nth, mut reaction) = (id.to_owned(), 0, Reaction::NoResponse);
    log.send_modify(|log| {
        let requests = log.entry(id.clone()).or_default();
        nth = requests.len();
        reaction = script(nth + 1);
        requests.push(RecordedRequest { opened: Instant::now(), closed: None, status: None });
    });
    let open_request = OpenRequest(log.clone(), id.clone(), nth);
    let mut body = request.into_body();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if frame.is_err() {
            // Half a request is no event. The client has disconnected, so nobody reads a response.
            return Ok(Response::new(String::new()));
        }
    }
    match reaction {
        Reaction::Respond(work, status) => {
            log.send_modify(|log| log.get_mut(&id).expect("added above")[nth].status = Some(status));
            // The work runs in a task of its own, so that a disconnect does not cancel it.
            let working = tokio::spawn(async move {
                sleep(work).await;
                drop(open_request);
            });
            working.await.expect("no panic");
            Ok(Response::builder().status(status).body(String::new()).expect("a response"))
        }
        Reaction::NoResponse => pending().await,
    }
}

fn close(log: &watch::Sender<RequestLog>, id: &str, nth: usize) {
    log.send_modify(|log| {
        if let Some(request) = log.get_mut(id).and_then(|requests| requests.get_mut(nth)) {
            request.closed = Some(Instant::now());
        }
    });
}
