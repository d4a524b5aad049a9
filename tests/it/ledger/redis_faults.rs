//! The program while Redis fails. Every fault is really made: servers are stopped, killed, paused, emptied, filled or
//! misconfigured.

use crate::harness::{Backend, Event, Program, Redis, Request, Response, Sentinels, Setup, until};
use crate::ops::events::{call_api, with_events_api};
use crate::tools::have;
use serde_json::Value;
use std::process::Command;

#[track_caller]
fn expect_unavailable(response: &Response) {
    response.expect_error(503, "ledger_unavailable");
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// Waits until the ledger is not ready, and returns the reason that `/readyz` gives.
async fn unready_because(program: &Program) -> String {
    let ledger = until("the ledger's own reason", async || {
        let checks = program.not_ready().await["checks"].take();
        (checks["listener"]["ok"] == true).then(|| checks["ledger"].clone())
    });
    let ledger = ledger.await;
    assert_eq!(ledger["ok"], false);
    ledger["reason"].as_str().unwrap().to_owned()
}

/// Waits until the reason in `/readyz` contains these words, and returns it.
async fn unready_with(program: &Program, words: &str) -> String {
    until(format!("a reason with {words:?}"), async || {
        Some(unready_because(program).await).filter(|reason| reason.contains(words))
    })
    .await
}

/// Checks that webhooks are refused and pages pass while Redis is unreachable. Returns the reason in `/readyz`.
async fn expect_outage(program: &Program, backend: &Backend) -> String {
    let reason = unready_because(program).await;
    let before = backend.count();
    expect_unavailable(&program.send(&Event::checkout().signed()).await);
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    assert_eq!(backend.targets()[before..], ["GET /posts/1"]);
    reason
}

/// Checks that the program recovers without a restart and still knows what was delivered.
async fn expect_recovery(program: &Program, known: &Event) {
    program.ready().await;
    program.send(&known.signed()).await.expect_received("duplicate");
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
}

/// Starts a backend and a program on a Redis, and delivers one event.
async fn running(redis: &Redis) -> (Backend, Program, Event) {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).redis(redis)).await;
    let known = Event::checkout();
    program.send(&known.signed()).await.expect_delivered(200);
    (backend, program, known)
}

async fn warned(program: &Program, words: &str) -> bool {
    let lines = program.complete_log().await;
    let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed
        .filter(|line| line["level"] == "WARN")
        .any(|line| line["message"].as_str().unwrap().contains(words))
}

#[tokio::test]
async fn stopped_redis_makes_the_program_unready_until_it_is_back() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::start().await;
    let (backend, program, known) = running(&redis).await;
    redis.stop().await;
    expect_outage(&program, &backend).await;
    let reason = unready_with(&program, "refused").await;
    assert!(reason.starts_with(&redis.url()), "{reason}");
    redis.up().await;
    expect_recovery(&program, &known).await;
}

#[tokio::test]
async fn redis_restart_between_two_webhooks_fails_neither() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::start().await;
    let (_backend, program, known) = running(&redis).await;
    redis.stop().await;
    redis.up().await;
    until("the connection is made anew", async || {
        (program.send(&known.signed()).await.status == 200).then_some(())
    })
    .await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn killed_redis_makes_the_program_unready_until_it_is_back() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::start().await;
    let (backend, program, known) = running(&redis).await;
    redis.kill();
    expect_outage(&program, &backend).await;
    redis.up().await;
    expect_recovery(&program, &known).await;
}

#[tokio::test]
async fn paused_redis_times_out_and_recovers() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let (backend, program, known) = running(&redis).await;
    redis.pause();
    // The first request waits for the timeout. The next ones fail at once, because the fault is known.
    expect_unavailable(&program.send(&Event::checkout().signed()).await);
    let reason = expect_outage(&program, &backend).await;
    assert!(reason.contains("time") || reason.contains("within"), "{reason}");
    redis.resume();
    expect_recovery(&program, &known).await;
}

