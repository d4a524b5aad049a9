//! Events that move from one ledger to another: `ledger copy`, `ledger stats`, and what a start says of an old ledger.

use crate::harness::{Backend, Event, Program, Redis, Reply, Setup, until};
use crate::ops::events::{call_api, in_state, with_events_api};
use crate::tools::have;
use rusqlite::Connection;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The number of delivered events that make a copy last long enough to be killed.
const FILLERS: u64 = 20_000;

/// Builds a command line that is configured by its arguments alone.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(words)
        .env_clear()
        .env("REDIS_PASSWORD", "hush")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn run(words: &[&str]) -> Output {
    let mut command = command(words);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    // The test runner shows this if the test fails.
    eprintln!("{words:?}: {output:?}");
    output
}

/// Returns the number of records in a state, as `ledger stats` counts them.
async fn stats(url: &str, state: &str) -> u64 {
    let output = run(&["ledger", "stats", "--json", "--url", url]).await;
    let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
    let states = stats["states"].as_array().unwrap().iter().filter(|row| row["state"] == state);
    states.map(|row| row["records"].as_u64().unwrap()).sum()
}

/// Adds delivered events to a file that no program has open.
fn fill_sqlite(path: &Path) {
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FILLERS})
         INSERT INTO archive SELECT printf('evt_filler%08d', i), '/webhooks/stripe', '', 'invoice.paid', NULL, 0, NULL,
             unixepoch() * 1000, 2, 1, 200, unixepoch() * 1000 FROM n"
    );
    Connection::open(path).unwrap().execute_batch(&sql).unwrap();
}

/// Adds delivered events to a server, as a settlement writes them.
fn fill_redis(redis: &Redis) {
    let script = "local now = redis.call('TIME')[1] .. '000'
        for n = 1, ARGV[1] do
          redis.call('SET', 'countersign:{e}:' .. string.format('evt_filler%08d', n) .. '? /webhooks/stripe',
            'D 0123456789abcdef 0000000000000 ' .. now .. ' 200 ' .. now .. ' - 1 invoice.paid - test -', 'EX', 3024000)
        end";
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    redis::cmd("EVAL").arg(script).arg(0).arg(FILLERS).query::<()>(&mut connection).unwrap();
}

/// One ledger of a move.
enum Place<'a> {
    File(&'a Path),
    Server(&'a Redis),
}

impl Place<'_> {
    fn url(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite:{}", path.display()),
            Self::Server(redis) => redis.url(),
        }
    }

    fn configure(&self, setup: Setup) -> Setup {
        match self {
            Self::File(path) => setup.ledger_at(path),
            Self::Server(redis) => setup.redis(redis),
        }
    }

    fn fill(&self) {
        match self {
            Self::File(path) => fill_sqlite(path),
            Self::Server(redis) => fill_redis(redis),
        }
    }

    /// Returns the number of records, or of keys, without disturbing the process that writes them.
    fn count(&self) -> u64 {
        match self {
            Self::File(path) => Connection::open(path)
                .and_then(|file| {
                    let sql = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM archive)";
                    file.query_row(sql, [], |row| row.get::<_, i64>(0))
                })
                .map_or(0, i64::unsigned_abs),
            Self::Server(redis) => redis.ask("DBSIZE"),
        }
    }
}

/// Starts a copy and kills it once it has written events, but not all of them.
async fn kill_a_copy(from: &Place<'_>, to: &Place<'_>) {
    let mut copy: Child =
        command(&["ledger", "copy", "--from", &from.url(), "--to", &to.url()]).spawn().unwrap();
    until("the copy has begun", async || (to.count() > 100).then_some(())).await;
    copy.kill().unwrap();
    assert!(!copy.wait().unwrap().success(), "it ended before it could be killed");
    assert!(to.count() < FILLERS, "it was over before it was killed");
}

