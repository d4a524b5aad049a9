//! The events API on the admin listener, and the verb that calls it.

use crate::harness::{
    Backend, Client, Event, Program, Redis, Reply, Request, Response, SECRET, Setup, TestLedger,
    on_each_ledger, sign, until,
};
use crate::tools::have;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub const TOKEN: &str = "hush-token-of-the-tests";

/// Enables the events API.
pub fn with_events_api(setup: Setup) -> Setup {
    setup.set("admin.token", "{$COUNTERSIGN_ADMIN_TOKEN}").env("COUNTERSIGN_ADMIN_TOKEN", TOKEN)
}

/// An operator at the command line, with a configuration that names the running program.
pub struct Operator {
    dir: TempDir,
    env: Vec<(String, String)>,
}

/// The output of the command line.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Operator {
    pub fn new(program: &Program, setup: &Setup) -> Self {
        let dir = TempDir::new().unwrap();
        let setup = setup.clone().set("admin.listen", program.admin().text());
        std::fs::write(dir.path().join("c.toml"), setup.text()).unwrap();
        let env = [("STRIPE_WEBHOOK_SECRET", SECRET), ("COUNTERSIGN_ADMIN_TOKEN", TOKEN)];
        Self { dir, env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the command line without blocking the doubles of the test.
    pub async fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_countersign"));
        command.args(words).arg("--config").arg(self.config());
        output(words, command).await
    }

    /// Runs a line of shell as an operator types it, with `countersign` on the `PATH`.
    pub async fn shell(&self, line: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
        let mut path = program.to_owned().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = self.command("/bin/sh");
        command.args(["-c", line]).env("PATH", path).env("COUNTERSIGN_CONFIG", self.config());
        output(&[line], command).await
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.env.iter().cloned());
        command
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("c.toml")
    }
}

