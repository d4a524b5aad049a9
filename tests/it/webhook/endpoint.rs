//! The settings of an endpoint: which events it forwards, with which signature, and the dry run.

use crate::harness::{
    Backend, Event, OTHER_SECRET, Program, Reply, Request, SECRET, Setup, TestLedger, now, on_each_ledger,
    sign,
};

#[tokio::test]
async fn query_is_forwarded_and_is_part_of_the_event_key() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    let at = |query: &str| event.signed().target(&format!("/webhooks/stripe{query}"));
    for query in ["", "?version=2025-03-31", "?version=2026-04-22", "?version=2026%2D04-22&a=b//../c"] {
        program.send(&at(query)).await.expect_delivered(200);
        program.send(&at(query)).await.expect_received("duplicate");
    }
    assert_eq!(
        backend.targets(),
        [
            "POST /webhooks/stripe",
            "POST /webhooks/stripe?version=2025-03-31",
            "POST /webhooks/stripe?version=2026-04-22",
            "POST /webhooks/stripe?version=2026%2D04-22&a=b//../c",
        ]
    );
}

#[tokio::test]
async fn filtered_types_modes_and_accounts_are_acknowledged_and_not_delivered() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.types", vec!["checkout.session.*", "invoice.paid"])
        .set("webhook.livemode", "live")
        .set("webhook.accounts", vec!["acct_1", "acct_2"]);
    let program = Program::start(setup).await;
    let live = |kind: &str| Event::new(kind).live().account("acct_1");
    let table = [
        (live("checkout.session.completed"), true),
        (live("checkout.session.expired"), true),
        (live("invoice.paid"), true),
        (live("invoice.paid").account("acct_2"), true),
        (live("invoice.paid_out"), false),
        (live("invoice"), false),
        (live("checkout.session"), false),
        (live("checkout.sessions.completed"), false),
        (live("invoice.paid").account("acct_11"), false),
        (Event::new("invoice.paid").live(), false),
        (Event::new("invoice.paid").account("acct_1"), false),
    ];
    let mut expected = 0;
    for (event, forwarded) in table {
        let response = program.send(&event.signed()).await.case(format!("{event:?}"));
        match forwarded {
            true => response.expect_delivered(200),
            false => response.expect_received("ignored"),
        };
        expected += usize::from(forwarded);
        assert_eq!(backend.count(), expected, "{event:?}");
    }
    // Ignored events are verified first.
    program.send(&Event::new("a.b").signed_by(&[OTHER_SECRET])).await.expect_error(400, "signature_mismatch");
}

#[tokio::test]
async fn accounts_are_read_from_account_user_id_and_context() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.accounts", vec!["acct_1"])
        .webhook("/webhooks/platform", &["{$STRIPE_WEBHOOK_SECRET}"])
        .set("webhook.1.accounts", vec!["acct_1", "none"]);
    let program = Program::start(setup).await;
    let event = || Event::new("v2.core.account[requirements].updated");
    let (one, platform) = ("/webhooks/stripe", "/webhooks/platform");
    let table = [
        (one, event().account("acct_1"), true),
        (one, event().account_as("user_id", "acct_1"), true),
        (one, event().account_as("context", "acct_1"), true),
        (one, event().account_as("context", "org_61SU/acct_1"), true),
        (one, event().account_as("user_id", "acct_2"), false),
        (one, event().account_as("context", "acct_1/acct_2"), false),
        (one, event().account_as("context", "org_61SU"), false),
        (one, event(), false),
        (platform, event(), true),
        (platform, event().account_as("context", "org_61SU"), true),
        (platform, event().account_as("context", "acct_1"), true),
        (platform, event().account_as("context", "acct_2"), false),
    ];
    let mut expected = 0;
    for (path, event, forwarded) in table {
        let response = program.send(&event.signed().target(path)).await.case(format!("{path} {event:?}"));
        match forwarded {
            true => response.expect_delivered(200),
            false => response.expect_received("ignored"),
        };
        expected += usize::from(forwarded);
        assert_eq!(backend.count(), expected, "{path} {event:?}");
    }
}

on_each_ledger! {
    every_sample_event_is_delivered_in_every_mode_without_an_idempotency_key,
}

