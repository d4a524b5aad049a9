//! A Stripe for trying things out, on this machine and without any money: it creates Checkout Sessions, shows a page to
//! pay on, and sends the signed `checkout.session.completed`.
//!
//! ```sh
//! STRIPE_WEBHOOK_SECRET=whsec_… cargo run --example stripe -- --webhook http://localhost:5000/webhooks/stripe
//! ```
//!
//! It takes any key of Stripe's form (`sk_test_made_up`). The program asks it with `STRIPE_API_BASE=http://127.0.0.1:12111`,
//! Stripe's command line with `--api-base http://127.0.0.1:12111`.

mod fake;

use clap::Parser;
use fake::{FakeStripe, Price, Record, Settings};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A Stripe for trying things out: sessions, a page to pay on, signed events. No money moves.
#[derive(Parser)]
struct Options {
    /// Where it listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// What a browser calls it, if not by where it listens: https://pay.example.test
    #[arg(long)]
    public: Option<String>,
    /// Where events go; signed with the secret in $STRIPE_WEBHOOK_SECRET
    #[arg(long)]
    webhook: Option<String>,
    /// One thing more that is sold: price_1Book=1200:A book, with the price in cents; "/month" after it for every month
    #[arg(long, value_parser = price)]
    price: Vec<Price>,
    /// Stripe's OpenAPI description; calls are held to it too
    #[arg(long)]
    schema: Option<PathBuf>,
    /// Print no call
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    #[expect(clippy::disallowed_methods, reason = "a sample on its own, not the program")]
    let secret = std::env::var("STRIPE_WEBHOOK_SECRET").unwrap_or_default();
    let usual = Settings::default();
    if options.webhook.is_some() && secret.is_empty() {
        return Err(std::io::Error::other("--webhook needs the secret that signs, in STRIPE_WEBHOOK_SECRET"));
    }
    let stripe = FakeStripe::start_with(Settings {
        listen: options.listen,
        public: options.public,
        prices: [usual.prices, options.price].concat(),
        webhook: options.webhook.map(|url| (url, secret.clone())),
        schema: options.schema,
        listen_secret: if secret.is_empty() { usual.listen_secret } else { secret },
        record: if options.quiet { Record::Nothing } else { Record::Print },
    })
    .await?;
    println!("stripe: listening on {}", stripe.api_base());
    std::future::pending().await
}

/// `price_1Book=1200:A book` or `price_1Club=500/month:The club`
fn price(text: &str) -> Result<Price, String> {
    let form = || format!("{text:?} is not like price_1Book=1200:A book");
    let (id, rest) = text.split_once('=').ok_or_else(form)?;
    let (cents, product) = rest.split_once(':').ok_or_else(form)?;
    let (cents, monthly) = cents.strip_suffix("/month").map_or((cents, false), |cents| (cents, true));
    let cents = cents.parse().map_err(|_| form())?;
    if !id.starts_with("price_") {
        return Err(form());
    }
    Ok(if monthly { Price::monthly(id, cents, product) } else { Price::once(id, cents, product) })
}
