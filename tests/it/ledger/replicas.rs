//! Several programs on one Redis.

use crate::harness::{Backend, Event, Gate, Program, Redis, Reply, SECRET, Setup, at_most, now, until};
use crate::tools::{faketime, have};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

async fn three(setup: &Setup) -> Vec<Program> {
    join_all((0..3).map(|_| Program::start(setup.clone()))).await
}

#[tokio::test]
async fn copies_at_three_replicas_reach_the_backend_once_and_never_overlap() {
    if !have("redis-server") {
        return;
    }
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    let replicas = three(&Setup::new(&backend).redis(&redis)).await;

    let (event, gate) = (Event::checkout(), Gate::new());
    backend.reply_next(Reply::ok().when(&gate));
    let signed = event.signed();
    let copies = join_all((0..12).map(|n| replicas[n % 3].send(&signed)));
    let release = async {
        until("eleven copies to be turned away", async || {
            let mut turned_away = 0.0;
            for replica in &replicas {
                turned_away += replica.outcomes("in_flight").await;
            }
            (turned_away == 11.0).then_some(())
        })
        .await;
        assert_eq!(backend.count(), 1);
        gate.open();
    };
    let (responses, ()) = tokio::join!(copies, release);
    assert_eq!(responses.iter().filter(|response| response.status == 200).count(), 1);
    for replica in &replicas {
        replica.send(&event.signed()).await.expect_received("duplicate");
    }

    // There is no gate, so each copy can meet the others at any step.
    let events: Vec<Event> = (0..50).map(|_| Event::checkout()).collect();
    let sent = events.iter().flat_map(|event| replicas.iter().map(move |replica| (event, replica)));
    join_all(sent.map(async |(event, replica)| {
        until("the event is delivered", async || {
            (replica.send(&event.signed()).await.status == 200).then_some(())
        })
        .await;
    }))
    .await;
    let mut times: HashMap<String, usize> = HashMap::new();
    for request in backend.requests() {
        *times.entry(request.header("idempotency-key").unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(times.len(), 51);
    assert!(times.values().all(|&n| n == 1), "{times:?}");
}

#[tokio::test]
async fn event_of_a_killed_replica_is_delivered_by_a_retry_within_15_seconds() {
    if !have("redis-server") {
        return;
    }
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    let setup = Setup::new(&backend).redis(&redis).set("backend.response_timeout", "5s");
    let mut replicas = three(&setup).await;
    let event = Event::checkout();
    backend.reply_next(Reply::never());
    let mut stripe = replicas[0].connect().await;
    stripe.write(event.signed().bytes()).await;
    backend.await_request(1).await;
    let killed = Instant::now();
    replicas[0].kill9();

    replicas[1].send(&event.signed()).await.expect_error(409, "in_flight");
    until("the lease to end", async || (replicas[2].send(&event.signed()).await.status == 200).then_some(()))
        .await;
    let waited = killed.elapsed();
    assert!(waited < at_most(Duration::from_secs(15)), "{waited:?}");
    assert_eq!(backend.await_request(2).await.header("countersign-attempt"), Some("2"));
    replicas[1].send(&event.signed()).await.expect_received("duplicate");
}

#[tokio::test]
async fn replica_clock_an_hour_off_changes_nothing() {
    let Some(library) = faketime() else { return };
    if !have("redis-server") {
        return;
    }
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    let setup = Setup::new(&backend).redis(&redis);
    let off = |by: &str| {
        let setup = setup.clone().env("LD_PRELOAD", &library).env("FAKETIME", by);
        Program::start(setup.env("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
    };
    let (right, fast, slow) = (Program::start(setup.clone()).await, off("+1h").await, off("-1h").await);
    let signed = |event: &Event, offset: i64| event.signed_at(now() + offset, &[SECRET]);
    fast.send(&Event::checkout().signed()).await.expect_error(400, "timestamp_too_old");

    // A lease or a delivery by one replica counts for all of them.
    let programs = [(&right, 0), (&fast, 3600), (&slow, -3600)];
    for (holding, (holder, offset)) in programs.into_iter().enumerate() {
        let (event, gate) = (Event::checkout(), Gate::new());
        backend.reply_next(Reply::ok().when(&gate));
        let request = signed(&event, offset);
        let copies = async {
            backend.await_request(holding + 1).await;
            for (_, (other, offset)) in programs.into_iter().enumerate().filter(|(n, _)| *n != holding) {
                let response = other.send(&signed(&event, offset)).await;
                response.expect_error(409, "in_flight");
                let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
                assert!((30..=37).contains(&wait), "{wait}");
            }
            gate.open();
        };
        tokio::join!(holder.send(&request), copies).0.expect_delivered(200);
        for (program, offset) in programs {
            program.send(&signed(&event, offset)).await.expect_received("duplicate");
        }
        assert_eq!(backend.count(), holding + 1);
    }
}

#[tokio::test]
async fn replicas_with_different_prefixes_have_separate_records() {
    if !have("redis-server") {
        return;
    }
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    let event = Event::checkout();
    for (n, prefix) in ["staging", "production"].into_iter().enumerate() {
        let program = Program::start(Setup::new(&backend).redis(&redis).set("ledger.prefix", prefix)).await;
        program.send(&event.signed()).await.expect_delivered(200);
        program.send(&event.signed()).await.expect_received("duplicate");
        assert_eq!(backend.count(), n + 1);
    }
    // Each last webhook is remembered in the background.
    let keys: Vec<String> = until("every key", async || {
        let keys: Vec<String> = redis.ask("KEYS *");
        (keys.iter().filter(|key| key.ends_with(":last_arrivals")).count() == 2).then_some(keys)
    })
    .await;
    let of = |prefix: &str| keys.iter().filter(|key| key.starts_with(&format!("{prefix}:{{"))).count();
    assert_eq!((of("staging"), of("production"), keys.len()), (7, 7, 14), "{keys:?}");
}

/// Returns the label `id` of `ledger_info` once the program has reached its ledger.
async fn ledger_id(program: &Program) -> String {
    until("the ledger to be identified", async || {
        let metrics = program.metrics().await;
        let ids: Vec<_> =
            metrics.lines().filter_map(|line| line.strip_prefix("countersign_ledger_info{id=\"")).collect();
        assert!(ids.len() <= 1, "{ids:?}");
        Some(ids.first()?.strip_suffix("\"} 1")?.to_owned())
    })
    .await
}

#[tokio::test]
async fn replicas_report_the_same_ledger_id_only_if_they_share_a_ledger() {
    if !have("redis-server") {
        return;
    }
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    let setup = Setup::new(&backend).redis(&redis);
    let one = Program::start(setup.clone()).await;
    let other = Program::start(setup.clone()).await;
    let elsewhere = Program::start(setup.set("ledger.prefix", "elsewhere")).await;
    let mut alone = Program::start(&backend).await;

    let id = ledger_id(&one).await;
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(ledger_id(&other).await, id);
    let (elsewhere, file) = (ledger_id(&elsewhere).await, ledger_id(&alone).await);
    assert!(elsewhere != id && file != id && file != elsewhere, "{id} {elsewhere} {file}");
    alone.sigterm();
    alone.wait_exit().await;
    assert_eq!(ledger_id(&alone.restart().await).await, file);

    // The data is gone, so it is another ledger.
    let () = redis.ask("FLUSHALL");
    until("the program to see the new marker", async || (ledger_id(&one).await != id).then_some(())).await;
}

#[test]
fn both_replicas_of_the_stack_read_the_ledgers_url_from_one_expression() {
    let expressions = ["podman-compose.yml", "config/stack/replicas.yml"].map(|name| {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<_> =
            text.lines().filter_map(|line| line.trim().strip_prefix("- LEDGER_URL=")).collect();
        assert_eq!(lines.len(), 1, "{name}");
        lines[0].to_owned()
    });
    assert_eq!(expressions[0], expressions[1]);
}
