//! The checkout through the real program, against the fake Stripe: what clients get, what Stripe gets, and what is
//! logged.

mod client_snippets;
mod cors;
mod identity;
mod lifecycle;
mod lookup;
mod orders;
mod params;
mod prices;
mod reserve;
mod responses;
mod status;
mod stripe;

use crate::fake_stripe::{FakeStripe, KEY, MONTHLY_PRICE, OTHER_PRICE, PRICE};
use crate::harness::{Backend, Program, Request, Response, SECRET, Setup};
use std::process::Command;
use toml::{Table, Value, toml};

/// The prices of every shop here: `pro`, up to 5; `chapter`, from 2 to 12; `monthly`, by subscription.
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

/// A program with a checkout, with the fake Stripe and a backend.
struct Shop {
    stripe: FakeStripe,
    backend: Backend,
    program: Program,
}

impl Shop {
    /// Opens a shop with the usual configuration.
    async fn open() -> Self {
        Self::open_with(|setup| setup).await
    }

    /// Opens a shop with a changed configuration.
    async fn open_with(more: impl FnOnce(Setup) -> Setup) -> Self {
        let (stripe, backend) = (FakeStripe::start().await, Backend::start().await);
        let program = Program::start(more(setup(&backend, &stripe))).await;
        Self { stripe, backend, program }
    }

    /// Sends an order as JSON.
    async fn order(&self, json: &str) -> Response {
        self.program.send(&order(json)).await
    }

    /// Returns how many checkout requests had this outcome.
    async fn count(&self, outcome: &str) -> f64 {
        self.program.metric(&format!(r#"checkout_requests_total{{outcome="{outcome}"}}"#)).await
    }

    /// Returns the whole log as one text.
    fn log(&self) -> String {
        self.program.log().join("\n")
    }
}

/// The configuration of every shop here.
fn setup(backend: &Backend, stripe: &FakeStripe) -> Setup {
    Setup::new(backend)
        .set("checkout.success_url", "https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}")
        .set("checkout.price", prices())
        .env("STRIPE_API_BASE", &stripe.api_base())
        .env("STRIPE_SECRET_KEY", KEY)
}

/// Runs `check` with this configuration, and returns its exit status and its output.
async fn check(setup: &Setup, stripe: &FakeStripe, arguments: &'static [&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, setup.text()).unwrap();
    let base = stripe.api_base();
    let command = move || {
        Command::new(env!("CARGO_BIN_EXE_countersign"))
            .arg("check")
            .args(arguments)
            .arg("--config")
            .arg(file)
            .envs([("STRIPE_WEBHOOK_SECRET", SECRET), ("STRIPE_SECRET_KEY", KEY), ("STRIPE_API_BASE", &base)])
            .output()
    };
    let output = tokio::task::spawn_blocking(command).await.unwrap().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Builds an order as JSON.
fn order(json: &str) -> Request {
    Request::post("/api/checkout", json).header("Content-Type", "application/json")
}

/// Builds an order as a form.
fn form(body: &str) -> Request {
    Request::post("/api/checkout", body).header("Content-Type", "application/x-www-form-urlencoded")
}

/// A TOML table of strings, such as `[checkout.identity]`.
fn table(entries: &[(&str, &str)]) -> Value {
    Value::Table(entries.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect::<Table>())
}