async fn output(words: &[&str], mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let output =
        Output { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
    // The test runner shows this if the test fails.
    eprintln!("{words:?}: {output:#?}");
    output
}

/// Calls the events API.
pub async fn call_api(program: &Program, method: &str, target: &str, body: &str) -> Response {
    let request = Request::new(method, target)
        .header("Authorization", &format!("Bearer {TOKEN}"))
        .header("Connection", "close")
        .body(body);
    Client::connect(program.admin()).await.send(&request).await
}

/// Returns the ids in a list.
async fn list_ids(program: &Program, query: &str) -> Vec<String> {
    let mut ids = vec![];
    let mut after = String::new();
    loop {
        let page = call_api(program, "GET", &format!("/api/events?limit=2&after={after}&{query}"), "").await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        ids.extend(page["events"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = form_urlencoded::byte_serialize(next.as_bytes()).collect(),
            None => break,
        }
    }
    ids.sort();
    ids
}

fn sorted(events: &[&Event]) -> Vec<String> {
    let mut ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    ids.sort();
    ids
}

/// Waits until an event is in this state, and returns its record.
pub async fn in_state(program: &Program, id: &str, state: &str) -> Value {
    until(format!("{id} to be {state}"), async || {
        let shown = call_api(program, "GET", &format!("/api/events/{id}"), "").await.json();
        (shown["state"] == state).then_some(shown)
    })
    .await
}

/// Starts a program whose events are dead after one attempt. Returns its setup, too.
async fn without_retries(setup: Setup) -> (Program, Setup) {
    let setup = with_events_api(setup.delivery("queued").retry(&[]));
    (Program::start(setup.clone()).await, setup)
}

/// Makes three dead events, the last two of one type.
async fn dead_letters(program: &Program, backend: &Backend) -> [Event; 3] {
    backend.reply_always(Reply::status(503));
    let events = [Event::checkout(), Event::new("invoice.paid"), Event::new("invoice.paid")];
    for event in &events {
        program.send(&event.signed()).await.expect_received("queued");
        in_state(program, &event.id, "dead").await;
    }
    events
}

on_each_ledger! {
    dead_letters_are_listed_shown_redelivered_and_deleted,
    imported_event_is_delivered_once_with_a_fresh_signature,
    event_that_failed_inline_can_be_imported_and_is_queued_from_then_on,
}

async fn dead_letters_are_listed_shown_redelivered_and_deleted(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let (program, _) = without_retries(setup).await;
    let [one, two, three] = &dead_letters(&program, &backend).await;
    assert_eq!(list_ids(&program, "state=dead").await, sorted(&[one, two, three]));
    assert_eq!(list_ids(&program, "type=invoice.*").await, sorted(&[two, three]));
    assert_eq!(list_ids(&program, &format!("id={}", one.id)).await, sorted(&[one]));
    assert!(list_ids(&program, "endpoint=other").await.is_empty());
    assert!(list_ids(&program, "state=pending").await.is_empty());

    let shown = call_api(&program, "GET", &format!("/api/events/{}", one.id), "").await.json();
    assert_eq!(shown["key"], format!("{}? /webhooks/stripe", one.id));
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!(503), &json!(1)));
    assert_eq!(shown["payload"], json!({ "bytes": one.body().len(), "delivery": "queued" }));
    assert!(shown["settled"].as_str().unwrap().ends_with('Z'), "{shown}");
    let payload = call_api(&program, "GET", &format!("/api/events/{}/payload", one.id), "").await;
    assert_eq!(payload.body.bytes, one.body());

    let before = backend.count();
    backend.reply_always(Reply::ok());
    let response = call_api(&program, "POST", &format!("/api/events/{}/redeliver", one.id), "").await;
    assert_eq!(response.status, 202, "{}", response.text());
    let got = backend.await_request(before + 1).await;
    assert_eq!((got.header("idempotency-key"), &got.body.bytes), (Some(one.id.as_str()), &one.body()));
    assert_eq!(got.header("countersign-delivery"), Some("redelivery"));
    assert_eq!(in_state(&program, &one.id, "delivered").await["payload"], Value::Null);
    let again = call_api(&program, "POST", &format!("/api/events/{}/redeliver", one.id), "").await;
    assert_eq!((again.status, again.code().as_str()), (409, "payload_gone"));

    assert_eq!(call_api(&program, "DELETE", &format!("/api/events/{}", two.id), "").await.status, 204);
    let missing = call_api(&program, "GET", &format!("/api/events/{}", two.id), "").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "event_unknown"));
    program.send(&two.signed()).await.expect_received("queued");
    in_state(&program, &two.id, "delivered").await;

    let dry = call_api(&program, "POST", "/api/events/redeliver?dry_run=true", "").await.json();
    assert_eq!((&dry["matched"], &dry["redelivered"]), (&json!(1), &json!(0)));
    let all = call_api(&program, "POST", "/api/events/redeliver?type=invoice.*", "").await.json();
    assert_eq!(all["redelivered"], 1);
    in_state(&program, &three.id, "delivered").await;

    let operator = |line: &&Value| line["message"] == "operator action on an event";
    let log: Vec<Value> =
        program.complete_log().await.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<_> =
        log.iter().filter(operator).map(|l| [&l["by"], &l["action"], &l["event.id"], &l["result"]]).collect();
    let expected = [
        [&json!("admin"), &json!("payload"), &json!(one.id), &json!("shown")],
        [&json!("admin"), &json!("redeliver"), &json!(one.id), &json!("done")],
        [&json!("admin"), &json!("redeliver"), &json!(one.id), &json!("payload_gone")],
        [&json!("admin"), &json!("delete"), &json!(two.id), &json!("done")],
        [&json!("admin"), &json!("redeliver"), &json!(three.id), &json!("done")],
    ];
    assert_eq!(lines, expected);
}

