//! `[checkout]`: what may be ordered, by whom, and how Stripe is reached. A checkout that is off is a valid configuration;
//! [`CheckoutConfig::state`] says why it is off.
//!
//! - `values`: how the section's values are written
//! - `price`: `[[checkout.price]]`
//! - `params`: `[checkout.params]`

mod params;
mod price;
mod values;

pub use price::PriceConfig;
pub use values::{CheckoutMode, RateConfig, UiMode};

use super::reader::{Section, one_of, timeout};
use crate::stripe::form::{Param, Params};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// The largest `max_body`, in bytes. A body is held in memory as a whole.
const MAX_BODY: u64 = 1 << 30;

/// How an error calls a URL that is missing.
const NO_URL: &str = "no URL";

/// The help for a URL that is missing.
const URL_IS_CONFIGURED: &str =
    "clients cannot choose where customers are sent after the payment, so it is set here";

/// The section `[checkout]` with `[[checkout.price]]`, `[checkout.identity]` and `[checkout.params]`.
#[derive(Debug, Clone)]
pub struct CheckoutConfig {
    /// The paths to which orders are posted. Below each, a client asks for a session's status. Never empty. Defaults to
    /// `/api/checkout` and `/api/create-checkout-session`.
    pub paths: Vec<String>,
    /// The key to Stripe's API (`sk_…`, `rk_…`). `None` if it is blank, which turns the checkout off.
    pub secret_key: Option<SecretString>,
    /// What sessions do, unless a price says otherwise. Defaults to `payment`.
    pub mode: CheckoutMode,
    /// Where the customer pays. Defaults to Stripe's page.
    pub ui_mode: UiMode,
    /// The page to which Stripe sends a customer who has paid. Required unless `ui_mode` is embedded.
    pub success_url: Option<String>,
    /// The page to which Stripe sends a customer who has not paid. `None` shows no way back.
    pub cancel_url: Option<String>,
    /// The page to which an embedded form sends a customer.
    pub return_url: Option<String>,
    /// The base URL of Stripe's API, without a slash at the end. Defaults to `https://api.stripe.com`.
    pub api_base: String,
    /// The version of Stripe's API, sent as `Stripe-Version`. Defaults to `2026-10-28.endive`.
    pub api_version: String,
    /// The connected account that sells, sent as `Stripe-Account`. `None` is the key's own account.
    pub account: Option<String>,
    /// The time limit for each attempt at a call to Stripe, including the connection. Defaults to 10 seconds.
    pub timeout: Duration,
    /// The origins whose pages may order, in lower case. If empty, only pages of the same origin may.
    pub allowed_origins: Vec<String>,
    /// How often one customer or address may order. `None` is no limit.
    pub rate_limit: Option<RateConfig>,
    /// The keys of `metadata` that clients may set.
    pub metadata: Vec<String>,
    /// The longest order, in bytes. Defaults to 64 KiB.
    pub max_body: u64,
    /// The prices that may be ordered. An empty list turns the checkout off.
    pub prices: Vec<PriceConfig>,
    /// The headers that identify the customer.
    pub identity: IdentityConfig,
    /// Further parameters, sent to Stripe as they are.
    pub params: Params,
}

/// The section `[checkout.identity]`: headers, set by Caddy, that identify the customer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdentityConfig {
    /// The name of the header with the backend's own id of the customer.
    pub client_reference_id: Option<String>,
    /// The name of the header with the customer's e-mail address.
    pub customer_email: Option<String>,
    /// The name of the header with the id of a customer in Stripe (`cus_…`).
    pub customer: Option<String>,
}

/// Whether the checkout is on, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutState {
    /// The checkout has a key and at least one price.
    On,
    /// The checkout has prices, but no key.
    NoKey,
    /// The checkout has a key, but no price.
    NoPrice,
    /// The checkout has neither a key nor a price.
    Neither,
}