#[tokio::test]
async fn redis_that_lost_its_data_is_counted_and_logged() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::start().await;
    let (backend, program, known) = running(&redis).await;
    assert_eq!(program.metric("ledger_resets_total").await, 0.0);
    redis.kill();
    redis.wipe();
    redis.up().await;
    program.await_metric("ledger_resets_total", 1.0).await;
    program
        .wait_for_log("that it came back empty", |line| {
            line["level"] == "ERROR"
                && line["message"].as_str().is_some_and(|words| words.contains("came back empty"))
        })
        .await;
    program.ready().await;
    program.send(&known.signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), 2, "it was forgotten");

    // Redis is emptied while the program runs.
    let () = redis.ask("FLUSHALL");
    program.await_metric("ledger_resets_total", 2.0).await;
}

#[tokio::test]
async fn read_only_replica_is_refused_until_it_is_promoted() {
    if !have("redis-server") {
        return;
    }
    let (primary, replica) = (Redis::start().await, Redis::start().await);
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let backend = Backend::start().await;
    let program = Program::start_unready(Setup::new(&backend).redis(&replica)).await;
    unready_with(&program, "read-only").await;
    let reason = expect_outage(&program, &backend).await;
    assert!(reason.contains("primary"), "{reason}");
    let () = replica.ask("REPLICAOF NO ONE");
    program.ready().await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);

    // The primary is demoted while the program runs.
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let reason = expect_outage(&program, &backend).await;
    assert!(reason.contains("read-only"), "{reason}");
}

#[tokio::test]
async fn redis_out_of_memory_makes_the_program_unready_until_there_is_room() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start_with(&["--maxmemory-policy", "noeviction"]).await;
    let (backend, program, known) = running(&redis).await;
    let () = redis.ask("CONFIG SET maxmemory 1");
    let reason = expect_outage(&program, &backend).await;
    assert!(reason.contains("memory is full"), "{reason}");
    let () = redis.ask("CONFIG SET maxmemory 0");
    expect_recovery(&program, &known).await;
}

#[tokio::test]
async fn events_in_a_full_redis_are_delivered_also_after_a_lost_connection_and_a_restart() {
    if !have("redis-server") {
        return;
    }
    for broken in ["", "connection", "program"] {
        let redis = Redis::start_with(&["--maxmemory-policy", "noeviction"]).await;
        let mut backend = Backend::start().await;
        backend.stop().await;
        let setup = Setup::new(&backend).redis(&redis).set("webhook.delivery", "queued");
        let mut program = Program::start(setup.clone()).await;
        for _ in 0..3 {
            program.send(&Event::checkout().signed()).await.expect_received("queued");
        }
        let () = redis.ask("CONFIG SET maxmemory 1");
        match broken {
            "connection" => {
                let _: i64 = redis.ask("CLIENT KILL TYPE normal");
            }
            "program" => {
                program.sigterm();
                program.wait_exit().await;
                program = Program::start_unready(setup).await;
            }
            _ => {}
        }
        unready_with(&program, "memory is full").await;
        let refused = program.send(&Event::checkout().signed()).await;
        expect_unavailable(&refused);
        backend.restart().await;
        backend.await_request(3).await;
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="pending"}"#, 0.0).await;
        assert_eq!(backend.count(), 3, "{broken}");
        let () = redis.ask("CONFIG SET maxmemory 0");
        program.ready().await;
        program.send(&Event::checkout().signed()).await.expect_received("queued");
    }
}

