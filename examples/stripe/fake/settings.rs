//! Settings of the fake, and the prices and the key that tests use.

use super::catalog::Price;
use super::schema;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An API key that the fake accepts. It accepts every key of Stripe's form.
pub const KEY: &str = "sk_test_countersign";
/// The id of a price of 12.00 € that is paid once.
pub const PRICE: &str = "price_1FakeOnce";
/// The id of a price of 3.50 € that is paid once.
pub const OTHER_PRICE: &str = "price_1FakeOther";
/// The id of a price of 5.00 € a month.
pub const MONTHLY_PRICE: &str = "price_1FakeMonthly";
/// The id of a price that is billed every month by its use.
pub const METERED_PRICE: &str = "price_1FakeMetered";

/// Where the calls to the fake are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallLog {
    /// In memory, complete, for [`FakeStripe::calls`](super::FakeStripe::calls).
    Memory,
    /// On standard output, method and path only.
    Stdout,
    /// Nowhere.
    Off,
}

/// How a fake is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// The URL under which browsers reach the fake, without a slash at the end. `None` derives it from `listen`.
    pub public_url: Option<String>,
    /// The prices that the fake sells.
    pub prices: Vec<Price>,
    /// The URL to which events are sent, and the secret that signs them.
    pub webhook: Option<(String, String)>,
    /// Stripe's OpenAPI description. If given, parameters are checked against it too.
    pub schema: Option<PathBuf>,
    /// The signing secret that `stripe listen` receives.
    pub listen_secret: String,
    /// Where calls are recorded.
    pub call_log: CallLog,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            prices: vec![
                Price::once(PRICE, 1200, "The whole story"),
                Price::once(OTHER_PRICE, 350, "A single chapter"),
                Price::monthly(MONTHLY_PRICE, 500, "Every new story"),
                Price::metered(METERED_PRICE, 10, "Pages read"),
            ],
            webhook: None,
            schema: schema::find(),
            listen_secret: "whsec_tests_know_this_one".into(),
            call_log: CallLog::Memory,
        }
    }
}
