//! Episodes: one or two faults at once, drawn at random, caused, and ended. What happened is kept for the verdict.

use super::fault::{Fault, Part};
use super::random::Random;
use super::world::World;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often two faults happen at once, in percent.
const PAIRS: u64 = 35;

/// One or two faults at once.
pub struct Episode {
    pub faults: Vec<Fault>,
    pub start: Instant,
    /// When everything served again.
    pub end: Instant,
    /// The time from the end of the faults until the program was ready.
    pub recovery: Duration,
    /// How many resets of the ledger the program counted.
    pub resets: u64,
}

impl Episode {
    /// Returns whether it hit this part at some moment of this time.
    pub fn hit(&self, part: Part, from: Instant, to: Instant) -> bool {
        self.has(part) && self.start <= to && from <= self.end
    }

    /// Returns whether one of its faults happened to this part.
    pub fn has(&self, part: Part) -> bool {
        self.faults.iter().any(|fault| fault.part() == part)
    }
}

/// Draws one or two faults. Each fault comes once before any comes again.
pub fn draw(random: &Random, deck: &mut Vec<Fault>, all: &[Fault]) -> Vec<Fault> {
    let mut draw_one = || {
        if deck.is_empty() {
            deck.extend(all);
        }
        deck.swap_remove(random.below(deck.len() as u64) as usize)
    };
    let mut drawn = vec![draw_one()];
    if random.percent(PAIRS) {
        let second = draw_one();
        if second.part() != drawn[0].part() {
            drawn.push(second);
        }
    }
    drawn
}

/// Causes these faults, ends them after a while, and waits until the program is ready.
pub async fn run(world: &mut World, mut faults: Vec<Fault>) -> Episode {
    // The program ends last, and starts after everything that it needs. It may start while its clock is still wrong.
    faults.sort_by_key(|fault| *fault == Fault::Kill);
    let start = Instant::now();
    for fault in &faults {
        world.inject(*fault).await;
        sleep(world.random.millis(0..400)).await;
    }
    sleep(world.random.millis(200..2500)).await;
    if faults.contains(&Fault::Clock) && world.random.percent(50) {
        faults.sort_by_key(|fault| *fault == Fault::Clock);
    }
    let healed = Instant::now();
    for fault in &faults {
        world.heal(*fault).await;
    }
    world.program().ready().await;
    world.serves_again().await;
    let resets = world.count_resets().await;
    Episode { faults, start, end: Instant::now(), recovery: healed.elapsed(), resets }
}
