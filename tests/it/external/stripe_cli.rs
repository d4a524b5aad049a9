//! Stripe's own command line: `stripe listen --forward-to` posts to Caddy, as on a developer's machine.

use crate::fake_stripe::{FakeStripe, Forwarded, KEY};
use crate::harness::{Backend, Event, OTHER_SECRET, Program, SECRET, now, sign, until, within};
use crate::tools::{Caddy, Tool, have, npm};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn stripe_listen_forwards_through_caddy_and_gets_the_backends_responses() {
    let Some(package) = npm("@stripe/cli-linux-x64") else { return };
    if !have("caddy") {
        return;
    }
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let caddy = Caddy::start(program.proxy()).await;
    let stripe = FakeStripe::start().await;
    let forward_to = format!("http://localhost:{}/webhooks/stripe", caddy.port());
    let _listen = listen(&package, &stripe.api_base(), &forward_to).await;

    let event = Event::checkout();
    let first = forward(&stripe, &event, SECRET).await;
    assert_eq!((first.status, first.body.as_str()), (200, r#"{"applied":true}"#));
    let seen = backend.only();
    assert_eq!(seen.body.bytes, event.body());
    assert_eq!(seen.header("Idempotency-Key"), Some(event.id.as_str()));
    assert_eq!(seen.header("X-Tenant"), Some("blue"), "`--headers` adds it");
    assert_eq!(seen.header("Authorization"), Some("Basic c3RyaXBlOmh1bnRlcjI="));
    assert_eq!(seen.header("Host"), Some(format!("localhost:{}", caddy.port()).as_str()));

    let again = forward(&stripe, &event, SECRET).await;
    assert_eq!((again.status, again.body.contains("duplicate")), (200, true), "{again:?}");
    let forged = forward(&stripe, &Event::checkout(), OTHER_SECRET).await;
    assert_eq!((forged.status, forged.body.contains("signature_mismatch")), (400, true), "{forged:?}");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn stripe_trigger_creates_an_event_that_stripe_listen_forwards_to_the_backend() {
    let Some(package) = npm("@stripe/cli-linux-x64") else { return };
    if !have("caddy") {
        return;
    }
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let caddy = Caddy::start(program.proxy()).await;
    let stripe = FakeStripe::start().await;
    let forward_to = format!("http://localhost:{}/webhooks/stripe", caddy.port());
    let mut listen = listen(&package, &stripe.api_base(), &forward_to).await;
    listen.wait_for_output("Ready!").await;

    let trigger = ["trigger", "checkout.session.completed", "--api-base", &stripe.api_base()];
    let mut trigger = Tool::start(stripe_command(&package).args(trigger));
    trigger.wait_for_output("Trigger succeeded!").await;
    let completed = until("the event at the backend", async || {
        let bodies = backend.requests().into_iter().map(|request| request.body.bytes);
        let mut events = bodies.filter_map(|body| serde_json::from_slice::<Value>(&body).ok());
        events.find(|event| event["type"] == "checkout.session.completed")
    })
    .await;
    let session = &completed["data"]["object"];
    assert_eq!((&session["status"], &session["payment_status"]), (&json!("complete"), &json!("paid")));
    assert_eq!(Some(session), stripe.session(session["id"].as_str().unwrap()).as_ref());
}

/// Sends an event as Stripe does, freshly signed with this secret, and waits for the backend's response.
async fn forward(stripe: &FakeStripe, event: &Event, secret: &str) -> Forwarded {
    let body = event.body();
    let signature = sign(&[secret], now(), &body);
    within("what the command line got", stripe.forward(&body, &signature)).await
}

/// Starts `stripe listen`, and waits until it is ready.
async fn listen(package: &Path, api_base: &str, forward_to: &str) -> Tool {
    let listen =
        ["listen", "--all-snapshot", "--skip-update", "--api-base", api_base, "--forward-to", forward_to];
    let headers = ["--headers", "X-Tenant: blue,Authorization: Basic c3RyaXBlOmh1bnRlcjI="];
    let mut listen = Tool::start(stripe_command(package).args(listen).args(headers));
    // The first line holds the session's secret, which the backend verifies with.
    listen.wait_for_output(SECRET).await;
    listen
}

fn stripe_command(package: &Path) -> Command {
    let mut command = Command::new(package.join("bin/stripe"));
    command
        .env_clear()
        // Only the key's form is checked: no request leaves this machine.
        .env("STRIPE_API_KEY", KEY)
        .env("STRIPE_CLI_TELEMETRY_OPTOUT", "1");
    command
}
