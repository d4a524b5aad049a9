//! A fake Stripe to try Countersign with, on one machine and without money. It creates Checkout Sessions, shows a page to pay
//! on, and sends the signed `checkout.session.completed`.
//!
//! ```sh
//! STRIPE_WEBHOOK_SECRET=whsec_… cargo run --example stripe -- --webhook http://localhost:5000/webhooks/stripe
//! ```
//!
//! It accepts any key of Stripe's form (`sk_test_made_up`). Countersign calls it with
//! `STRIPE_API_BASE=http://127.0.0.1:12111`, and Stripe's command line with `--api-base http://127.0.0.1:12111`. The module
//! `fake` is the fake itself; this file reads its command line.

mod fake;

use clap::Parser;
use fake::{CallLog, FakeStripe, Price, Settings};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A fake Stripe for trying things out: sessions, a page to pay on, signed events. No money moves.
#[derive(Parser)]
struct Options {
    /// Address to listen on; port 0 takes a free port
    #[arg(long, default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// URL under which browsers reach it, if it differs from the address: https://pay.example.test
    #[arg(long)]
    public: Option<String>,
    /// URL to which events are sent, signed with the secret in $STRIPE_WEBHOOK_SECRET
    #[arg(long)]
    webhook: Option<String>,
    /// Another price to sell: price_1Book=1200:A book, with the price in cents; price_1Club=500/month:The club recurs, price_1Use=5/use:Calls is metered
    #[arg(long, value_parser = parse_price)]
    price: Vec<Price>,
    /// File with Stripe's OpenAPI description; parameters are checked against it too
    #[arg(long)]
    schema: Option<PathBuf>,
    /// Do not print calls
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    #[expect(clippy::disallowed_methods, reason = "an example of its own, not the program")]
    let secret = std::env::var("STRIPE_WEBHOOK_SECRET").unwrap_or_default();
    if options.webhook.is_some() && secret.is_empty() {
        return Err(std::io::Error::other(
            "--webhook needs a signing secret: set STRIPE_WEBHOOK_SECRET to the secret that Countersign has",
        ));
    }
    let defaults = Settings::default();
    let stripe = FakeStripe::start_with(Settings {
        listen: options.listen,
        public_url: options.public,
        prices: [defaults.prices, options.price].concat(),
        webhook: options.webhook.map(|url| (url, secret.clone())),
        schema: options.schema,
        listen_secret: if secret.is_empty() { defaults.listen_secret } else { secret },
        call_log: if options.quiet { CallLog::Off } else { CallLog::Stdout },
    })
    .await?;
    println!("stripe: listening on {}", stripe.api_base());
    std::future::pending().await
}

/// Parses `price_1Book=1200:A book`, `price_1Club=500/month:The club` or `price_1Use=5/use:Calls`.
fn parse_price(text: &str) -> Result<Price, String> {
    let error = || format!("expected a price like price_1Book=1200:A book, found {text:?}");
    let (id, rest) = text.split_once('=').ok_or_else(error)?;
    let (cents, product) = rest.split_once(':').ok_or_else(error)?;
    let (cents, kind) = cents.split_once('/').unwrap_or((cents, "once"));
    let cents = cents.parse().map_err(|_| error())?;
    if !id.starts_with("price_") {
        return Err(error());
    }
    match kind {
        "once" => Ok(Price::once(id, cents, product)),
        "month" => Ok(Price::monthly(id, cents, product)),
        "use" => Ok(Price::metered(id, cents, product)),
        _ => Err(error()),
    }
}
