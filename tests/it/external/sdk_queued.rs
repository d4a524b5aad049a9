//! Stripe's official SDKs in a backend that gets its events an hour late. Queued, retried and redelivered events have
//! a new signature, so the unmodified `construct_event`, with its default tolerance of five minutes, accepts them.

use crate::harness::{Backend, Event, Program, Reply, SECRET, Setup, now, sign, until};
use crate::tools::{Tool, faketime, have, npm, python_packages};
use countersign::ledger::sqlite::SqliteLedger;
use countersign::ledger::{ActionResult, EventKey, Health, Ledger, OperatorAction};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use toml::Value as Toml;

/// A Node backend that accepts what the SDK accepts, fails the first request of some events, and logs the SDK's
/// verdict.
const NODE: &str = "
const { secret, fails, original, of } = JSON.parse(process.argv[1]);
const stripe = require('stripe')('sk_test_countersign');
const verdict = (body, header) => {
    try { return stripe.webhooks.constructEvent(body, header, secret).id } catch (error) { return String(error.message) }
};
const failed = new Set();
const server = require('http').createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
        const [body, get] = [Buffer.concat(chunks), (name) => request.headers[name]];
        const id = get('countersign-event');
        const fail = fails.includes(id) && !failed.has(id);
        failed.add(id);
        console.log('SAW ' + JSON.stringify({
            id, found: verdict(body, get('stripe-signature')), old: id === of ? verdict(body, original) : null,
            attempt: get('countersign-attempt'), delivery: get('countersign-delivery'),
        }));
        response.writeHead(fail ? 500 : 200).end();
    });
});
server.listen(0, '127.0.0.1', () => console.log('PORT ' + server.address().port + ' '));
";

/// A Python backend that does the same as the Node one.
const PYTHON: &str = "
import http.server, json, sys, stripe
given = json.loads(sys.argv[1])
failed = set()
def verdict(body, header):
    try:
        return stripe.Webhook.construct_event(body, header, given['secret']).id
    except stripe.SignatureVerificationError as error:
        return str(error)
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_):
        pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        id = self.headers['countersign-event']
        fail = id in given['fails'] and id not in failed
        failed.add(id)
        print('SAW ' + json.dumps({
            'id': id, 'found': verdict(body, self.headers['stripe-signature']),
            'old': verdict(body, given['original']) if id == given['of'] else None,
            'attempt': self.headers['countersign-attempt'], 'delivery': self.headers['countersign-delivery'],
        }) + '\\n', end='', flush=True) # in one write: there are threads
        self.send_response(500 if fail else 200)
        self.send_header('content-length', '0')
        self.end_headers()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), App)
print('PORT %d ' % server.server_address[1], flush=True)
server.serve_forever()
";

#[tokio::test]
async fn node_sdk_accepts_queued_retried_and_redelivered_events_an_hour_later() {
    if let Some(folder) = npm("stripe").filter(|_| have("node")) {
        let app = |arguments: &str| {
            let mut node = Command::new("node");
            node.args(["-e", NODE, arguments]).current_dir(&folder);
            node
        };
        an_hour_late(app).await;
    }
}

#[tokio::test]
async fn python_sdk_accepts_queued_retried_and_redelivered_events_an_hour_later() {
    if let Some(folder) = python_packages().filter(|_| have("python3")) {
        let app = |arguments: &str| {
            let mut python = Command::new("python3");
            python.args(["-c", PYTHON, arguments]);
            python.env("PYTHONPATH", &folder).env("PYTHONDONTWRITEBYTECODE", "1");
            python
        };
        an_hour_late(app).await;
    }
}

async fn an_hour_late(app: impl Fn(&str) -> Command) {
    let Some(library) = faketime() else { return };
    // First the backend fails, which makes one event dead. Then it is stopped, and two events wait.
    let mut down = Backend::start().await;
    down.reply_always(Reply::status(500));
    let setup = Setup::new(&down)
        .set("webhook.delivery", "queued")
        .set("webhook.retry", Toml::Array(vec!["50ms".into()]))
        .set("webhook.jitter", 0.0);
    let mut program = Program::start(setup.clone()).await;
    let (queued, retried, redelivered) = (Event::checkout(), Event::checkout(), Event::checkout());
    program.send(&redelivered.signed()).await.expect_received("queued");
    program.await_metric(r#"events{endpoint="/webhooks/stripe",state="dead"}"#, 1.0).await;
    down.stop().await;
    let original = sign(&[SECRET], now(), &queued.body());
    let first = queued.unsigned().header("Stripe-Signature", &original);
    program.send(&first).await.expect_received("queued");
    program.send(&retried.signed()).await.expect_received("queued");
    program.sigterm();
    assert_eq!(program.wait_exit().await.code(), Some(0));
    redeliver(&program.ledger(), &redelivered.id).await;

    // Both processes now see a clock that is an hour ahead.
    let given = json!({ "secret": SECRET, "fails": [retried.id], "original": original, "of": queued.id });
    let mut command = app(&given.to_string());
    command.env("LD_PRELOAD", &library).env("FAKETIME", "+1h").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut app = Tool::start(&mut command);
    app.wait_for_output("PORT ").await;
    let log = app.log();
    let port = log.split_once("PORT ").and_then(|(_, rest)| rest.split(' ').next()).expect("a port");
    let later = setup
        .set("backend.url", format!("http://127.0.0.1:{port}"))
        .env("LD_PRELOAD", &library)
        .env("FAKETIME", "+1h")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let program = program.restart_with(later).await;
    until("four requests", async || (app.log().matches("SAW ").count() >= 4).then_some(())).await;
    for state in ["pending", "running", "dead"] {
        program.await_metric(&format!(r#"events{{endpoint="/webhooks/stripe",state="{state}"}}"#), 0.0).await;
    }

    let seen: Vec<Value> =
        app.log().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("SAW ")?).ok()).collect();
    let of = |event: &Event| seen.iter().filter(|saw| saw["id"] == event.id.as_str()).collect::<Vec<_>>();
    for (event, delivery, attempts) in
        [(&queued, "queued", 1), (&retried, "queued", 2), (&redelivered, "redelivery", 1)]
    {
        let saw = of(event);
        assert_eq!(saw.len(), attempts, "{delivery}: {seen:?}");
        for (n, saw) in saw.iter().enumerate() {
            assert_eq!((&saw["found"], &saw["delivery"]), (&json!(event.id), &json!(delivery)), "{saw}");
            if delivery == "queued" {
                assert_eq!(saw["attempt"], (n + 1).to_string());
            }
        }
    }
    let old = of(&queued)[0]["old"].as_str().expect("a verdict");
    assert!(old.contains("tolerance"), "Stripe's own signature is an hour old: {old:?}");
}

/// Redelivers a dead event, as an operator does.
async fn redeliver(ledger: &Path, id: &str) {
    let ledger = SqliteLedger::start(ledger.to_owned(), Duration::from_secs(86_400), Default::default());
    while let Health::NotReady { .. } = ledger.health() {
        tokio::task::yield_now().await;
    }
    let key = EventKey {
        endpoint: "/webhooks/stripe".into(),
        segments: "".into(),
        query: "".into(),
        id: id.into(),
    };
    assert_eq!(ledger.apply(&key, OperatorAction::Redeliver).await.unwrap(), ActionResult::Done);
    tokio::task::spawn_blocking(move || ledger.close()).await.unwrap();
}
