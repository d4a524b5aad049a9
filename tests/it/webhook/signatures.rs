//! The response to a webhook by its signature and payload. The backend gets it only if both are valid.

use crate::harness::{Backend, Event, OTHER_SECRET, Program, Request, SECRET, Setup, now, sign, webhook};

/// Builds a webhook with any payload and a valid signature.
fn signed_payload(payload: impl AsRef<[u8]>) -> Request {
    let payload = payload.as_ref();
    webhook(payload).header("Stripe-Signature", &sign(&[SECRET], now(), payload))
}

/// Builds an event's request with this signature header in place of the valid one.
fn with_header(header: &str) -> Request {
    Event::checkout().unsigned().header("Stripe-Signature", header)
}

/// Returns `t=…` and `v1=…` of a valid, fresh signature.
fn parts(event: &Event) -> (String, String) {
    let header = sign(&[SECRET], now(), &event.body());
    let (t, v1) = header.split_once(',').unwrap();
    (t.to_owned(), v1.to_owned())
}

fn invalid_signatures() -> Vec<(&'static str, Request, &'static str)> {
    let event = Event::checkout();
    let (t, v1) = parts(&event);
    let (hex, seconds) = (&v1[3..], &t[2..]);
    let is = |header: String| event.unsigned().header("Stripe-Signature", &header);
    let altered = String::from_utf8(event.body()).unwrap().replace("4200", "4201");
    let v0 = format!("{t},v0={hex}");
    vec![
        ("no header", event.unsigned(), "signature_missing"),
        ("an empty header", with_header(""), "signature_missing"),
        ("no t", is(v1.clone()), "signature_malformed"),
        ("t is a word", is(format!("t=soon,{v1}")), "signature_malformed"),
        ("t has a leading zero", is(format!("t=0{seconds},{v1}")), "signature_malformed"),
        ("two t", is(format!("{t},{t},{v1}")), "signature_malformed"),
        (
            "two headers",
            event.signed().header("Stripe-Signature", &format!("{t},{v1}")),
            "signature_malformed",
        ),
        ("another provider's", is(format!("sha256={hex}")), "signature_malformed"),
        ("20 KiB long", is(format!("{t},{v1},x={}", "x".repeat(20 << 10))), "signature_malformed"),
        ("t alone", is(t.clone()), "signature_no_v1"),
        ("v0 alone", is(v0), "signature_no_v1"),
        ("another secret", event.signed_by(&[OTHER_SECRET]), "signature_mismatch"),
        ("another body", event.signed().body(altered), "signature_mismatch"),
        ("another time", is(format!("t={},{v1}", now() - 1)), "signature_mismatch"),
        ("upper case", is(format!("{t},v1={}", hex.to_uppercase())), "signature_mismatch"),
        ("cut short", is(format!("{t},{}", &v1[..v1.len() - 2])), "signature_mismatch"),
        ("an old forgery", event.signed_at(now() - 9_000, &[OTHER_SECRET]), "signature_mismatch"),
        ("too old", event.signed_at(now() - 400, &[SECRET]), "timestamp_too_old"),
        ("in the future", event.signed_at(now() + 400, &[SECRET]), "timestamp_in_future"),
    ]
}

