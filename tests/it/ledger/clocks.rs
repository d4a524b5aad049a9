//! Wall clocks that are a year ahead or back for some seconds: the program's with SQLite, and the Redis server's as well.

use crate::harness::{
    Backend, Event, FakeClock, Gate, Program, Redis, Reply, Request, SECRET, Setup, YEAR, at_most, now, until,
};
use crate::ops::events::{call_api, in_state, with_events_api};
use crate::tools::{faketime, have};
use std::time::Duration;
use tokio::time::Instant;

const INLINE: &str = "/webhooks/inline";
/// A lease is both timeouts and five seconds.
const LEASE: Duration = Duration::from_secs(6);

/// A step that is shorter than a wait may be.
const HOURS: i64 = 5 * 60 * 60;

/// Where the records are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sqlite,
    Redis,
}

/// Makes a test on each ledger, whose clock is a year ahead or back for a while.
macro_rules! on_each_ledger_and_step {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn sqlite_a_year_ahead() {
                super::$name(Kind::Sqlite, YEAR).await;
            }

            #[tokio::test]
            async fn sqlite_a_year_back() {
                super::$name(Kind::Sqlite, -YEAR).await;
            }

            #[tokio::test]
            async fn sqlite_some_hours_ahead() {
                super::$name(Kind::Sqlite, HOURS).await;
            }

            #[tokio::test]
            async fn redis_a_year_ahead() {
                super::$name(Kind::Redis, YEAR).await;
            }

            #[tokio::test]
            async fn redis_a_year_back() {
                super::$name(Kind::Redis, -YEAR).await;
            }
        }
    )+};
}

on_each_ledger_and_step! {
    queued_events_are_delivered_and_no_event_is_forgotten,
    queued_events_are_delivered_and_no_event_is_forgotten_across_restarts,
    delivery_under_way_is_not_repeated,
    event_of_a_killed_process_waits_its_lease_out,
}

/// A backend, a program and perhaps a Redis server, which share a clock.
struct World {
    backend: Backend,
    clock: FakeClock,
    offset: i64,
    redis: Option<Redis>,
    setup: Setup,
}

impl World {
    /// Starts everything but the program. `None` skips the test.
    async fn start(kind: Kind) -> Option<Self> {
        let clock = FakeClock::new(faketime()?);
        let backend = Backend::start().await;
        let redis = match kind {
            Kind::Sqlite => None,
            Kind::Redis if have("redis-server") => Some(Redis::start_under(&clock).await),
            Kind::Redis => return None,
        };
        let setup = Setup::new(&backend)
            .set("backend.connect_timeout", "500ms")
            .set("backend.response_timeout", "500ms")
            .set("webhook.delivery", "queued")
            .set("webhook.jitter", 0.0)
            .retry(&["1s"; 60])
            .webhook(INLINE, &["{$STRIPE_WEBHOOK_SECRET}"]);
        let setup = clock.configure(with_events_api(setup));
        let setup = redis.iter().fold(setup, |setup, redis| setup.redis(redis));
        Some(Self { backend, clock, offset: 0, redis, setup })
    }

    fn set_clock(&mut self, offset: i64) {
        self.clock.set(offset);
        self.offset = offset;
    }

    /// Returns an event's request, signed at the time that the program takes for the present.
    fn signed(&self, event: &Event) -> Request {
        event.signed_at(now() + self.offset, &[SECRET])
    }

    fn signed_inline(&self, event: &Event) -> Request {
        self.signed(event).target(INLINE)
    }

    /// Returns how often the backend got an event.
    fn times(&self, event: &Event) -> usize {
        let requests = self.backend.requests();
        requests.iter().filter(|request| request.header("idempotency-key") == Some(&*event.id)).count()
    }

    /// Waits until the backend has got an event this often.
    async fn await_times(&self, event: &Event, times: usize) {
        until(format!("{times} attempts"), async || (self.times(event) >= times).then_some(())).await;
    }
}

async fn queued_events_are_delivered_and_no_event_is_forgotten(kind: Kind, step: i64) {
    deliver_across_a_step(kind, step, false).await;
}

async fn queued_events_are_delivered_and_no_event_is_forgotten_across_restarts(kind: Kind, step: i64) {
    deliver_across_a_step(kind, step, true).await;
}

