//! Stripe's official Node SDK at both ends: the program accepts what it signs, and `constructEvent` accepts what the
//! backend gets.

use crate::harness::{Backend, Event, Program, Received, SECRET, Setup};
use crate::tools::npm;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// The secret that only the program and the backend share.
const DELIVERY_SECRET: &str = "whsec_tests_between_us";

#[tokio::test]
async fn event_signed_by_the_node_sdk_is_accepted_and_with_another_secret_refused() {
    if npm("stripe").is_none() {
        return;
    }
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let sign = |event: &Event, secret: &str| {
        let payload = String::from_utf8(event.body()).unwrap();
        let header = node(
            "stripe.webhooks.generateTestHeaderString(input)",
            &json!({ "payload": payload, "secret": secret }),
        );
        event.unsigned().header("Stripe-Signature", header.as_str().unwrap())
    };

    let event = Event::checkout();
    program.send(&sign(&event, SECRET)).await.expect_delivered(200);
    assert_eq!(backend.only().body.bytes, event.body());
    let other = sign(&Event::checkout(), "whsec_another");
    program.send(&other).await.expect_error(400, "signature_mismatch");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn delivered_request_satisfies_construct_event() {
    if npm("stripe").is_none() {
        return;
    }
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(construct_event(&backend.await_request(1).await, SECRET), event.id.as_str());

    let setup = Setup::new(&backend)
        .set("webhook.delivery_secret", "{$DELIVERY_SECRET}")
        .env("DELIVERY_SECRET", DELIVERY_SECRET);
    let program = program.restart_with(setup).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    let seen = backend.await_request(2).await;
    assert_eq!(construct_event(&seen, DELIVERY_SECRET), event.id.as_str());
    assert_eq!(construct_event(&seen, SECRET), "StripeSignatureVerificationError");
}

/// Returns the id of the event that the SDK reads from a request, or the name of its error.
fn construct_event(request: &Received, secret: &str) -> Value {
    let input = json!({
        "payload": String::from_utf8(request.body.bytes.clone()).unwrap(),
        "header": request.header("Stripe-Signature"),
        "secret": secret,
    });
    node(
        "(() => { try { return stripe.webhooks.constructEvent(input.payload, input.header, input.secret).id }
                  catch (error) { return error.type } })()",
        &input,
    )
}

/// Evaluates a JavaScript expression over `stripe`, the SDK, and `input`.
fn node(expression: &str, input: &Value) -> Value {
    let script = format!(
        "const stripe = require('stripe')('sk_test_countersign');
         const input = JSON.parse(require('fs').readFileSync(0));
         process.stdout.write(JSON.stringify({expression}));"
    );
    let mut node = Command::new("node")
        .args(["-e", &script])
        .current_dir(npm("stripe").expect("asked before"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    node.stdin.take().expect("piped").write_all(input.to_string().as_bytes()).expect("node reads");
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed, and said so above");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
