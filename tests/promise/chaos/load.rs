//! The load: Stripe, which sends each event until it is acknowledged, and visitors, who read pages. Every request is
//! recorded with its times and its response.

use super::random::Random;
use crate::harness::{Address, Client, Event, Request, SECRET, now};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The delivery mode of each endpoint, `/webhooks/MODE`.
pub const MODES: [&str; 3] = ["inline", "queued", "hybrid"];
/// How many senders of events there are, and how many visitors.
const SENDERS: usize = 12;
const VISITORS: usize = 3;
/// The pause between two sends of an event. Stripe's own is longer.
const RESEND_INTERVAL: Duration = Duration::from_millis(100);

/// The response to a request: status and `Countersign-Outcome`, or how the connection ended.
pub type Answer = Result<(u16, String), String>;

/// A request of the load.
#[derive(Debug)]
pub struct Sent {
    /// The event's id; empty for a page.
    pub id: String,
    /// The delivery mode, or `page`.
    pub kind: &'static str,
    pub start: Instant,
    pub end: Instant,
    pub answer: Answer,
}

impl Sent {
    /// Returns whether it reads a page.
    pub fn is_page(&self) -> bool {
        self.id.is_empty()
    }

    /// Returns whether the response has a 2xx status.
    pub fn accepted(&self) -> bool {
        self.answer.as_ref().is_ok_and(|(status, _)| (200..300).contains(status))
    }

    /// Returns the response's `Countersign-Outcome`, or an empty text.
    pub fn outcome(&self) -> &str {
        self.answer.as_ref().map_or("", |(_, outcome)| outcome)
    }
}

/// What the senders share. The program's address is `None` while it is down.
#[derive(Clone)]
pub struct Load {
    pub address: watch::Receiver<Option<Address>>,
    /// How far the program's clock is ahead, in seconds. Stripe's clock is ahead as far.
    pub clock: Rc<Cell<i64>>,
    pub end: Instant,
    pub sent: Rc<RefCell<Vec<Sent>>>,
}

impl Load {
    /// Starts every sender. Each ends after [`Load::end`], once its last event is acknowledged.
    pub fn start(&self, seed: u64) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for n in 0..SENDERS {
            let (load, random) = (self.clone(), Random::new(seed, 100 + n as u64));
            tasks.spawn_local(async move { load.send_events(n, &random).await });
        }
        for n in 0..VISITORS {
            let (load, random) = (self.clone(), Random::new(seed, 200 + n as u64));
            tasks.spawn_local(async move { load.read_pages(&random).await });
        }
        tasks
    }

    async fn send_events(&self, n: usize, random: &Random) {
        for mode in MODES.into_iter().cycle().skip(n) {
            if Instant::now() >= self.end {
                return;
            }
            let event = Event::checkout();
            self.until_acknowledged(&event, mode).await;
            if random.percent(10) {
                self.until_acknowledged(&event, mode).await;
            }
            sleep(random.millis(0..150)).await;
        }
    }

    async fn until_acknowledged(&self, event: &Event, mode: &'static str) {
        let target = format!("/webhooks/{mode}");
        while !self
            .send(&event.id, mode, || event.signed_at(now() + self.clock.get(), &[SECRET]).target(&target))
            .await
        {
            sleep(RESEND_INTERVAL).await;
        }
    }

    async fn read_pages(&self, random: &Random) {
        while Instant::now() < self.end {
            self.send("", "page", || Request::get("/page")).await;
            sleep(random.millis(0..60)).await;
        }
    }

    /// Sends a request on a connection of its own, records it, and returns whether it got a 2xx.
    async fn send(&self, id: &str, kind: &'static str, request: impl FnOnce() -> Request) -> bool {
        let address = self.address.clone().wait_for(Option::is_some).await.expect("the run goes on").clone();
        let start = Instant::now();
        let response = exchange(&address.expect("just found"), &request()).await;
        let answer = match response {
            Ok(response) => {
                let outcome = response.header("countersign-outcome").unwrap_or_default().to_owned();
                Ok((response.status, outcome))
            }
            Err(error) => Err(error.to_string()),
        };
        let sent = Sent { id: id.into(), kind, start, end: Instant::now(), answer };
        let accepted = sent.accepted();
        self.sent.borrow_mut().push(sent);
        accepted
    }
}

async fn exchange(address: &Address, request: &Request) -> std::io::Result<crate::harness::Response> {
    let mut client = Client::try_connect(address).await?;
    client.try_write(request.bytes()).await?;
    client.try_response().await
}