async fn deliver_across_a_step(kind: Kind, step: i64, restart: bool) {
    let Some(mut world) = World::start(kind).await else { return };
    let mut program = Program::start(world.setup.clone()).await;
    let [queued, inline, waiting] = [(); 3].map(|()| Event::checkout());
    program.send(&world.signed(&queued)).await.expect_received("queued");
    in_state(&program, &queued.id, "delivered").await;
    program.send(&world.signed_inline(&inline)).await.expect_delivered(200);
    world.backend.reply_at("/webhooks/stripe", Reply::status(500));
    program.send(&world.signed(&waiting)).await.expect_received("queued");
    world.await_times(&waiting, 1).await;

    world.set_clock(step);
    if restart {
        program = program.restart().await;
    }
    // Attempts, a first arrival and a delivery at the wrong time.
    let [late_waiting, late_inline] = [(); 2].map(|()| Event::checkout());
    program.send(&world.signed(&late_waiting)).await.expect_received("queued");
    program.send(&world.signed_inline(&late_inline)).await.expect_delivered(200);
    world.await_times(&waiting, world.times(&waiting) + 2).await;
    world.await_times(&late_waiting, 2).await;
    for event in [&queued, &inline] {
        let copy = if event.id == queued.id { world.signed(event) } else { world.signed_inline(event) };
        program.send(&copy).await.expect_received("duplicate");
    }

    world.set_clock(0);
    let right_again = Instant::now();
    if restart {
        program = program.restart().await;
    }
    world.backend.reply_at("/webhooks/stripe", Reply::ok());
    for event in [&waiting, &late_waiting] {
        in_state(&program, &event.id, "delivered").await;
    }
    let took = right_again.elapsed();
    assert!(took < at_most(Duration::from_secs(15)), "delivered {took:?} after the clock was right");
    for event in [&queued, &waiting, &late_waiting] {
        program.send(&world.signed(event)).await.expect_received("duplicate");
    }
    for event in [&inline, &late_inline] {
        program.send(&world.signed_inline(event)).await.expect_received("duplicate");
        assert_eq!(world.times(event), 1);
    }
    assert_eq!(world.times(&queued), 1);
    if restart {
        // The sweep after a start has a right clock, and must not believe the times that a wrong one has written.
        program = program.restart().await;
        for event in [&inline, &late_inline] {
            program.send(&world.signed_inline(event)).await.expect_received("duplicate");
        }
    }
}

async fn delivery_under_way_is_not_repeated(kind: Kind, step: i64) {
    let Some(mut world) = World::start(kind).await else { return };
    let setup = world.setup.clone().set("backend.response_timeout", "20s");
    let program = Program::start(setup.clone()).await;
    let other = match kind {
        Kind::Sqlite => None,
        Kind::Redis => Some(Program::start(setup).await),
    };
    let (inline, queued, gate) = (Event::checkout(), Event::checkout(), Gate::new());
    world.backend.reply_always(Reply::ok().when(&gate));
    let mut stripe = program.connect().await;
    stripe.write(world.signed_inline(&inline).bytes()).await;
    program.send(&world.signed(&queued)).await.expect_received("queued");
    world.backend.await_request(2).await;

    for offset in [step, 0] {
        world.set_clock(offset);
        // A probe of Redis comes every three seconds, and a worker asks for due events every second.
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(4) {
            for program in [Some(&program), other.as_ref()].into_iter().flatten() {
                program.send(&world.signed_inline(&inline)).await.expect_error(409, "in_flight");
                program.send(&world.signed(&queued)).await.expect_received("duplicate");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.backend.count(), 2, "a second request for an event");
    }
    gate.open();
    stripe.response().await.expect_delivered(200);
    in_state(&program, &queued.id, "delivered").await;
    assert_eq!(world.backend.count(), 2);
}

async fn event_of_a_killed_process_waits_its_lease_out(kind: Kind, step: i64) {
    let Some(mut world) = World::start(kind).await else { return };
    let mut program = Program::start(world.setup.clone()).await;
    let (inline, queued) = (Event::checkout(), Event::checkout());
    world.backend.reply_always(Reply::never());
    let since = Instant::now();
    let mut stripe = program.connect().await;
    stripe.write(world.signed_inline(&inline).bytes()).await;
    program.send(&world.signed(&queued)).await.expect_received("queued");
    world.backend.await_request(2).await;
    program.kill9();

    world.set_clock(step);
    world.backend.reply_always(Reply::ok());
    let program = program.restart().await;
    // The backend may still be working on both.
    let mut admitted = None;
    until("both deliveries", async || {
        let copy = program.send(&world.signed_inline(&inline)).await;
        if copy.status == 200 && admitted.is_none() {
            admitted = Some(since.elapsed());
        }
        let again = world.times(&queued) > 1;
        assert!(!again || since.elapsed() + Duration::from_millis(2) >= LEASE, "{:?}", since.elapsed());
        (again && admitted.is_some()).then_some(())
    })
    .await;
    let admitted = admitted.unwrap();
    assert!(admitted + Duration::from_millis(2) >= LEASE, "admitted after {admitted:?}");
    world.set_clock(0);
    assert_eq!((world.times(&inline), world.times(&queued)), (2, 2));
}

/// A step that leaves a running event with a lease far ahead: an operator need not wait for its end.
#[tokio::test]
async fn an_operator_can_delete_an_event_whose_lease_a_wrong_clock_has_written() {
    for kind in [Kind::Sqlite, Kind::Redis] {
        let Some(mut world) = World::start(kind).await else { return };
        world.set_clock(YEAR);
        let setup = world.setup.clone();
        let mut program = Program::start(setup).await;
        let event = Event::checkout();
        world.backend.reply_next(Reply::never());
        let mut stripe = program.connect().await;
        stripe.write(world.signed_inline(&event).bytes()).await;
        world.backend.await_request(1).await;
        program.kill9();
        world.set_clock(0);
        let program = program.restart().await;
        until("the event to be deleted", async || {
            let target = format!("/api/events/{}", event.id);
            (call_api(&program, "DELETE", &target, "").await.status == 204).then_some(())
        })
        .await;
        if let Some(redis) = &world.redis {
            assert_eq!(redis.ask::<u64>("ZCARD countersign:{e}:running"), 0);
        }
    }
}
