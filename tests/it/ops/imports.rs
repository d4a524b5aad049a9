//! The head of an imported event: as if Stripe had sent the event to the endpoint's `url`, else as the last webhook came.

use crate::harness::{
    Backend, Event, Program, Received, Redis, Reply, Request, Setup, TestLedger, on_each_ledger, until,
};
use crate::ops::events::{call_api, in_state, with_events_api};
use crate::tools::have;

/// Imports an event by a target of the events API, and returns the id of the event and the request that the backend got.
async fn import(program: &Program, backend: &Backend, target: &str) -> (String, Received) {
    let (count, event) = (backend.count(), Event::checkout());
    let body = String::from_utf8(event.body()).unwrap();
    let imported = call_api(program, "POST", target, &body).await;
    assert_eq!(imported.status, 202, "{}", imported.text());
    (event.id, backend.await_request(count + 1).await)
}

const ENDPOINT: &str = "/api/events?endpoint=%2Fwebhooks%2Fstripe";

/// A webhook that a proxy forwards from this host.
fn webhook_to(host: &str) -> Request {
    Event::checkout()
        .signed()
        .target("/webhooks/stripe?version=2")
        .with("Host", host)
        .with("User-Agent", "Stripe/9.9")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", host)
}

/// Checks that a request is for this host as `webhook_to` makes it.
fn assert_came_to(host: &str, got: &Received) {
    assert_eq!(got.target, "/webhooks/stripe?version=2");
    for (name, value) in [
        ("host", Some(host)),
        ("x-forwarded-host", Some(host)),
        ("x-forwarded-proto", Some("https")),
        ("x-forwarded-for", None),
        ("user-agent", Some("Stripe/9.9")),
        ("content-type", Some("application/json; charset=utf-8")),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
}

on_each_ledger! {
    import_is_delivered_as_the_last_webhook_came_even_to_a_process_before,
    dead_import_is_redelivered_as_the_last_webhook_came_since,
}

async fn import_is_delivered_as_the_last_webhook_came_even_to_a_process_before(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = with_events_api(ledger.configure(Setup::new(&backend)));
    let mut program = Program::start(setup).await;
    assert_eq!(program.send(&webhook_to("shop.example")).await.status, 200);
    let forged = webhook_to("evil.example").with("Stripe-Signature", "t=1,v1=00");
    assert_eq!(program.send(&forged).await.status, 400);
    program.sigterm();
    program.wait_exit().await;

    let program = program.restart().await;
    assert_came_to("shop.example", &import(&program, &backend, ENDPOINT).await.1);
    // A change is known at once in this process, and a reload does not forget it.
    for host in ["new.example", "newer.example"] {
        assert_eq!(program.send(&webhook_to(host)).await.status, 200);
        assert_came_to(host, &import(&program, &backend, ENDPOINT).await.1);
    }
    program.sighup();
    program.wait_for_log("configuration reloaded", |line| line["message"] == "configuration reloaded").await;
    assert_came_to("newer.example", &import(&program, &backend, ENDPOINT).await.1);
    let (_, got) = import(&program, &backend, &format!("{ENDPOINT}&query=")).await;
    assert_eq!((got.target.as_str(), got.header("host")), ("/webhooks/stripe", Some("newer.example")));
}

async fn dead_import_is_redelivered_as_the_last_webhook_came_since(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = with_events_api(ledger.configure(Setup::new(&backend))).retry(&[]);
    let program = Program::start(setup).await;
    backend.reply_always(Reply::status(400));
    let (id, got) = import(&program, &backend, &format!("{ENDPOINT}&query=version%3D2")).await;
    assert_eq!(got.header("host"), Some(backend.address().text().as_str()), "no webhook has come yet");
    in_state(&program, &id, "dead").await;

    backend.reply_always(Reply::ok());
    assert_eq!(program.send(&webhook_to("shop.example")).await.status, 200);
    let count = backend.count();
    let redelivered = call_api(&program, "POST", &format!("/api/events/{id}/redeliver"), "").await;
    assert_eq!(redelivered.status, 202, "{}", redelivered.text());
    assert_came_to("shop.example", &backend.await_request(count + 1).await);
}

#[tokio::test]
async fn import_for_a_tenant_has_the_host_of_the_last_webhook_and_never_its_path() {
    let backend = Backend::start().await;
    let setup =
        Setup::new(&backend).set("webhook.path", "/tenants/{tenant}/stripe").set("webhook.name", "shop");
    let program = Program::start(with_events_api(setup)).await;
    let webhook = webhook_to("shop.example").target("/tenants/acme/stripe?version=2");
    assert_eq!(program.send(&webhook).await.status, 200);
    let body = String::from_utf8(Event::checkout().body()).unwrap();
    let refused = call_api(&program, "POST", "/api/events?endpoint=shop", &body).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "query_invalid"));
    let (_, got) = import(&program, &backend, "/api/events?endpoint=shop&segments=other").await;
    assert_eq!((got.target.as_str(), got.header("host")), ("/tenants/other/stripe", Some("shop.example")));
}

#[tokio::test]
async fn import_learns_of_a_webhook_that_another_replica_got() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let backend = Backend::start().await;
    let setup = with_events_api(Setup::new(&backend).redis(&redis));
    let one = Program::start(setup).await;
    let two = one.start_beside().await;
    assert_eq!(one.send(&webhook_to("shop.example")).await.status, 200);
    until("the other replica knows the host", async || {
        let (_, got) = import(&two, &backend, &format!("{ENDPOINT}&query=version%3D2")).await;
        (got.header("host") == Some("shop.example")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn imported_event_arrives_as_if_stripe_had_sent_it_to_the_configured_url() {
    let backend = Backend::start().await;
    let url = "https://Shop.example:443/tenants/acme/stripe?version=2";
    let setup = with_events_api(Setup::new(&backend))
        .set("webhook.path", "/tenants/{tenant}/stripe")
        .set("webhook.name", "shop");
    let program = Program::start(setup.clone()).await;
    let import = async |program: &Program, rest: &str| {
        let body = String::from_utf8(Event::checkout().body()).unwrap();
        call_api(program, "POST", &format!("/api/events?endpoint=shop{rest}"), &body).await
    };
    let refused = import(&program, "").await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "query_invalid"));
    assert!(refused.text().contains("--path"), "{}", refused.text());

    let program = Program::start(setup.set("webhook.url", url)).await;
    for (rest, target) in [
        ("", "/tenants/acme/stripe?version=2"),
        ("&query=", "/tenants/acme/stripe"),
        ("&segments=other&query=a", "/tenants/other/stripe?a"),
    ] {
        let count = backend.count();
        let imported = import(&program, rest).await;
        assert_eq!(imported.status, 202, "{}", imported.text());
        let got = backend.await_request(count + 1).await;
        assert_eq!(got.target, target);
        for (name, value) in [
            ("host", "shop.example"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
            ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
        ] {
            assert_eq!(got.header(name), Some(value), "{name}");
        }
    }
}
