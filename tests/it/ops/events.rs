//! The events API on the admin listener, and the verb that calls it.

use crate::harness::{
    Answer, Backend, Client, Event, Program, Redis, Request, Response, SECRET, Setup, TestLedger,
    on_each_ledger, sign, until,
};
use crate::tools::have;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

pub const TOKEN: &str = "hush-token-of-the-tests";

/// Enables the events API.
pub fn administered(setup: Setup) -> Setup {
    setup.set("admin.token", "{$COUNTERSIGN_ADMIN_TOKEN}").env("COUNTERSIGN_ADMIN_TOKEN", TOKEN)
}

/// An operator at the command line, with a configuration that names the running program.
pub struct Operator {
    dir: TempDir,
    env: Vec<(String, String)>,
}

/// The output of the command line.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Operator {
    pub fn of(program: &Program, setup: &Setup) -> Operator {
        let dir = TempDir::new().unwrap();
        let setup = setup.clone().set("admin.listen", program.admin().text());
        std::fs::write(dir.path().join("c.toml"), setup.text()).unwrap();
        let env = [("STRIPE_WEBHOOK_SECRET", SECRET), ("COUNTERSIGN_ADMIN_TOKEN", TOKEN)];
        Operator { dir, env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Operator {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the command line without blocking the doubles of the test.
    pub async fn types(&self, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(words).arg("--config").arg(self.config()).env_clear().envs(self.env.iter().cloned());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said =
            Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
        // The test runner shows this if the test fails.
        eprintln!("{words:?}: {said:#?}");
        said
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("c.toml")
    }
}

/// Calls the events API.
async fn ask(program: &Program, method: &str, target: &str, body: &str) -> Response {
    let request = Request::new(method, target)
        .header("Authorization", &format!("Bearer {TOKEN}"))
        .header("Connection", "close")
        .body(body);
    Client::connect(program.admin()).await.send(&request).await
}

/// Returns the ids in a list.
async fn listed(program: &Program, query: &str) -> Vec<String> {
    let mut ids = vec![];
    let mut after = String::new();
    loop {
        let page = ask(program, "GET", &format!("/api/events?limit=2&after={after}&{query}"), "").await;
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
async fn in_state(program: &Program, id: &str, state: &str) -> Value {
    until(format!("{id} to be {state}"), async || {
        let shown = ask(program, "GET", &format!("/api/events/{id}"), "").await.json();
        (shown["state"] == state).then_some(shown)
    })
    .await
}

/// Starts a program whose events are dead after one attempt. Returns its setup, too.
async fn giving_up(setup: Setup) -> (Program, Setup) {
    let setup = administered(setup.delivery("queued").retry(&[]));
    (Program::start(setup.clone()).await, setup)
}

/// Makes three dead events, the last two of one type.
async fn dead_letters(program: &Program, backend: &Backend) -> [Event; 3] {
    backend.answers(Answer::status(503));
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
    let (program, _) = giving_up(setup).await;
    let [one, two, three] = &dead_letters(&program, &backend).await;
    assert_eq!(listed(&program, "state=dead").await, sorted(&[one, two, three]));
    assert_eq!(listed(&program, "type=invoice.*").await, sorted(&[two, three]));
    assert_eq!(listed(&program, &format!("id={}", one.id)).await, sorted(&[one]));
    assert!(listed(&program, "endpoint=other").await.is_empty());
    assert!(listed(&program, "state=pending").await.is_empty());

    let shown = ask(&program, "GET", &format!("/api/events/{}", one.id), "").await.json();
    assert_eq!(shown["key"], format!("{}? /webhooks/stripe", one.id));
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!(503), &json!(1)));
    assert_eq!(shown["payload"], json!({ "bytes": one.body().len(), "delivery": "queued" }));
    assert!(shown["settled"].as_str().unwrap().ends_with('Z'), "{shown}");
    let payload = ask(&program, "GET", &format!("/api/events/{}/payload", one.id), "").await;
    assert_eq!(payload.body.bytes, one.body());

    let before = backend.count();
    backend.answers(Answer::ok());
    let asked = ask(&program, "POST", &format!("/api/events/{}/redeliver", one.id), "").await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let got = backend.await_request(before + 1).await;
    assert_eq!((got.header("idempotency-key"), &got.body.bytes), (Some(one.id.as_str()), &one.body()));
    assert_eq!(got.header("countersign-delivery"), Some("redelivery"));
    assert_eq!(in_state(&program, &one.id, "delivered").await["payload"], Value::Null);
    let again = ask(&program, "POST", &format!("/api/events/{}/redeliver", one.id), "").await;
    assert_eq!((again.status, again.code().as_str()), (409, "payload_gone"));

    assert_eq!(ask(&program, "DELETE", &format!("/api/events/{}", two.id), "").await.status, 204);
    let gone = ask(&program, "GET", &format!("/api/events/{}", two.id), "").await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "event_unknown"));
    program.send(&two.signed()).await.expect_received("queued");
    in_state(&program, &two.id, "delivered").await;

    let dry = ask(&program, "POST", "/api/events/redeliver?dry_run=true", "").await.json();
    assert_eq!((&dry["matched"], &dry["redelivered"]), (&json!(1), &json!(0)));
    let all = ask(&program, "POST", "/api/events/redeliver?type=invoice.*", "").await.json();
    assert_eq!(all["redelivered"], 1);
    in_state(&program, &three.id, "delivered").await;

    let operator = |line: &&Value| line["message"] == "operator";
    let log: Vec<Value> = program.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<_> =
        log.iter().filter(operator).map(|l| [&l["by"], &l["action"], &l["event.id"], &l["result"]]).collect();
    let expected = [
        [&json!("admin"), &json!("payload"), &json!(one.id), &json!("shown")],
        [&json!("admin"), &json!("redeliver"), &json!(one.id), &json!("done")],
        [&json!("admin"), &json!("redeliver"), &json!(one.id), &json!("payload_gone")],
        [&json!("admin"), &json!("forget"), &json!(two.id), &json!("done")],
        [&json!("admin"), &json!("redeliver"), &json!(three.id), &json!("done")],
    ];
    assert_eq!(lines, expected);
}