/// Makes events in every state at a program on `from`, moves them to `to`, and checks what becomes of them there.
async fn move_events(from: &Place<'_>, to: &Place<'_>) {
    let backend = Backend::start().await;
    let queued = Setup::new(&backend).delivery("queued").retry(&["1s"; 9]);
    let setup = queued.webhook("/dead", &["{$STRIPE_WEBHOOK_SECRET}"]).set("webhook.1.delivery", "queued");
    let setup = setup.set("webhook.1.retry", toml::Value::Array(vec![]));
    let setup = setup.webhook("/inline", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let setup = with_events_api(setup);
    let program = Program::start(from.configure(setup.clone())).await;
    let [delivered, pending, dead, failed] = [(); 4].map(|()| Event::checkout());
    program.send(&delivered.signed()).await.expect_received("queued");
    in_state(&program, &delivered.id, "delivered").await;
    backend.reply_always(Reply::status(503));
    program.send(&dead.signed().target("/dead")).await.expect_received("queued");
    in_state(&program, &dead.id, "dead").await;
    assert_eq!(program.send(&failed.signed().target("/inline")).await.status, 503);
    program.send(&pending.signed()).await.expect_received("queued");
    until("the first attempt", async || (backend.count() >= 4).then_some(())).await;
    let mut program = program;
    program.sigterm();
    program.wait_exit().await;
    let attempts = backend.count();
    from.fill();

    kill_a_copy(from, to).await;
    let copied = run(&["ledger", "copy", "--from", &from.url(), "--to", &to.url()]).await;
    assert!(copied.status.success());
    let report = String::from_utf8(copied.stdout).unwrap();
    assert!(report.contains("1 wait for delivery, 1 are dead"), "{report}");
    for url in [from.url(), to.url()] {
        assert_eq!(stats(&url, "delivered").await, FILLERS + 1, "{url}");
        assert_eq!([stats(&url, "pending").await, stats(&url, "dead").await], [1, 1], "{url}");
    }
    let again = run(&["ledger", "copy", "--from", &from.url(), "--to", &to.url()]).await;
    assert!(String::from_utf8_lossy(&again.stdout).starts_with("copied 0 of "), "{again:?}");

    assert_eq!(backend.count(), attempts, "a copy delivers nothing");
    backend.reply_always(Reply::ok());
    let program = Program::start(to.configure(setup)).await;
    in_state(&program, &pending.id, "delivered").await;
    let (imported, count) = (Event::checkout(), backend.count());
    let body = String::from_utf8(imported.body()).unwrap();
    assert_eq!(call_api(&program, "POST", "/api/events?endpoint=%2Finline", &body).await.status, 202);
    let host = backend.await_request(count + 1).await.header("host").unwrap().to_owned();
    assert_eq!(host, "shop.example", "that of the last webhook to the old ledger");
    in_state(&program, &imported.id, "delivered").await;
    program.send(&delivered.signed()).await.expect_received("duplicate");
    program.send(&pending.signed()).await.expect_received("duplicate");
    program.send(&Event::checkout().id("evt_filler00000007").signed()).await.expect_received("duplicate");
    assert_eq!(program.send(&failed.signed().target("/inline")).await.status, 200);
    let key = format!("/api/events/{}/redeliver", dead.id);
    assert_eq!(call_api(&program, "POST", &key, "").await.status, 202);
    in_state(&program, &dead.id, "delivered").await;
    let mut ids: Vec<_> = backend.requests()[attempts..]
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned())
        .collect();
    ids.sort();
    let mut expected = [pending.id, failed.id, dead.id, imported.id];
    expected.sort();
    assert_eq!(ids, expected, "each once");
}

#[tokio::test]
async fn events_move_from_sqlite_to_redis_even_if_a_copy_is_killed() {
    if !have("redis-server") {
        return;
    }
    let (redis, folder) = (Redis::start().await, tempfile::tempdir().unwrap());
    move_events(&Place::File(&folder.path().join("l.db")), &Place::Server(&redis)).await;
}

#[tokio::test]
async fn events_move_from_redis_to_sqlite_even_if_a_copy_is_killed() {
    if !have("redis-server") {
        return;
    }
    let (redis, folder) = (Redis::start().await, tempfile::tempdir().unwrap());
    move_events(&Place::Server(&redis), &Place::File(&folder.path().join("l.db"))).await;
}

#[tokio::test]
async fn copy_refuses_a_ledger_in_use_a_missing_one_and_a_password_on_the_command_line() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend)).await;
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let in_use = format!("sqlite:{}", program.ledger().display());
    for (from, to, code, reason) in [
        (&*in_use, &*url("new.db"), 1, "held by another process"),
        (&*url("missing.db"), &*url("new.db"), 1, "there is no ledger at"),
        (&*in_use, &*in_use, 2, "name the same ledger"),
        ("none", &*url("new.db"), 2, "holds no events"),
        (&*in_use, "redis://:hush@127.0.0.1", 2, "everybody on this machine can see a password"),
        (&*in_use, "redis://:{$NOWHERE}@127.0.0.1", 2, "NOWHERE is not set"),
    ] {
        let output = run(&["ledger", "copy", "--from", from, "--to", to]).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(reason), "{from} {to}: {error}");
    }
    assert!(!folder.path().join("missing.db").exists());
}

#[tokio::test]
async fn start_on_an_empty_ledger_says_what_the_old_one_holds() {
    if !have("redis-server") {
        return;
    }
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    backend.reply_always(Reply::status(503));
    let setup = Setup::new(&backend).delivery("queued").retry(&["1h"; 3]);
    let program = Program::start(setup.clone().set("ledger.url", "sqlite:data/ledger.db")).await;
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    let is_hint = |line: &Value, key: &str, old: &str| {
        line[key].as_str() == Some(old)
            && line["message"].as_str().unwrap().starts_with("the ledger is empty, but")
    };

    let program = program.restart_with(setup.clone().set("ledger.url", "sqlite:data/other.db")).await;
    let hint = program
        .wait_for_log("the file beside it", |line| is_hint(line, "old", "sqlite:data/ledger.db"))
        .await;
    assert_eq!((&hint["unsettled"], &hint["level"]), (&1.into(), &"WARN".into()), "{hint}");

    let program = program.restart_with(setup.clone().redis(&redis)).await;
    let hint =
        program.wait_for_log("the default file", |line| is_hint(line, "old", "sqlite:data/ledger.db")).await;
    let command = "`countersign ledger copy --from sqlite:data/ledger.db --to redis://";
    assert!(hint["message"].as_str().unwrap().contains(command), "{hint}");

    program.send(&Event::checkout().signed()).await.expect_received("queued");
    let program = program.restart_with(setup.redis(&redis).set("ledger.prefix", "shop")).await;
    let hint =
        program.wait_for_log("the other prefix", |line| is_hint(line, "old_prefix", "countersign")).await;
    assert_eq!((&hint["queued"], &hint["prefix"]), (&1.into(), &"shop".into()), "{hint}");
}
