//! Load while faults happen at random: the program and Redis are killed, the network to the backend fails, the clock
//! steps, standard error stalls, pages hang. At the end every event is looked up. `make chaos MINUTES=10` runs it for
//! longer, and `SEED=...` repeats the faults of another run.
//!
//! - `faults`: the faults, and what they happen to
//! - `load`: the senders of events, and the visitors
//! - `network`: a TCP proxy that fails as networks do
//! - `random`: random numbers that a seed determines
//! - `report`: the counts and the verdict

mod faults;
mod load;
mod network;
mod random;
mod report;

use crate::harness::{Program, TestLedger, on_each_ledger};
use faults::{Fault, World};
use load::{Load, MODES};
use random::Random;
use report::{Run, look_up};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// How long a run takes without `MINUTES`, as a part of `make test`.
const SHORT_RUN: f64 = 0.5;
/// How long the last events may take after the last fault.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How often two faults happen at once, in percent.
const PAIRS: u64 = 35;

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
    LocalSet::new().run_until(run(ledger, var("FAULTS"), seed, time)).await;
}

/// Runs one program on one ledger for this long, with the faults that `only` names, or all of them.
async fn run(ledger: TestLedger, only: Option<String>, seed: u64, time: Duration) {
    let name = match ledger {
        TestLedger::Sqlite => "sqlite",
        TestLedger::Redis(_) => "redis",
    };
    println!("chaos on {name}: SEED={seed}, {time:?}");
    let mut world = World::start(ledger, seed).await;
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
    let senders = load.start(seed);
    let (mut episodes, mut deck) = (vec![], vec![]);
    while Instant::now() < load.end {
        let drawn = draw(&world.random, &mut deck, &faults);
        episodes.push(episode(&mut world, drawn).await);
        sleep(world.random.millis(300..1200)).await;
    }
    timeout(SETTLE_TIMEOUT, senders.join_all()).await.expect("the last events are acknowledged");
    wait_until_settled(world.program()).await;

    let sent = load.sent.take();
    let run = Run {
        states: look_up(world.program(), &sent).await,
        sent,
        outages: episodes.iter().filter_map(Episode::outage).collect(),
        clock_steps: world.clock_steps.clone(),
        log: world.backend.log(),
    };
    for fault in faults {
        let of: Vec<_> = episodes.iter().filter(|episode| episode.faults.contains(&fault)).collect();
        let longest = of.iter().map(|episode| episode.recovery).max().unwrap_or_default();
        println!("{:28}{:>9}   longest recovery {longest:.1?}", fault.as_str(), of.len());
    }
    let counts = run.counts();
    println!("{counts}");
    assert!(counts.delivered > 0, "nothing was delivered");
    assert!(counts.kept(), "SEED={seed} breaks the promise: {counts}");
}

/// One or two faults at once.
struct Episode {
    faults: Vec<Fault>,
    start: Instant,
    end: Instant,
    /// The time from the end of the faults until the program was ready.
    recovery: Duration,
}

impl Episode {
    fn outage(&self) -> Option<(Instant, Instant)> {
        self.faults.iter().any(|fault| fault.is_outage()).then_some((self.start, self.end))
    }
}

/// Draws one or two faults. Each fault comes once before any comes again.
fn draw(random: &Random, deck: &mut Vec<Fault>, all: &[Fault]) -> Vec<Fault> {
    let mut draw_one = || {
        if deck.is_empty() {
            deck.extend(all);
        }
        deck.swap_remove(random.below(deck.len() as u64) as usize)
    };
    let mut drawn = vec![draw_one()];
    if random.percent(PAIRS) {
        let second = draw_one();
        // The network has one state at a time.
        if second != drawn[0] && !matches!((drawn[0], second), (Fault::Network(_), Fault::Network(_))) {
            drawn.push(second);
        }
    }
    drawn
}

async fn episode(world: &mut World, mut faults: Vec<Fault>) -> Episode {
    // The program ends last, and starts after everything that it needs.
    faults.sort_by_key(|fault| *fault == Fault::Kill);
    let start = Instant::now();
    for fault in &faults {
        world.inject(*fault).await;
        sleep(world.random.millis(0..400)).await;
    }
    sleep(world.random.millis(200..2500)).await;
    let healed = Instant::now();
    for fault in &faults {
        world.heal(*fault).await;
    }
    world.program().ready().await;
    Episode { faults, start, end: Instant::now(), recovery: healed.elapsed() }
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
