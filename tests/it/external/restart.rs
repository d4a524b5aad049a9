//! Restarts under load behind a real Caddy: no request is lost, and none is refused.

use crate::harness::{
    Address, Backend, Client, Event, Gate, Program, Reply, Request, Setup, Sockets, TestLedger,
    on_each_ledger,
};
use crate::tools::{Caddy, have};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How many senders of webhooks and how many readers of pages there are.
const EACH: usize = 4;
/// How many times the load goes on, between two restarts.
const SOME: usize = 200;
/// How long the backend works on a slow event.
const SLOW: Duration = Duration::from_secs(20);

#[tokio::test]
async fn restart_under_load_loses_no_request() {
    if !have("caddy") {
        return;
    }
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    let caddy = Caddy::start(program.proxy()).await;
    let load = Load::start(caddy.address());
    for _ in 0..3 {
        load.goes_on(SOME).await;
        program.sigterm();
        assert!(program.wait_exit().await.success());
        program = program.restart_in_place().await;
    }
    load.goes_on(SOME).await;
    load.end(&backend).await;
}

on_each_ledger! {
    second_process_takes_over_and_refuses_nothing_while_deliveries_of_20_s_are_under_way,
    restart_on_inherited_sockets_refuses_nothing_while_no_process_accepts,
}

async fn second_process_takes_over_and_refuses_nothing_while_deliveries_of_20_s_are_under_way(
    ledger: TestLedger,
) {
    let Some(Stack { backend, program: mut first, caddy }) = stack(&ledger).await else { return };
    let load = Load::start(caddy.address());
    load.goes_on(SOME).await;
    let (gate, mut slow) = (Gate::new(), JoinSet::new());
    backend.reply_at("/webhooks/slow", Reply::ok().when(&gate));
    let slow_end = Instant::now() + SLOW;
    for _ in 0..3 {
        let (caddy, event) = (caddy.address().clone(), Event::checkout());
        slow.spawn(async move {
            let request = event.signed().target("/webhooks/slow");
            Client::connect(&caddy).await.send(&request).await.expect_delivered(200);
            event.id
        });
    }
    let slow_requests = || backend.targets().iter().filter(|target| target.ends_with("/slow")).count();
    crate::harness::until("the slow events at the backend", async || (slow_requests() == 3).then_some(()))
        .await;

    let shared = matches!(ledger, TestLedger::Redis(_));
    let second = if shared { first.start_beside().await } else { first.start_standing_by().await };
    first.sigterm();
    let second = second.listening().await;
    if shared {
        load.goes_on(SOME).await;
    } else {
        // The first process holds the ledger, and webhooks wait for it. Pages do not.
        load.pages_go_on(SOME).await;
        second.not_ready().await;
    }
    sleep_until(slow_end).await;
    assert_eq!(slow_requests(), 3);
    gate.open();
    let slow = slow.join_all().await;
    assert!(first.wait_exit().await.success());
    second.ready().await;
    load.goes_on(SOME).await;
    load.end_with(&backend, slow).await;
}

async fn restart_on_inherited_sockets_refuses_nothing_while_no_process_accepts(ledger: TestLedger) {
    let Some(Stack { backend, mut program, caddy }) = stack(&ledger).await else { return };
    let load = Load::start(caddy.address());
    for _ in 0..3 {
        load.goes_on(SOME).await;
        program.sigterm();
        assert!(program.wait_exit().await.success());
        program = program.restart().await;
    }
    load.goes_on(SOME).await;
    load.end(&backend).await;
}

/// Caddy in front of a program with inherited sockets.
struct Stack {
    backend: Backend,
    program: Program,
    caddy: Caddy,
}

async fn stack(ledger: &TestLedger) -> Option<Stack> {
    if !have("caddy") {
        return None;
    }
    let (backend, sockets) = (Backend::start().await, Sockets::open());
    let setup = Setup::new(&backend).webhook("/webhooks/slow", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let program = Program::start(ledger.configure(setup).sockets(&sockets)).await;
    assert_eq!(program.proxy(), sockets.address());
    let caddy = Caddy::start(sockets.address()).await;
    Some(Stack { backend, program, caddy })
}

/// A steady load of webhooks and pages through Caddy. Each response must be right.
struct Load {
    state: Arc<LoadState>,
    senders: JoinSet<Vec<String>>,
}

#[derive(Default)]
struct LoadState {
    webhooks: AtomicUsize,
    pages: AtomicUsize,
    over: AtomicBool,
}

impl LoadState {
    /// Counts a response, and returns whether the load goes on.
    fn responded(&self, count: &AtomicUsize) -> bool {
        count.fetch_add(1, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }

    /// Sends new events one after another on one connection, and returns their ids.
    async fn webhooks(self: Arc<Self>, caddy: Address) -> Vec<String> {
        let mut client = Client::connect(&caddy).await;
        let mut sent = Vec::new();
        loop {
            let event = Event::checkout();
            client.send(&event.signed()).await.expect_delivered(200);
            sent.push(event.id);
            if !self.responded(&self.webhooks) {
                return sent;
            }
        }
    }

    /// Requests pages one after another on one connection. Returns no ids, since no event is among them.
    async fn pages(self: Arc<Self>, caddy: Address) -> Vec<String> {
        let mut client = Client::connect(&caddy).await;
        loop {
            let page = client.send(&Request::get("/posts/1")).await;
            assert_eq!((page.status, page.text().as_str()), (200, r#"{"applied":true}"#));
            if !self.responded(&self.pages) {
                return vec![];
            }
        }
    }
}

impl Load {
    fn start(caddy: &Address) -> Self {
        let (state, mut senders) = (Arc::new(LoadState::default()), JoinSet::new());
        for _ in 0..EACH {
            senders.spawn(state.clone().webhooks(caddy.clone()));
            senders.spawn(state.clone().pages(caddy.clone()));
        }
        Self { state, senders }
    }

    /// Waits for this many more webhooks and pages.
    async fn goes_on(&self, more: usize) {
        let webhooks = Self::await_count(&self.state.webhooks, more / 2);
        tokio::join!(webhooks, self.pages_go_on(more / 2));
    }

    /// Waits for this many more pages.
    async fn pages_go_on(&self, more: usize) {
        Self::await_count(&self.state.pages, more).await;
    }

    async fn await_count(count: &AtomicUsize, more: usize) {
        let goal = count.load(Ordering::Relaxed) + more;
        let reached = async || (count.load(Ordering::Relaxed) >= goal).then_some(());
        crate::harness::until("the load goes on", reached).await;
    }

    /// Ends the load and checks that every event reached the backend once.
    async fn end(self, backend: &Backend) {
        self.end_with(backend, vec![]).await;
    }

    /// Ends the load and checks that its events and these reached the backend once.
    async fn end_with(self, backend: &Backend, mut sent: Vec<String>) {
        self.state.over.store(true, Ordering::Relaxed);
        sent.extend(self.senders.join_all().await.into_iter().flatten());
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for request in backend.requests().iter().filter(|request| request.method == "POST") {
            *times.entry(request.header("Idempotency-Key").unwrap().to_owned()).or_default() += 1;
        }
        let once: BTreeMap<String, usize> = sent.into_iter().map(|id| (id, 1)).collect();
        assert_eq!(times, once, "every event reached the backend, once");
    }
}