fn invalid_payloads() -> Vec<(&'static str, String)> {
    let event =
        |id: &str, object: &str, kind: &str| format!(r#"{{"id":{id},"object":{object},"type":{kind}}}"#);
    let long = |n: usize| format!("\"{}\"", "a".repeat(n));
    vec![
        ("empty", String::new()),
        ("not JSON", "id=evt_1&object=event&type=ping".into()),
        ("an array", format!("[{}]", event("\"evt_1\"", "\"event\"", "\"ping\""))),
        ("cut off", event("\"evt_1\"", "\"event\"", "\"ping\"").trim_end_matches('}').into()),
        ("something after it", event("\"evt_1\"", "\"event\"", "\"ping\"") + "{}"),
        ("no id", r#"{"object":"event","type":"ping"}"#.into()),
        ("an id deeper down", r#"{"data":{"id":"evt_1"},"object":"event","type":"ping"}"#.into()),
        ("a number for an id", event("1", "\"event\"", "\"ping\"")),
        ("null for an id", event("null", "\"event\"", "\"ping\"")),
        ("an empty id", event("\"\"", "\"event\"", "\"ping\"")),
        ("an id with other characters", event("\"evt/1\"", "\"event\"", "\"ping\"")),
        ("an id of 256", event(&long(256), "\"event\"", "\"ping\"")),
        ("two ids", r#"{"id":"evt_1","object":"event","type":"ping","id":"evt_2"}"#.into()),
        ("two ids, one escaped", r#"{"id":"evt_1","object":"event","type":"ping","\u0069d":"evt_2"}"#.into()),
        ("no type", r#"{"id":"evt_1","object":"event"}"#.into()),
        ("an empty type", event("\"evt_1\"", "\"event\"", "\"\"")),
        ("a type with a space", event("\"evt_1\"", "\"event\"", "\"a b\"")),
        ("a type of 256", event("\"evt_1\"", "\"event\"", &long(256))),
        ("no object", r#"{"id":"evt_1","type":"ping"}"#.into()),
        ("another object", event("\"evt_1\"", "\"charge\"", "\"ping\"")),
    ]
}

#[tokio::test]
async fn each_invalid_signature_gets_its_own_400_and_never_reaches_the_backend() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for (name, request, code) in invalid_signatures() {
        program.send(&request).await.case(name).expect_error(400, code);
    }
    assert_eq!(backend.targets(), Vec::<String>::new());
    assert_eq!(program.outcomes("signature_mismatch").await, 6.0);
    assert_eq!(program.outcomes("signature_missing").await, 2.0);
    assert_eq!(program.outcomes("timestamp_too_old").await, 1.0);
}

#[tokio::test]
async fn signed_payload_that_is_no_event_gets_400_and_never_reaches_the_backend() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for (name, payload) in invalid_payloads() {
        program.send(&signed_payload(&payload)).await.case(name).expect_error(400, "payload_invalid");
    }
    assert_eq!(backend.targets(), Vec::<String>::new());
    assert_eq!(program.outcomes("payload_invalid").await, invalid_payloads().len() as f64);
}

#[tokio::test]
async fn every_request_that_stripe_may_send_is_delivered() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    let (t, v1) = parts(&event);
    let is = |event: &Event, header: String| event.unsigned().header("Stripe-Signature", &header);
    let id = |n: u32| format!("evt_{}{n}", "a".repeat(200));
    let thin = r#"{"id":"evt_thin","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered","livemode":true,"created":"2026-09-21T14:13:20.000Z"}"#;
    let table = [
        ("a checkout", Event::checkout().signed()),
        ("with v0 and unknown schemes", is(&event, format!("{t},v0=00,{v1},v2=zz,junk"))),
        ("v1 first, spaces", {
            let event = Event::checkout();
            let (t, v1) = parts(&event);
            is(&event, format!("{v1} , {t}"))
        }),
        ("200 seconds old", Event::checkout().signed_at(now() - 200, &[SECRET])),
        ("200 seconds ahead", Event::checkout().signed_at(now() + 200, &[SECRET])),
        ("signed by an unknown secret too", Event::checkout().signed_by(&[OTHER_SECRET, SECRET])),
        ("a thin event", signed_payload(thin)),
        ("a long id", Event::checkout().id(&id(1)).signed()),
        ("no longer than max_body", Event::checkout().sized(1 << 20).signed()),
        ("in chunks", Event::checkout().signed().chunked(1_000)),
        ("on one line", signed_payload(r#"{"id":"evt_line","object":"event","type":"ping"}"#)),
        (
            "a draft type",
            signed_payload(r#"{"id":"evt_draft","object":"event","type":"v2.core.account[x].updated-1"}"#),
        ),
    ];
    for (n, (name, request)) in table.iter().enumerate() {
        program.send(request).await.case(name).expect_delivered(200);
        assert_eq!(backend.count(), n + 1, "{name}");
    }
}

#[tokio::test]
async fn during_secret_rotation_both_secrets_are_accepted_and_counted_apart() {
    let backend = Backend::start().await;
    let both = format!("{OTHER_SECRET},{SECRET}");
    let program = Program::start(Setup::new(&backend).env("STRIPE_WEBHOOK_SECRET", &both)).await;
    let matches = |n: u8| format!(r#"signature_matches_total{{endpoint="/webhooks/stripe",secret="{n}"}}"#);
    assert_eq!(program.metric(&matches(0)).await, 0.0);

    program.send(&Event::checkout().signed_by(&[SECRET])).await.expect_delivered(200);
    assert_eq!((program.metric(&matches(0)).await, program.metric(&matches(1)).await), (0.0, 1.0));
    program.send(&Event::checkout().signed_by(&[OTHER_SECRET])).await.expect_delivered(200);
    program.send(&Event::checkout().signed_by(&[OTHER_SECRET])).await.expect_delivered(200);
    assert_eq!((program.metric(&matches(0)).await, program.metric(&matches(1)).await), (2.0, 1.0));
    program
        .send(&Event::checkout().signed_by(&["whsec_third"]))
        .await
        .expect_error(400, "signature_mismatch");
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn endpoint_accepts_only_its_own_secrets() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).webhook("/hooks/connect", &["{$CONNECT_SECRET}"]);
    let program = Program::start(setup.env("CONNECT_SECRET", OTHER_SECRET)).await;
    let to_connect = |secret: &str| Event::checkout().signed_by(&[secret]).target("/hooks/connect");

    program.send(&to_connect(OTHER_SECRET)).await.expect_delivered(200);
    program.send(&to_connect(SECRET)).await.expect_error(400, "signature_mismatch");
    program.send(&Event::checkout().signed_by(&[OTHER_SECRET])).await.expect_error(400, "signature_mismatch");
    assert_eq!(backend.targets(), ["POST /hooks/connect"]);
}

#[tokio::test]
async fn one_event_at_two_endpoints_counts_as_two() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).webhook("/hooks/second", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let program = Program::start(setup).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    program.send(&event.signed().target("/hooks/second")).await.expect_delivered(200);
    program.send(&event.signed().target("/hooks/second")).await.expect_received("duplicate");
    assert_eq!(backend.targets(), ["POST /webhooks/stripe", "POST /hooks/second"]);
}

#[tokio::test]
async fn each_endpoint_has_its_own_tolerance() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("webhook.tolerance", "1h")).await;
    program.send(&Event::checkout().signed_at(now() - 3_000, &[SECRET])).await.expect_delivered(200);
    let older = Event::checkout().signed_at(now() - 3_700, &[SECRET]);
    program.send(&older).await.expect_error(400, "timestamp_too_old");
}

#[tokio::test]
async fn responses_and_log_contain_no_secret_signature_or_payload() {
    let backend = Backend::start().await;
    let resigned = "whsec_between_us_and_the_app";
    let setup = Setup::new(&backend)
        .set("log.level", "trace")
        .set("webhook.delivery_secret", "{$DELIVERY_SECRET}")
        .env("DELIVERY_SECRET", resigned);
    let mut program = Program::start(setup).await;

    let genuine = Event::checkout();
    let mut requests: Vec<Request> =
        invalid_signatures().into_iter().map(|(_, request, _)| request).collect();
    requests.extend(invalid_payloads().iter().map(|(_, payload)| signed_payload(payload)));
    requests.push(genuine.signed());
    let mut responses = vec![];
    for request in &requests {
        let response = program.send(request).await;
        responses.push(String::from_utf8_lossy(&response.head).into_owned() + &response.text());
    }
    program.wait_for_webhook_log(&genuine.id, "delivered").await;
    program.sigterm();
    program.wait_exit().await;

    let mut secrets_and_data: Vec<String> =
        [SECRET, OTHER_SECRET, resigned, "user-42", "Zoë Ünal", "cs_test_a1Tests"]
            .map(str::to_owned)
            .into_iter()
            .collect();
    let delivered = backend.only();
    let headers = requests.iter().filter_map(|r| r.value("Stripe-Signature"));
    for header in headers.chain(delivered.header("Stripe-Signature")) {
        let items = header.split(',').filter_map(|item| item.trim().split_once('='));
        secrets_and_data
            .extend(items.filter(|(_, value)| value.len() > 32).map(|(_, value)| value.to_owned()));
    }
    let log = program.log();
    assert!(log.len() > requests.len(), "the log says too little to judge it");
    for line in log.iter().chain(&responses) {
        for secret in &secrets_and_data {
            assert!(!line.contains(secret.as_str()), "{secret:.20}… shows in {line}");
        }
    }
}
