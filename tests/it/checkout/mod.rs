//! The checkout through the real program, against the fake Stripe: what clients get, what Stripe gets, and what stands in
//! the log.

mod client_snippets;
mod cors;
mod identity;
mod lifecycle;
mod orders;
mod responses;
mod stripe;

use crate::fake_stripe::{FakeStripe, KEY, MONTHLY_PRICE, OTHER_PRICE, PRICE};
use crate::harness::{Backend, Program, Request, Response, Setup};
use toml::{Table, Value, toml};

/// What every shop here sells: `pro`, up to 5; `chapter`, from 2 to 12; `monthly`, by subscription.
fn prices() -> Value {
    let table = toml! {
        [[price]]
        id = PRICE
        name = "pro"
        max = 5
        [[price]]
        id = OTHER_PRICE
        name = "chapter"
        min = 2
        max = 12
        [[price]]
        id = MONTHLY_PRICE
        name = "monthly"
        mode = "subscription"
    };
    table["price"].clone()
}

/// A program that sells, Stripe, and the app behind it.
struct Shop {
    stripe: FakeStripe,
    backend: Backend,
    program: Program,
}

impl Shop {
    /// Open, as it comes.
    async fn open() -> Shop {
        Shop::open_with(|setup| setup).await
    }

    /// Open, with more said in the configuration.
    async fn open_with(more: impl FnOnce(Setup) -> Setup) -> Shop {
        let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
        let program = Program::start(more(setup(&backend, &stripe))).await;
        Shop { stripe, backend, program }
    }

    /// Orders as JSON.
    async fn order(&self, json: &str) -> Response {
        self.program.send(&order(json)).await
    }

    /// The value of one of the checkout's counters.
    async fn count(&self, outcome: &str) -> f64 {
        self.program.metric(&format!(r#"checkout_requests_total{{outcome="{outcome}"}}"#)).await
    }

    /// Everything that was logged, as one text.
    fn log(&self) -> String {
        self.program.log().join("\n")
    }
}

/// The usual configuration.
fn setup(backend: &Backend, stripe: &FakeStripe) -> Setup {
    Setup::new(backend)
        .set("checkout.success_url", "https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}")
        .set("checkout.price", prices())
        .env("STRIPE_API_BASE", &stripe.api_base())
        .env("STRIPE_SECRET_KEY", KEY)
}

/// An order as JSON.
fn order(json: &str) -> Request {
    Request::post("/api/checkout", json).header("Content-Type", "application/json")
}

/// An order as a form.
fn form(body: &str) -> Request {
    Request::post("/api/checkout", body).header("Content-Type", "application/x-www-form-urlencoded")
}

/// A table of texts, as `[checkout.identity]` is.
fn table(entries: &[(&str, &str)]) -> Value {
    Value::Table(entries.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect::<Table>())
}
