//! The write-ahead log of an SQLite ledger while another program reads the file. The reader is a real `sqlite3`.

use crate::harness::{Backend, Event, Program, Setup, until, within};
use crate::tools::have;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const MIB: u64 = 1 << 20;

/// A `sqlite3` shell with an open read transaction, killed on drop.
struct Shell(Child);

impl Shell {
    fn read(ledger: &Path) -> Self {
        let mut shell = Command::new("sqlite3")
            .arg(ledger)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 starts");
        let stdin = shell.stdin.as_mut().expect("piped");
        stdin.write_all(b"BEGIN;\nSELECT count(*) FROM events;\n").expect("it reads");
        let mut count = String::new();
        BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut count).expect("it answers");
        assert!(count.trim().parse::<u64>().is_ok(), "{count:?}");
        Self(shell)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the size of the file that the gauge measures.
fn size(program: &Program) -> u64 {
    std::fs::metadata(program.path("ledger.db-wal")).unwrap().len()
}

async fn gauge(program: &Program) -> u64 {
    program.metric("ledger_wal_bytes").await as u64
}

/// Sends events of the largest size until the write-ahead log is larger than this.
async fn fill(program: &Program, bytes: u64) {
    let mut stripe = program.connect().await;
    while size(program) <= bytes {
        stripe.send(&Event::checkout().sized(MIB as usize).signed()).await.expect_received("queued");
    }
}

/// Grows the write-ahead log to this size by writes of another program, which are much faster than events.
fn inflate(program: &Program, bytes: u64) {
    let rows = "INSERT INTO ballast VALUES (zeroblob(1000000)); DELETE FROM ballast; ".repeat(4);
    let sql = format!("CREATE TABLE IF NOT EXISTS ballast (b); {rows} DROP TABLE ballast");
    while size(program) <= bytes {
        let shell = Command::new("sqlite3").arg(program.ledger()).args([".timeout 20000", &sql]).status();
        assert!(shell.expect("sqlite3 starts").success());
    }
}

/// Waits until the gauge shows at least what the file has now.
async fn measured(program: &Program) {
    let bytes = size(program);
    until("the gauge to follow", async || (gauge(program).await >= bytes).then_some(())).await;
}

fn is_warning(line: &Value) -> bool {
    line["level"] == "WARN" && line["message"].as_str().is_some_and(|text| text.contains("write-ahead log"))
}

#[tokio::test]
async fn a_reader_that_lets_the_wal_grow_is_named_once_and_the_wal_shrinks_when_it_has_left() {
    if !have("sqlite3") {
        return;
    }
    let mut backend = Backend::start().await;
    backend.stop().await;
    let setup = Setup::new(&backend).set("webhook.delivery", "queued").retry(&["1h"]);
    let program = Program::start(setup).await;
    until("the first measurement", async || {
        program.metrics().await.contains("countersign_ledger_wal_bytes").then_some(())
    })
    .await;
    assert!(gauge(&program).await < MIB);
    assert!(program.metric("ledger_disk_free_bytes").await > 0.0);

    let shell = Shell::read(&program.ledger());
    for mib in [4, 8, 12] {
        fill(&program, mib * MIB).await;
        measured(&program).await;
    }
    inflate(&program, 160 * MIB);
    measured(&program).await;
    let log = program.complete_log().await;
    assert!(!log.iter().any(|line| line.contains("write-ahead log")), "not yet large: {log:?}");

    inflate(&program, 255 * MIB);
    fill(&program, 257 * MIB).await;
    let warning = program.wait_for_log("a warning", is_warning).await;
    let text = warning["message"].as_str().unwrap();
    assert!(text.contains("read transaction") && text.contains("backup"), "{text}");
    assert!(warning["wal_bytes"].as_u64().unwrap() > 256 * MIB, "{warning}");
    if cfg!(target_os = "linux") {
        assert_eq!(warning["holders"], format!("sqlite3 (pid {})", shell.0.id()));
    }

    // Each further measurement is another look at the cause, and says nothing new.
    for _ in 0..2 {
        let before = size(&program);
        fill(&program, before).await;
        measured(&program).await;
    }
    drop(shell);
    // No event arrives, and yet it is cut.
    within("the log to shrink", async {
        until("the file to shrink", async || (size(&program) <= 64 * MIB).then_some(())).await;
        until("the gauge to follow", async || (gauge(&program).await <= 64 * MIB).then_some(())).await;
    })
    .await;
    program
        .wait_for_log("its end", |line| {
            line["message"].as_str().is_some_and(|text| text.contains("is small again"))
        })
        .await;
    let log = program.complete_log().await;
    let warnings = log.iter().filter(|line| serde_json::from_str(line).is_ok_and(|line| is_warning(&line)));
    assert_eq!(warnings.count(), 1, "{log:?}");
    program.send(&Event::checkout().signed()).await.expect_received("queued");
}

#[tokio::test]
async fn other_ledgers_have_no_wal() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).no_ledger()).await;
    let metrics = program.metrics().await;
    assert!(!metrics.contains("ledger_wal_bytes") && !metrics.contains("ledger_disk_free"), "{metrics}");
}
