//! Load while faults happen at random: the program and Redis are killed, the network to the backend fails, the clock
//! steps, standard error stalls, pages hang. At the end every event is looked up. `make chaos MINUTES=10` runs it for
//! longer, and `SEED=...` repeats the faults of another run.
//!
//! - `fault`: the faults by name
//! - `world`: what they happen to, with its `clock`, `ledger` and `network`
//! - `episode`: one or two faults at once
//! - `load`: the senders of events, and the visitors
//! - `verdict`: what became of each event and request; `causes` says what explains it, `report` prints it
//! - `random`: random numbers that a seed determines

mod causes;
mod clock;
mod episode;
mod fault;
mod ledger;
mod load;
mod network;
mod random;
mod report;
mod verdict;
mod world;

use crate::harness::{Program, TestLedger, on_each_ledger};
use fault::Fault;
use load::{Load, MODES};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};
use verdict::{Run, look_up};
use world::World;

/// How long a run takes without `MINUTES`, as a part of `make test`.
const SHORT_RUN: f64 = 0.5;
/// How long the last events may take after the last fault.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

on_each_ledger! {
    under_faults_at_random_no_event_is_lost_overlaps_or_is_refused_while_all_is_well
}

async fn under_faults_at_random_no_event_is_lost_overlaps_or_is_refused_while_all_is_well(
    ledger: TestLedger,
) {
    let var = |name: &str| std::env::var_os(name)?.into_string().ok().filter(|text| !text.is_empty());
    let minutes = var("MINUTES").map_or(Ok(SHORT_RUN), |text| text.parse()).expect("MINUTES is a number");
    let seed = var("SEED").map_or_else(
        || getrandom::u64().map(|seed| seed % 1_000_000_000),
        |text| Ok(text.parse().expect("SEED is a number")),
    );
    let seed = seed.expect("the system's randomness");
    let time = Duration::from_secs_f64(60.0 * minutes);
    let options = Options { only: var("FAULTS"), durability: var("DURABILITY"), seed, time };
    LocalSet::new().run_until(run(ledger, options)).await;
}

/// What a run does.
struct Options {
    /// The names of the faults, between commas; `None` for all.
    only: Option<String>,
    /// `ledger.durability` on Redis; `None` for `replicated`, with which a failover may lose nothing.
    durability: Option<String>,
    seed: u64,
    time: Duration,
}

/// Runs one program on one ledger.
async fn run(ledger: TestLedger, Options { only, durability, seed, time }: Options) {
    let name = match ledger {
        TestLedger::Sqlite => "sqlite",
        TestLedger::Redis(_) => "redis",
    };
    println!("chaos on {name}: SEED={seed}, {time:?}");
    let durability = durability.unwrap_or_else(|| "replicated".into());
    let mut world = World::start(ledger, &durability, seed).await;
    let wanted =
        |fault: &Fault| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == fault.as_str()));
    let faults: Vec<Fault> =
        Fault::ALL.into_iter().filter(|fault| wanted(fault) && world.can(*fault)).collect();
    assert!(!faults.is_empty(), "FAULTS={only:?} names no fault that can happen here");
    let load = Load {
        address: world.address.subscribe(),
        clock: world.clock_offset.clone(),
        end: Instant::now() + time,
        sent: Rc::new(RefCell::new(vec![])),
    };
    let (start, senders) = (Instant::now(), load.start(seed));
    let (mut episodes, mut deck) = (vec![], vec![]);
    while Instant::now() < load.end {
        let drawn = episode::draw(&world.random, &mut deck, &faults);
        episodes.push(episode::run(&mut world, drawn).await);
        sleep(world.random.millis(300..1200)).await;
    }
    timeout(SETTLE_TIMEOUT, senders.join_all()).await.expect("the last events are acknowledged");
    wait_until_settled(world.program()).await;

    let sent = load.sent.take();
    let run = Run {
        start,
        states: look_up(world.program(), &sent).await,
        sent,
        episodes,
        may_lose: durability != "replicated",
        clock_steps: world.clock_steps.clone(),
        log: world.backend.log(),
    };
    for fault in faults {
        let of: Vec<_> = run.episodes.iter().filter(|episode| episode.faults.contains(&fault)).collect();
        let longest = of.iter().map(|episode| episode.recovery).max().unwrap_or_default();
        println!("{:28}{:>9}   longest recovery {longest:.1?}", fault.as_str(), of.len());
    }
    let counts = run.counts();
    println!("{counts}");
    assert!(counts.delivered > 0, "nothing was delivered");
    assert!(counts.kept(), "SEED={seed} breaks the promise\n{}", run.timeline());
}

/// Waits until no event is pending or running. An inline attempt whose holder died ends only when Stripe sends it
/// again.
async fn wait_until_settled(program: &Program) {
    let until = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let metrics = program.metrics().await;
        let left = |mode: &str| backlog(&metrics, mode, "pending") + backlog(&metrics, mode, "running");
        let left: usize = MODES.iter().filter(|mode| **mode != "inline").map(|mode| left(mode)).sum();
        if left == 0 {
            return;
        }
        assert!(Instant::now() < until, "{left} events were not settled within {SETTLE_TIMEOUT:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Returns how many events are in this state, or an impossibly large number while the ledger is silent.
fn backlog(metrics: &str, mode: &str, state: &str) -> usize {
    let series = format!("countersign_events{{endpoint=\"/webhooks/{mode}\",state=\"{state}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
    count.unwrap_or(usize::MAX / 16)
}
