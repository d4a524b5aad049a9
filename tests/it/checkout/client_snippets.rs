//! Uses each snippet of `docs/checkout.md` as it stands: form, script, configuration and Caddyfile.

use super::{Shop, form, setup};
use crate::fake_stripe::FakeStripe;
use crate::harness::{Address, Backend, Client, Program, Reply, Request, Setup, until};
use crate::tools::{Tool, free_port, have, is_listening};
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../../docs/checkout.md");

/// Returns the first code block of this language under a heading.
fn piece(heading: &str, language: &str) -> &'static str {
    let part = PAGE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let piece = part.split_once(&format!("```{language}\n")).expect("a piece").1;
    piece.split("```").next().expect("its end")
}

/// Returns the script of a piece of HTML.
fn script(html: &str) -> &str {
    let script = html.rsplit_once("<script>").expect("a script").1;
    script.split("</script>").next().expect("its end")
}

/// Returns the value of an attribute.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!("{name}=\""))?.1.split('"').next()
}

/// Runs a page's script in Node, with the parts of a browser that it needs, and returns what it prints.
async fn browse(program: &Program, script: &str, after: &str) -> String {
    let base = program.proxy().url();
    let browser = format!(
        r#"
        const net = globalThis.fetch;
        globalThis.fetch = (path, options) => net(new URL(path, "{base}"), options);
        const elements = {{}};
        const element = () => ({{ listeners: {{}}, addEventListener(name, f) {{ this.listeners[name] = f }} }});
        globalThis.document = {{ getElementById: (id) => elements[id] ??= element() }};
        globalThis.location = {{ href: "", search: process.env.SEARCH ?? "" }};
        globalThis.alert = (text) => console.log("alert", text);
        globalThis.Stripe = () => ({{ initEmbeddedCheckout: async ({{ fetchClientSecret }}) =>
            (console.log(await fetchClientSecret()), {{ mount() {{}} }}) }});
        {script}
        {after}
        "#
    );
    // The fake Stripe runs in this process and must respond while the script runs, so the wait must not block.
    let node = move || Command::new("node").args(["-e", &browser]).stdin(Stdio::null()).output();
    let output = tokio::task::spawn_blocking(node).await.expect("no panic").expect("node starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The shop that the page configures, with a price that the fake Stripe knows.
async fn shop(more: impl FnOnce(Setup) -> Setup) -> Shop {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let program = Program::start(more(setup(&backend, &stripe))).await;
    Shop { stripe, backend, program }
}

#[tokio::test]
async fn html_form_of_the_documentation_buys() {
    let shop = shop(|s| s).await;
    let html = piece("### A form", "html");
    let (action, method) = (attribute(html, "action").unwrap(), attribute(html, "method").unwrap());
    let fields: Vec<_> = html
        .split("<input")
        .skip(1)
        .map(|input| format!("{}={}", attribute(input, "name").unwrap(), attribute(input, "value").unwrap()))
        .collect();
    let request = form(&fields.join("&")).target(action).method(&method.to_uppercase());
    let response = shop.program.send(&request.header("Accept", "text/html")).await;
    assert_eq!((response.status, response.outcome()), (303, "created"), "{}", response.text());
}

#[tokio::test]
async fn script_of_the_documentation_buys_and_shows_the_status() {
    if !have("node") {
        return;
    }
    let shop = shop(|s| s).await;
    let click = r#"elements.buy.listeners.click().then(() => console.log(location.href));"#;
    let url = browse(&shop.program, script(piece("### fetch", "html")), click).await;
    let call = shop.stripe.only_call();
    assert_eq!(call.header("idempotency-key").map(str::len), Some(64), "its own key counts");
    let id = url.rsplit('/').next().unwrap();
    let session = shop.stripe.session(id).unwrap_or_else(|| panic!("{url} leads to no session"));
    assert_eq!(session["url"], url);

    let page = script(piece("### The page afterwards", "html"));
    let asks = format!("location.search = \"?session_id={id}\";{page}");
    let shows = r#"setTimeout(() => console.log(elements.status.textContent), 500);"#;
    assert_eq!(browse(&shop.program, &asks, shows).await, "Not paid yet.");
    shop.stripe.pay(id, "ada@shop.example").await.unwrap();
    // A status that was just read is served for a second more.
    until("the page to thank", async || {
        (browse(&shop.program, &asks, shows).await == "Thank you!").then_some(())
    })
    .await;
}

#[tokio::test]
async fn embedded_form_of_the_documentation_gets_its_client_secret() {
    if !have("node") {
        return;
    }
    let shop = shop(|s| {
        s.set("checkout.ui_mode", "embedded_page")
            .set("checkout.success_url", "")
            .set("checkout.return_url", "https://shop.example/back")
    })
    .await;
    let secret = browse(&shop.program, script(piece("### Embedded", "html")), "").await;
    let id = secret.split("_secret").next().unwrap();
    assert_eq!(shop.stripe.session(id).unwrap()["client_secret"], secret);
}

#[tokio::test]
async fn configuration_of_the_documentation_sells() {
    let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
    let text = piece("## Turn it on", "toml").replace("price_1ExampleOfYourOwn", crate::fake_stripe::PRICE);
    let table: toml::Table = text.parse().unwrap();
    let mut setup = Setup::new(&backend)
        .env("STRIPE_API_BASE", &stripe.api_base())
        .env("STRIPE_SECRET_KEY", crate::fake_stripe::KEY);
    for (key, value) in table["checkout"].as_table().unwrap() {
        setup = setup.set(&format!("checkout.{key}"), value.clone());
    }
    let program = Program::start(setup).await;
    assert_eq!(program.send(&form("price=pro&quantity=5")).await.status, 303);
    let status = Request::get("/api/checkout/cs_test_gone");
    program.send(&status).await.expect_error(404, "session_unknown");
}

#[tokio::test]
async fn caddyfile_of_the_documentation_sets_the_customer_and_no_client_can() {
    if !have("caddy") {
        return;
    }
    let who = piece("## Who buys", "toml").parse::<toml::Table>().unwrap();
    let shop = shop(|s| s.set("checkout.identity", who["checkout"]["identity"].clone())).await;
    let auth = Backend::start().await;
    auth.reply_always(
        Reply::status(200).header("X-User-Id", "42").header("X-User-Email", "ada@shop.example"),
    );
    let port = free_port();
    let site = piece("## Who buys", "caddyfile")
        .replace("auth:9091", &auth.address().text())
        .replace("countersign:8080", &shop.program.proxy().text());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Caddyfile");
    std::fs::write(&file, format!("{{\n\tadmin off\n}}\nhttp://:{port} {{\n{site}\n}}\n")).unwrap();
    let mut caddy =
        Tool::start(Command::new("caddy").args(["run", "--adapter", "caddyfile", "--config"]).arg(&file));
    until("caddy listening", async || {
        assert!(!caddy.ended(), "{}", caddy.log());
        is_listening(port).then_some(())
    })
    .await;

    let address = Address::parse(&format!("127.0.0.1:{port}"));
    let mut client = Client::connect(&address).await;
    let named = client.send(&form("price=pro&client_reference_id=forged")).await;
    named.expect_error(400, "field_unknown");
    let mut forged = form("price=pro");
    for name in ["X-User-Id", "x-user-email", "X_User_Id", "X-User_Id", "X_User-Email"] {
        forged = forged.header(name, "forged");
    }
    let response = client.send(&forged).await;
    assert_eq!((response.status, response.outcome()), (303, "created"), "{}", response.text());
    let call = shop.stripe.only_call();
    assert_eq!(call.param("client_reference_id").as_deref(), Some("42"));
    assert_eq!(call.param("customer_email").as_deref(), Some("ada@shop.example"));
    assert!(!call.body.contains("forged"), "{}", call.body);
}