#[tokio::test]
async fn without_config_and_info_permissions_it_serves_and_logs_what_is_unknown() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let () = redis.ask("ACL SETUSER app on >pw ~countersign:* +@all -config -info");
    let backend = Backend::start().await;
    let url = redis.url().replace("redis://", "redis://app:{$REDIS_PASSWORD}@");
    let program =
        Program::start(Setup::new(&backend).set("ledger.url", url).env("REDIS_PASSWORD", "pw")).await;
    assert!(warned(&program, "neither CONFIG nor INFO may be read").await);
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn missing_permissions_are_named() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let () = redis.ask("ACL SETUSER app on >pw ~countersign:* +@all -sadd");
    let backend = Backend::start().await;
    let url = redis.url().replace("redis://", "redis://app:{$REDIS_PASSWORD}@");
    let setup = Setup::new(&backend).set("ledger.url", url).env("REDIS_PASSWORD", "pw");
    let program = Program::start(setup).await;
    let refused = program.send(&Event::checkout().signed()).await;
    expect_unavailable(&refused);
    program
        .wait_for_log("what is missing", |line| {
            line["outcome"] == "ledger_unavailable"
                && line["reason"].as_str().is_some_and(|why| why.contains("SADD"))
        })
        .await;
    let () = redis.ask("ACL SETUSER app +sadd");
    until("it may", async || (program.send(&Event::checkout().signed()).await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn documented_permissions_suffice_for_every_delivery_mode() {
    if !have("redis-server") {
        return;
    }
    let page = std::fs::read_to_string("docs/configuration.md").unwrap();
    let rules = page.split_once("```acl\n").unwrap().1.split_once("\n```").unwrap().0.replace('\n', " ");
    let redis = Redis::start().await;
    let () = redis.ask(&format!("ACL SETUSER app on >pw {rules}"));
    let backend = Backend::start().await;
    let url = redis.url().replace("redis://", "redis://app:{$REDIS_PASSWORD}@");
    let setup = Setup::new(&backend).set("ledger.url", url).env("REDIS_PASSWORD", "pw");
    let setup = with_events_api(setup);
    for delivery in ["inline", "hybrid", "queued"] {
        let setup = setup.clone().set("webhook.delivery", delivery).set("webhook.retry", vec!["20ms"]);
        let program = Program::start(setup).await;
        let before = backend.count();
        let event = Event::checkout();
        backend.reply_next(crate::harness::Reply::status(500));
        let first = program.send(&event.signed()).await.status;
        assert_eq!(first, if delivery == "inline" { 500 } else { 200 }, "{delivery}");
        if delivery == "inline" {
            program.send(&event.signed()).await.expect_delivered(200);
        }
        backend.await_request(before + 2).await;
        let imported = String::from_utf8(Event::checkout().body()).unwrap();
        let target = "/api/events?endpoint=%2Fwebhooks%2Fstripe";
        assert_eq!(call_api(&program, "POST", target, &imported).await.status, 202);
        backend.await_request(before + 3).await;
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="pending"}"#, 0.0).await;
        let log = program.complete_log().await;
        assert!(!log.join("\n").contains("may not do that"), "{log:?}");
    }
}

#[tokio::test]
async fn wrong_password_is_reported_without_showing_it_and_retried() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start_with(&["--requirepass", "RightOne"]).await;
    let backend = Backend::start().await;
    let url = redis.url().replace("redis://", "redis://:{$REDIS_PASSWORD}@");
    let setup = Setup::new(&backend).set("ledger.url", url).env("REDIS_PASSWORD", "WrongOne");
    let program = Program::start_unready(setup).await;
    unready_with(&program, "credentials").await;
    let reason = expect_outage(&program, &backend).await;
    let everything = reason + &program.complete_log().await.join("\n") + &program.metrics().await;
    assert!(!everything.contains("WrongOne"), "{everything}");
    let client = redis::Client::open(redis.url().replace("redis://", "redis://:RightOne@")).unwrap();
    let mut connection = client.get_connection().unwrap();
    let () =
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("WrongOne").query(&mut connection).unwrap();
    program.ready().await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn redis_absent_at_start_is_used_once_it_is_up() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::prepared(&[]);
    let backend = Backend::start().await;
    let program = Program::start_unready(Setup::new(&backend).redis(&redis)).await;
    expect_outage(&program, &backend).await;
    redis.up().await;
    program.ready().await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn sentinel_failover_is_followed_and_keeps_what_was_replicated() {
    if !have("redis-server") {
        return;
    }
    let (mut primary, replica) = (Redis::start().await, Redis::start().await);
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let sentinels = Sentinels::start(&primary).await;
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("ledger.url", sentinels.url())).await;
    let known = Event::checkout();
    program.send(&known.signed()).await.expect_delivered(200);
    until("the replica has it", async || {
        let keys: Vec<String> = replica.ask("KEYS countersign*evt_*");
        (keys.len() == 1 && replica.ask::<bool>("EXISTS countersign:{e}:marker")).then_some(())
    })
    .await;
    primary.kill();
    expect_outage(&program, &backend).await;
    expect_recovery(&program, &known).await;
    assert_eq!(program.metric("ledger_resets_total").await, 0.0);
    assert_eq!(replica.ask::<Vec<redis::Value>>("ROLE")[0], redis::Value::BulkString(b"master".to_vec()));
}

