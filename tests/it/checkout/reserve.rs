//! Stripe is never locked out. While something else takes all it can get, each kind of webhook is answered, a buyer's event is
//! attempted at once, an order goes to Stripe, and the admin listener responds.

use super::status::{Held, send_all, status};
use super::{Shop, order};
use crate::harness::{Client, Event, Gate, Reply, Request, Setup, until};
use crate::tools::{Caddy, have};
use toml::{Table, Value};

const PRO: &str = r#"{"price": "pro"}"#;
const INLINE: &str = "/hooks/inline";
const SLOW: &str = "/hooks/slow";

/// Opens a shop with three endpoints. The first queues its events, but for completed checkouts, which are hybrid. The
/// others deliver inline.
async fn open(more: impl FnOnce(Setup) -> Setup) -> Shop {
    let rule: Table = "types = ['checkout.session.*']\ndelivery = 'hybrid'".parse().unwrap();
    let secrets = ["{$STRIPE_WEBHOOK_SECRET}"];
    Shop::open_with(|setup| {
        let setup = setup
            .delivery("queued")
            .set("webhook.max_concurrent", 2)
            .set("webhook.rule", Value::Array(vec![Value::Table(rule)]));
        more(setup.webhook(INLINE, &secrets).webhook(SLOW, &secrets))
    })
    .await
}

/// Expects what every webhook, order and scrape gets from an idle program.
async fn expect_all_served(shop: &Shop) {
    for _ in 0..3 {
        let program = &shop.program;
        program.send(&Event::new("invoice.paid").signed()).await.expect_received("queued");
        program.send(&Event::checkout().signed().target(INLINE)).await.expect_delivered(200);
        // The response is the backend's own, so the event was attempted at once.
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        assert_eq!(program.send(&order(PRO)).await.outcome(), "created");
        assert_eq!(program.get_admin("/readyz").await.status, 200);
        assert_eq!(program.get_admin("/metrics").await.status, 200);
    }
}

/// Sends this many requests to which the backend does not respond before the gate opens.
async fn hang(shop: &Shop, request: &Request, count: usize) -> Vec<Client> {
    let (before, mut clients) = (shop.backend.count(), vec![]);
    for _ in 0..count {
        let mut client = shop.program.connect().await;
        client.write(request.bytes()).await;
        clients.push(client);
    }
    shop.backend.await_request(before + count).await;
    clients
}

#[tokio::test]
async fn hung_pages_under_1024_descriptors_lock_nobody_out() {
    let shop = open(|setup| setup.open_files(1024, 1024)).await;
    let lowered = |line: &serde_json::Value| {
        line["level"] == "WARN" && line["configured"] == 4096 && line["max_connections"] == 480
    };
    shop.program.wait_for_log("a warning", lowered).await;
    let gate = Gate::new();
    shop.backend.reply_at("/slow", Reply::ok().when(&gate));
    // Three quarters of the connections, each with one to the backend.
    let mut pages = hang(&shop, &Request::get("/slow"), 360).await;
    shop.program.send(&Request::get("/posts/1")).await.expect_error(503, "overloaded");
    expect_all_served(&shop).await;
    // Connections that do nothing fill the rest. They have a moment for their first request.
    let mut idle = vec![];
    for _ in 0..120 {
        idle.push(shop.program.connect().await);
    }
    until("a place for a webhook", async || {
        (shop.program.send(&Event::checkout().signed()).await.status == 200).then_some(())
    })
    .await;
    expect_all_served(&shop).await;
    assert_eq!(shop.program.metric("inflight").await, 360.0);
    gate.open();
    for page in &mut pages {
        assert_eq!(page.response().await.status, 200);
    }
}

#[tokio::test]
async fn slow_chunked_uploads_through_caddy_lock_nobody_out() {
    if !have("caddy") {
        return;
    }
    let shop = open(|setup| setup.set("server.max_connections", 40)).await;
    let caddy = Caddy::start(shop.program.proxy()).await;
    let mut uploads = vec![];
    for n in 1..=30 {
        let mut upload = Client::connect(caddy.address()).await;
        let head = "POST /api/upload HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        upload.write(format!("{head}1\r\nx\r\n")).await;
        shop.backend.await_head(n).await;
        uploads.push(upload);
    }
    expect_all_served(&shop).await;
    caddy.send(&Event::checkout().signed()).await.expect_delivered(200);
    caddy.send(&Event::new("invoice.paid").signed()).await.expect_received("queued");
    // A page takes the place of an upload.
    until("a page", async || (caddy.send(&Request::get("/posts/1")).await.status == 200).then_some(())).await;
    assert!(shop.program.metric(r#"connections_refused_total{reason="max_passthrough"}"#).await >= 1.0);
    assert_eq!(shop.program.metric(r#"connections_refused_total{reason="max_connections"}"#).await, 0.0);
}

#[tokio::test]
async fn a_slow_inline_endpoint_locks_nobody_out() {
    let shop = open(|setup| setup.set("server.max_webhooks", 8)).await;
    let gate = Gate::new();
    shop.backend.reply_at(SLOW, Reply::ok().when(&gate));
    let mut slow = vec![];
    for _ in 0..6 {
        slow.extend(hang(&shop, &Event::checkout().signed().target(SLOW), 1).await);
    }
    shop.program.send(&Event::checkout().signed().target(SLOW)).await.expect_error(503, "overloaded");
    expect_all_served(&shop).await;
    gate.open();
    for client in &mut slow {
        client.response().await.expect_delivered(200);
    }
}

#[tokio::test]
async fn a_backlog_of_queued_events_locks_nobody_out() {
    const HUNG: &str = "/webhooks/stripe?hung";
    let shop = open(|setup| setup).await;
    let gate = Gate::new();
    shop.backend.reply_at(HUNG, Reply::ok().when(&gate));
    for _ in 0..100 {
        let event = Event::new("invoice.paid").signed().target(HUNG);
        shop.program.send(&event).await.expect_received("queued");
    }
    shop.backend.await_request(1).await;
    expect_all_served(&shop).await;
    gate.open();
}

#[tokio::test]
async fn anonymous_status_polls_lock_nobody_out() {
    let shop = open(|setup| setup).await;
    let held = Held::hold(&shop.stripe);
    let from = |n: u8| format!("203.0.113.{n}");
    let requests = (0..400_u32).map(|n| {
        status(&format!("cs_test_gone{n}")).header("X-Forwarded-For", &from(u8::try_from(n % 250).unwrap()))
    });
    let polls = send_all(&shop, requests).await;
    until("a held call", async || (!shop.stripe.calls().is_empty()).then_some(())).await;
    held.hold_no_more();
    expect_all_served(&shop).await;
    assert_eq!(polls.len(), 400, "every poll still waits");
    held.release();
}
