//! Health, metrics and the log of the real program.

use crate::harness::{Backend, Client, Event, Gate, OTHER_SECRET, Program, Reply, Request, Setup};
use crate::tools::have;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

/// Causes every kind of traffic that is counted.
async fn traffic(program: &Program) {
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
    program.send(&event.signed_by(&[OTHER_SECRET])).await.expect_error(400, "signature_mismatch");
    program.send(&event.signed().target("/Webhooks/Stripe")).await.expect_error(400, "ambiguous_path");
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
}

#[tokio::test]
async fn liveness_and_readiness_differ_and_each_check_has_its_own_entry() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    program.ready().await;
    let ready = program.get_admin("/readyz").await;
    assert_eq!(ready.header("content-type"), Some("application/json"));
    let checks = serde_json::json!({ "listener": { "ok": true }, "ledger": { "ok": true } });
    assert_eq!(ready.json(), serde_json::json!({ "ready": true, "checks": checks }));
    let live = program.get_admin("/livez").await;
    assert_eq!((live.status, live.json()), (200, serde_json::json!({ "live": true })));
    for target in ["/livez", "/readyz", "/metrics"] {
        let mut client = Client::connect(program.admin()).await;
        let head = client.send(&Request::new("HEAD", target)).await;
        assert_eq!((head.status, head.body.length), (200, 0), "{target}");
        let post = client.send(&Request::post(target, "x")).await;
        assert_eq!((post.status, post.code().as_str()), (405, "method_not_allowed"), "{target}");
    }
    let nothing = program.get_admin("/nothing").await;
    assert_eq!((nothing.status, nothing.code().as_str()), (404, "not_found"));
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn unreachable_backend_leaves_the_program_ready() {
    let mut backend = Backend::start().await;
    let program = Program::start(&backend).await;
    program.ready().await;
    backend.stop().await;
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 502);
    assert_eq!(program.get_admin("/readyz").await.status, 200);
}

#[tokio::test]
async fn while_draining_readyz_says_so_and_metrics_still_respond() {
    let backend = Backend::start().await;
    let mut program = Program::start(&backend).await;
    let gate = Gate::new();
    backend.reply_always(Reply::ok().when(&gate));
    let mut stripe = program.connect().await;
    stripe.write(Event::checkout().signed().bytes()).await;
    backend.await_request(1).await;

    program.sigterm();
    let body = program.not_ready().await;
    assert_eq!(body["checks"]["draining"]["ok"], false, "{body}");
    assert!(body["checks"]["draining"]["reason"].is_string(), "{body}");
    let running = r#"events{endpoint="/webhooks/stripe",state="running"}"#;
    assert_eq!((program.metric("inflight").await, program.metric(running).await), (1.0, 1.0));
    gate.open();
    stripe.response().await.expect_delivered(200);
    assert_eq!(program.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn admin_listener_accepts_a_unix_socket() {
    let backend = Backend::start().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix/{}", folder.path().join("admin.sock").display());
    let program = Program::start(Setup::new(&backend).set("admin.listen", socket)).await;
    program.ready().await;
    assert_eq!(program.metric("inflight").await, 0.0);
}

#[tokio::test]
async fn metrics_pass_promtool_check() {
    if !have("promtool") {
        return;
    }
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    traffic(&program).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(program.metrics().await.as_bytes()).unwrap();
    let body = promtool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[body.stdout, body.stderr].concat()).into_owned();
    assert!(body.status.success() && text.is_empty(), "{:?}: {text}", body.status.code());
}

#[tokio::test]
async fn every_series_is_documented() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let before = series(&program.metrics().await);
    traffic(&program).await;
    for n in 0..20 {
        let host = format!("host-{n}.example");
        program.send(&Request::get(&format!("/page/{n}?q={n}")).with("Host", &host)).await;
        program.send(&Event::new(&format!("made.up.{n}")).signed().target(&webhook(n))).await;
        program.send(&Request::new(&format!("METHOD{n}"), "/webhooks/stripe")).await;
    }
    assert_eq!(series(&program.metrics().await), before);

    // The guard's reasons are label values that only this test can list.
    let prefix = r#"countersign_guard_rejections_total{reason=""#;
    let reasons = before.iter().filter_map(|series| series.strip_prefix(prefix)?.strip_suffix("\"}"));
    let page = include_str!("../../../docs/metrics.md");
    let row = page.lines().find_map(|line| line.strip_prefix("| `reason` |")).unwrap();
    let documented: BTreeSet<_> = row.split('`').skip(1).step_by(2).collect();
    assert_eq!(documented, reasons.collect());
}

#[tokio::test]
async fn at_info_every_log_line_is_json_and_a_disconnect_is_no_error() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let aborted = r#"proxy_requests_total{class="aborted"}"#;
    for n in 1..=3 {
        let gate = Gate::new();
        backend.reply_next(Reply::chunked(200).chunk("one").pause(&gate).chunk("two"));
        let mut client = program.connect().await;
        client.write(Request::get("/download").bytes()).await;
        assert_eq!(client.response_head().await.status, 200);
        drop(client);
        program.await_metric(aborted, f64::from(n)).await;
    }
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    program.wait_for_webhook_log(&event.id, "delivered").await;
    for line in program.log() {
        let body: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(body["timestamp"].is_string() && body["message"].is_string(), "{line}");
        assert!(!matches!(body["level"].as_str(), Some("ERROR" | "WARN")), "{line}");
    }
}

fn webhook(n: i32) -> String {
    format!("/webhooks/stripe?tenant={n}")
}

/// Returns every series without its value.
fn series(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}
