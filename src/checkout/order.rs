//! The rules of an order: a body and its encoding become an [`Order`], or an error that names the wrong field.
//!
//! The configuration alone decides about prices, amounts and redirects. Everything that it does not offer is rejected
//! here, before Stripe is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{OrderError, OrderErrorKind};
use super::price_ids::PriceIds;
use super::raw_order::{RawItem, RawOrder};
use crate::config::{CheckoutConfig, CheckoutMode, PriceConfig};
use crate::stripe::form::Params;

/// The maximum number of line items of a payment
/// (<https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-line_items>).
const MAX_PAYMENT_ITEMS: usize = 100;
/// The maximum number of line items of a subscription: 20 recurring prices and 20 others (the same page).
const MAX_SUBSCRIPTION_ITEMS: usize = 40;
/// Stripe's limit for `client_reference_id`, in characters.
const MAX_REFERENCE_CHARS: usize = 200;
/// Stripe's limit for a metadata value, in characters.
const MAX_METADATA_CHARS: usize = 500;
/// The maximum length of an e-mail address, in bytes. It exceeds that of every valid one (RFC 5321, 4.5.3.1).
const MAX_EMAIL_BYTES: usize = 320;

/// The encoding of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderEncoding {
    /// The body is `application/json`.
    Json,
    /// The body is `application/x-www-form-urlencoded`: an HTML form.
    Form,
}

impl OrderEncoding {
    /// Returns the encoding that a `Content-Type` names, or `None` for any other type. Parameters such as `charset` are
    /// ignored, because both encodings are UTF-8.
    pub fn from_content_type(content_type: &[u8]) -> Option<Self> {
        let media_type = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        if media_type.eq_ignore_ascii_case(b"application/json") {
            Some(Self::Json)
        } else if media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            None
        }
    }
}

/// A valid order.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(Debug))]
pub struct Order {
    /// The line items, each price once. Empty in setup mode.
    pub items: Vec<LineItem>,
    /// The mode of the session.
    pub mode: CheckoutMode,
    /// The connected account that sells; `None` is the key's own account.
    pub account: Option<String>,
    /// The reference that the client gave. Like the fields below, it is not verified.
    pub client_reference_id: Option<String>,
    /// The e-mail address that the client gave.
    pub customer_email: Option<String>,
    /// The locale that the client gave, such as `en` or `pt-BR`.
    pub locale: Option<String>,
    /// The metadata that the client gave. Every key is configured.
    pub metadata: Vec<(String, String)>,
}

/// A line item of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineItem {
    /// Stripe's id of the price.
    pub price: Arc<str>,
    /// The number of units. `None` for a metered price.
    pub quantity: Option<u64>,
    /// Further parameters, as configured.
    pub params: Params,
}

impl Order {
    /// Parses an order and checks it against `config`. `ids` has Stripe's ids of the prices.
    ///
    /// # Errors
    /// Returns the first field that is wrong.
    pub fn parse(
        encoding: OrderEncoding,
        body: &[u8],
        config: &CheckoutConfig,
        ids: &PriceIds,
    ) -> Result<Self, OrderError> {
        let raw = match encoding {
            OrderEncoding::Json => RawOrder::from_json(body)?,
            OrderEncoding::Form => RawOrder::from_form(body)?,
        };
        let totals = totals_by_price(&raw, config)?;
        let mode = mode_of_order(&totals, config)?;
        Ok(Self {
            items: line_items(&totals, mode, ids)?,
            mode,
            account: account_of_order(&totals)?,
            client_reference_id: text(
                &raw,
                "client_reference_id",
                &config.identity.client_reference_id,
                is_reference,
            )?,
            customer_email: text(&raw, "customer_email", &config.identity.customer_email, is_email)?,
            // Any text will do: the nearest locale of Stripe's is sent, or `auto`.
            locale: text(&raw, "locale", &None, |_| true)?,
            metadata: metadata(raw.metadata, config)?,
        })
    }
}

/// The sum of all items of one price.
struct PriceTotal<'a> {
    price: &'a PriceConfig,
    /// `None` for a metered price.
    quantity: Option<u64>,
    /// The prefix of the fields of the price's first item, for errors: empty, or `items[0]`.
    param: String,
}

