//! The runbook of `CountersignLedgerReset`: a real Sentinel promotes a replica that lagged behind, and each command of
//! docs/alerts.md is run as it stands there.

use super::failover::{replicated, says_to_reconcile};
use crate::external::prometheus::Prometheus;
use crate::harness::{Backend, Event, Redis, Reply, Sentinels, Setup, until};
use crate::ops::events::Output;
use crate::ops::reconcile::Fixture;
use crate::tools::have;

const PAGE: &str = include_str!("../../../docs/alerts.md");

/// Returns the commands of the alert's first block of shell, without their comments.
fn runbook() -> Vec<&'static str> {
    let (_, section) = PAGE.split_once("### CountersignLedgerReset\n").unwrap();
    let (_, block) = section.split("\n### ").next().unwrap().split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block.lines().map(|line| line.split_once('#').map_or(line, |(command, _)| command).trim()).collect()
}

/// The operator at the keyboard, whose hosts are ports here.
struct Keyboard<'f> {
    fixture: &'f Fixture,
    sentinels: &'f Sentinels,
}

impl Keyboard<'_> {
    /// Runs a command of the page. It must be the one that the test expects at this step.
    async fn run(&self, command: &str, expected: &str) -> Output {
        assert!(command.starts_with(expected), "the page has {command:?}, and the test expects {expected:?}");
        let line = command
            .replace("-h sentinel-1 -p 26379", &format!("-h 127.0.0.1 -p {}", self.sentinels.port()))
            .replace("mymaster", "shop")
            .replace("127.0.0.1:9464", &self.fixture.program.admin().text());
        self.fixture.operator.shell(&line).await
    }
}

/// Sends events that the backend refuses, and one before them that it accepts. Stripe counts all of them as delivered.
async fn acknowledged(fixture: &Fixture, backend: &Backend) -> [Event; 3] {
    let events = [(); 3].map(|()| Event::checkout());
    for event in &events {
        fixture.stripe.record(&serde_json::from_slice(&event.body()).unwrap(), true);
    }
    let before = backend.count();
    fixture.program.send(&events[0].signed()).await.expect_received("queued");
    backend.await_request(before + 1).await;
    for state in ["pending", "running"] {
        let series = format!(r#"events{{endpoint="/webhooks/stripe",state="{state}"}}"#);
        fixture.program.await_metric(&series, 0.0).await;
    }
    backend.reply_always(Reply::status(503));
    for event in &events[1..] {
        fixture.program.send(&event.signed()).await.expect_received("queued");
    }
    backend.await_request(before + 3).await;
    events
}

/// Lets the sentinels promote the replica, and waits until the program uses it.
async fn fail_over(mut primary: Redis, replica: &Redis, fixture: &Fixture) {
    primary.kill();
    replica.resume();
    until("the replica to be promoted", async || {
        replica
            .try_ask::<String>("INFO replication")
            .ok()
            .filter(|info| info.contains("role:master"))
            .map(drop)
    })
    .await;
    fixture.program.ready().await;
}

#[tokio::test]
async fn every_step_of_the_runbook_works_after_a_failover_that_lost_events() {
    if !["redis-server", "redis-cli", "curl", "prometheus"].into_iter().all(have) {
        return;
    }
    let (primary, replica) = replicated().await;
    let sentinels = Sentinels::start(&primary).await;
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("ledger.url", sentinels.url()).set("webhook.delivery", "queued");
    let fixture = Fixture::start(setup.retry(&["1h"])).await;
    let prometheus = Prometheus::start(fixture.program.admin()).await;
    let kept = Event::checkout();
    fixture.stripe.record(&serde_json::from_slice(&kept.body()).unwrap(), true);
    fixture.program.send(&kept.signed()).await.expect_received("queued");
    backend.await_request(1).await;
    fixture.program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
    replica.caught_up(&primary).await;

    replica.cut_off(&primary);
    let lost = acknowledged(&fixture, &backend).await;
    assert_eq!(fixture.program.metric("ledger_resets_total").await, 0.0);
    fail_over(primary, &replica, &fixture).await;
    fixture.program.await_metric("ledger_resets_total", 1.0).await;
    says_to_reconcile(&fixture.program).await;
    prometheus.fires("CountersignLedgerReset").await;

    backend.reply_always(Reply::ok());
    let keyboard = Keyboard { fixture: &fixture, sentinels: &sentinels };
    let commands = runbook();
    let [primary_now, ready, list, apply, pending, dead, again] = commands[..] else {
        panic!("{commands:?}")
    };
    let output = keyboard.run(primary_now, "redis-cli").await;
    assert_eq!(output.out, format!("127.0.0.1\n{}\n", replica.port()));
    let output = keyboard.run(ready, "curl").await;
    assert!(output.code == 0 && output.out.contains(r#""ledger":{"ok":true"#), "{output:?}");

    let output = keyboard.run(list, "countersign reconcile --all").await;
    assert_eq!(output.code, 3);
    for event in &lost {
        let line = output.out.lines().find(|line| line.starts_with(&event.id)).unwrap_or_default();
        assert!(line.contains(" missing "), "{output:?}");
    }
    assert!(!output.out.contains(&kept.id), "the replica has it: {output:?}");
    let before = backend.count();
    let output = keyboard.run(apply, "countersign reconcile --all").await;
    assert!(output.code == 0 && output.out.contains("3 of 3 imported."), "{output:?}");
    backend.await_request(before + 3).await;
    let delivered: Vec<_> = backend.requests()[before..]
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert!(lost.iter().all(|event| delivered.contains(&event.id)), "{delivered:?}");

    until("the queue to be empty", async || {
        let output = keyboard.run(pending, "countersign events list --state pending").await;
        assert_eq!(output.code, 0);
        (!output.out.contains("evt_")).then_some(())
    })
    .await;
    let output = keyboard.run(dead, "countersign events list --state dead").await;
    assert!(output.code == 0 && !output.out.contains("evt_"), "{output:?}");
    let output = keyboard.run(again, "countersign reconcile --all").await;
    assert!(output.code == 0 && output.out.contains("Nothing is missing"), "{output:?}");
    // What Stripe sends again from here on is known.
    for event in lost.iter().chain([&kept]) {
        fixture.program.send(&event.signed()).await.expect_received("duplicate");
    }
    assert_eq!(backend.count(), before + 3);
}
