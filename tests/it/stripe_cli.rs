//! Stripe's own command line in front of it all: `stripe listen --forward-to` posts to Caddy, as on a developer's machine.

use crate::fake_stripe::{FakeStripe, Forwarded};
use crate::front::{Caddy, Tool, have, npm};
use crate::harness::{Backend, Event, OTHER_SECRET, Program, SECRET, now, sign, within};
use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn stripe_listen_forwards_through_caddy_to_the_backend_and_hears_its_answers() {
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
    assert_eq!(seen.header("Host"), Some(format!("localhost:{}", caddy.port()).as_str()));

    let again = forward(&stripe, &event, SECRET).await;
    assert_eq!((again.status, again.body.contains("duplicate")), (200, true), "{again:?}");
    let forged = forward(&stripe, &Event::checkout(), OTHER_SECRET).await;
    assert_eq!((forged.status, forged.body.contains("signature_mismatch")), (400, true), "{forged:?}");
    assert_eq!(backend.count(), 1);
}

/// Sends an event as Stripe does, freshly signed with this secret, and waits for the app's answer to it.
async fn forward(stripe: &FakeStripe, event: &Event, secret: &str) -> Forwarded {
    let body = event.body();
    let signature = sign(&[secret], now(), &body);
    within("what the command line got", stripe.forward(&body, &signature)).await
}

/// `stripe listen`, once it is ready.
async fn listen(package: &Path, api_base: &str, forward_to: &str) -> Tool {
    let mut command = Command::new(package.join("bin/stripe"));
    command
        .args([
            "listen",
            "--all-snapshot",
            "--skip-update",
            "--api-base",
            api_base,
            "--forward-to",
            forward_to,
        ])
        .env_clear()
        // Its form is checked, nothing more: no request leaves this machine.
        .env("STRIPE_API_KEY", "sk_test_countersign")
        .env("STRIPE_CLI_TELEMETRY_OPTOUT", "1");
    let mut listen = Tool::start(&mut command);
    // Its first line gives out the session's secret, for the app to verify with.
    listen.says(SECRET).await;
    listen
}