async fn every_sample_event_is_delivered_in_every_mode_without_an_idempotency_key(ledger: TestLedger) {
    let backend = Backend::start().await;
    let mut setup = ledger.configure(Setup::new(&backend));
    let modes = ["inline", "queued", "hybrid"];
    for (n, mode) in modes.into_iter().enumerate() {
        if n > 0 {
            setup = setup.webhook(&format!("/webhooks/{mode}"), &["{$STRIPE_WEBHOOK_SECRET}"]);
        }
        setup = setup.set(&format!("webhook.{n}.delivery"), mode).set(&format!("webhook.{n}.name"), mode);
    }
    let program = Program::start(setup).await;
    let before = backend.count();
    let ids = ["evt_00000000000000", "evt_test_00000000000000", "evt_000000000000000000000000"];
    for (n, mode) in modes.into_iter().enumerate() {
        let sample = Event::checkout().id(ids[n]);
        let path = if n == 0 { "/webhooks/stripe".to_owned() } else { format!("/webhooks/{mode}") };
        for copy in 1..=3 {
            let response = program.send(&sample.signed().target(&path)).await.case(format!("{mode} {copy}"));
            match mode {
                "queued" => response.expect_received("queued"),
                _ => response.expect_delivered(200),
            };
            let got = backend.await_request(before + 3 * n + copy).await;
            assert_eq!(
                (got.target.as_str(), &got.body.bytes),
                (path.as_str(), &sample.body()),
                "{mode} {copy}"
            );
            assert_eq!(got.header("idempotency-key"), None, "{mode} {copy}");
            assert_eq!(got.header("countersign-event"), Some(ids[n]), "{mode} {copy}");
            assert_eq!(got.header("countersign-attempt"), Some("1"), "{mode} {copy}");
        }
        program
            .await_metric(
                &format!(r#"deliveries_total{{endpoint="{mode}",mode="{mode}",result="delivered"}}"#),
                3.0,
            )
            .await;
    }
    // A failed one is retried as itself, and not as a copy.
    let sample = Event::checkout().id(ids[0]);
    backend.reply_next(Reply::status(500));
    let sent = backend.count();
    program.send(&sample.signed()).await.expect_delivered(500);
    program.send(&sample.signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), sent + 2);
}

#[tokio::test]
async fn ping_is_verified_answered_and_counted_and_not_forwarded() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("webhook.types", vec!["invoice.*"]);
    let program = Program::start(setup).await;
    let ping = Event::new("v2.core.event_destination.ping");
    for _ in 0..2 {
        program.send(&ping.signed()).await.expect_received("ping");
    }
    program.send(&ping.signed_by(&[OTHER_SECRET])).await.expect_error(400, "signature_mismatch");
    let line = program.wait_for_webhook_log(&ping.id, "ping").await;
    assert_eq!(
        (&line["status"], &line["event.type"]),
        (&200.into(), &"v2.core.event_destination.ping".into())
    );
    assert_eq!(program.outcomes("ping").await, 2.0);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn delivery_secret_alone_signs_every_delivery() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.delivery_secret", "{$DELIVERY_SECRET}")
        .env("DELIVERY_SECRET", OTHER_SECRET);
    let program = Program::start(setup).await;
    let event = Event::checkout();
    let sent = now() - 100;
    program.send(&event.signed_at(sent, &[SECRET])).await.expect_delivered(200);

    let got = backend.only();
    let header = got.header("stripe-signature").unwrap();
    let t: i64 = header.split(',').find_map(|item| item.strip_prefix("t=")).unwrap().parse().unwrap();
    assert!((now() - 60..=now()).contains(&t), "not fresh: {t}, sent with {sent}");
    assert_eq!(header, sign(&[OTHER_SECRET], t, &event.body()));
    // The backend's secret is not accepted from clients.
    program.send(&Event::checkout().signed_by(&[OTHER_SECRET])).await.expect_error(400, "signature_mismatch");
}

#[tokio::test]
async fn dry_run_verifies_counts_and_forwards_unchanged_what_it_would_refuse() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("webhook.enforce", false)).await;
    program.wait_for_log("a warning of the dry run", |line| line["level"] == "WARN").await;
    assert_eq!(program.metric(r#"webhook_enforced{endpoint="/webhooks/stripe"}"#).await, 0.0);

    let event = Event::checkout();
    let forged = event.signed_by(&[OTHER_SECRET]).header("Cookie", "a=b");
    backend.reply_always(Reply::json(418, r#"{"own":"answer"}"#));
    for n in 1..=2 {
        let response = program.send(&forged).await;
        assert_eq!((response.status, response.text().as_str()), (418, r#"{"own":"answer"}"#));
        let got = backend.await_request(n).await;
        assert_eq!(got.header("countersign-verdict"), Some("signature_mismatch"));
        assert_eq!(got.header("stripe-signature"), forged.value("Stripe-Signature"));
        assert_eq!((got.header("cookie"), got.header("host")), (Some("a=b"), Some(Request::HOST)));
        assert_eq!((got.header("countersign-event"), got.header("idempotency-key")), (None, None));
        assert_eq!(got.body.bytes, event.body());
    }
    assert_eq!(program.outcomes("signature_mismatch").await, 2.0);

    let verdicts = [
        (event.unsigned(), "signature_missing"),
        (event.signed_at(now() - 4_000, &[SECRET]), "timestamp_too_old"),
        (
            event.unsigned().header("Countersign-Verdict", "fine").header("countersign_verdict", "fine"),
            "signature_missing",
        ),
    ];
    for (n, (request, verdict)) in verdicts.into_iter().enumerate() {
        program.send(&request).await;
        assert_eq!(backend.await_request(3 + n).await.header("countersign-verdict"), Some(verdict));
    }

    // Forgeries did not touch the ledger: the genuine event is new, and a duplicate afterwards.
    backend.reply_always(Reply::ok());
    program.send(&event.signed()).await.expect_delivered(200);
    let got = backend.await_request(6).await;
    assert_eq!((got.header("countersign-verdict"), got.header("countersign-attempt")), (None, Some("1")));
    program.send(&event.signed()).await.expect_received("duplicate");
}
