//! The program's requests to Stripe, compared with those of Stripe's official Node and Python SDKs for the same
//! parameters.

use crate::fake_stripe::{Call, FakeStripe, Fault, KEY, MONTHLY_PRICE, Node, OTHER_PRICE, PRICE, Tree};
use crate::harness::{Backend, Program, Request, Setup};
use crate::tools::{Tool, have, npm, python_packages};
use countersign::stripe::form::{Param, Params, encode};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parameters that cover every shape an application may write. Stripe would refuse most of them.
const TREES: &[&str] = &[
    r#"{"mode": "payment", "quantity": 3, "ratio": 1.5, "on": true, "off": false, "empty": ""}"#,
    r#"{"zebra": "1", "apple": "2", "mango": {"z": "1", "a": "2"}}"#,
    r#"{"line_items": [{"price": "price_1", "quantity": 2}, {"price": "price_2", "quantity": 1}], "expand": ["a", "b.c"]}"#,
    r#"{"a": {"b": {"c": {"d": "deep"}}}, "l": [["x", "y"], ["z"]], "m": [{"n": ["o"]}]}"#,
    r#"{"none": {}, "nothing": [], "inner": {"none": {}, "nothing": [], "some": "1"}}"#,
    r#"{"url": "https://shop.test/thanks?id={CHECKOUT_SESSION_ID}&a=b+c%20d#e", "path": "/a b/c"}"#,
    r##"{"text": "Zoë — “ünïcödé” 日本語 🦀", "marks": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}"##,
    r#"{"metadata": {"a b": "1", "ключ": "2", "x[y]": "3", "q=r&s": "4", "t+u": "5"}, "lines": "one\r\ntwo\tthree"}"#,
    r#"{"big": 12345678901, "negative": -7, "zero": 0, "text_number": "0012"}"#,
];

#[tokio::test]
async fn encoder_writes_every_tree_as_the_sdks_do() {
    let Some(sdks) = sdks() else { return };
    let ours: Vec<String> = TREES.iter().map(|tree| encode(&params(tree))).collect();
    assert!(ours.iter().all(|body| !body.is_empty()));
    let trees: Vec<String> = TREES.iter().map(|tree| (*tree).to_owned()).collect();
    for sdk in sdks {
        let stripe = FakeStripe::start().await;
        sdk.create(&stripe, trees.clone(), 0).await;
        let theirs: Vec<String> = stripe.calls().iter().map(|call| sdk.body(call)).collect();
        assert_eq!(theirs, ours, "{}", sdk.name);
    }
}