async fn imported_event_is_delivered_once_with_a_fresh_signature(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let (program, _) = giving_up(setup).await;
    let before = backend.count();
    let event = Event::checkout();
    let body = String::from_utf8(event.body()).unwrap();
    let target = "/api/events?endpoint=%2Fwebhooks%2Fstripe";
    let brought = ask(&program, "POST", target, &body).await;
    assert_eq!((brought.status, &brought.json()["queued"]), (202, &json!(true)), "{}", brought.text());
    let got = backend.await_request(before + 1).await;
    assert_eq!((got.target.as_str(), &got.body.bytes), ("/webhooks/stripe", &event.body()));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("host"), Some(backend.address().text().as_str()));
    let signature = got.header("stripe-signature").unwrap();
    let time: i64 = signature.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
    assert_eq!(signature, sign(&[SECRET], time, &event.body()));
    in_state(&program, &event.id, "delivered").await;

    assert_eq!(ask(&program, "POST", target, &body).await.json()["duplicate"], true);
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), before + 1);
    let wrong = ask(&program, "POST", target, "{}").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "payload_invalid"));
}

async fn event_that_failed_inline_can_be_imported_and_is_queued_from_then_on(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(administered(setup)).await;
    backend.answers(Answer::status(500));
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(500);
    assert_eq!(in_state(&program, &event.id, "failed").await["payload"], Value::Null);
    backend.answers(Answer::ok());
    let body = String::from_utf8(event.body()).unwrap();
    let brought = ask(&program, "POST", "/api/events?endpoint=%2Fwebhooks%2Fstripe", &body).await;
    assert_eq!(brought.status, 202, "{}", brought.text());
    program.send(&event.signed()).await.expect_received("duplicate");
}

#[tokio::test]
async fn events_api_is_absent_without_a_token_and_answers_401_to_another_one() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend);
    let program = Program::start(setup.clone()).await;
    for target in ["/api/events", "/api/events/evt_1", "/api/events/redeliver"] {
        assert_eq!(ask(&program, "GET", target, "").await.code(), "not_found", "{target}");
    }
    let operator = Operator::of(&program, &administered(setup.clone()));
    let said = operator.types(&["events", "list"]).await;
    assert!(said.code == 1 && said.err.contains("started without a token"), "{said:?}");
    let said = operator.env("COUNTERSIGN_ADMIN_TOKEN", "").types(&["events", "list"]).await;
    assert!(said.code == 78 && said.err.contains("COUNTERSIGN_ADMIN_TOKEN"), "{said:?}");

    let setup = administered(setup);
    let program = program.restart_with(setup.clone()).await;
    assert_eq!(ask(&program, "GET", "/api/events", "").await.status, 200);
    for token in ["", "Bearer", "Bearer hush", "hush-token-of-the-tests"] {
        let request = Request::get("/api/events").header("Authorization", token);
        let answer = Client::connect(program.admin()).await.send(&request).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let operator = Operator::of(&program, &setup).env("COUNTERSIGN_ADMIN_TOKEN", "another-token-than-that");
    let said = operator.types(&["events", "list"]).await;
    assert!(said.code == 1 && said.err.contains("another token"), "{said:?}");
}

