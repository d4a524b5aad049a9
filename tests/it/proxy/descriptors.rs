//! File descriptors: the limit that the program gives itself, and what works when none is left.

use crate::harness::{Backend, Event, Program, Setup};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// The descriptors that the program has open.
fn open_descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.pid())).expect("a process").count()
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_the_hard_one() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("server.max_connections", 100).open_files(128, 264);
    let program = Program::start(setup).await;
    let metrics = program.get_admin("/metrics").await.text();
    assert!(metrics.contains("\nprocess_max_fds 264\n"), "{metrics}");
    assert!(!program.log().iter().any(|line| line.contains("max_connections is lowered")));
}

#[tokio::test]
async fn the_admin_listener_answers_when_no_descriptor_is_left() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    // Descriptors that are open stay open, and another one is not to be had.
    let open = open_descriptors(&program) as u64;
    let limit = Rlimit { current: Some(open), maximum: Some(open) };
    let pid = Pid::from_raw(program.pid().cast_signed()).expect("a process id");
    prlimit(Some(pid), Resource::Nofile, limit).expect("a lower limit");
    let mut waiting = vec![];
    for _ in 0..20 {
        waiting.push(program.connect().await);
    }
    let refused = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|m| m.starts_with("failed to accept a connection"))
    };
    program.wait_for_log("a warning", refused).await;
    // More often than there are descriptors in reserve: each goes back to it.
    for _ in 0..12 {
        assert_eq!(program.get_admin("/readyz").await.status, 200);
        assert_eq!(program.get_admin("/metrics").await.status, 200);
    }
}