#[tokio::test]
async fn eviction_policy_and_missing_persistence_are_reported_at_start() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start_with(&["--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]).await;
    let (_backend, program, _) = running(&redis).await;
    assert!(warned(&program, "maxmemory-policy is allkeys-lru").await);
    assert!(warned(&program, "keeps nothing on disk").await);

    let redis = Redis::start().await;
    let (_backend, program, _) = running(&redis).await;
    assert!(!warned(&program, "maxmemory").await && !warned(&program, "disk").await, "{:?}", program.log());
}

#[tokio::test]
async fn scripts_are_loaded_again_after_script_flush() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let (_backend, program, known) = running(&redis).await;
    let () = redis.ask("SCRIPT FLUSH");
    program.send(&known.signed()).await.expect_received("duplicate");
    let () = redis.ask("SCRIPT FLUSH");
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn on_outage_deliver_passes_events_without_dedup_and_counts_them() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::start().await;
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).redis(&redis).set("ledger.on_outage", "deliver")).await;
    redis.stop().await;
    program.not_ready().await;
    let event = Event::checkout();
    for _ in 0..2 {
        program.send(&event.signed()).await.expect_delivered(200);
    }
    assert_eq!(backend.count(), 2);
    assert_eq!(program.metric(r#"undeduplicated_total{endpoint="/webhooks/stripe"}"#).await, 2.0);
    redis.up().await;
    program.ready().await;
    program.send(&event.signed()).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
}

#[tokio::test]
async fn event_costs_two_commands_and_a_page_none() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let (_backend, program, _) = running(&redis).await;
    let calls = || redis.calls("evalsha");
    let before = calls();
    for _ in 0..200 {
        assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    }
    let pages = calls() - before;
    for _ in 0..100 {
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
    }
    let events = calls() - before - pages;
    // The program checks the connection once a second.
    assert!(pages < 100, "{pages}");
    assert!((200..300).contains(&events), "{events}");
}

#[tokio::test]
async fn redis_itself_expires_records_long_after_retention_and_in_the_database_of_the_url() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let backend = Backend::start().await;
    let setup =
        Setup::new(&backend).set("ledger.url", format!("{}/3", redis.url())).set("ledger.retention", "2h");
    let program = Program::start(setup).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    let client = redis::Client::open(format!("{}/3", redis.url())).unwrap();
    let mut connection = client.get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*evt_*").query(&mut connection).unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let left: u64 = redis::cmd("TTL").arg(key).query(&mut connection).unwrap();
    // The program deletes it after the retention. This is for a server that no program uses any more.
    let spare = 400 * 24 * 3600;
    assert!((spare + 7_000..=spare + 7_200).contains(&left), "{left}");
    assert_eq!(redis.ask::<u64>("DBSIZE"), 0);
}

#[tokio::test]
async fn tls_certificate_is_verified() {
    if !have("redis-server") || !have("openssl") {
        return;
    }
    let mut redis = Redis::prepared(&[]);
    let make = |words: &str| {
        let made =
            Command::new("openssl").args(words.split(' ')).current_dir(redis.path("")).output().unwrap();
        assert!(made.status.success(), "{words}: {}", String::from_utf8_lossy(&made.stderr));
    };
    make(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
    );
    make(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out req.pem",
    );
    make(
        "x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out cert.pem",
    );
    let tls = redis.serve_tls("cert.pem", "key.pem");
    redis.up().await;
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("ledger.url", format!("rediss://localhost:{tls}"));
    let stranger = Program::start_unready(setup.clone()).await;
    let reason = unready_with(&stranger, "certificate").await;
    assert!(reason.starts_with("rediss://localhost"), "{reason}");
    let ca = redis.path("ca.pem").display().to_string();
    let program = Program::start(setup.env("SSL_CERT_FILE", &ca)).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}