impl CheckoutConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let paths = section.list("paths", &["/api/checkout", "/api/create-checkout-session"], values::path);
        let paths = paths.and_then(|paths| check_paths(section, paths));
        let secret_key = section.secret_or_blank("secret_key", "{$STRIPE_SECRET_KEY:}", values::api_key);
        let mode = section.text("mode", "payment", |text| one_of(text, values::MODES));
        let api_version = section.text("api_version", "2026-10-28.endive", values::api_version);
        let ui_mode = section.text("ui_mode", "", |text| values::ui_mode(text, api_version.as_deref()));
        let success_url = section.text("success_url", "", values::page_url);
        let cancel_url = section.text("cancel_url", "", values::page_url);
        let return_url = section.text("return_url", "", values::page_url);
        let api_base =
            section.text("api_base", "{$STRIPE_API_BASE:https://api.stripe.com}", values::api_base);
        let account = section.text("account", "", values::account);
        let timeout = section.text("timeout", "10s", timeout);
        let allowed_origins = section.list("allowed_origins", &[], values::origin);
        let rate_limit = section.text("rate_limit", "", values::rate);
        let metadata = section.list("metadata", &[], values::metadata_key);
        let max_body = section.size("max_body", 64 << 10, 1..=MAX_BODY);
        let prices = read_prices(section);
        let identity = IdentityConfig::read(section);
        let params = params::read(&section.table("params", "checkout.params"));
        let checkout = Self {
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
        // Both are evaluated, so that all errors are reported at once.
        let (key_fits, urls_fit) = (checkout.check_key(section), checkout.check_urls(section));
        (key_fits && urls_fit).then_some(checkout)
    }

    /// Returns whether the checkout is on, and if not, why.
    pub fn state(&self) -> CheckoutState {
        match (self.secret_key.is_some(), self.prices.is_empty()) {
            (true, false) => CheckoutState::On,
            (false, false) => CheckoutState::NoKey,
            (true, true) => CheckoutState::NoPrice,
            (false, true) => CheckoutState::Neither,
        }
    }

    /// Whether the key is a live one, with which customers pay real money.
    pub fn live(&self) -> bool {
        let live = |key: &SecretString| {
            ["sk_live_", "rk_live_"].iter().any(|prefix| key.expose_secret().starts_with(prefix))
        };
        self.secret_key.as_ref().is_some_and(live)
    }

    /// Reports a live key that would be sent unencrypted. This applies to a checkout that is off as well, because
    /// `reconcile` uses the key.
    fn check_key(&self, section: &Section) -> bool {
        let unencrypted = self.live() && self.api_base.starts_with("http://");
        if unencrypted {
            let expected = "https://, because secret_key is a live key";
            section.report("api_base", "http://", expected, "over http:// the key would be sent unencrypted");
        }
        !unencrypted
    }

    /// Reports pages that do not fit `ui_mode`, unless the checkout is off.
    fn check_urls(&self, section: &Section) -> bool {
        if self.state() != CheckoutState::On {
            return true;
        }
        let mut fit = true;
        let mut report = |key, found: &str, expected: &str, help: &str| {
            section.report(key, found, expected, help);
            fit = false;
        };
        if self.ui_mode.embedded() {
            // Without a redirect the customer stays on the shop's page.
            let never = Param::from("never");
            let stays =
                self.params.iter().any(|(key, value)| key == "redirect_on_completion" && *value == never);
            match &self.return_url {
                None if !stays => {
                    report("return_url", NO_URL, "a URL, because ui_mode is embedded", URL_IS_CONFIGURED);
                }
                Some(_) if stays => {
                    report("return_url", "a URL", "no URL, because redirect_on_completion is \"never\"", "");
                }
                None | Some(_) => {}
            }
            for (key, url) in [("success_url", &self.success_url), ("cancel_url", &self.cancel_url)] {
                if url.is_some() {
                    let expected = "no URL, because ui_mode is embedded";
                    report(key, "a URL", expected, "use return_url instead");
                }
            }
        } else {
            if self.success_url.is_none() {
                report("success_url", NO_URL, "a URL, because the checkout has a price", URL_IS_CONFIGURED);
            }
            if self.return_url.is_some() {
                let expected = "no URL, because ui_mode is not embedded";
                report("return_url", "a URL", expected, "use success_url instead");
            }
        }
        fit
    }
}

impl IdentityConfig {
    fn read(checkout: &mut Section) -> Option<Self> {
        let mut section = checkout.table("identity", "checkout.identity");
        let client_reference_id = section.text("client_reference_id", "", values::header_name);
        let customer_email = section.text("customer_email", "", values::header_name);
        let customer = section.text("customer", "", values::header_name);
        section.finish();
        Some(Self {
            client_reference_id: client_reference_id?,
            customer_email: customer_email?,
            customer: customer?,
        })
    }
}

fn check_paths(section: &Section, paths: Vec<String>) -> Option<Vec<String>> {
    let help = "to turn the checkout off, leave secret_key blank or list no price";
    let paths = section.non_empty("paths", paths, "at least one path", help)?;
    if let Some(path) = paths.iter().find(|path| path.ends_with('/')) {
        let expected = "paths without a slash at the end";
        section.report(
            "paths",
            format!("\"{path}\""),
            expected,
            "a slash and a session's id may follow the path",
        );
        return None;
    }
    Some(paths)
}

fn read_prices(checkout: &mut Section) -> Option<Vec<PriceConfig>> {
    let mut sections = checkout.tables("price", "checkout.price")?;
    let mut prices: Vec<Option<PriceConfig>> = Vec::new();
    for section in &mut sections {
        let price = PriceConfig::read(section).filter(|price| is_unique(section, price, &prices));
        prices.push(price);
    }
    for section in sections {
        section.finish();
    }
    prices.into_iter().collect()
}

/// Whether no earlier price has this one's id or name. Reports one that has.
fn is_unique(section: &Section, price: &PriceConfig, earlier: &[Option<PriceConfig>]) -> bool {
    let mut names = [("id", &price.id), ("name", &price.name)].into_iter();
    let used = names.find(|(_, name)| earlier.iter().flatten().any(|other| other.has_name(name)));
    if let Some((key, name)) = used {
        let expected = "an id and a name that no other price has";
        section.report(key, format!("\"{name}\" a second time"), expected, "");
    }
    used.is_none()
}
