//! `make run` as a newcomer runs it, on its own ports, from start to Ctrl-C. [`Demo`] is a running one.

use crate::harness::{Address, Client, Request, Response, until};
use crate::tools::{Tool, free_port, have, is_listening};
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long the start may take. `make run` builds first, which takes minutes when this test runs alone.
const BUILD: Duration = Duration::from_secs(900);

/// The port variables of `make run`. The site comes first.
const PORTS: [&str; 5] = ["PORT", "COUNTERSIGN_PORT", "BACKEND_PORT", "ADMIN_PORT", "STRIPE_PORT"];

/// A running `make run`, stopped on drop.
pub struct Demo {
    make: Tool,
    ports: [(&'static str, u16); 5],
    run_dir: TempDir,
}

impl Demo {
    /// Starts `make run`, and waits until it serves.
    pub async fn start() -> Self {
        let run_dir = TempDir::new().unwrap();
        let ports = PORTS.map(|name| (name, free_port()));
        let mut make = make_run(run_dir.path(), &ports);
        tokio::time::timeout(BUILD, async {
            while !make.has_output("Serving until Ctrl-C") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .expect("it serves within the time to build it");
        Self { make, ports, run_dir }
    }

    /// Returns the port of a part.
    pub fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(own, _)| *own == name).expect("one of its names").1
    }
}

#[tokio::test]
async fn make_run_shows_genuine_repeated_forged_and_altered_events_and_stops_on_ctrl_c() {
    if !have("make") || !have("caddy") {
        return;
    }
    let mut demo = Demo::start().await;
    let make = &mut demo.make;
    let log = make.log();
    let at = |words: &str| log.find(words).unwrap_or_else(|| panic!("{words:?} is not in what it said"));
    let order = [
        "A genuine event",
        "The same event again",
        "A forged event",
        "An altered event",
        "What the backend received",
    ];
    let parts: Vec<&str> = order.windows(2).map(|pair| &log[at(pair[0])..at(pair[1])]).collect();
    for (part, (status, code)) in parts.iter().zip([
        ("200", "delivered"),
        ("200", "duplicate"),
        ("400", "signature_mismatch"),
        ("400", "signature_mismatch"),
    ]) {
        assert!(part.contains(status) && part.contains(code), "{status} {code}: {part}");
    }

    let [(_, site), ..] = demo.ports;
    let backend_was_told = get(site, "/api/events").await.json();
    assert_eq!(backend_was_told.as_array().map(Vec::len), Some(1), "{backend_was_told}");
    assert_eq!(backend_was_told[0]["type"], "checkout.session.completed");
    assert!(get(site, "/posts/events").await.text().contains("access granted"));
    assert!(get(site, "/").await.text().contains("The sample site"));

    make.signal("INT");
    until("its end", async || make.ended().then_some(())).await;
    assert!(make.log().contains("stopped"));
    for (name, port) in demo.ports {
        assert!(!is_listening(port), "{name} is still taken");
    }
}

#[tokio::test]
async fn make_run_sells_and_the_backend_grants_access_after_payment() {
    if !have("make") || !have("caddy") {
        return;
    }
    let demo = Demo::start().await;
    let [site, stripe] = ["PORT", "STRIPE_PORT"].map(|name| demo.port(name));
    let order = Request::post("/api/checkout", r#"{"price": "story", "customer_email": "ada@example.com"}"#);
    let order = send(site, &order.header("Content-Type", "application/json")).await;
    assert_eq!(order.status, 200, "{}", order.text());
    let order = order.json();
    let page = order["url"].as_str().unwrap().strip_prefix(&format!("http://127.0.0.1:{stripe}")).unwrap();

    let paid = send(stripe, &Request::post(page, "")).await;
    let id = order["id"].as_str().unwrap();
    let thanks = format!("http://localhost:{site}/thanks.html?session_id={id}");
    assert_eq!((paid.status, paid.header("location")), (303, Some(thanks.as_str())));
    let status = get(site, &format!("/api/checkout/{id}")).await.json();
    assert_eq!(status, json!({ "status": "complete", "payment_status": "paid" }));
    let body = get(site, "/api/events").await.json();
    let about = body
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["object_id"] == id)
        .expect("told before the buyer is back");
    assert_eq!(about["action"], "access granted to ada@example.com");
}

#[tokio::test]
async fn make_run_names_an_occupied_port_and_starts_nothing() {
    if !have("make") || !have("caddy") {
        return;
    }
    let run_dir = TempDir::new().unwrap();
    let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let ports = PORTS.map(|name| (name, if name == "BACKEND_PORT" { port } else { free_port() }));
    let mut make = make_run(run_dir.path(), &ports);

    until("its end", async || make.ended().then_some(())).await;
    let advice = format!("port {port} is taken; choose another: make run BACKEND_PORT=");
    assert!(make.log().contains(&advice), "{}", make.log());
    assert_eq!(std::fs::read_dir(run_dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn make_run_lets_the_command_line_in_and_a_second_run_says_that_one_is_running() {
    if !have("make") || !have("caddy") {
        return;
    }
    let mut demo = Demo::start().await;
    let log = demo.make.log();
    // The command is taken from the screen, as a newcomer does.
    let command = log.lines().find(|line| line.contains("countersign events list --config ")).unwrap().trim();
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("COUNTERSIGN_ADMIN_TOKEN")
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(listed.contains("delivered") && listed.contains("evt_demo_"), "{command}: {listed} {errors}");
    let token = std::fs::read_to_string(demo.run_dir.path().join("admin-token")).unwrap();
    assert!(token.len() == 48 && log.contains(&token), "{token}");

    let ports = PORTS.map(|name| (name, free_port()));
    let mut second = make_run(demo.run_dir.path(), &ports);
    until("its end", async || second.ended().then_some(())).await;
    let message = second.log();
    assert!(message.contains("already running in") && message.contains("RUN_DIR=.run2"), "{message}");
    assert!(!demo.make.ended());
}

/// Starts `make run` with the build settings of this test suite.
fn make_run(run_dir: &Path, ports: &[(&str, u16)]) -> Tool {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder inside cargo's");
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "run", "PROFILE=dev"])
        .arg(format!("RUN_DIR={}", run_dir.display()))
        .args(ports.iter().map(|(name, port)| format!("{name}={port}")))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // A cargo started from a test would rebuild everything if it saw the variables that cargo sets for tests.
    for (name, _) in std::env::vars_os() {
        let told_by_cargo =
            name.to_str().is_some_and(|name| name.starts_with("CARGO") || name.starts_with("NEXTEST"));
        if told_by_cargo && name != "CARGO_HOME" {
            make.env_remove(name);
        }
    }
    make.env("CARGO_TARGET_DIR", target)
        .env_remove("STRIPE_WEBHOOK_SECRET")
        .env_remove("STRIPE_SECRET_KEY")
        .env_remove("MAKEFLAGS");
    Tool::start(&mut make)
}

async fn get(port: u16, target: &str) -> Response {
    send(port, &Request::get(target)).await
}

async fn send(port: u16, request: &Request) -> Response {
    let address = Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
    Client::connect(&address).await.send(&request.clone().header("Connection", "close")).await
}