async fn imported_event_is_delivered_once_with_a_fresh_signature(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let (program, _) = without_retries(setup).await;
    let before = backend.count();
    let event = Event::checkout();
    let body = String::from_utf8(event.body()).unwrap();
    let target = "/api/events?endpoint=%2Fwebhooks%2Fstripe";
    let brought = call_api(&program, "POST", target, &body).await;
    assert_eq!((brought.status, &brought.json()["queued"]), (202, &json!(true)), "{}", brought.text());
    let got = backend.await_request(before + 1).await;
    assert_eq!((got.target.as_str(), &got.body.bytes), ("/webhooks/stripe", &event.body()));
    assert_eq!(got.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(got.header("host"), Some(backend.address().text().as_str()));
    let signature = got.header("stripe-signature").unwrap();
    let time: i64 = signature.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
    assert_eq!(signature, sign(&[SECRET], time, &event.body()));
    in_state(&program, &event.id, "delivered").await;

    assert_eq!(call_api(&program, "POST", target, &body).await.json()["duplicate"], true);
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), before + 1);
    let wrong = call_api(&program, "POST", target, "{}").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "payload_invalid"));
}

async fn event_that_failed_inline_can_be_imported_and_is_queued_from_then_on(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(with_events_api(setup)).await;
    backend.reply_always(Reply::status(500));
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(500);
    assert_eq!(in_state(&program, &event.id, "failed").await["payload"], Value::Null);
    backend.reply_always(Reply::ok());
    let body = String::from_utf8(event.body()).unwrap();
    let brought = call_api(&program, "POST", "/api/events?endpoint=%2Fwebhooks%2Fstripe", &body).await;
    assert_eq!(brought.status, 202, "{}", brought.text());
    program.send(&event.signed()).await.expect_received("duplicate");
}

#[tokio::test]
async fn events_api_is_absent_without_a_token_and_answers_401_to_another_one() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend);
    let program = Program::start(setup.clone()).await;
    for target in ["/api/events", "/api/events/evt_1", "/api/events/redeliver"] {
        assert_eq!(call_api(&program, "GET", target, "").await.code(), "not_found", "{target}");
    }
    let operator = Operator::new(&program, &with_events_api(setup.clone()));
    let output = operator.run(&["events", "list"]).await;
    assert!(output.code == 1 && output.err.contains("has no [admin] token"), "{output:?}");
    let output = operator.env("COUNTERSIGN_ADMIN_TOKEN", "").run(&["events", "list"]).await;
    assert!(output.code == 78 && output.err.contains("COUNTERSIGN_ADMIN_TOKEN"), "{output:?}");

    let setup = with_events_api(setup);
    let program = program.restart_with(setup.clone()).await;
    assert_eq!(call_api(&program, "GET", "/api/events", "").await.status, 200);
    for token in ["", "Bearer", "Bearer hush", "hush-token-of-the-tests"] {
        let request = Request::get("/api/events").header("Authorization", token);
        let response = Client::connect(program.admin()).await.send(&request).await;
        assert_eq!((response.status, response.code().as_str()), (401, "unauthorized"));
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    }
    let operator = Operator::new(&program, &setup).env("COUNTERSIGN_ADMIN_TOKEN", "another-token-than-that");
    let output = operator.run(&["events", "list"]).await;
    assert!(output.code == 1 && output.err.contains("another token"), "{output:?}");
}

