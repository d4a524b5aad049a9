//! `[checkout]`: what is sold, to whom it is said, and how Stripe is reached. A checkout that is off is a configuration
//! like any other; why it is off is said by [`CheckoutConfig::state`].

mod params;
mod price;
mod words;

pub use price::PriceConfig;
pub use words::{CheckoutMode, RateConfig, UiMode};

use super::section::Section;
use super::units;
use crate::stripe::form::{Param, Params};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// `[checkout]` with `[[checkout.price]]`, `[checkout.identity]` and `[checkout.params]`.
#[derive(Debug, Clone)]
pub struct CheckoutConfig {
    /// The paths that orders are posted to; a session's status is asked for beneath each. Never empty. Default
    /// `/api/checkout` and `/api/create-checkout-session`.
    pub paths: Vec<String>,
    /// The key to Stripe's API (`sk_…`, `rk_…`); `None` if blank, which turns the checkout off.
    pub secret_key: Option<SecretString>,
    /// What sessions do, unless a price says otherwise. Default `payment`.
    pub mode: CheckoutMode,
    /// Where the buyer pays. Default: on Stripe's page.
    pub ui_mode: UiMode,
    /// Where Stripe's page sends a buyer who has paid.
    pub success_url: Option<String>,
    /// Where it sends one who has not; `None` shows no way back.
    pub cancel_url: Option<String>,
    /// Where an embedded form sends a buyer.
    pub return_url: Option<String>,
    /// Stripe's API, without a slash at the end. Default `https://api.stripe.com`.
    pub api_base: String,
    /// The version of the API that is spoken: `Stripe-Version`.
    pub api_version: String,
    /// The connected account that sells: `Stripe-Account`; `None` for one's own.
    pub account: Option<String>,
    /// For each attempt at Stripe, connecting included. Default 10 s.
    pub timeout: Duration,
    /// Origins whose pages may order, in lower case; empty for the page's own.
    pub allowed_origins: Vec<String>,
    /// How often one customer or address may ask; `None` for no limit.
    pub rate_limit: Option<RateConfig>,
    /// Keys of `metadata` that clients may set.
    pub metadata: Vec<String>,
    /// The longest order, in bytes. Default 64 KiB.
    pub max_body: u64,
    /// What is sold; empty turns the checkout off.
    pub prices: Vec<PriceConfig>,
    /// Who buys.
    pub identity: IdentityConfig,
    /// Further parameters, as Stripe gets them.
    pub params: Params,
}

/// `[checkout.identity]`: the headers, set by Caddy, that say who buys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdentityConfig {
    /// The header with the app's own word for the customer.
    pub client_reference_id: Option<String>,
    /// The header with the customer's e-mail address.
    pub customer_email: Option<String>,
    /// The header with the id of a customer in Stripe (`cus_…`).
    pub customer: Option<String>,
}

/// Whether the checkout is on, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutState {
    /// There is a key, and something is sold.
    On,
    /// No key.
    NoKey,
    /// A key, and nothing is sold.
    NoPrice,
    /// Neither.
    Neither,
}

/// The longest order that may be allowed: it is held in memory whole.
const MOST_BODY: u64 = 1 << 30;

/// What is written where nothing is.
const NO_URL: &str = "nothing";

impl CheckoutConfig {
    pub(super) fn read(section: &mut Section) -> Option<CheckoutConfig> {
        let paths = section.list("paths", &["/api/checkout", "/api/create-checkout-session"], words::path);
        let paths = paths.and_then(|paths| some_paths(section, paths));
        let secret_key = section.api_key_or_blank("secret_key", "{$STRIPE_SECRET_KEY:}");
        let mode = section.text("mode", "payment", |text| units::word(text, words::MODES));
        let api_version = section.text("api_version", "2026-10-28.endive", words::api_version);
        let ui_mode = section.text("ui_mode", "", |text| words::ui_mode(text, api_version.as_deref()));
        let success_url = section.text("success_url", "", words::page);
        let cancel_url = section.text("cancel_url", "", words::page);
        let return_url = section.text("return_url", "", words::page);
        let api_base = section.text("api_base", "{$STRIPE_API_BASE:https://api.stripe.com}", words::api_base);
        let account = section.text("account", "", words::account);
        let timeout = section.text("timeout", "10s", units::timeout);
        let allowed_origins = section.list("allowed_origins", &[], words::origin);
        let rate_limit = section.text("rate_limit", "", words::rate);
        let metadata = section.list("metadata", &[], words::metadata_key);
        let max_body = section.size("max_body", 64 << 10, 1..=MOST_BODY);
        let prices = prices(section);
        let identity = IdentityConfig::read(section);
        let params = params(section);
        let checkout = CheckoutConfig {
            paths: paths?,
            secret_key: secret_key?,
            mode: mode?,
            ui_mode: ui_mode?,
            success_url: success_url?,
            cancel_url: cancel_url?,
            return_url: return_url?,
            api_base: api_base?,
            api_version: api_version?,
            account: account?,
            timeout: timeout?,
            allowed_origins: allowed_origins?,
            rate_limit: rate_limit?,
            metadata: metadata?,
            max_body: max_body?,
            prices: prices?,
            identity: identity?,
            params: params?,
        };
        checkout.agrees(section).then_some(checkout)
    }

