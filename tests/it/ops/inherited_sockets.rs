//! Sockets that systemd passes, and the process that stands by for another on them.

use crate::harness::{Backend, Event, Gate, Program, Reply, Request, Setup, Sockets};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Starts a program on inherited sockets, and a second one that stands by.
async fn pair(backend: &Backend) -> (Program, Program) {
    let first = Program::start(Setup::new(backend).sockets(&Sockets::open())).await;
    let second = first.start_standing_by().await;
    (first, second)
}

#[tokio::test]
async fn process_that_stands_by_accepts_nothing_until_the_other_drains() {
    let backend = Backend::start().await;
    let (mut first, second) = pair(&backend).await;
    for _ in 0..20 {
        first.send(&Event::checkout().signed()).await.expect_delivered(200);
    }
    first.sigterm();
    assert!(first.wait_exit().await.success());
    let second = second.listening().await;
    second.ready().await;
    let event = Event::checkout();
    second.send(&event.signed()).await.expect_delivered(200);
    second.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(
        second.outcomes("delivered").await,
        1.0,
        "the second process had none of the first one's webhooks"
    );
}

#[tokio::test]
async fn process_that_stands_by_takes_over_from_a_killed_one() {
    let backend = Backend::start().await;
    let (mut first, second) = pair(&backend).await;
    let known = Event::checkout();
    first.send(&known.signed()).await.expect_delivered(200);
    first.kill9();
    let second = second.listening().await;
    second.send(&known.signed()).await.expect_received("duplicate");
}

#[tokio::test]
async fn ledger_is_handed_over_before_a_long_page_ends() {
    let backend = Backend::start().await;
    let (mut first, second) = pair(&backend).await;
    let gate = Gate::new();
    backend.reply_at("/report", Reply::ok().when(&gate));
    let mut page = first.connect().await;
    page.write(Request::get("/report").bytes()).await;
    backend.await_request(1).await;
    first.sigterm();
    let second = second.listening().await;
    second.ready().await;
    second.send(&Event::checkout().signed()).await.expect_delivered(200);
    gate.open();
    assert_eq!(page.response().await.status, 200);
    assert!(first.wait_exit().await.success());
}

#[tokio::test]
async fn webhook_that_waits_for_the_ledger_gets_503_when_the_program_drains_without_it() {
    let backend = Backend::start().await;
    let (first, second) = pair(&backend).await;
    let gate = Gate::new();
    backend.reply_at("/webhooks/stripe", Reply::ok().when(&gate));
    let mut slow = first.connect().await;
    slow.write(Event::checkout().signed().bytes()).await;
    backend.await_request(1).await;
    first.sigterm();
    let mut second = second.listening().await;
    let mut waiting = second.connect().await;
    let request = Event::checkout().signed();
    waiting.write(request.head_bytes()).await;
    assert_eq!(second.send(&Request::get("/page")).await.status, 200);
    second.sigterm();
    waiting.write(request.body_bytes()).await;
    waiting.response().await.expect_error(503, "ledger_unavailable");
    assert!(second.wait_exit().await.success());
    gate.open();
    slow.response().await.expect_delivered(200);
}

#[test]
fn inherited_socket_without_a_known_name_is_an_error_that_says_which_names_there_are() {
    for (names, expected) in [
        ("", "inherited socket 0 is named \"\", expected \"server\" or \"admin\""),
        (
            "countersign.socket",
            "set FileDescriptorName=server or FileDescriptorName=admin in its socket unit",
        ),
    ] {
        let socket: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
        let script = format!(
            "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={names} exec \"$0\" run"
        );
        let output = Command::new("/bin/sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_countersign")])
            .env("STRIPE_WEBHOOK_SECRET", "whsec_tests_know_this_one")
            .stdin(Stdio::from(socket))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}
