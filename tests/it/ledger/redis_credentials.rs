//! A password of Redis that is rolled while the program runs: a reload takes the new one, and nothing under way is lost.

use crate::harness::{Backend, Event, Gate, Program, Redis, Reply, Setup};
use crate::tools::have;

/// A program whose ledger is this Redis, as this user, with the password in a file.
async fn program_with(redis: &Redis, backend: &Backend, user: &str, password: &str) -> Program {
    let url = format!("redis://{user}:{{file.redis-password}}@127.0.0.1:{}", redis.port());
    let setup = Setup::new(backend).set("ledger.url", url).file("redis-password", password);
    Program::start(setup).await
}

/// Sends a command as an operator, with a password if there is one.
fn administer(redis: &Redis, password: &str, command: &[&str]) {
    let credentials = if password.is_empty() { String::new() } else { format!(":{password}@") };
    let client = redis::Client::open(format!("redis://{credentials}127.0.0.1:{}", redis.port())).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut sent = redis::cmd(command[0]);
    command[1..].iter().for_each(|word| {
        sent.arg(*word);
    });
    sent.exec(&mut connection).unwrap();
}

async fn reload(program: &Program, password: &str) {
    std::fs::write(program.path("redis-password"), password).unwrap();
    program.sighup();
}

async fn await_accepted(program: &Program) {
    program
        .wait_for_log("the new credentials", |line| message(line).contains("accepts the new credentials"))
        .await;
}

fn message(line: &serde_json::Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn rolled_password_is_used_after_a_reload_and_nothing_under_way_is_lost() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start_with(&["--requirepass", "hush-first"]).await;
    let backend = Backend::start().await;
    let program = program_with(&redis, &backend, "", "hush-first").await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    let gate = Gate::new();
    backend.reply_next(Reply::ok().when(&gate));
    let under_way = Event::checkout();
    let mut client = program.connect().await;
    client.write(under_way.signed().bytes()).await;
    backend.await_request(2).await;

    administer(&redis, "hush-first", &["CONFIG", "SET", "requirepass", "hush-second"]);
    // The open connection stays valid.
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    reload(&program, "hush-second").await;
    await_accepted(&program).await;

    administer(&redis, "hush-second", &["CLIENT", "KILL", "TYPE", "normal"]);
    gate.open();
    client.response().await.expect_delivered(200);
    program.ready().await;
    program.send(&under_way.signed()).await.expect_received("duplicate");
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), 4);
    let log = program.complete_log().await.join("\n");
    assert!(!log.contains("hush-") && !log.contains("only a restart"), "{log}");
}

#[tokio::test]
async fn ledger_that_refuses_the_old_password_is_ready_again_after_a_reload() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    redis.ask::<()>("ACL SETUSER shop on >hush-first ~* &* +@all");
    let backend = Backend::start().await;
    let program = program_with(&redis, &backend, "shop", "hush-first").await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);

    redis.ask::<()>("ACL SETUSER shop resetpass >hush-second");
    // A wrong password does no harm as long as the connection lasts, and the log tells of it at once.
    reload(&program, "hush-wrong").await;
    let refused =
        |line: &serde_json::Value| line["level"] == "ERROR" && message(line).contains("new credentials");
    let line = program.wait_for_log("the refused credentials", refused).await;
    assert!(line["reason"].as_str().unwrap().contains("rejects these credentials"), "{line}");
    program.send(&Event::checkout().signed()).await.expect_delivered(200);

    redis.ask::<()>("CLIENT KILL USER shop");
    program.not_ready().await;
    program.send(&Event::checkout().signed()).await.expect_error(503, "ledger_unavailable");
    reload(&program, "hush-second").await;
    program.ready().await;
    program.send(&event.signed()).await.expect_received("duplicate");
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert!(!program.complete_log().await.join("\n").contains("hush-"));
}

#[tokio::test]
async fn reload_to_another_server_still_needs_a_restart() {
    if !have("redis-server") {
        return;
    }
    let (redis, other) = (Redis::start().await, Redis::start().await);
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).redis(&redis);
    let program = Program::start(setup.clone()).await;
    program.reconfigure(&setup.redis(&other));
    program.sighup();
    let restart =
        |line: &serde_json::Value| line["section"] == "ledger" && message(line).contains("only a restart");
    program.wait_for_log("that a restart is needed", restart).await;
    redis.ask::<()>("CLIENT KILL TYPE normal");
    program.ready().await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(other.ask::<u64>("DBSIZE"), 0);
}
