//! A disk that does not answer. A library in front of the C library makes every `fsync` and `fdatasync` of the program
//! wait while a file exists, as a disk does that has lost its server.

use crate::harness::{Backend, Event, Gate, Program, Reply, Request, Response, Setup, within};
use crate::tools::have;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wait_for_disk(void) {
    const char *stalled = getenv("STALLED_DISK");
    while (stalled && access(stalled, F_OK) == 0) usleep(1000);
}

int fsync(int fd) { wait_for_disk(); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { wait_for_disk(); return syscall(SYS_fdatasync, fd); }
"#;

/// The disk of one program.
struct StallingDisk(TempDir);

impl StallingDisk {
    /// Compiles the library. `None` skips the test.
    fn new() -> Option<Self> {
        if !have("cc") {
            return None;
        }
        let disk = Self(TempDir::new().unwrap());
        std::fs::write(disk.path("disk.c"), LIBRARY).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).args([disk.path("disk.so"), disk.path("disk.c")]);
        assert!(cc.status().unwrap().success());
        Some(disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn setup(&self, backend: &Backend) -> Setup {
        Setup::new(backend)
            .env("LD_PRELOAD", self.path("disk.so").to_str().unwrap())
            .env("STALLED_DISK", self.path("stalled").to_str().unwrap())
    }

    fn stall(&self) {
        std::fs::write(self.path("stalled"), "").unwrap();
    }

    fn recover(&self) {
        std::fs::remove_file(self.path("stalled")).unwrap();
    }
}

#[track_caller]
fn expect_refused(response: &Response) {
    response.expect_error(503, "ledger_unavailable");
    assert!(response.header("retry-after").is_some());
}

/// Sends more events than could each wait for the ledger within the deadline of a test.
async fn refused_at_once(program: &Program) {
    within("refusals at once", async {
        for _ in 0..50 {
            expect_refused(&program.send(&Event::checkout().signed()).await);
        }
    })
    .await;
}

#[tokio::test]
async fn webhooks_are_refused_at_once_while_the_disk_does_not_answer_and_delivered_once_it_does() {
    let Some(disk) = StallingDisk::new() else { return };
    for delivery in ["inline", "queued", "hybrid"] {
        let backend = Backend::start().await;
        let program = Program::start(disk.setup(&backend).delivery(delivery)).await;
        let known = Event::checkout();
        assert_eq!(program.send(&known.signed()).await.status, 200);
        backend.await_request(1).await;
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;

        disk.stall();
        let event = Event::checkout();
        expect_refused(&program.send(&event.signed()).await);
        let ledger = program.not_ready().await["checks"]["ledger"].take();
        assert!(ledger["reason"].as_str().unwrap().contains("its disk did not answer in time"), "{ledger}");
        refused_at_once(&program).await;
        assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
        let targets = backend.targets();
        assert_eq!(targets, ["POST /webhooks/stripe", "GET /posts/1"], "{delivery}");

        disk.recover();
        program.ready().await;
        program.send(&known.signed()).await.expect_received("duplicate");
        // Its first arrival may have been stored after its caller was refused.
        assert_eq!(program.send(&event.signed()).await.status, 200);
        let delivered = backend.await_request(3).await;
        assert_eq!(delivered.header("idempotency-key"), Some(&*event.id), "{delivery}");
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
        program.send(&event.signed()).await.expect_received("duplicate");
        assert_eq!(backend.count(), 3, "{delivery}");
    }
}

#[tokio::test]
async fn a_2xx_that_comes_while_the_disk_does_not_answer_is_recorded_when_it_does() {
    let Some(disk) = StallingDisk::new() else { return };
    let backend = Backend::start().await;
    let program = Program::start(disk.setup(&backend)).await;
    let (event, gate) = (Event::checkout(), Gate::new());
    backend.reply_always(Reply::ok().when(&gate));
    let mut stripe = program.connect().await;
    stripe.write(event.signed().bytes()).await;
    backend.await_request(1).await;

    disk.stall();
    gate.open();
    stripe.response().await.expect_delivered(200);
    program.await_metric("settle_failures_total", 1.0).await;
    expect_refused(&program.send(&event.signed()).await);
    refused_at_once(&program).await;

    disk.recover();
    program.ready().await;
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn on_outage_deliver_delivers_at_once_while_the_disk_does_not_answer() {
    let Some(disk) = StallingDisk::new() else { return };
    let backend = Backend::start().await;
    let program = Program::start(disk.setup(&backend).set("ledger.on_outage", "deliver")).await;
    disk.stall();
    within("deliveries at once", async {
        for _ in 0..50 {
            program.send(&Event::checkout().signed()).await.expect_delivered(200);
        }
    })
    .await;
    assert_eq!(program.metric(r#"undeduplicated_total{endpoint="/webhooks/stripe"}"#).await, 50.0);
    disk.recover();
    program.ready().await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
}