#[tokio::test]
async fn command_line_lists_shows_redelivers_and_deletes_events() {
    let backend = Backend::start().await;
    let (program, setup) = giving_up(Setup::new(&backend)).await;
    let operator = Operator::of(&program, &setup);
    let said = operator.types(&["events", "list"]).await;
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", "no such events\n"));

    let events = dead_letters(&program, &backend).await;
    let [one, two, three] = &events;
    let said = operator.types(&["events", "list", "--state", "dead"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines.len() == 4 && lines[0].starts_with("ID "), "{lines:?}");
    assert!(
        lines[3].starts_with(&one.id) && lines[3].contains(" dead ") && lines[3].contains(" 503 "),
        "{lines:?}"
    );
    let said = operator.types(&["events", "list", "--json", "--type", "invoice.*", "--limit", "1"]).await;
    let record: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(record["type"], "invoice.paid");
    assert!(said.err.contains("--all"), "{said:?}");

    let said = operator.types(&["events", "show", &one.id]).await;
    for line in ["state              dead\n", "last status        503\n", "attempts           1\n"] {
        assert!(said.out.contains(line), "{said:?}");
    }
    let key = format!("{}? /webhooks/stripe", one.id);
    let said = operator.types(&["events", "show", &key, "--payload"]).await;
    assert_eq!(said.out.as_bytes(), one.body());
    let said = operator.types(&["events", "show", "evt_9"]).await;
    assert!(said.code == 1 && said.err.contains("no such event"), "{said:?}");

    let said = operator.types(&["events", "redeliver", "--state", "dead"]).await;
    assert!(said.code == 2 && said.err.contains("3 events match; add --yes"), "{said:?}");
    let said = operator.types(&["events", "redeliver", "--type", "invoice.*", "--dry-run"]).await;
    assert!(said.code == 0 && said.err.contains("2 events would be redelivered"), "{said:?}");
    assert!(said.out.contains(&two.id) && said.out.contains(&three.id) && !said.out.contains(&one.id));
    let before = backend.count();
    backend.answers(Answer::ok());
    let said = operator.types(&["events", "redeliver", &one.id, "evt_9"]).await;
    assert!(said.code == 1 && said.out.contains(&one.id) && said.err.contains("1 of 2"), "{said:?}");
    let said = operator.types(&["events", "redeliver", "--type", "invoice.*", "--yes"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "2 events due now\n"));
    backend.await_request(before + 3).await;
    for event in &events {
        in_state(&program, &event.id, "delivered").await;
    }
    let said = operator.types(&["events", "redeliver", &one.id]).await;
    assert!(said.code == 1 && said.err.contains("no longer kept"), "{said:?}");
    let said = operator.types(&["events", "redeliver", "--state", "dead"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "0 events due now\n"));

    let said = operator.types(&["events", "forget", &one.id, &two.id]).await;
    assert!(said.code == 2 && said.err.contains("--yes"), "{said:?}");
    assert_eq!(operator.types(&["events", "forget", &one.id, &two.id, "--yes"]).await.code, 0);
    assert_eq!(listed(&program, "").await, sorted(&[three]));
}

#[tokio::test]
async fn events_command_works_over_a_unix_socket() {
    let backend = Backend::start().await;
    let folder = TempDir::new().unwrap();
    let socket = format!("unix/{}", folder.path().join("admin.sock").display());
    let setup = administered(Setup::new(&backend).set("admin.listen", socket));
    let program = Program::start(setup.clone()).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    let said = Operator::of(&program, &setup).types(&["events", "list"]).await;
    assert!(said.code == 0 && said.out.contains(&event.id), "{said:?}");
}

#[tokio::test]
async fn events_command_tells_an_unreachable_ledger_from_a_program_that_does_not_run() {
    if !have("redis-server") {
        return;
    }
    let (backend, mut redis) = (Backend::start().await, Redis::start().await);
    let setup = administered(Setup::new(&backend).redis(&redis));
    let mut program = Program::start(setup.clone()).await;
    let operator = Operator::of(&program, &setup);
    redis.stop().await;
    program.not_ready().await;
    let answer = ask(&program, "GET", "/api/events", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "ledger_unavailable"));
    let said = operator.types(&["events", "list"]).await;
    assert!(said.code == 1 && said.err.contains("out of reach"), "{said:?}");
    program.kill9();
    let said = operator.types(&["events", "list"]).await;
    assert!(said.code == 1 && said.err.contains("is the program running?"), "{said:?}");
}

#[tokio::test]
async fn log_and_lists_contain_no_token_payload_or_signature() {
    let backend = Backend::start().await;
    let (program, setup) = giving_up(Setup::new(&backend).set("log.level", "trace")).await;
    backend.answers(Answer::status(503));
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_received("queued");
    in_state(&program, &event.id, "dead").await;
    let operator = Operator::of(&program, &setup);
    let mut said = vec![];
    for words in [&["list"][..], &["list", "--json"], &["show", &event.id], &["redeliver", &event.id]] {
        let answer = operator.types(&[&["events"], words].concat()).await;
        said.push(answer.out + &answer.err);
    }
    let all = said.concat() + &program.log().join("\n");
    assert!(all.contains(&event.id));
    let body = String::from_utf8(event.body()).unwrap();
    assert!(body.contains("cs_test_a1Tests"));
    for hidden in [TOKEN, "v1=", SECRET, "cs_test_a1Tests"] {
        assert!(!all.contains(hidden), "{hidden}");
    }
}