    /// Whether it is on.
    pub fn state(&self) -> CheckoutState {
        match (self.secret_key.is_some(), self.prices.is_empty()) {
            (true, false) => CheckoutState::On,
            (false, false) => CheckoutState::NoKey,
            (true, true) => CheckoutState::NoPrice,
            (false, true) => CheckoutState::Neither,
        }
    }

    /// Whether the key takes real money.
    pub fn live(&self) -> bool {
        let live = |key: &SecretString| {
            ["sk_live_", "rk_live_"].iter().any(|prefix| key.expose_secret().starts_with(prefix))
        };
        self.secret_key.as_ref().is_some_and(live)
    }

    /// What its keys may not say together: of the key and where it goes in any case, since `reconcile` uses it too; of the
    /// rest only where it is on.
    fn agrees(&self, section: &Section) -> bool {
        let mut fine = true;
        if self.live() && self.api_base.starts_with("http://") {
            let (expected, help) =
                ("https://, since the key is a live one", "it would be sent for all to read");
            section.fault("api_base", "http://".to_owned(), expected, help);
            fine = false;
        }
        if self.state() != CheckoutState::On {
            return fine;
        }
        let mut wrong = |key, found: &str, expected: &str, help: &str| {
            section.fault(key, found.to_owned(), expected, help);
            fine = false;
        };
        let ours = "where buyers go afterwards is never theirs to say";
        if self.ui_mode.embedded() {
            let stays = self
                .params
                .iter()
                .any(|(key, value)| key == "redirect_on_completion" && *value == Param::from("never"));
            match &self.return_url {
                None if !stays => {
                    wrong("return_url", NO_URL, "a URL, since ui_mode is an embedded one", ours)
                }
                Some(_) if stays => {
                    wrong("return_url", "a URL", "none, since redirect_on_completion is \"never\"", "")
                }
                None | Some(_) => {}
            }
            for (key, url) in [("success_url", &self.success_url), ("cancel_url", &self.cancel_url)] {
                if url.is_some() {
                    wrong(
                        key,
                        "a URL",
                        "none, since ui_mode is an embedded one",
                        "return_url takes its place",
                    );
                }
            }
        } else {
            if self.success_url.is_none() {
                wrong("success_url", NO_URL, "a URL, since there is a price to sell", ours);
            }
            if self.return_url.is_some() {
                wrong(
                    "return_url",
                    "a URL",
                    "none, unless ui_mode is an embedded one",
                    "success_url takes its place",
                );
            }
        }
        fine
    }
}

impl IdentityConfig {
    fn read(checkout: &mut Section) -> Option<IdentityConfig> {
        let mut section = checkout.table("identity", "checkout.identity");
        let client_reference_id = section.text("client_reference_id", "", words::header);
        let customer_email = section.text("customer_email", "", words::header);
        let customer = section.text("customer", "", words::header);
        section.finish();
        Some(IdentityConfig {
            client_reference_id: client_reference_id?,
            customer_email: customer_email?,
            customer: customer?,
        })
    }
}

fn some_paths(section: &Section, paths: Vec<String>) -> Option<Vec<String>> {
    let help = "a checkout without a secret key, or without a price, is off";
    if paths.is_empty() {
        section.fault("paths", "an empty list".to_owned(), "one path at least", help);
        return None;
    }
    if let Some(path) = paths.iter().find(|path| path.ends_with('/')) {
        let found = format!("\"{path}\"");
        section.fault("paths", found, "paths without a slash at the end", "a session's id follows one");
        return None;
    }
    Some(paths)
}

fn prices(checkout: &mut Section) -> Option<Vec<PriceConfig>> {
    let mut sections = checkout.tables("price", "checkout.price")?;
    let mut prices: Vec<Option<PriceConfig>> = Vec::new();
    for section in &mut sections {
        let price = PriceConfig::read(section).filter(|price| {
            let mut words = [("id", &price.id), ("name", &price.name)].into_iter();
            let taken = words.find(|(_, word)| prices.iter().flatten().any(|other| other.is_called(word)));
            if let Some((key, word)) = taken {
                section.fault(key, format!("\"{word}\" a second time"), "one price for each id and name", "");
            }
            taken.is_none()
        });
        prices.push(price);
    }
    for section in sections {
        section.finish();
    }
    prices.into_iter().collect()
}

fn params(checkout: &mut Section) -> Option<Params> {
    params::read(&checkout.table("params", "checkout.params"))
}
