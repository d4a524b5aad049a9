//! Logging never blocks: requests and signals go on while nobody takes the log.

use crate::harness::{Address, Backend, Client, Event, Program, Request, SECRET, Setup, until, webhook};
use serde_json::Value;
use std::fs::OpenOptions;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const DROPPED: &str = "log_lines_dropped_total";

/// Sends unsigned webhooks on several connections. Each leaves a line in the log.
async fn fill_log(program: &Program, requests: usize) {
    const CONNECTIONS: usize = 8;
    let send = async || {
        let mut client = program.connect().await;
        for _ in 0..requests / CONNECTIONS {
            client.send(&webhook(b"{}")).await.expect_error(400, "signature_missing");
        }
    };
    let clients: [_; CONNECTIONS] = std::array::from_fn(|_| send());
    futures_util::future::join_all(clients).await;
}

#[tokio::test]
async fn webhooks_and_pages_go_on_while_nobody_reads_the_log_and_dropped_lines_are_counted() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend)).await;
    assert!(program.metric(DROPPED).await < 1.0);
    program.pause_log();
    // A line has some 200 bytes: these fill the pipe (64 KiB) and the program's queue (1 MiB).
    fill_log(&program, 8_000).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(program.send(&Request::get("/page")).await.status, 200);
    assert_eq!(program.get_admin("/livez").await.status, 200);
    assert!(program.metric(DROPPED).await > 0.0);

    program.resume_log();
    let dropped =
        |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("lines were dropped"));
    let line = program.wait_for_log("dropped lines", dropped).await;
    assert!(line["level"] == "WARN" && line["lines"].as_u64() > Some(0), "{line}");
    for line in program.log() {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "a torn line: {line}");
    }
}

#[tokio::test]
async fn sigterm_ends_the_program_while_nobody_reads_the_log() {
    let backend = Backend::start().await;
    let mut program = Program::start(Setup::new(&backend)).await;
    program.pause_log();
    fill_log(&program, 800).await;
    program.sigterm();
    assert_eq!(program.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn last_lines_are_written_before_the_program_ends() {
    let backend = Backend::start().await;
    let mut program = Program::start(Setup::new(&backend)).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    program.sigterm();
    program.wait_exit().await;
    program.wait_for_webhook_log(&event.id, "delivered").await;
}

#[tokio::test]
async fn webhooks_go_on_after_the_reader_of_the_log_was_killed() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend)).await;
    program.close_log();
    // The reader ends only after its next line, and by then the program may have written many.
    until("dropped lines to be counted", async || {
        fill_log(&program, 8).await;
        (program.metric(DROPPED).await > 0.0).then_some(())
    })
    .await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

/// Kills the program when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn webhooks_and_pages_go_on_while_the_disk_of_the_log_is_full() {
    let (backend, folder) = (Backend::start().await, TempDir::new().unwrap());
    // Every write to this device fails: no space left. The listeners are Unix sockets, since no log tells their ports.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let socket = |name: &str| format!("unix/{}", folder.path().join(name).display());
    let (proxy, admin) = (socket("proxy.sock"), socket("admin.sock"));
    let setup = Setup::new(&backend).set("server.listen", &*proxy).set("admin.listen", &*admin);
    let config = folder.path().join("countersign.toml");
    std::fs::write(&config, setup.text()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["run", "--config"]).arg(&config).current_dir(folder.path()).stderr(Stdio::from(full));
    let _running = Running(command.env("STRIPE_WEBHOOK_SECRET", SECRET).spawn().unwrap());

    let admin = Address::parse(&admin);
    let ready = Request::get("/readyz").header("Connection", "close");
    until("the program to be ready", async || {
        let mut client = Client::try_connect(&admin).await.ok()?;
        (client.send(&ready).await.status == 200).then_some(())
    })
    .await;
    let mut client = Client::connect(&Address::parse(&proxy)).await;
    client.send(&Event::checkout().signed()).await.expect_delivered(200);
    assert_eq!(client.send(&Request::get("/page")).await.status, 200);
    let scrape = Request::get("/metrics").header("Connection", "close");
    until("dropped lines to be counted", async || {
        let metrics = Client::connect(&admin).await.send(&scrape).await.text();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("countersign_")?.strip_prefix(DROPPED))?;
        (line.trim().parse::<f64>().unwrap() > 0.0).then_some(())
    })
    .await;
}
