//! `[checkout]`: what may be ordered, and by whom. `[stripe]` says how Stripe is reached. A checkout that is off is a valid
//! configuration; [`CheckoutConfig::state`] says why it is off.
//!
//! - `values`: how the section's values are written
//! - `price`: `[[checkout.price]]`
//! - `params`: `[checkout.params]` and `[checkout.price.params]`
//! - `param_scope`: which parameters Stripe takes in which mode
//! - `page_url`: the URLs to which Stripe sends customers
//! - `unusable`: parameters that no price can use

mod page_url;
mod param_scope;
mod params;
mod price;
mod unusable;
mod values;

pub use param_scope::takes_param;
pub use price::{PriceConfig, PriceReference};
pub use values::{CheckoutMode, RateConfig, UiMode};

use super::reader::{Section, one_of};
use super::stripe::StripeConfig;
use crate::stripe::form::{Param, Params};
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
    /// The origins whose pages may order, in lower case. If empty, only pages of the same origin may.
    pub allowed_origins: Vec<String>,
    /// How often one customer or address may order. `None` is no limit.
    pub rate_limit: Option<RateConfig>,
    /// How often one customer or address may ask for a session's status. `None` is no limit. Defaults to once a second.
    pub status_rate_limit: Option<RateConfig>,
    /// The keys of `metadata` that clients may set.
    pub metadata: Vec<String>,
    /// The parameters into whose `metadata` the session's metadata is copied, such as `payment_intent_data`.
    pub copy_metadata: Vec<&'static str>,
    /// How long after its order a session expires. `None` is Stripe's default, a day.
    pub expires_after: Option<Duration>,
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
    /// Reads the section. `stripe` is `None` if `[stripe]` has an error.
    pub(super) fn read(section: &mut Section, stripe: Option<&StripeConfig>) -> Option<Self> {
        let api_version = stripe.map(|stripe| stripe.api_version.as_str());
        let paths = section.list("paths", &["/api/checkout", "/api/create-checkout-session"], values::path);
        let paths = paths.and_then(|paths| check_paths(section, paths));
        let mode = section.text("mode", "payment", |text| one_of(text, values::MODES));
        let ui_mode = section.text("ui_mode", "", |text| values::ui_mode(text, api_version));
        let success_url = section.text("success_url", "", page_url::page_url);
        let cancel_url = section.text("cancel_url", "", page_url::page_url);
        let return_url = section.text("return_url", "", page_url::page_url);
        let allowed_origins = section.list("allowed_origins", &[], values::origin);
        let rate_limit = section.text("rate_limit", "", values::rate);
        let status_rate_limit = section.text("status_rate_limit", "60/m", values::rate);
        let metadata = section.list("metadata", &[], values::metadata_key);
        let copy_metadata = section.list("copy_metadata", &[], |text| one_of(text, values::METADATA_TARGETS));
        let expires_after = section.text("expires_after", "", values::expires_after);
        let max_body = section.size("max_body", 64 << 10, 1..=MAX_BODY);
        let default_account = stripe.and_then(|stripe| stripe.account.as_deref());
        let prices = read_prices(section, mode, default_account);
        let identity = IdentityConfig::read(section);
        let params = params::read(&section.table("params", "checkout.params"), params::SESSION_PARAMS);
        let checkout = Self {
            paths: paths?,
            mode: mode?,
            ui_mode: ui_mode?,
            success_url: success_url?,
            cancel_url: cancel_url?,
            return_url: return_url?,
            allowed_origins: allowed_origins?,
            rate_limit: rate_limit?,
            status_rate_limit: status_rate_limit?,
            metadata: metadata?,
            copy_metadata: copy_metadata?,
            expires_after: expires_after?,
            max_body: max_body?,
            prices: prices?,
            identity: identity?,
            params: params?,
        };
        // A checkout that is off may be half-written.
        let on = stripe.is_some_and(|stripe| checkout.state(stripe) == CheckoutState::On);
        // Both checks run, so that all errors are reported at once.
        let fits = !on || checkout.check_urls(section) & checkout.check_exclusive_params(section);
        fits.then_some(checkout)
    }

    /// Returns whether the checkout is on with this way to Stripe, and if not, why.
    pub fn state(&self, stripe: &StripeConfig) -> CheckoutState {
        match (stripe.secret_key.is_some(), self.prices.is_empty()) {
            (true, false) => CheckoutState::On,
            (false, false) => CheckoutState::NoKey,
            (true, true) => CheckoutState::NoPrice,
            (false, true) => CheckoutState::Neither,
        }
    }

    /// Reports pages that do not fit `ui_mode`.
    fn check_urls(&self, section: &Section) -> bool {
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

impl CheckoutConfig {
    /// Reports parameters that Stripe does not take together.
    fn check_exclusive_params(&self, section: &Section) -> bool {
        let is_set =
            |name: &str| self.params.iter().any(|(key, value)| key == name && *value != "false".into());
        let both = param_scope::EXCLUSIVE.iter().find(|(one, other)| is_set(one) && is_set(other));
        if let Some((one, other)) = both {
            let found = format!("{one} and {other}");
            let help = "Stripe refuses every order that has both: remove one of them";
            section.report("params", found, "one of the two", help);
        }
        both.is_none()
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

/// Reads the prices. A price without an account of its own is sold by `default_account`.
fn read_prices(
    checkout: &mut Section,
    default_mode: Option<CheckoutMode>,
    default_account: Option<&str>,
) -> Option<Vec<PriceConfig>> {
    let mut sections = checkout.tables("price", "checkout.price")?;
    let mut prices: Vec<Option<PriceConfig>> = Vec::new();
    for section in &mut sections {
        let price = PriceConfig::read(section, default_mode);
        let price = price.filter(|price| is_unique(section, price, &prices));
        prices.push(price.map(|price| PriceConfig {
            account: price.account.or_else(|| default_account.map(str::to_owned)),
            ..price
        }));
    }
    for section in sections {
        section.finish();
    }
    prices.into_iter().collect()
}

/// Whether no earlier price has this one's id, lookup key or name. Reports one that has.
fn is_unique(section: &Section, price: &PriceConfig, earlier: &[Option<PriceConfig>]) -> bool {
    let reference = match &price.reference {
        PriceReference::Id(id) => ("id", id),
        PriceReference::LookupKey(key) => ("lookup_key", key),
    };
    let mut names = [reference, ("name", &price.name)].into_iter();
    let used = names.find(|(_, name)| earlier.iter().flatten().any(|other| other.has_name(name)));
    if let Some((key, name)) = used {
        let expected = "an id, lookup_key and name that no other price has";
        section.report(key, format!("\"{name}\" a second time"), expected, "");
    }
    used.is_none()
}
