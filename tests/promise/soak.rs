//! Minutes of load while the program, and Redis, are killed at random moments. At the end every id is looked up in
//! the backend's record. `make soak MINUTES=2` runs it.

use crate::backend::{Reaction, RecordingBackend, overlaps};
use crate::harness::{Event, Program, Setup, TestLedger, on_each_ledger};
use crate::sender::until_acknowledged;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep};
use toml::Value;

/// How many senders each program has.
const SENDERS: usize = 12;
/// How long the last events may take after the last kill.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
const MODES: [&str; 3] = ["inline", "queued", "hybrid"];

/// The result of a run.
#[derive(Debug)]
#[allow(dead_code, reason = "most of it is only printed")]
struct Counts {
    ledger: &'static str,
    kills: usize,
    redis_kills: usize,
    sent: usize,
    acknowledged: usize,
    delivered: usize,
    delivered_twice: usize,
    dead: usize,
    /// Events acknowledged inline whose delivery was not recorded, because the program died while the ledger was
    /// unreachable. Stripe does not send them again, so their records remain as they are.
    unrecorded: usize,
    lost: usize,
    overlaps: usize,
}

on_each_ledger! {
    #[ignore = "takes minutes: make soak"]
    every_acknowledged_event_is_delivered_once_at_a_time_under_load_and_kills
}

async fn every_acknowledged_event_is_delivered_once_at_a_time_under_load_and_kills(ledger: TestLedger) {
    let minutes = std::env::var_os("MINUTES").map_or(Ok(2.0), |text| text.to_string_lossy().parse());
    let time = Duration::from_secs_f64(60.0 * minutes.expect("MINUTES is a number"));
    let counts = LocalSet::new().run_until(soak(ledger, time)).await;
    println!("{counts:#?}");
    assert!(counts.kills > 0 && counts.delivered > 0, "nothing was killed or delivered: {counts:?}");
    assert_eq!((counts.lost, counts.overlaps), (0, 0), "{counts:?}");
}

/// Runs one program on one ledger for this long.
async fn soak(mut ledger: TestLedger, time: Duration) -> Counts {
    let backend = RecordingBackend::start(|_| reaction()).await;
    let mut program = Program::start(ledger.configure(setup(&backend))).await;
    let (set_address, address) = watch::channel(Some(program.proxy().clone()));
    let end = Instant::now() + time;
    let (sent, acknowledged) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(vec![])));
    let mut senders = JoinSet::new();
    for n in 0..SENDERS {
        let (address, sent, acknowledged) = (address.clone(), sent.clone(), acknowledged.clone());
        senders.spawn_local(async move {
            let targets = MODES.map(|mode| format!("/webhooks/{mode}"));
            for target in targets.iter().cycle().skip(n) {
                if Instant::now() >= end {
                    return;
                }
                let event = Event::checkout();
                let tries = until_acknowledged(&event, target, address.clone()).await;
                sent.set(sent.get() + tries);
                acknowledged.borrow_mut().push(event.id.clone());
                if chance(10) {
                    sent.set(sent.get() + until_acknowledged(&event, target, address.clone()).await);
                }
                sleep(Duration::from_millis(random(40))).await;
            }
        });
    }

    let (mut kills, mut redis_kills) = (0, 0);
    while Instant::now() < end {
        sleep(Duration::from_millis(500 + random(3500))).await;
        if let TestLedger::Redis(redis) = &mut ledger
            && chance(50)
        {
            redis.kill();
            redis_kills += 1;
            sleep(Duration::from_millis(random(1500))).await;
            redis.up().await;
        }
        if chance(75) {
            set_address.send_replace(None);
            program.kill9();
            kills += 1;
            program = program.restart_with(ledger.configure(setup(&backend))).await;
            set_address.send_replace(Some(program.proxy().clone()));
        }
    }
    senders.join_all().await;
    wait_until_settled(&program).await;

    let (log, acknowledged) = (backend.log(), acknowledged.take());
    let applied = |id: &String| {
        log.get(id).map_or(0, |requests| requests.iter().filter(|request| request.applied()).count())
    };
    let metrics = program.metrics().await;
    let count = |state: &str| MODES.iter().map(|mode| backlog(&metrics, mode, state)).sum();
    let (dead, unrecorded): (usize, usize) = (count("dead"), count("running"));
    let delivered = acknowledged.iter().filter(|id| applied(id) > 0).count();
    Counts {
        ledger: match ledger {
            TestLedger::Sqlite => "sqlite",
            TestLedger::Redis(_) => "redis",
        },
        kills,
        redis_kills,
        sent: sent.get(),
        acknowledged: acknowledged.len(),
        delivered,
        delivered_twice: acknowledged.iter().filter(|id| applied(id) > 1).count(),
        dead,
        unrecorded,
        lost: acknowledged.len() - (delivered + dead).min(acknowledged.len()),
        overlaps: overlaps(&log),
    }
}

/// Configures one endpoint for each delivery mode.
fn setup(backend: &RecordingBackend) -> Setup {
    let mut setup = Setup::to(backend.url())
        .set("backend.connect_timeout", "300ms")
        .set("backend.response_timeout", "1s")
        .set("webhook.path", "/webhooks/inline");
    for (n, mode) in MODES.iter().enumerate() {
        if n > 0 {
            setup = setup.webhook(&format!("/webhooks/{mode}"), &["{$STRIPE_WEBHOOK_SECRET}"]);
        }
        let retry = Value::Array(vec!["200ms".into(); 20]);
        setup = setup.set(&format!("webhook.{n}.delivery"), *mode).set(&format!("webhook.{n}.retry"), retry);
    }
    setup
}

/// Mostly accepts the event, sometimes fails, sometimes hangs.
fn reaction() -> Reaction {
    match random(100) {
        0..2 => Reaction::NoResponse,
        2..10 => Reaction::Respond(Duration::from_millis(random(20)), 500),
        _ => Reaction::Respond(Duration::from_millis(random(60)), 200),
    }
}

/// Waits until no event is pending or running. An inline attempt whose holder died ends only when Stripe sends it
/// again.
async fn wait_until_settled(program: &Program) {
    let until = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let metrics = program.metrics().await;
        let left = |mode: &str| backlog(&metrics, mode, "pending") + backlog(&metrics, mode, "running");
        if left("queued") + left("hybrid") == 0 {
            return;
        }
        assert!(Instant::now() < until, "not everything was settled within {SETTLE_TIMEOUT:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Returns how many events are in this state, or an impossibly large number while the ledger is silent.
fn backlog(metrics: &str, mode: &str, state: &str) -> usize {
    let series = format!("countersign_events{{endpoint=\"/webhooks/{mode}\",state=\"{state}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
    count.unwrap_or(usize::MAX / 16)
}

fn chance(percent: u64) -> bool {
    random(100) < percent
}

/// Returns a random number below `limit`.
fn random(limit: u64) -> u64 {
    getrandom::u64().expect("the system's randomness") % limit
}