impl PriceTotal<'_> {
    fn field(&self, name: &str) -> String {
        field(&self.param, name)
    }
}

/// Returns the mode that all prices share. Checks each quantity.
fn mode_of_order(totals: &[PriceTotal], config: &CheckoutConfig) -> Result<CheckoutMode, OrderError> {
    let mode_of = |price: &PriceConfig| price.mode.unwrap_or(config.mode);
    let mode = totals.first().map_or(config.mode, |total| mode_of(total.price));
    for total in totals {
        let range = total.price.min..=total.price.max;
        if total.quantity.is_some_and(|quantity| !range.contains(&quantity)) {
            return Err(OrderError::new(OrderErrorKind::QuantityOutOfRange, total.field("quantity")));
        }
        if mode_of(total.price) != mode {
            return Err(OrderError::new(OrderErrorKind::ModesMixed, "items"));
        }
    }
    Ok(mode)
}

/// Returns the account that sells all prices.
fn account_of_order(totals: &[PriceTotal]) -> Result<Option<String>, OrderError> {
    let account = totals.first().and_then(|total| total.price.account.clone());
    match totals.iter().all(|total| total.price.account == account) {
        true => Ok(account),
        false => Err(OrderError::new(OrderErrorKind::AccountsMixed, "items")),
    }
}

/// Returns the line items, each price once in the order of its first item.
fn line_items(
    totals: &[PriceTotal],
    mode: CheckoutMode,
    ids: &PriceIds,
) -> Result<Vec<LineItem>, OrderError> {
    let max_items = match mode {
        CheckoutMode::Payment => MAX_PAYMENT_ITEMS,
        CheckoutMode::Subscription => MAX_SUBSCRIPTION_ITEMS,
        // Stripe takes no line items in setup mode: a price with this mode only selects it.
        CheckoutMode::Setup => return Ok(Vec::new()),
    };
    if totals.is_empty() {
        return Err(OrderError::new(OrderErrorKind::FieldMissing, "price"));
    }
    if totals.len() > max_items {
        return Err(OrderError::new(OrderErrorKind::FieldInvalid, "items"));
    }
    let item = |total: &PriceTotal| match ids.id_of(total.price) {
        Some(price) => Ok(LineItem { price, quantity: total.quantity, params: total.price.params.clone() }),
        None => Err(OrderError::new(OrderErrorKind::PriceUnavailable, total.field("price"))),
    };
    totals.iter().map(item).collect()
}

/// Looks up each item's price and adds up the quantities of equal prices.
fn totals_by_price<'a>(
    raw: &RawOrder,
    config: &'a CheckoutConfig,
) -> Result<Vec<PriceTotal<'a>>, OrderError> {
    let mut totals: Vec<PriceTotal> = Vec::new();
    let mut index_by_reference: BTreeMap<&str, usize> = BTreeMap::new();
    for (param, item) in items_with_params(raw)? {
        let Some(name) = &item.price else {
            return Err(OrderError::new(OrderErrorKind::FieldMissing, field(&param, "price")));
        };
        let Some(price) = config.prices.iter().find(|price| price.has_name(name)) else {
            return Err(OrderError::new(OrderErrorKind::PriceUnknown, field(&param, "price")));
        };
        if price.metered && item.quantity.is_some() {
            return Err(OrderError::new(OrderErrorKind::QuantityMetered, field(&param, "quantity")));
        }
        let quantity = (!price.metered).then(|| item.quantity.unwrap_or(1));
        match index_by_reference.get(price.reference.as_str()) {
            // The maximum of a price holds for the whole order, so repeated items are added up before the check.
            Some(&index) => {
                let total = &mut totals[index].quantity;
                *total = total.zip(quantity).map(|(total, more)| total.saturating_add(more));
            }
            None => {
                index_by_reference.insert(price.reference.as_str(), totals.len());
                totals.push(PriceTotal { price, quantity, param });
            }
        }
    }
    Ok(totals)
}

/// Returns the name of a field of an item in errors. `prefix` is empty for `price` and `quantity` at the top level.
fn field(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}[{name}]") }
}

