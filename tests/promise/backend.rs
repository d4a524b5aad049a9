//! A backend that records each event's requests with their times, and what it responded. It goes on working when its
//! client disconnects, as real ones do.

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

/// How the backend handles a request.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// Works this long, whether or not the client stays, and responds with this status.
    Answer(Duration, u16),
    /// Sends nothing until the client gives up.
    Silence,
}

/// One request for an event.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// When the head had arrived.
    pub opened: Instant,
    /// When the work ended, just before the response. Without a response, when the client disconnected.
    pub closed: Option<Instant>,
    /// The status that it gets or will get.
    pub status: Option<u16>,
}

impl Visit {
    /// Returns whether the backend accepted the event.
    pub fn applied(&self) -> bool {
        self.closed.is_some() && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Every request by event, in the order of arrival.
pub type Books = HashMap<String, Vec<Visit>>;

/// Decides how to handle the `n`th request for an event, from 1.
pub type Habit = dyn Fn(usize) -> Deed + Send + Sync;

/// A running backend, stopped on drop.
pub struct App {
    url: String,
    books: Arc<watch::Sender<Books>>,
    listening: JoinHandle<()>,
}

impl App {
    /// Listens on a free port.
    pub async fn start(habit: impl Fn(usize) -> Deed + Send + Sync + 'static) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let books = Arc::new(watch::Sender::new(Books::new()));
        let (kept, habit): (_, Arc<Habit>) = (books.clone(), Arc::new(habit));
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (books, habit) = (kept.clone(), habit.clone());
                let service = service_fn(move |request| serve(request, books.clone(), habit.clone()));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
                while connections.try_join_next().is_some() {}
            }
        });
        App { url, books, listening }
    }

    /// Returns its address as `[backend] url` takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the requests so far.
    pub fn books(&self) -> Books {
        self.books.borrow().clone()
    }

    /// Waits until the requests meet a condition.
    #[cfg(feature = "failpoints")]
    pub async fn wait_for(&self, what: impl Into<String>, wanted: impl Fn(&Books) -> bool) {
        let mut books = self.books.subscribe();
        crate::harness::within(what, async { drop(books.wait_for(|b| wanted(b)).await) }).await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Counts the pairs of requests for one event that were open at the same time.
pub fn overlaps(books: &Books) -> usize {
    let of = |visits: &Vec<Visit>| {
        let follows = |pair: &&[Visit]| pair[0].closed.is_none_or(|closed| closed > pair[1].opened);
        visits.windows(2).filter(follows).count()
    };
    books.values().map(of).sum()
}

/// Records the end of a request when its client disconnects.
struct Silent<'a>(&'a watch::Sender<Books>, &'a str, usize);

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        close(self.0, self.1, self.2);
    }
}

async fn serve(
    request: Request<Incoming>,
    books: Arc<watch::Sender<Books>>,
    habit: Arc<Habit>,
) -> Result<Response<String>, Infallible> {
    let id = request.headers().get("idempotency-key").and_then(|id| id.to_str().ok()).expect("an event");
    let (id, mut nth, mut deed) = (id.to_owned(), 0, Deed::Silence);
    books.send_modify(|books| {
        let visits = books.entry(id.clone()).or_default();
        nth = visits.len();
        deed = habit(nth + 1);
        let status = match deed {
            Deed::Answer(_, status) => Some(status),
            Deed::Silence => None,
        };
        visits.push(Visit { opened: Instant::now(), closed: None, status });
    });
    let mut body = request.into_body();
    while poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_some_and(|frame| frame.is_ok()) {}
    match deed {
        Deed::Answer(work, status) => {
            // The work runs in a task of its own, so that a disconnect does not cancel it.
            let working = tokio::spawn(async move {
                sleep(work).await;
                close(&books, &id, nth);
            });
            working.await.expect("no panic");
            Ok(Response::builder().status(status).body(String::new()).expect("an answer"))
        }
        Deed::Silence => {
            let _silent = Silent(&books, &id, nth);
            pending().await
        }
    }
}

fn close(books: &watch::Sender<Books>, id: &str, nth: usize) {
    books.send_modify(|books| {
        if let Some(visit) = books.get_mut(id).and_then(|visits| visits.get_mut(nth)) {
            visit.closed = Some(Instant::now());
        }
    });
}
