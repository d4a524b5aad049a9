//! The program while its SQLite ledger fails: killed, locked, unreachable, or in use by another process. Every fault
//! is really made.

use crate::harness::{Backend, Client, Event, Gate, Program, Reply, Response, Setup, at_most, until, within};
use futures_util::future::join_all;
use rusqlite::Connection;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Starts a backend that holds its response, and a program whose leases last 1 + 1 + 5 s.
fn short_leases(backend: &Backend) -> Setup {
    Setup::new(backend).set("backend.connect_timeout", "1s").set("backend.response_timeout", "1s")
}

/// Takes the write lock until dropped, as a backup tool or an open `sqlite3` does.
fn lock(path: &Path) -> Connection {
    let outsider = Connection::open(path).unwrap();
    outsider.busy_timeout(Duration::from_secs(10)).unwrap();
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    outsider
}

#[track_caller]
fn expect_unavailable(response: &Response) {
    response.expect_error(503, "ledger_unavailable");
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn after_a_kill_mid_delivery_the_second_attempt_follows_the_end_of_the_lease() {
    let backend = Backend::start().await;
    let mut program = Program::start(short_leases(&backend)).await;
    let event = Event::checkout();
    backend.reply_next(Reply::never());

    let mut stripe = program.connect().await;
    let before = Instant::now();
    stripe.write(event.signed().bytes()).await;
    backend.await_request(1).await;
    let claimed = Instant::now();
    program.kill9();
    let program = program.restart().await;

    let refused = program.send(&event.signed()).await;
    refused.expect_error(409, "in_flight");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    program.ready().await;
    let retried = until("the lease to end", async || {
        let response = program.send(&event.signed()).await;
        (response.status != 409).then_some(response)
    });
    retried.await.expect_delivered(200);
    // A lease is counted from before the claim.
    let waited = before.elapsed();
    assert!(waited >= Duration::from_millis(6_900), "admitted again after {waited:?}");
    assert!(claimed.elapsed() < at_most(Duration::from_secs(15)), "admitted again only after {waited:?}");
    let second = backend.await_request(2).await;
    assert_eq!(second.header("countersign-attempt"), Some("2"));
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn delivered_events_are_duplicates_after_a_kill_and_after_a_restart() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    let (first, second, failed) = (Event::checkout(), Event::checkout(), Event::checkout());
    program.send(&first.signed()).await.expect_delivered(200);
    backend.reply_next(Reply::status(500));
    program.send(&failed.signed()).await.expect_delivered(500);
    program.send(&second.signed()).await.expect_delivered(200);
    program.kill9();

    let mut program = program.restart().await;
    for event in [&first, &second] {
        program.send(&event.signed()).await.expect_received("duplicate");
    }
    program.sigterm();
    assert_eq!(program.wait_exit().await.code(), Some(0));

    let program = program.restart().await;
    for event in [&first, &second] {
        program.send(&event.signed()).await.expect_received("duplicate");
    }
    program.send(&failed.signed()).await.expect_delivered(200);
    assert_eq!(backend.requests()[3].header("countersign-attempt"), Some("2"));
    assert_eq!(backend.count(), 4);
}

#[tokio::test]
async fn every_event_acknowledged_between_kills_reached_the_backend() {
    const KILLS: usize = 3;
    let backend = Backend::start().await;
    let setup = short_leases(&backend)
        .set("backend.connect_timeout", "500ms")
        .set("backend.response_timeout", "500ms");
    let mut program = Program::start(setup).await;
    let at = watch::Sender::new(program.proxy().clone());
    let done = watch::Sender::new(0);

    // Sends the event until there is a 2xx, with a fresh signature each time, as Stripe does.
    let sender = async |events: Vec<Event>| {
        for event in events {
            until("a 2xx", async || {
                let address = at.borrow().clone();
                let mut client = Client::try_connect(&address).await.ok()?;
                client.write(event.signed().bytes()).await;
                client.try_response().await.ok().filter(|response| response.status == 200)
            })
            .await;
            done.send_modify(|n| *n += 1);
        }
    };
    let events: Vec<Event> = (0..400).map(|_| Event::checkout()).collect();
    let senders = join_all(events.chunks(50).map(|chunk| sender(chunk.to_vec())));
    let killer = async {
        for kill in 1..=KILLS {
            let mut seen = done.subscribe();
            within("events to be acknowledged", seen.wait_for(|&n| n >= kill * 60)).await.unwrap();
            program.kill9();
            program = program.restart().await;
            at.send_replace(program.proxy().clone());
        }
        program
    };
    let (_, _program) = tokio::join!(senders, killer);

    let mut times: HashMap<String, usize> = HashMap::new();
    for request in backend.requests().iter().filter(|request| request.whole) {
        *times.entry(request.header("idempotency-key").unwrap().to_owned()).or_default() += 1;
    }
    for event in &events {
        let n = times.get(&event.id).copied().unwrap_or_default();
        // An event arrives once, and a second time if the kill came between the backend's 2xx and its record.
        assert!((1..=1 + KILLS).contains(&n), "{} reached the backend {n} times", event.id);
    }
    let twice = times.values().filter(|&&n| n > 1).count();
    assert!(twice <= 8 * KILLS, "more were repeated than could be in flight: {twice}");
}

#[tokio::test]
async fn ledger_failure_after_the_2xx_delays_stripe_by_a_second_and_is_settled_later() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let (event, gate) = (Event::checkout(), Gate::new());
    backend.reply_always(Reply::ok().when(&gate));

    let mut stripe = program.connect().await;
    stripe.write(event.signed().bytes()).await;
    backend.await_request(1).await;
    let outsider = lock(&program.ledger());
    let since = Instant::now();
    gate.open();
    stripe.response().await.expect_delivered(200);
    let waited = since.elapsed();
    assert!(waited < at_most(Duration::from_secs(3)), "Stripe waited {waited:?}");
    program.await_metric("settle_failures_total", 1.0).await;
    assert_eq!(backend.count(), 1);

    drop(outsider);
    let copy = until("the settlement to be recorded", async || {
        let response = program.send(&event.signed()).await;
        (response.status == 200).then_some(response)
    });
    copy.await.expect_received("duplicate");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn with_a_locked_ledger_webhooks_get_503_within_seconds_and_pages_pass() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    let outsider = lock(&program.ledger());
    let since = Instant::now();
    expect_unavailable(&program.send(&event.signed()).await);
    assert!(since.elapsed() < at_most(Duration::from_secs(5)), "refused after {:?}", since.elapsed());
    assert!(program.metric(r#"ledger_errors_total{op="claim"}"#).await >= 1.0);
    let page = program.send(&crate::harness::Request::get("/posts/1")).await;
    assert_eq!((page.status, backend.count()), (200, 2));

    drop(outsider);
    let delivered = until("the ledger to be back", async || {
        let response = program.send(&event.signed()).await;
        (response.status != 503).then_some(response)
    });
    delivered.await.expect_delivered(200);
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn webhook_right_after_the_start_finds_the_ledger_open() {
    let backend = Backend::start().await;
    for n in 1..=10 {
        let program = Program::start_unready(&backend).await;
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        assert_eq!(backend.count(), n);
    }
}

#[tokio::test]
async fn ledger_unreachable_at_start_leaves_the_program_unready_until_it_recovers() {
    for fault in ["the file is a folder", "its folder is a file"] {
        let backend = Backend::start().await;
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("in/ledger.db");
        match fault {
            "the file is a folder" => std::fs::create_dir_all(&path).unwrap(),
            _ => std::fs::write(folder.path().join("in"), "not a folder").unwrap(),
        }
        let program = Program::start_unready(Setup::new(&backend).ledger_at(&path)).await;
        let event = Event::checkout();

        let body = program.not_ready().await;
        assert_eq!(body["checks"]["ledger"]["ok"], false, "{fault}: {body}");
        let reason = body["checks"]["ledger"]["reason"].as_str().unwrap();
        assert!(reason.contains("ledger.db"), "{fault}: {reason}");
        expect_unavailable(&program.send(&event.signed()).await.case(fault));
        assert_eq!(program.get_admin("/livez").await.status, 200);
        assert_eq!(program.send(&crate::harness::Request::get("/posts/1")).await.status, 200);
        assert_eq!(backend.targets(), ["GET /posts/1"]);

        match fault {
            "the file is a folder" => std::fs::remove_dir(&path).unwrap(),
            _ => std::fs::remove_file(folder.path().join("in")).unwrap(),
        }
        program.ready().await;
        program.send(&event.signed()).await.case(fault).expect_delivered(200);
        program.send(&event.signed()).await.expect_received("duplicate");
    }
}

#[tokio::test]
async fn on_outage_deliver_delivers_without_dedup_and_counts() {
    let backend = Backend::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::create_dir(&path).unwrap();
    let setup = Setup::new(&backend).ledger_at(&path).set("ledger.on_outage", "deliver");
    let program = Program::start_unready(setup).await;
    let event = Event::checkout();
    for n in 1..=2 {
        program.send(&event.signed()).await.expect_delivered(200);
        assert_eq!(backend.await_request(n).await.header("idempotency-key"), Some(event.id.as_str()));
    }
    assert_eq!(program.metric(r#"undeduplicated_total{endpoint="/webhooks/stripe"}"#).await, 2.0);
    program.not_ready().await;

    std::fs::remove_dir(&path).unwrap();
    program.ready().await;
    program.send(&event.signed()).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(program.metric(r#"undeduplicated_total{endpoint="/webhooks/stripe"}"#).await, 2.0);
}

#[tokio::test]
async fn on_outage_deliver_makes_an_event_that_cannot_be_queued_inline() {
    let backend = Backend::start().await;
    backend.reply_always(Reply::status(500));
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("ledger.db")).unwrap();
    let setup = Setup::new(&backend).ledger_at(folder.path().join("ledger.db"));
    let setup = setup.set("ledger.on_outage", "deliver").set("webhook.retry", Vec::<&str>::new());
    for delivery in ["queued", "hybrid"] {
        let program = Program::start_unready(setup.clone().set("webhook.delivery", delivery)).await;
        assert_eq!(program.send(&Event::checkout().signed()).await.status, 500, "{delivery}");
        let got = backend.requests().pop().unwrap();
        assert_eq!(got.header("countersign-delivery"), Some("inline"), "{delivery}");
        let refused = r#"deliveries_total{endpoint="/webhooks/stripe",mode="inline",result="refused"}"#;
        assert_eq!(program.metric(refused).await, 1.0, "{delivery}");
        let log = program.complete_log().await;
        assert!(!log.join("\n").contains("event is dead"), "{delivery}: {log:?}");
    }
}

#[tokio::test]
async fn without_a_ledger_every_copy_is_delivered() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).no_ledger()).await;
    program.ready().await;
    let event = Event::checkout();
    for n in 1..=3 {
        program.send(&event.signed()).await.expect_delivered(200);
        assert_eq!(backend.count(), n);
    }
    assert!(!program.ledger().exists());
}

/// Deletes the ledger with everything beside it but its lock, as an operator or a new volume does.
fn wipe(program: &Program) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(program.path(format!("ledger.db{suffix}")));
    }
}

#[tokio::test]
async fn a_wiped_or_replaced_file_is_counted_as_a_reset_and_an_ordinary_restart_is_not() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(program.metric("ledger_resets_total").await, 0.0);
    program.sigterm();
    program.wait_exit().await;
    let backup = program.path("backup.db");
    std::fs::copy(program.ledger(), &backup).unwrap();
    let mut program = program.restart().await;
    program.kill9();
    let mut program = program.restart().await;
    assert_eq!(program.metric("ledger_resets_total").await, 0.0);

    program.kill9();
    wipe(&program);
    let mut program = program.restart().await;
    assert_eq!(program.metric("ledger_resets_total").await, 1.0);
    program
        .wait_for_log("a reset", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("was deleted or replaced") && message.contains("reconcile --all")
        })
        .await;
    // The new file is known from now on, and the old one is another.
    program.kill9();
    let mut program = program.restart().await;
    assert_eq!(program.metric("ledger_resets_total").await, 0.0);
    program.kill9();
    wipe(&program);
    std::fs::rename(&backup, program.ledger()).unwrap();
    let program = program.restart().await;
    assert_eq!(program.metric("ledger_resets_total").await, 1.0);
}