/// Returns the items with the prefix of their fields: empty for `price` and `quantity` at the top level, else `items[0]`.
fn items_with_params(raw: &RawOrder) -> Result<Vec<(String, &RawItem)>, OrderError> {
    match (&raw.single, raw.items.is_empty()) {
        (Some(_), false) => Err(OrderError::new(OrderErrorKind::FieldInvalid, "items")),
        (Some(item), true) => Ok(vec![(String::new(), item)]),
        (None, _) => Ok(raw.items.iter().map(|(index, item)| (format!("items[{index}]"), item)).collect()),
    }
}

/// Returns the text of a field. A field that `header` fills is not the client's to say: a backend takes the value for
/// verified, and an anonymous buyer could name somebody else.
fn text(
    raw: &RawOrder,
    field: &'static str,
    header: &Option<String>,
    is_valid: impl Fn(&str) -> bool,
) -> Result<Option<String>, OrderError> {
    match raw.texts.get(field) {
        Some(_) if header.is_some() => Err(OrderError::new(OrderErrorKind::FieldFromIdentity, field)),
        Some(text) if is_valid(text) => Ok(Some(text.clone())),
        Some(_) => Err(OrderError::new(OrderErrorKind::FieldInvalid, field)),
        None => Ok(None),
    }
}

fn metadata(
    entries: Vec<(String, String)>,
    config: &CheckoutConfig,
) -> Result<Vec<(String, String)>, OrderError> {
    for (key, value) in &entries {
        let param = format!("metadata[{key}]");
        if !config.metadata.contains(key) {
            return Err(OrderError::new(OrderErrorKind::FieldUnknown, param));
        }
        if value.chars().count() > MAX_METADATA_CHARS {
            return Err(OrderError::new(OrderErrorKind::FieldInvalid, param));
        }
    }
    Ok(entries)
}

fn is_reference(text: &str) -> bool {
    text.chars().count() <= MAX_REFERENCE_CHARS && !text.chars().any(char::is_control)
}

