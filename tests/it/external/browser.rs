//! The whole purchase in headless Chromium: on the site that `make run` serves, and with the snippets of
//! `docs/checkout.md`.

use super::chromium::{Browser, watched};
use crate::external::demo::Demo;
use crate::fake_stripe::{FakeStripe, KEY, PRICE};
use crate::harness::{Backend, Program, Setup};
use crate::tools::{Caddy, have};
use std::rc::Rc;
use toml::toml;

#[tokio::test]
async fn customer_buys_by_form_and_by_script_and_sees_the_access_granted() {
    if !["make", "caddy", "chromium", "chromedriver"].into_iter().all(have) {
        return;
    }
    let demo = Demo::start().await;
    let site = format!("http://localhost:{}", demo.port("PORT"));
    let stripe = format!("http://127.0.0.1:{}/c/pay/cs_test_", demo.port("STRIPE_PORT"));
    let browser = Rc::new(Browser::start().await);
    watched("purchase", browser.clone(), async move {
        for (button, buyer) in [("#buy", "ada@example.com"), ("#buy-by-script", "ben@example.com")] {
            browser.open(&format!("{site}/")).await;
            browser.fill("[name=customer_email]", buyer).await;
            browser.click(button).await;
            browser.comes_to(&stripe).await;
            assert!(browser.text("body").await.contains(buyer), "the page to pay on names the buyer");
            browser.click("#pay").await;
            browser.comes_to(&format!("{site}/thanks.html?session_id=cs_test_")).await;
            browser.shows("#payment", "paid").await;
            browser.shows("#access", &format!("access granted to {buyer}")).await;
        }

        // Leaving the payment page buys nothing.
        browser.open(&format!("{site}/")).await;
        browser.fill("[name=customer_email]", "eve@example.com").await;
        browser.click("#buy").await;
        browser.comes_to(&stripe).await;
        browser.click("#back").await;
        browser.comes_to(&site).await;
        browser.open(&format!("{site}/api/access")).await;
        let members = browser.text("body").await;
        let has = |buyer: &str| members.contains(buyer);
        assert_eq!(["ada@", "ben@", "eve@"].map(has), [true, true, false], "{members}");
    })
    .await;
}

#[tokio::test]
async fn snippets_of_the_checkout_page_work_in_a_browser_as_pasted() {
    if !["caddy", "chromium", "chromedriver"].into_iter().all(have) {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    let embedded = piece("### Embedded").replace("https://js.stripe.com/v3/", "/stripe.js");
    for (name, content) in [
        ("form.html", piece("### A form")),
        ("fetch.html", piece("### fetch")),
        ("thanks.html", piece("### The page afterwards")),
        ("embedded.html", &embedded),
        ("stripe.js", STRIPE_JS),
    ] {
        std::fs::write(site.path().join(name), content).unwrap();
    }
    let (backend, stripe) = (Backend::start().await, FakeStripe::start().await);
    let program = Program::start(with_checkout(&backend, &stripe)).await;
    let caddy = Caddy::start_serving(program.proxy(), site.path()).await;
    let home = format!("http://localhost:{}", caddy.port());
    let again = with_checkout(&backend, &stripe).set("server.listen", program.proxy().text());
    let back = format!("{home}/thanks.html?session_id={{CHECKOUT_SESSION_ID}}");
    let program = program.restart_with(again.clone().set("checkout.success_url", back.as_str())).await;

    let browser = Rc::new(Browser::start().await);
    let pages = format!("{}/c/pay/cs_test_", stripe.api_base());
    let (home_too, browser_too) = (home.clone(), browser.clone());
    watched("pasted", browser.clone(), async move {
        let (home, browser) = (home_too, browser_too);
        for page in ["form", "fetch"] {
            browser.open(&format!("{home}/{page}.html")).await;
            browser.click("button").await;
            browser.comes_to(&pages).await;
            browser.click("#pay").await;
            browser.comes_to(&format!("{home}/thanks.html?session_id=cs_test_")).await;
            browser.shows("#status", "Thank you!").await;
        }
    })
    .await;
    assert_eq!(stripe.sessions(), 2);

    let embedded = again.set("checkout.ui_mode", "embedded_page").set("checkout.return_url", back.as_str());
    let _program = program.restart_with(embedded.set("checkout.success_url", "")).await;
    let browser_too = browser.clone();
    watched("embedded", browser, async move {
        browser_too.open(&format!("{home}/embedded.html")).await;
        browser_too.shows("#checkout", "the form of a session").await;
    })
    .await;
    assert_eq!(stripe.sessions(), 3);
}

/// The parts of Stripe's script that an embedded form needs.
const STRIPE_JS: &str = "
    window.Stripe = () => ({
        initEmbeddedCheckout: async ({ fetchClientSecret }) => {
            const secret = await fetchClientSecret();
            const text = /^cs_test_\\w+_secret_/.test(secret) ? 'the form of a session' : secret;
            return { mount: (place) => { document.querySelector(place).textContent = text } };
        },
    });";

/// Configures one price under the name that the page uses.
fn with_checkout(backend: &Backend, stripe: &FakeStripe) -> Setup {
    let prices = toml! {
        [[price]]
        id = PRICE
        name = "pro"
        max = 5
    };
    Setup::new(backend)
        .set("checkout.success_url", "https://shop.example/thanks")
        .set("checkout.price", prices["price"].clone())
        .env("STRIPE_API_BASE", &stripe.api_base())
        .env("STRIPE_SECRET_KEY", KEY)
}

/// Returns the first piece of HTML under a heading of the page.
fn piece(heading: &str) -> &'static str {
    let page = include_str!("../../../docs/checkout.md");
    let part = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    part.split_once("```html\n").and_then(|(_, rest)| rest.split("```").next()).expect("a piece")
}