#[tokio::test]
async fn request_for_an_order_equals_the_sdks_request() {
    let Some(sdks) = sdks() else { return };
    let backend = Backend::start().await;
    let stripe = FakeStripe::start().await;
    let program = Program::start(with_checkout(&backend, &stripe)).await;
    let orders = [
        order(r#"{"price": "once"}"#),
        order(
            r#"{"items": [{"price": "once", "quantity": 2}, {"price": "other", "quantity": 3}], "locale": "de"}"#,
        ),
        order(r#"{"price": "monthly", "customer_email": "zoë+list@exämple.com"}"#),
        order(
            r#"{"price": "once", "client_reference_id": "member 7 & co", "metadata": {"shelf": "a b (c)*'~"}}"#,
        ),
        Request::post("/api/checkout", "price=once&quantity=2")
            .header("Content-Type", "application/x-www-form-urlencoded"),
    ];
    for request in &orders {
        let response = program.send(request).await;
        assert!(matches!(response.status, 200 | 303), "{}", response.text());
    }
    let ours = stripe.calls();
    assert_eq!(ours.len(), orders.len());
    let trees: Vec<String> = ours.iter().map(|call| tree_text(&Tree::parse(&call.body).unwrap())).collect();
    assert!(
        trees[3].contains(r#"["one","two"]"#),
        "the parameters of the configuration are there: {}",
        trees[3]
    );
    for sdk in sdks {
        let other = FakeStripe::start().await;
        sdk.create(&other, trees.clone(), 0).await;
        let theirs = other.calls();
        assert_eq!(theirs.len(), ours.len(), "{}", sdk.name);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!((&ours.method, &ours.target), (&theirs.method, &theirs.target));
            assert_eq!(ours.body, sdk.body(theirs), "{}", sdk.name);
            for name in ["authorization", "content-type", "stripe-version"] {
                assert_eq!(ours.header(name), theirs.header(name), "{}: {name}", sdk.name);
            }
            for name in ["idempotency-key", "user-agent", "x-stripe-client-user-agent"] {
                assert_eq!(
                    ours.header(name).is_some(),
                    theirs.header(name).is_some(),
                    "{}: {name}",
                    sdk.name
                );
            }
            let about = ours.header("x-stripe-client-user-agent").unwrap_or_default();
            assert!(serde_json::from_str::<Value>(about).is_ok_and(|about| about.is_object()), "{about}");
        }
    }
}

#[tokio::test]
async fn retries_match_the_node_sdk_and_use_the_same_key() {
    let Some(mut sdks) = sdks() else { return };
    let node = sdks.remove(0);
    let backend = Backend::start().await;
    type Make = fn() -> Fault;
    let errors: [(&str, Make); 11] = [
        ("parameter_missing", || Fault::named("parameter_missing")),
        ("bad_key", || Fault::named("bad_key")),
        ("card_declined", || Fault::named("card_declined")),
        ("lock_conflict", || Fault::named("lock_conflict")),
        ("rate_limited", || Fault::named("rate_limited")),
        ("lock_timeout", || Fault::named("lock_timeout")),
        ("api_error", || Fault::named("api_error")),
        ("api_error_no_retry", || Fault::named("api_error_no_retry")),
        ("unavailable", || Fault::named("unavailable")),
        ("bad_gateway", Fault::bad_gateway),
        ("drop_read", Fault::drop_read),
    ];
    let mut differing = vec![];
    for (name, fault) in errors {
        let (ours, theirs) = (FakeStripe::start().await, FakeStripe::start().await);
        for stripe in [&ours, &theirs] {
            stripe.always(move || Some(fault()));
        }
        let program = Program::start(with_checkout(&backend, &ours)).await;
        let tree = json!({ "mode": "payment", "success_url": "https://shop.test", "line_items": [{ "price": PRICE, "quantity": 1 }] });
        let request = order(r#"{"price": "once"}"#);
        tokio::join!(program.send(&request), node.create(&theirs, vec![tree.to_string()], 2));
        let keys = |stripe: &FakeStripe| {
            let mut keys: Vec<_> =
                stripe.calls().iter().map(|call| call.header("idempotency-key").map(str::to_owned)).collect();
            let attempts = keys.len();
            keys.dedup();
            (attempts, keys.len())
        };
        let (ours, theirs) = (keys(&ours), keys(&theirs));
        if ours != theirs {
            differing.push(format!("{name}: attempts and keys of ours {ours:?}, of the SDK {theirs:?}"));
        }
        assert_eq!(ours.1, 1, "{name}: one key");
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

/// Configures three prices and additional parameters.
fn with_checkout(backend: &Backend, stripe: &FakeStripe) -> Setup {
    let price = |id: &str, name: &str, mode: &str| {
        toml::toml! { id = "" name = "" mode = "" min = 1 max = 9 }
            .into_iter()
            .map(|(key, value)| match key.as_str() {
                "id" => (key, id.into()),
                "name" => (key, name.into()),
                "mode" => (key, mode.into()),
                _ => (key, value),
            })
            .collect::<toml::Table>()
    };
    let prices = [
        price(PRICE, "once", ""),
        price(OTHER_PRICE, "other", ""),
        price(MONTHLY_PRICE, "monthly", "subscription"),
    ];
    let params = toml::toml! {
        allow_promotion_codes = true
        automatic_tax = { enabled = true }
        custom_text = { submit = { message = "Thänk you (very much)!" } }
        expand = ["one", "two"]
    };
    Setup::new(backend)
        .env("STRIPE_API_BASE", &stripe.api_base())
        .env("STRIPE_SECRET_KEY", KEY)
        .set("stripe.api_base", "{$STRIPE_API_BASE}")
        .set("stripe.secret_key", "{$STRIPE_SECRET_KEY}")
        .set("checkout.success_url", "https://shop.test/thanks?session_id={CHECKOUT_SESSION_ID}&from=a%20b+c")
        .set("checkout.cancel_url", "https://shop.test/")
        .set("checkout.metadata", vec!["shelf"])
        .set("checkout.price", prices.map(toml::Value::Table).to_vec())
        .set("checkout.params", params)
}

fn order(json: &str) -> Request {
    Request::post("/api/checkout", json).header("Content-Type", "application/json")
}

/// One of Stripe's SDKs: how to run it, and how its bodies differ from the Node SDK's.
struct Sdk {
    name: &'static str,
    folder: PathBuf,
    /// Whether the SDK writes a space as `+`, as Python's `quote_plus` does. Both forms are valid.
    plus: bool,
}

/// Returns Node's SDK and Python's, in this order. Prints a note and returns `None` if one is missing.
fn sdks() -> Option<Vec<Sdk>> {
    let (node, python) = (npm("stripe")?, python_packages()?);
    if !have("node") || !have("python3") {
        return None;
    }
    let node = Sdk { name: "node", folder: node, plus: false };
    Some(vec![node, Sdk { name: "python", folder: python, plus: true }])
}

impl Sdk {
    /// Creates a Checkout Session for each tree by the SDK, one after the other. An API error is fine; any other
    /// error fails the test.
    async fn create(&self, stripe: &FakeStripe, trees: Vec<String>, retries: u32) {
        let port = stripe.api_base().rsplit(':').next().unwrap().to_owned();
        let input = format!(
            r#"{{"port": {port}, "key": "{KEY}", "retries": {retries}, "trees": [{}]}}"#,
            trees.join(",")
        );
        let mut command = if self.plus { python(&self.folder) } else { node(&self.folder) };
        Tool::start(command.arg(input)).wait_for_output("all were sent").await;
    }

    /// Returns the body of a call, with spaces as Node's SDK writes them.
    fn body(&self, call: &Call) -> String {
        if self.plus { call.body.replace('+', "%20") } else { call.body.clone() }
    }
}

fn node(folder: &Path) -> Command {
    let script = "
        const { port, key, retries, trees } = JSON.parse(process.argv[1]);
        const stripe = require('stripe')(key, { host: '127.0.0.1', port, protocol: 'http', maxNetworkRetries: retries, telemetry: false });
        (async () => {
            for (const tree of trees) {
                try { await stripe.checkout.sessions.create(tree) }
                catch (error) { if (!String(error.type).startsWith('Stripe')) throw error }
            }
            console.log('all were sent');
        })();";
    let mut command = Command::new("node");
    command.args(["-e", script]).current_dir(folder);
    command
}

fn python(folder: &Path) -> Command {
    let script = "
import json, sys, stripe
given = json.loads(sys.argv[1])
client = stripe.StripeClient(given['key'], base_addresses={'api': 'http://127.0.0.1:%d' % given['port']}, max_network_retries=given['retries'])
for tree in given['trees']:
    try:
        client.v1.checkout.sessions.create(tree)
    except stripe.StripeError:
        pass
print('all were sent')
";
    let mut command = Command::new("python3");
    command.args(["-c", script]).env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Writes a tree as JSON in its own order, with a list where the names are indices.
fn tree_text(tree: &Tree) -> String {
    let list = !tree.0.is_empty() && tree.0.iter().enumerate().all(|(at, (name, _))| name.parse() == Ok(at));
    let member = |(name, node): &(String, Node)| {
        let value = match node {
            Node::Text(text) => json!(text).to_string(),
            Node::Tree(tree) => tree_text(tree),
        };
        if list { value } else { format!("{}:{value}", json!(name)) }
    };
    let members: Vec<String> = tree.0.iter().map(member).collect();
    if list { format!("[{}]", members.join(",")) } else { format!("{{{}}}", members.join(",")) }
}

/// Parses JSON as the program's parameters, in their own order.
fn params(json: &str) -> Params {
    match serde_json::from_str(json).expect("JSON") {
        Ordered(Param::Table(params)) => params,
        Ordered(other) => panic!("no object: {other:?}"),
    }
}

struct Ordered(Param);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Param;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON without null")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Param, E> {
                Ok(Param::Text(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Param, E> {
                Ok(Param::Text(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Param, E> {
                Ok(Param::Text(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Param, E> {
                Ok(Param::Text(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Param, E> {
                Ok(Param::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Param, A::Error> {
                let mut list = vec![];
                while let Some(Ordered(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Param::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Param, A::Error> {
                let mut table = vec![];
                while let Some((name, Ordered(value))) = members.next_entry()? {
                    table.push((name, value));
                }
                Ok(Param::Table(table))
            }
        }
        deserializer.deserialize_any(Any).map(Ordered)
    }
}