/// Returns whether the text has the form of an e-mail address. Only a delivered message proves that it is one.
fn is_email(text: &str) -> bool {
    let is_forbidden = |c: char| c.is_whitespace() || c.is_control();
    let parts = text.rsplit_once('@');
    text.len() <= MAX_EMAIL_BYTES
        && !text.contains(is_forbidden)
        && parts.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::testing::checkout_config;
    use proptest::prelude::*;

    const CONFIG: &str = r#"
        metadata = ["campaign", "size"]
        success_url = "https://shop.example/thanks"
        [[checkout.price]]
        id = "price_pro"
        name = "pro"
        max = 5
        [[checkout.price]]
        id = "price_mug"
        name = "mug"
        min = 2
        max = 12
        [[checkout.price]]
        id = "price_monthly"
        name = "monthly"
        mode = "subscription"
        [[checkout.price]]
        id = "price_card"
        name = "card"
        mode = "setup"
    "#;

    fn parse(encoding: OrderEncoding, body: &str) -> Result<Order, OrderError> {
        Order::parse(encoding, body.as_bytes(), &checkout_config(CONFIG), &PriceIds::default())
    }

    fn order(items: &[(&str, u64)], mode: CheckoutMode) -> Order {
        let item = |(price, quantity): &(&str, u64)| LineItem {
            price: (*price).into(),
            quantity: Some(*quantity),
            params: Params::new(),
        };
        Order { items: items.iter().map(item).collect(), mode, ..Order::default() }
    }

    #[test]
    fn configured_prices_can_be_ordered_as_json_and_as_a_form() {
        let (payment, subscription) = (CheckoutMode::Payment, CheckoutMode::Subscription);
        let cases: [(&str, &str, Order); 11] = [
            (r#"{"price": "pro"}"#, "price=pro", order(&[("price_pro", 1)], payment)),
            (
                r#"{"price": "price_pro", "quantity": 5}"#,
                "price=price_pro&quantity=5",
                order(&[("price_pro", 5)], payment),
            ),
            (
                r#"{"price": "monthly", "quantity": null}"#,
                "price=monthly&quantity=",
                order(&[("price_monthly", 1)], subscription),
            ),
            (r#"{"price": "card"}"#, "price=card", order(&[], CheckoutMode::Setup)),
            (
                r#"{"items": [{"price": "mug", "quantity": 2}, {"price": "pro"}]}"#,
                "items[0][price]=mug&items[0][quantity]=2&items[1][price]=pro",
                order(&[("price_mug", 2), ("price_pro", 1)], payment),
            ),
            (
                r#"{"items": [{"price": "mug"}, {"price": "pro", "quantity": 2}, {"price": "price_mug", "quantity": 3}]}"#,
                "items%5B7%5D%5Bprice%5D=mug&items[8][price]=pro&items[8][quantity]=2&items[9][quantity]=3&items[9][price]=price_mug",
                order(&[("price_mug", 4), ("price_pro", 2)], payment),
            ),
            (
                r#"{"price": "pro", "customer_email": "ada@shop.example"}"#,
                "price=pro&customer_email=ada%40shop.example",
                Order {
                    customer_email: Some("ada@shop.example".into()),
                    ..order(&[("price_pro", 1)], payment)
                },
            ),
            (
                r#"{"price": "pro", "client_reference_id": "Zoë 1", "locale": "pt-BR"}"#,
                "price=pro&client_reference_id=Zo%C3%AB+1&locale=pt-BR",
                Order {
                    client_reference_id: Some("Zoë 1".into()),
                    locale: Some("pt-BR".into()),
                    ..order(&[("price_pro", 1)], payment)
                },
            ),
            (
                r#"{"price": "pro", "metadata": {"size": "L", "campaign": null}}"#,
                "price=pro&metadata[size]=L&metadata[campaign]=",
                Order { metadata: vec![("size".into(), "L".into())], ..order(&[("price_pro", 1)], payment) },
            ),
            (
                r#"{"price": "pro", "customer_email": "", "locale": null, "items": null}"#,
                "price=pro&customer_email=&locale=&items[0][price]=",
                order(&[("price_pro", 1)], payment),
            ),
            (
                r#"{"price": "pro", "locale": "auto"}"#,
                "price=pro&locale=auto",
                Order { locale: Some("auto".into()), ..order(&[("price_pro", 1)], payment) },
            ),
        ];
        for (json, form, expected) in cases {
            assert_eq!(parse(OrderEncoding::Json, json).as_ref(), Ok(&expected), "{json}");
            assert_eq!(parse(OrderEncoding::Form, form).as_ref(), Ok(&expected), "{form}");
        }
    }

    #[test]
    fn everything_else_is_rejected_with_the_wrong_field() {
        use OrderErrorKind::{
            FieldInvalid, FieldMissing, FieldUnknown, Malformed, ModesMixed, PriceUnknown, QuantityOutOfRange,
        };
        let long = format!(r#"{{"price": "pro", "client_reference_id": "{}"}}"#, "x".repeat(201));
        let cases: [(OrderEncoding, &str, OrderErrorKind, Option<&str>); 54] = [
            (OrderEncoding::Json, "", Malformed, None),
            (OrderEncoding::Json, "[]", Malformed, None),
            (OrderEncoding::Json, "price=pro", Malformed, None),
            (OrderEncoding::Json, r#"{"price": "pro""#, Malformed, None),
            (OrderEncoding::Json, "{}", FieldMissing, Some("price")),
            (OrderEncoding::Form, "", FieldMissing, Some("price")),
            (OrderEncoding::Form, "quantity=2", FieldMissing, Some("price")),
            (OrderEncoding::Json, r#"{"items": []}"#, FieldMissing, Some("price")),
            (OrderEncoding::Json, r#"{"items": [{}]}"#, FieldMissing, Some("items[0][price]")),
            (OrderEncoding::Form, "items[3][quantity]=1", FieldMissing, Some("items[3][price]")),
            (OrderEncoding::Json, r#"{"price": "gold"}"#, PriceUnknown, Some("price")),
            (OrderEncoding::Json, r#"{"price": "PRO"}"#, PriceUnknown, Some("price")),
            (OrderEncoding::Form, "price=price_other", PriceUnknown, Some("price")),
            (
                OrderEncoding::Json,
                r#"{"items": [{"price": "pro"}, {"price": "x"}]}"#,
                PriceUnknown,
                Some("items[1][price]"),
            ),
            (OrderEncoding::Json, r#"{"price": 1}"#, FieldInvalid, Some("price")),
            (OrderEncoding::Json, r#"{"price": {"unit_amount": 1}}"#, FieldInvalid, Some("price")),
            (OrderEncoding::Json, r#"{"price": "pro", "quantity": 0}"#, QuantityOutOfRange, Some("quantity")),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "quantity": -1}"#,
                QuantityOutOfRange,
                Some("quantity"),
            ),
            (OrderEncoding::Json, r#"{"price": "pro", "quantity": 6}"#, QuantityOutOfRange, Some("quantity")),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "quantity": 18446744073709551616}"#,
                FieldInvalid,
                Some("quantity"),
            ),
            (OrderEncoding::Json, r#"{"price": "pro", "quantity": 1.0}"#, FieldInvalid, Some("quantity")),
            (OrderEncoding::Json, r#"{"price": "pro", "quantity": "2"}"#, FieldInvalid, Some("quantity")),
            (OrderEncoding::Form, "price=pro&quantity=0", QuantityOutOfRange, Some("quantity")),
            (OrderEncoding::Form, "price=pro&quantity=-1", QuantityOutOfRange, Some("quantity")),
            (
                OrderEncoding::Form,
                "price=pro&quantity=99999999999999999999",
                QuantityOutOfRange,
                Some("quantity"),
            ),
            (OrderEncoding::Form, "price=pro&quantity=two", FieldInvalid, Some("quantity")),
            (OrderEncoding::Form, "price=pro&quantity=%2B1", FieldInvalid, Some("quantity")),
            (OrderEncoding::Form, "price=pro&quantity=1e1", FieldInvalid, Some("quantity")),
            (OrderEncoding::Form, "price=mug", QuantityOutOfRange, Some("quantity")),
            (
                OrderEncoding::Json,
                r#"{"items": [{"price": "pro", "quantity": 3}, {"price": "price_pro", "quantity": 3}]}"#,
                QuantityOutOfRange,
                Some("items[0][quantity]"),
            ),
            (
                OrderEncoding::Json,
                r#"{"items": [{"price": "pro", "quantity": 18446744073709551615}, {"price": "pro", "quantity": 2}]}"#,
                QuantityOutOfRange,
                Some("items[0][quantity]"),
            ),
            (
                OrderEncoding::Json,
                r#"{"items": [{"price": "pro"}, {"price": "monthly"}]}"#,
                ModesMixed,
                Some("items"),
            ),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "items": [{"price": "pro"}]}"#,
                FieldInvalid,
                Some("items"),
            ),
            (OrderEncoding::Json, r#"{"items": {"price": "pro"}}"#, FieldInvalid, Some("items")),
            (OrderEncoding::Json, r#"{"items": ["pro"]}"#, FieldInvalid, Some("items[0]")),
            (
                OrderEncoding::Json,
                r#"{"items": [{"price": "pro", "amount": 1}]}"#,
                FieldUnknown,
                Some("items[0][amount]"),
            ),
            (OrderEncoding::Form, "items[0][amount]=1", FieldUnknown, Some("items[0][amount]")),
            (OrderEncoding::Form, "items[x][price]=pro", FieldUnknown, Some("items[x][price]")),
            (OrderEncoding::Form, "items=pro", FieldUnknown, Some("items")),
            (OrderEncoding::Json, r#"{"price": "pro", "amount": 1}"#, FieldUnknown, Some("amount")),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "success_url": "https://evil.example"}"#,
                FieldUnknown,
                Some("success_url"),
            ),
            (OrderEncoding::Form, "price=pro&currency=usd", FieldUnknown, Some("currency")),
            (
                OrderEncoding::Form,
                "price=pro&discounts[0][coupon]=",
                FieldUnknown,
                Some("discounts[0][coupon]"),
            ),
            (OrderEncoding::Form, "price=pro&price=mug", FieldInvalid, Some("price")),
            (OrderEncoding::Form, "price=pro&locale=en&locale=de", FieldInvalid, Some("locale")),
            (
                OrderEncoding::Form,
                "price=pro&metadata[size]=L&metadata[size]=M",
                FieldInvalid,
                Some("metadata[size]"),
            ),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "customer_email": "ada"}"#,
                FieldInvalid,
                Some("customer_email"),
            ),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "customer_email": ["a@b.example"]}"#,
                FieldInvalid,
                Some("customer_email"),
            ),
            (OrderEncoding::Json, &long, FieldInvalid, Some("client_reference_id")),
            (OrderEncoding::Json, r#"{"price": "pro", "locale": 5}"#, FieldInvalid, Some("locale")),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "metadata": {"admin": "1"}}"#,
                FieldUnknown,
                Some("metadata[admin]"),
            ),
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "metadata": {"size": 1}}"#,
                FieldInvalid,
                Some("metadata[size]"),
            ),
            (OrderEncoding::Json, r#"{"price": "pro", "metadata": "x"}"#, FieldInvalid, Some("metadata")),
            (OrderEncoding::Form, "price=pro&metadata=x", FieldUnknown, Some("metadata")),
        ];
        for (encoding, body, kind, param) in cases {
            let error = OrderError { kind, param: param.map(str::to_owned) };
            assert_eq!(parse(encoding, body), Err(error), "{body}");
        }
    }

    #[test]
    fn a_metered_price_has_no_quantity_and_an_order_one_account() {
        use OrderErrorKind::{AccountsMixed, PriceUnavailable, QuantityMetered};
        let config = checkout_config(
            r#"
            success_url = "https://shop.example"
            mode = "subscription"
            [[checkout.price]]
            id = "price_use"
            metered = true
            [[checkout.price]]
            id = "price_a"
            account = "acct_1"
            [[checkout.price]]
            lookup_key = "b"
            "#,
        );
        let parse =
            |body: &str| Order::parse(OrderEncoding::Json, body.as_bytes(), &config, &PriceIds::default());
        for (body, kind, param) in [
            (r#"{"price": "price_use", "quantity": 1}"#, QuantityMetered, "quantity"),
            (
                r#"{"items": [{"price": "price_use"}, {"price": "price_use", "quantity": 1}]}"#,
                QuantityMetered,
                "items[1][quantity]",
            ),
            (r#"{"items": [{"price": "price_use"}, {"price": "price_a"}]}"#, AccountsMixed, "items"),
            (r#"{"price": "b"}"#, PriceUnavailable, "price"),
        ] {
            assert_eq!(parse(body), Err(OrderError::new(kind, param)), "{body}");
        }
        let order = parse(r#"{"items": [{"price": "price_use"}, {"price": "price_use"}]}"#).unwrap();
        let item = LineItem { price: "price_use".into(), quantity: None, params: Params::new() };
        assert_eq!((order.items, order.account), (vec![item], None));
        assert_eq!(parse(r#"{"price": "price_a"}"#).unwrap().account.as_deref(), Some("acct_1"));
    }

    #[test]
    fn a_field_that_an_identity_header_fills_cannot_be_in_the_order() {
        use OrderErrorKind::FieldFromIdentity;
        let config = checkout_config(&format!(
            "{CONFIG}\n[checkout.identity]\nclient_reference_id = \"X-User-Id\"\ncustomer = \"X-Customer-Id\""
        ));
        let parse =
            |encoding, body: &str| Order::parse(encoding, body.as_bytes(), &config, &PriceIds::default());
        for (encoding, body) in [
            (OrderEncoding::Json, r#"{"price": "pro", "client_reference_id": "victim"}"#),
            (OrderEncoding::Form, "price=pro&client_reference_id=victim"),
        ] {
            let error = OrderError::new(FieldFromIdentity, "client_reference_id");
            assert_eq!(parse(encoding, body), Err(error), "{body}");
        }
        // A blank field says nothing, and no header fills the address here.
        for (encoding, body) in [
            (
                OrderEncoding::Json,
                r#"{"price": "pro", "client_reference_id": "", "customer_email": "a@b.example"}"#,
            ),
            (OrderEncoding::Form, "price=pro&client_reference_id=&customer_email=a%40b.example"),
        ] {
            let order = parse(encoding, body).unwrap();
            assert_eq!(order.client_reference_id, None, "{body}");
            assert_eq!(order.customer_email.as_deref(), Some("a@b.example"), "{body}");
        }
    }

    #[test]
    fn an_order_in_setup_mode_needs_no_price() {
        let config = checkout_config(&CONFIG.replacen("success_url", "mode = \"setup\"\nsuccess_url", 1));
        for (encoding, body) in [(OrderEncoding::Json, "{}"), (OrderEncoding::Form, "")] {
            assert_eq!(
                Order::parse(encoding, body.as_bytes(), &config, &PriceIds::default()),
                Ok(order(&[], CheckoutMode::Setup))
            );
        }
    }

    #[test]
    fn more_line_items_than_stripe_allows_are_rejected() {
        let (mut text, mut items) = ("success_url = \"https://shop.example\"\n".to_owned(), Vec::new());
        for n in 0..101 {
            text += &format!("[[checkout.price]]\nid = \"price_{n}\"\n");
            items.push(format!("{{\"price\": \"price_{n}\"}}"));
        }
        for (count, mode, accepted) in [
            (100, "payment", true),
            (101, "payment", false),
            (40, "subscription", true),
            (41, "subscription", false),
        ] {
            let config = checkout_config(&format!("mode = \"{mode}\"\n{text}"));
            let body = format!("{{\"items\": [{}]}}", items[..count].join(","));
            assert_eq!(
                Order::parse(OrderEncoding::Json, body.as_bytes(), &config, &PriceIds::default()).is_ok(),
                accepted,
                "{count} {mode}"
            );
        }
    }

    proptest! {
        /// Concatenates fragments of valid orders at random.
        #[test]
        fn any_body_is_an_order_within_the_configuration_or_rejected(
            pieces in proptest::collection::vec((0..PIECES.len(), 0..40_usize, ".{0,2}"), 0..8),
            json: bool,
        ) {
            let body: String = pieces
                .iter()
                .map(|(at, length, between)| {
                    let piece = PIECES[*at];
                    String::from_utf8_lossy(&piece.as_bytes()[..(*length).min(piece.len())]).into_owned() + between
                })
                .collect();
            let encoding = if json { OrderEncoding::Json } else { OrderEncoding::Form };
            let config = checkout_config(CONFIG);
            if let Ok(order) = Order::parse(encoding, body.as_bytes(), &config, &PriceIds::default()) {
                for item in &order.items {
                    let price = config.prices.iter().find(|price| price.reference.as_str() == &*item.price);
                    let price = price.unwrap();
                    prop_assert!((price.min..=price.max).contains(&item.quantity.unwrap()), "{body}");
                }
                prop_assert!(order.metadata.iter().all(|(key, _)| config.metadata.contains(key)), "{body}");
            }
        }
    }

    /// The fragments that the test above concatenates.
    const PIECES: [&str; 12] = [
        r#"{"price": "pro", "quantity": 2}"#,
        r#"{"items": [{"price": "mug", "quantity": 3}]}"#,
        r#""metadata": {"size": "L"}, "#,
        r#"{"price": "pro", "#,
        r#""quantity": 5}"#,
        "price=pro&quantity=2",
        "&items[0][price]=mug",
        "&items[0][quantity]=12",
        "&metadata[size]=L",
        "&customer_email=ada%40shop.example",
        "&locale=de",
        "&",
    ];

    #[test]
    fn the_encoding_depends_on_the_media_type_alone() {
        for (text, encoding) in [
            ("application/json", Some(OrderEncoding::Json)),
            ("Application/JSON; charset=utf-8", Some(OrderEncoding::Json)),
            ("application/x-www-form-urlencoded ;charset=UTF-8", Some(OrderEncoding::Form)),
            ("text/plain", None),
            ("multipart/form-data; boundary=x", None),
            ("application/json-patch+json", None),
            ("", None),
        ] {
            assert_eq!(OrderEncoding::from_content_type(text.as_bytes()), encoding, "{text}");
        }
    }
}
