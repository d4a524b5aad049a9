//! What tells a webhook: several spellings of one path, variable segments, sections that share a name, and the queries that
//! are taken.

use crate::harness::{Backend, Event, Program, Setup, TestLedger, on_each_ledger};
use toml::Value;

fn list(entries: &[&str]) -> Value {
    Value::Array(entries.iter().map(|&entry| entry.into()).collect())
}

on_each_ledger!(event_of_one_spelling_is_a_duplicate_by_another, equal_ids_of_two_tenants_are_two_events);

async fn event_of_one_spelling_is_a_duplicate_by_another(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.path", list(&["/_stripe/webhook", "/_stripe/webhook/"]))
        .set("webhook.name", "shop")
        .webhook("/old/hook", &["{$STRIPE_WEBHOOK_SECRET}"])
        .set("webhook.1.name", "shop");
    let program = Program::start(ledger.configure(setup)).await;
    let event = Event::checkout();
    program.send(&event.signed().target("/_stripe/webhook/")).await.expect_delivered(200);
    for target in ["/_stripe/webhook", "/old/hook", "/_stripe/webhook/"] {
        program.send(&event.signed().target(target)).await.case(target).expect_received("duplicate");
    }
    program.send(&Event::checkout().signed().target("/old/hook")).await.expect_delivered(200);
    for target in ["/_stripe/Webhook", "/_stripe/webhook//", "/old/hook/", "/_stripe/webhook/x"] {
        program.send(&event.signed().target(target)).await.case(target).expect_error(400, "ambiguous_path");
    }
    assert_eq!(backend.targets(), ["POST /_stripe/webhook/", "POST /old/hook"]);
}

async fn equal_ids_of_two_tenants_are_two_events(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.path", "/tenants/{tenant}/stripe")
        .set("admin.token", "{$ADMIN_TOKEN}")
        .env("ADMIN_TOKEN", "tests-know-this-token");
    let program = Program::start(ledger.configure(setup)).await;
    let event = Event::checkout();
    for tenant in ["acme", "Acme", "a.b~c-d_e"] {
        let target = format!("/tenants/{tenant}/stripe");
        program.send(&event.signed().target(&target)).await.case(tenant).expect_delivered(200);
        program.send(&event.signed().target(&target)).await.case(tenant).expect_received("duplicate");
    }
    assert_eq!(backend.count(), 3);
    // The segments outlive the process, too.
    let program = program.restart().await;
    program.send(&event.signed().target("/tenants/acme/stripe")).await.expect_received("duplicate");
    program.send(&event.signed().target("/tenants/other/stripe")).await.expect_delivered(200);
}

#[tokio::test]
async fn other_spelling_of_a_path_with_a_variable_segment_gets_400() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("webhook.path", "/tenants/{tenant}/stripe")).await;
    for target in [
        "/tenants/%61cme/stripe",
        "/tenants/acme/stripe/",
        "/tenants/acme/%73tripe",
        "/Tenants/acme/stripe",
        "/tenants//acme/stripe",
        "/tenants/a%2Fb/stripe",
        "/tenants/a%252Fb/stripe",
        "/tenants/a%5Cb/stripe",
        "/tenants/a%3Fb/stripe",
        "/tenants/a;b/stripe",
        "/tenants/a;b%2fc/stripe",
        "/tenants/./stripe",
        "/tenants/../stripe",
        "/tenants/%2e%2e/stripe",
        "/tenants//stripe",
        "/tenants/%20/stripe",
        "/tenants/;x/stripe",
        "/tenants/%00/stripe",
        "/tenants/a+b/stripe",
        "/tenants/%E6%B3%A8/stripe",
        "/tenants/acme/stripe.json",
        "/tenants/acme/stripe/x",
        "/index.php/tenants/acme/stripe",
        "/?/tenants/acme/stripe",
    ] {
        program
            .send(&Event::checkout().signed().target(target))
            .await
            .case(target)
            .expect_error(400, "ambiguous_path");
    }
    assert_eq!(backend.count(), 0);
    let pages = [
        "/tenants/",
        "/tenants/acme",
        "/tenants/acme/stripes",
        "/tenants/acme/x/stripe",
        "/acme/stripe",
        "/tenants/a%20b/docs",
    ];
    for target in pages {
        assert_eq!(program.send(&Event::checkout().unsigned().target(target)).await.status, 200, "{target}");
    }
    assert_eq!(backend.targets(), pages.map(|target| format!("POST {target}")));
}

#[tokio::test]
async fn value_of_a_variable_segment_cannot_spell_another_webhook() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.path", "/{tenant}/stripe")
        .webhook("/stripe", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let program = Program::start(setup).await;
    program.send(&Event::checkout().signed().target("/stripe")).await.expect_delivered(200);
    program.send(&Event::checkout().signed().target("/acme/stripe")).await.expect_delivered(200);
    // A server that runs scripts reads the other webhook's path behind the name of one.
    for target in ["/index.php/stripe", "/Index.PHP/stripe", "/%3Findex.php/stripe"] {
        program.send(&Event::checkout().signed().target(target)).await.expect_error(400, "ambiguous_path");
    }
    assert!(
        program
            .metrics()
            .await
            .contains(r#"countersign_webhook_requests_total{endpoint="/stripe",outcome="delivered"} 1"#)
    );
}

#[tokio::test]
async fn query_that_is_not_allowed_gets_400() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).set("webhook.allowed_queries", list(&["", "version=2"]));
    let program = Program::start(setup.clone()).await;
    for target in ["/webhooks/stripe", "/webhooks/stripe?", "/webhooks/stripe?version=2"] {
        program.send(&Event::checkout().signed().target(target)).await.case(target).expect_delivered(200);
    }
    for query in ["version=3", "version=2&x", "Version=2", "version=%32", "?version=2", "*"] {
        let signed = Event::checkout().signed().target(&format!("/webhooks/stripe?{query}"));
        program.send(&signed).await.case(query).expect_error(400, "query_unexpected");
    }
    assert_eq!((backend.count(), program.outcomes("query_unexpected").await), (3, 6.0));

    let program = program.restart_with(setup.set("webhook.enforce", false)).await;
    let signed = Event::checkout().signed().target("/webhooks/stripe?version=3");
    assert_eq!(program.send(&signed).await.status, 200);
    assert_eq!(backend.requests().pop().unwrap().header("countersign-verdict"), Some("query_unexpected"));
}