#[tokio::test]
async fn a_file_deleted_while_it_is_open_is_counted_as_one_reset() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for (n, suffix) in ["", "-wal"].into_iter().enumerate() {
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        std::fs::remove_file(program.path(format!("ledger.db{suffix}"))).unwrap();
        program.send(&Event::checkout().signed()).await.expect_error(503, "ledger_unavailable");
        program.ready().await;
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        assert_eq!(program.metric("ledger_resets_total").await, (n + 1) as f64, "{suffix}");
    }
}

#[tokio::test]
async fn second_process_on_the_file_is_unready_until_the_first_ends() {
    let backend = Backend::start().await;
    let mut first = Program::start(&backend).await;
    let (known, new) = (Event::checkout(), Event::checkout());
    first.send(&known.signed()).await.expect_delivered(200);

    let second = first.start_beside().await;
    let body = second.not_ready().await;
    assert!(body["checks"]["ledger"]["reason"].as_str().unwrap().contains("process"), "{body}");
    expect_unavailable(&second.send(&new.signed()).await);
    first.send(&known.signed()).await.expect_received("duplicate");

    first.sigterm();
    assert_eq!(first.wait_exit().await.code(), Some(0));
    second.ready().await;
    second.send(&known.signed()).await.expect_received("duplicate");
    second.send(&new.signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn second_process_takes_over_from_a_killed_one() {
    let backend = Backend::start().await;
    let mut first = Program::start(&backend).await;
    let known = Event::checkout();
    first.send(&known.signed()).await.expect_delivered(200);
    let second = first.start_beside().await;
    second.not_ready().await;
    first.kill9();
    second.ready().await;
    second.send(&known.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), 1);
}
