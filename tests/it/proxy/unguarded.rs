//! A webhook on a path that no `[[webhook]]` has passes through, and an operator is told.

use crate::harness::{Backend, Event, Program, Request, Setup};

const UNGUARDED: &str = "unguarded_webhooks_total";

#[tokio::test]
async fn webhook_on_a_path_that_is_not_configured_passes_and_is_counted_and_logged() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend)).await;
    let mut client = program.connect().await;
    for request in [
        Event::checkout().signed(),
        Request::get("/webhook/stripe").header("Stripe-Signature", "t=1,v1=00"),
        Request::post("/webhook/stripe", "{}"),
    ] {
        assert_eq!(client.send(&request).await.status, 200);
    }
    assert!(program.metric(UNGUARDED).await < 1.0, "a webhook, a page and an unsigned POST are none");
    for _ in 0..2 {
        let request = Event::checkout().signed().target("/webhook/stripe?token=hush");
        assert_eq!(client.send(&request).await.status, 200);
    }
    program.await_metric(UNGUARDED, 2.0).await;
    let unguarded = |message: &str| message.contains("passed through unverified");
    let line =
        program.wait_for_log("a warning", |line| line["message"].as_str().is_some_and(unguarded)).await;
    assert_eq!((line["level"].as_str(), line["path"].as_str()), (Some("WARN"), Some("/webhook/stripe")));
    let warnings = program.log().into_iter().filter(|line| unguarded(line)).count();
    assert_eq!(warnings, 1, "at most one a minute");
}
