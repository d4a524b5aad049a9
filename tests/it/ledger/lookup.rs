//! Look-ups of events by their id.

use crate::harness::{Backend, Event, Program, Redis, Request, Setup, until};
use crate::ops::events::{Operator, call_api, with_events_api};
use crate::tools::have;

/// Adds keys of another program: some of them look like events of another ledger.
fn add_foreign_keys(redis: &Redis, count: usize) {
    let pairs: Vec<String> =
        (0..count).map(|n| format!("other:{{e}}:evt_{n}?_shop value session:{n} value")).collect();
    let _: () = redis.ask(&format!("MSET {}", pairs.join(" ")));
}

/// Returns the keys that a listing by id has, sorted.
async fn keys_of(program: &Program, id: &str) -> Vec<String> {
    let page = call_api(program, "GET", &format!("/api/events?id={id}"), "").await.json();
    assert!(page["next"].is_null(), "{page}");
    let key = |event: &serde_json::Value| event["key"].as_str().unwrap().to_owned();
    let mut keys: Vec<_> = page["events"].as_array().unwrap().iter().map(key).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn look_up_by_id_finds_every_record_of_it_and_never_scans_the_redis_server() {
    if !have("redis-server") {
        return;
    }
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    add_foreign_keys(&redis, 5_000);
    let setup =
        Setup::new(&backend).redis(&redis).webhook("/tenants/{tenant}/stripe", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let setup = with_events_api(setup.set("webhook.1.delivery", "queued"));
    let program = Program::start(setup.clone()).await;
    let operator = Operator::new(&program, &setup);

    let (event, single) = (Event::checkout(), Event::checkout());
    let at = |event: &Event, target: &str| -> Request { event.signed().target(target) };
    for target in ["/webhooks/stripe", "/webhooks/stripe?version=2", "/tenants/acme/stripe"] {
        assert_eq!(program.send(&at(&event, target)).await.status, 200, "{target}");
    }
    program.send(&at(&single, "/tenants/acme/stripe")).await.expect_received("queued");
    until("every delivery", async || (backend.count() == 4).then_some(())).await;

    let (scans, set_scans) = (redis.calls("scan"), redis.calls("sscan"));
    let id = &event.id;
    let expected = [
        format!("{id}/acme? /tenants/{{tenant}}/stripe"),
        format!("{id}? /webhooks/stripe"),
        format!("{id}?version=2 /webhooks/stripe"),
    ];
    assert_eq!(keys_of(&program, id).await, expected);
    assert_eq!(keys_of(&program, "evt_unknown").await, [""; 0]);
    assert_eq!(call_api(&program, "GET", "/api/events/evt_unknown", "").await.status, 404);
    let ambiguous = operator.run(&["events", "show", id]).await;
    assert_eq!(ambiguous.code, 1);
    assert!(expected.iter().all(|key| ambiguous.err.contains(key)), "{}", ambiguous.err);
    for name in [&single.id, &expected[2]] {
        let shown = operator.run(&["events", "show", name]).await;
        assert_eq!(shown.code, 0, "{}", shown.err);
        assert!(shown.out.contains(name.split(['?', '/']).next().unwrap()), "{}", shown.out);
    }
    assert_eq!((redis.calls("scan"), redis.calls("keys")), (scans, 0));
    assert!(redis.calls("sscan") > set_scans, "the look-up reads the set of variants");
}
