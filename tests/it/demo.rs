//! `make run`, as a newcomer runs it: on ports of its own, from start to Ctrl-C.

use crate::front::{Tool, free_port, have, taken};
use crate::harness::{Address, Client, Request, Response, until};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// `make run` builds first, which is nothing new where the whole suite runs, and minutes where this test runs alone.
const BUILD: Duration = Duration::from_secs(900);

#[tokio::test]
async fn make_run_shows_a_genuine_a_repeated_a_forged_and_an_altered_event_and_ends_cleanly_on_ctrl_c() {
    if !have("make") || !have("caddy") {
        return;
    }
    let run_dir = TempDir::new().unwrap();
    let ports = ["PORT", "COUNTERSIGN_PORT", "BACKEND_PORT", "ADMIN_PORT"].map(|name| (name, free_port()));
    let mut make = make_run(run_dir.path(), &ports);

    tokio::time::timeout(BUILD, async {
        while !make.said("Serving until Ctrl-C") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it serves within the time to build it");
    let told = make.log();
    let at = |words: &str| told.find(words).unwrap_or_else(|| panic!("{words:?} is not in what it said"));
    let order = [
        "A genuine event",
        "The same event again",
        "A forged event",
        "An altered event",
        "What the backend was told",
    ];
    let parts: Vec<&str> = order.windows(2).map(|pair| &told[at(pair[0])..at(pair[1])]).collect();
    for (part, (status, code)) in parts.iter().zip([
        ("200", "delivered"),
        ("200", "duplicate"),
        ("400", "signature_mismatch"),
        ("400", "signature_mismatch"),
    ]) {
        assert!(part.contains(status) && part.contains(code), "{status} {code}: {part}");
    }

    let [site, ..] = ports.map(|(_, port)| port);
    let backend_was_told = get(site, "/api/told").await.json();
    assert_eq!(backend_was_told.as_array().map(Vec::len), Some(1), "{backend_was_told}");
    assert_eq!(backend_was_told[0]["type"], "checkout.session.completed");
    assert!(get(site, "/posts/told").await.text().contains("access granted"));
    assert!(get(site, "/").await.text().contains("The sample site"));

    make.signal("INT");
    until("its end", async || make.ended().then_some(())).await;
    assert!(make.log().contains("stopped"));
    for (name, port) in ports {
        assert!(!taken(port), "{name} is still taken");
    }
}

#[tokio::test]
async fn make_run_names_a_port_that_is_taken_and_starts_nothing() {
    if !have("make") || !have("caddy") {
        return;
    }
    let run_dir = TempDir::new().unwrap();
    let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut ports = ["PORT", "COUNTERSIGN_PORT", "ADMIN_PORT"].map(|name| (name, free_port())).to_vec();
    ports.push(("BACKEND_PORT", port));
    let mut make = make_run(run_dir.path(), &ports);

    until("its end", async || make.ended().then_some(())).await;
    let advice = format!("port {port} is taken; choose another: make run BACKEND_PORT=");
    assert!(make.log().contains(&advice), "{}", make.log());
    assert_eq!(std::fs::read_dir(run_dir.path()).unwrap().count(), 0);
}

/// Starts it with what the suite itself was built with.
fn make_run(run_dir: &Path, ports: &[(&str, u16)]) -> Tool {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder inside cargo's");
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "run", "PROFILE=dev"])
        .arg(format!("RUN_DIR={}", run_dir.display()))
        .args(ports.iter().map(|(name, port)| format!("{name}={port}")))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells a test about the package would make a cargo that is started from it build everything anew.
    for (name, _) in std::env::vars_os() {
        let told_by_cargo =
            name.to_str().is_some_and(|name| name.starts_with("CARGO") || name.starts_with("NEXTEST"));
        if told_by_cargo && name != "CARGO_HOME" {
            make.env_remove(name);
        }
    }
    make.env("CARGO_TARGET_DIR", target).env_remove("STRIPE_WEBHOOK_SECRET").env_remove("MAKEFLAGS");
    Tool::start(&mut make)
}

async fn get(port: u16, target: &str) -> Response {
    let address = Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
    Client::connect(&address).await.send(&Request::get(target).header("Connection", "close")).await
}