#[tokio::test]
async fn command_line_says_which_events_to_name_and_which_endpoints_there_are() {
    let backend = Backend::start().await;
    let setup = with_events_api(Setup::new(&backend)).webhook("/hooks/second", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let program = Program::start(setup.clone()).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    let operator = Operator::new(&program, &setup);
    for arguments in [&["events", "redeliver"][..], &["events", "redeliver", "--dry-run"]] {
        let output = operator.run(arguments).await;
        let advice = output.err.contains("--state dead --dry-run") && output.err.contains("redeliver evt_");
        assert!(output.code == 2 && advice, "{output:?}");
    }
    for arguments in [
        &["events", "list", "--endpoint", "/webhooks/strip"][..],
        &["events", "redeliver", "--endpoint", "/webhooks/strip"],
        &["events", "redeliver", "--endpoint", "/webhooks/strip", "--dry-run"],
    ] {
        let output = operator.run(arguments).await;
        let names = output.err.contains(r#""/webhooks/stripe", "/hooks/second""#);
        assert!(output.code == 1 && names && output.out.is_empty(), "{arguments:?} {output:?}");
    }
    // An endpoint without events is no mistake, and neither is one that has left the configuration.
    let output = operator.run(&["events", "list", "--endpoint", "/hooks/second"]).await;
    assert!(output.code == 0 && output.err.contains("no event matches"), "{output:?}");
    let program = program.restart_with(setup.set("webhook.name", "shop")).await;
    let listed = call_api(&program, "GET", "/api/events?endpoint=/webhooks/stripe", "").await;
    assert_eq!((listed.status, listed.json()["events"].as_array().unwrap().len()), (200, 1));
}

#[tokio::test]
async fn reload_puts_a_new_admin_token_in_force_and_ends_the_old_one() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("admin.token", "{file.admin-token}").file("admin-token", TOKEN);
    let program = Program::start(setup).await;
    let status = async |token: &str| {
        let request = Request::get("/api/events").header("Authorization", &format!("Bearer {token}"));
        Client::connect(program.admin()).await.send(&request).await.status
    };
    let new = "another-token-of-the-tests";
    assert_eq!((status(TOKEN).await, status(new).await), (200, 401));

    let tokens = [(new, 200, 401), (TOKEN, 401, 200), ("", 404, 404), (new, 200, 401)];
    for (token, expected_new, expected_old) in tokens {
        std::fs::write(program.path("admin-token"), token).unwrap();
        program.sighup();
        until("the token in the file to count", async || {
            ((status(new).await, status(TOKEN).await) == (expected_new, expected_old)).then_some(())
        })
        .await;
    }
    let log = program.complete_log().await.join("\n");
    assert!(!log.contains("only a restart") && !log.contains(new) && !log.contains(TOKEN), "{log}");

    // A file that cannot be used leaves the token as it is.
    std::fs::write(program.path("admin-token"), "short").unwrap();
    program.sighup();
    program.await_metric("config_last_reload_successful", 0.0).await;
    assert_eq!((status(new).await, status("short").await), (200, 401));
}

#[tokio::test]
async fn command_line_lists_shows_redelivers_and_deletes_events() {
    let backend = Backend::start().await;
    let (program, setup) = without_retries(Setup::new(&backend)).await;
    let operator = Operator::new(&program, &setup);
    let output = operator.run(&["events", "list"]).await;
    assert_eq!((output.code, output.out.as_str(), output.err.as_str()), (0, "", "no event matches\n"));

    let events = dead_letters(&program, &backend).await;
    let [one, two, three] = &events;
    let output = operator.run(&["events", "list", "--state", "dead"]).await;
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let lines: Vec<_> = output.out.lines().collect();
    assert!(lines.len() == 4 && lines[0].starts_with("ID "), "{lines:?}");
    assert!(
        lines[3].starts_with(&one.id) && lines[3].contains(" dead ") && lines[3].contains(" 503 "),
        "{lines:?}"
    );
    let output = operator.run(&["events", "list", "--json", "--type", "invoice.*", "--limit", "1"]).await;
    let record: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(record["type"], "invoice.paid");
    assert!(output.err.contains("--all"), "{output:?}");

    let output = operator.run(&["events", "show", &one.id]).await;
    for line in ["state              dead\n", "last status        503\n", "attempts           1\n"] {
        assert!(output.out.contains(line), "{output:?}");
    }
    let key = format!("{}? /webhooks/stripe", one.id);
    let output = operator.run(&["events", "show", &key, "--payload"]).await;
    assert_eq!(output.out.as_bytes(), one.body());
    let output = operator.run(&["events", "show", "evt_9"]).await;
    assert!(output.code == 1 && output.err.contains("no such event"), "{output:?}");

    let output = operator.run(&["events", "redeliver", "--state", "dead"]).await;
    assert!(output.code == 2 && output.err.contains("3 events match; add --yes"), "{output:?}");
    let output = operator.run(&["events", "redeliver", "--type", "invoice.*", "--dry-run"]).await;
    assert!(output.code == 0 && output.err.contains("2 events would be redelivered"), "{output:?}");
    assert!(output.out.contains(&two.id) && output.out.contains(&three.id) && !output.out.contains(&one.id));
    let before = backend.count();
    backend.reply_always(Reply::ok());
    let output = operator.run(&["events", "redeliver", &one.id, "evt_9"]).await;
    assert!(output.code == 1 && output.out.contains(&one.id) && output.err.contains("1 of 2"), "{output:?}");
    let output = operator.run(&["events", "redeliver", "--type", "invoice.*", "--yes"]).await;
    assert_eq!((output.code, output.out.as_str()), (0, "2 events scheduled for redelivery\n"));
    backend.await_request(before + 3).await;
    for event in &events {
        in_state(&program, &event.id, "delivered").await;
    }
    let output = operator.run(&["events", "redeliver", &one.id]).await;
    assert!(output.code == 1 && output.err.contains("no longer stored"), "{output:?}");
    let output = operator.run(&["events", "redeliver", "--state", "dead"]).await;
    assert_eq!((output.code, output.out.as_str()), (0, "0 events scheduled for redelivery\n"));

    let output = operator.run(&["events", "delete", &one.id, &two.id]).await;
    assert!(output.code == 2 && output.err.contains("--yes"), "{output:?}");
    assert_eq!(operator.run(&["events", "delete", &one.id, &two.id, "--yes"]).await.code, 0);
    assert_eq!(list_ids(&program, "").await, sorted(&[three]));
}

#[tokio::test]
async fn events_command_works_over_a_unix_socket() {
    let backend = Backend::start().await;
    let folder = TempDir::new().unwrap();
    let socket = format!("unix/{}", folder.path().join("admin.sock").display());
    let setup = with_events_api(Setup::new(&backend).set("admin.listen", socket));
    let program = Program::start(setup.clone()).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    let output = Operator::new(&program, &setup).run(&["events", "list"]).await;
    assert!(output.code == 0 && output.out.contains(&event.id), "{output:?}");
}

#[tokio::test]
async fn events_command_tells_an_unreachable_ledger_from_a_program_that_does_not_run() {
    if !have("redis-server") {
        return;
    }
    let (backend, mut redis) = (Backend::start().await, Redis::start().await);
    let setup = with_events_api(Setup::new(&backend).redis(&redis));
    let mut program = Program::start(setup.clone()).await;
    let operator = Operator::new(&program, &setup);
    redis.stop().await;
    program.not_ready().await;
    let response = call_api(&program, "GET", "/api/events", "").await;
    assert_eq!((response.status, response.code().as_str()), (503, "ledger_unavailable"));
    let output = operator.run(&["events", "list"]).await;
    assert!(output.code == 1 && output.err.contains("unavailable"), "{output:?}");
    program.kill9();
    let output = operator.run(&["events", "list"]).await;
    assert!(output.code == 1 && output.err.contains("is the program running?"), "{output:?}");
}

#[tokio::test]
async fn log_and_lists_contain_no_token_payload_or_signature() {
    let backend = Backend::start().await;
    let (program, setup) = without_retries(Setup::new(&backend).set("log.level", "trace")).await;
    backend.reply_always(Reply::status(503));
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_received("queued");
    in_state(&program, &event.id, "dead").await;
    let operator = Operator::new(&program, &setup);
    let mut output = vec![];
    for words in [&["list"][..], &["list", "--json"], &["show", &event.id], &["redeliver", &event.id]] {
        let response = operator.run(&[&["events"], words].concat()).await;
        output.push(response.out + &response.err);
    }
    let all = output.concat() + &program.complete_log().await.join("\n");
    assert!(all.contains(&event.id));
    let body = String::from_utf8(event.body()).unwrap();
    assert!(body.contains("cs_test_a1Tests"));
    for hidden in [TOKEN, "v1=", SECRET, "cs_test_a1Tests"] {
        assert!(!all.contains(hidden), "{hidden}");
    }
}
