//! What a client may order: bytes and their type → an [`Order`], or what is wrong with which field. Pure. Prices, amounts
//! and where buyers go afterwards are the configuration's; everything that it does not sell is refused here.

use std::collections::BTreeMap;

use super::draft::{Draft, Line};
use crate::config::{self, CheckoutMode, PriceConfig};

/// Line items of one session (<https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-line_items>):
/// 100 for a payment; 20 recurring ones and 20 others for a subscription.
const MOST_ITEMS: [usize; 2] = [100, 40];
/// Stripe's own limits.
const MOST_REFERENCE: usize = 200;
const MOST_METADATA: usize = 500;
/// Longer than any e-mail address (RFC 5321, 4.5.3.1).
const MOST_EMAIL: usize = 320;

/// How an order is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded`: an HTML form.
    Form,
}

impl Shape {
    /// The shape that a `Content-Type` names; charset and other parameters change nothing, since both are UTF-8.
    pub fn of(content_type: &[u8]) -> Option<Shape> {
        let kind = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        if kind.eq_ignore_ascii_case(b"application/json") {
            Some(Shape::Json)
        } else if kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Some(Shape::Form)
        } else {
            None
        }
    }
}

/// Something that is sold.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(Debug))]
pub struct Order {
    /// What, and how much of it; empty where nothing is sold (setup).
    pub items: Vec<Item>,
    /// What the session is to do.
    pub mode: CheckoutMode,
    /// Of the client's own saying, as is everything below.
    pub client_reference_id: Option<String>,
    /// An e-mail address.
    pub customer_email: Option<String>,
    /// A language.
    pub locale: Option<String>,
    /// Listed keys only.
    pub metadata: Vec<(String, String)>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Stripe's id of the price.
    pub price: String,
    /// How many.
    pub quantity: u64,
}

/// Why an order is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderErrorKind {
    /// No JSON object, no form.
    Malformed,
    /// No order has such a field.
    FieldUnknown,
    /// It cannot have such a value.
    FieldInvalid,
    /// It orders nothing.
    FieldMissing,
    /// The configuration sells no such price.
    PriceUnknown,
    /// Not so few, or not so many, of it at once.
    QuantityOutOfRange,
    /// Prices that do not go into one session.
    ModesMixed,
}

/// A fault and the field that has it, spelled as in a form: `items[0][price]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderError {
    /// What is wrong.
    pub fault: OrderErrorKind,
    /// With which field; `None` with the whole.
    pub param: Option<String>,
}

impl OrderError {
    pub(super) fn of(fault: OrderErrorKind, param: impl Into<String>) -> OrderError {
        OrderError { fault, param: Some(param.into()) }
    }
}

impl Order {
    /// Reads an order for what `terms` sell.
    pub fn read(shape: Shape, body: &[u8], terms: &config::CheckoutConfig) -> Result<Order, OrderError> {
        let draft = match shape {
            Shape::Json => Draft::from_json(body)?,
            Shape::Form => Draft::from_form(body)?,
        };
        let (items, mode) = items(&draft, terms)?;
        Ok(Order {
            items,
            mode,
            client_reference_id: text(&draft, "client_reference_id", |text| {
                text.chars().count() <= MOST_REFERENCE && !text.chars().any(char::is_control)
            })?,
            customer_email: text(&draft, "customer_email", is_email)?,
            locale: text(&draft, "locale", is_locale)?,
            metadata: metadata(draft.metadata, terms)?,
        })
    }
}

/// Everything that is ordered, each price once, in the order in which it was named first.
fn items(draft: &Draft, terms: &config::CheckoutConfig) -> Result<(Vec<Item>, CheckoutMode), OrderError> {
    let lines: Vec<(String, &Line)> = match (&draft.single, draft.lines.is_empty()) {
        (Some(_), false) => return Err(OrderError::of(OrderErrorKind::FieldInvalid, "items")),
        (Some(line), true) => vec![(String::new(), line)],
        (None, _) => draft.lines.iter().map(|(at, line)| (format!("items[{at}]"), line)).collect(),
    };
    if lines.is_empty() {
        return match terms.mode {
            CheckoutMode::Setup => Ok((Vec::new(), CheckoutMode::Setup)),
            CheckoutMode::Payment | CheckoutMode::Subscription => {
                Err(OrderError::of(OrderErrorKind::FieldMissing, "price"))
            }
        };
    }
    let mut ordered: Vec<(&PriceConfig, u64, String)> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, line) in lines {
        let field = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}[{name}]") };
        let Some(word) = &line.price else {
            return Err(OrderError::of(OrderErrorKind::FieldMissing, field("price")));
        };
        let price = terms.prices.iter().find(|price| price.is_called(word));
        let Some(price) = price else {
            return Err(OrderError::of(OrderErrorKind::PriceUnknown, field("price")));
        };
        let quantity = line.quantity.unwrap_or(1);
        match known.get(&*price.id) {
            // What is sold up to a number is sold up to that number, in however many pieces.
            Some(&at) => ordered[at].1 = ordered[at].1.saturating_add(quantity),
            None => {
                known.insert(&price.id, ordered.len());
                ordered.push((price, quantity, field("quantity")));
            }
        }
    }
    let mode_of = |price: &PriceConfig| price.mode.unwrap_or(terms.mode);
    let mode = ordered.first().map_or(terms.mode, |(price, ..)| mode_of(price));
    for (price, quantity, field) in &ordered {
        if !(price.min..=price.max).contains(quantity) {
            return Err(OrderError::of(OrderErrorKind::QuantityOutOfRange, field));
        }
        if mode_of(price) != mode {
            return Err(OrderError::of(OrderErrorKind::ModesMixed, "items"));
        }
    }
    let most = match mode {
        CheckoutMode::Payment => MOST_ITEMS[0],
        CheckoutMode::Subscription => MOST_ITEMS[1],
        // A price that sets up a payment is only a name for doing so.
        CheckoutMode::Setup => return Ok((Vec::new(), mode)),
    };
    if ordered.len() > most {
        return Err(OrderError::of(OrderErrorKind::FieldInvalid, "items"));
    }
    let item = |(price, quantity, _): (&PriceConfig, u64, String)| Item { price: price.id.clone(), quantity };
    Ok((ordered.into_iter().map(item).collect(), mode))
}

fn text(
    draft: &Draft,
    name: &'static str,
    fine: impl Fn(&str) -> bool,
) -> Result<Option<String>, OrderError> {
    match draft.texts.get(name) {
        Some(text) if fine(text) => Ok(Some(text.clone())),
        Some(_) => Err(OrderError::of(OrderErrorKind::FieldInvalid, name)),
        None => Ok(None),
    }
}

fn metadata(
    said: Vec<(String, String)>,
    terms: &config::CheckoutConfig,
) -> Result<Vec<(String, String)>, OrderError> {
    for (key, value) in &said {
        let field = format!("metadata[{key}]");
        if !terms.metadata.contains(key) {
            return Err(OrderError::of(OrderErrorKind::FieldUnknown, field));
        }
        if value.chars().count() > MOST_METADATA {
            return Err(OrderError::of(OrderErrorKind::FieldInvalid, field));
        }
    }
    Ok(said)
}

/// Whether it can be one; whether it is one is known when something arrives there.
fn is_email(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    let sides = text.rsplit_once('@');
    text.len() <= MOST_EMAIL
        && !text.contains(odd)
        && sides.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
}

/// `auto`, or something like `en` or `pt-BR`; Stripe knows which there are.
fn is_locale(text: &str) -> bool {
    let (language, region) = text.split_once('-').unwrap_or((text, "XX"));
    (2..=4).contains(&language.len())
        && (2..=4).contains(&region.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && region.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::testing::terms;
    use proptest::prelude::*;

    const TERMS: &str = r#"
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

    fn read(shape: Shape, body: &str) -> Result<Order, OrderError> {
        Order::read(shape, body.as_bytes(), &terms(TERMS))
    }

    fn order(items: &[(&str, u64)], mode: CheckoutMode) -> Order {
        let item = |(price, quantity): &(&str, u64)| Item { price: (*price).into(), quantity: *quantity };
        Order { items: items.iter().map(item).collect(), mode, ..Order::default() }
    }

    #[test]
    fn what_is_sold_can_be_ordered_as_json_and_as_a_form() {
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
            assert_eq!(read(Shape::Json, json).as_ref(), Ok(&expected), "{json}");
            assert_eq!(read(Shape::Form, form).as_ref(), Ok(&expected), "{form}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_field_that_is_wrong() {
        use OrderErrorKind::{
            FieldInvalid, FieldMissing, FieldUnknown, Malformed, ModesMixed, PriceUnknown, QuantityOutOfRange,
        };
        let long = format!(r#"{{"price": "pro", "client_reference_id": "{}"}}"#, "x".repeat(201));
        let cases: [(Shape, &str, OrderErrorKind, Option<&str>); 54] = [
            (Shape::Json, "", Malformed, None),
            (Shape::Json, "[]", Malformed, None),
            (Shape::Json, "price=pro", Malformed, None),
            (Shape::Json, r#"{"price": "pro""#, Malformed, None),
            (Shape::Json, "{}", FieldMissing, Some("price")),
            (Shape::Form, "", FieldMissing, Some("price")),
            (Shape::Form, "quantity=2", FieldMissing, Some("price")),
            (Shape::Json, r#"{"items": []}"#, FieldMissing, Some("price")),
            (Shape::Json, r#"{"items": [{}]}"#, FieldMissing, Some("items[0][price]")),
            (Shape::Form, "items[3][quantity]=1", FieldMissing, Some("items[3][price]")),
            (Shape::Json, r#"{"price": "gold"}"#, PriceUnknown, Some("price")),
            (Shape::Json, r#"{"price": "PRO"}"#, PriceUnknown, Some("price")),
            (Shape::Form, "price=price_other", PriceUnknown, Some("price")),
            (
                Shape::Json,
                r#"{"items": [{"price": "pro"}, {"price": "x"}]}"#,
                PriceUnknown,
                Some("items[1][price]"),
            ),
            (Shape::Json, r#"{"price": 1}"#, FieldInvalid, Some("price")),
            (Shape::Json, r#"{"price": {"unit_amount": 1}}"#, FieldInvalid, Some("price")),
            (Shape::Json, r#"{"price": "pro", "quantity": 0}"#, QuantityOutOfRange, Some("quantity")),
            (Shape::Json, r#"{"price": "pro", "quantity": -1}"#, QuantityOutOfRange, Some("quantity")),
            (Shape::Json, r#"{"price": "pro", "quantity": 6}"#, QuantityOutOfRange, Some("quantity")),
            (
                Shape::Json,
                r#"{"price": "pro", "quantity": 18446744073709551616}"#,
                FieldInvalid,
                Some("quantity"),
            ),
            (Shape::Json, r#"{"price": "pro", "quantity": 1.0}"#, FieldInvalid, Some("quantity")),
            (Shape::Json, r#"{"price": "pro", "quantity": "2"}"#, FieldInvalid, Some("quantity")),
            (Shape::Form, "price=pro&quantity=0", QuantityOutOfRange, Some("quantity")),
            (Shape::Form, "price=pro&quantity=-1", QuantityOutOfRange, Some("quantity")),
            (Shape::Form, "price=pro&quantity=99999999999999999999", QuantityOutOfRange, Some("quantity")),
            (Shape::Form, "price=pro&quantity=two", FieldInvalid, Some("quantity")),
            (Shape::Form, "price=pro&quantity=%2B1", FieldInvalid, Some("quantity")),
            (Shape::Form, "price=pro&quantity=1e1", FieldInvalid, Some("quantity")),
            (Shape::Form, "price=mug", QuantityOutOfRange, Some("quantity")),
            (
                Shape::Json,
                r#"{"items": [{"price": "pro", "quantity": 3}, {"price": "price_pro", "quantity": 3}]}"#,
                QuantityOutOfRange,
                Some("items[0][quantity]"),
            ),
            (
                Shape::Json,
                r#"{"items": [{"price": "pro", "quantity": 18446744073709551615}, {"price": "pro", "quantity": 2}]}"#,
                QuantityOutOfRange,
                Some("items[0][quantity]"),
            ),
            (
                Shape::Json,
                r#"{"items": [{"price": "pro"}, {"price": "monthly"}]}"#,
                ModesMixed,
                Some("items"),
            ),
            (Shape::Json, r#"{"price": "pro", "items": [{"price": "pro"}]}"#, FieldInvalid, Some("items")),
            (Shape::Json, r#"{"items": {"price": "pro"}}"#, FieldInvalid, Some("items")),
            (Shape::Json, r#"{"items": ["pro"]}"#, FieldInvalid, Some("items[0]")),
            (
                Shape::Json,
                r#"{"items": [{"price": "pro", "amount": 1}]}"#,
                FieldUnknown,
                Some("items[0][amount]"),
            ),
            (Shape::Form, "items[0][amount]=1", FieldUnknown, Some("items[0][amount]")),
            (Shape::Form, "items[x][price]=pro", FieldUnknown, Some("items[x][price]")),
            (Shape::Form, "items=pro", FieldUnknown, Some("items")),
            (Shape::Json, r#"{"price": "pro", "amount": 1}"#, FieldUnknown, Some("amount")),
            (
                Shape::Json,
                r#"{"price": "pro", "success_url": "https://evil.example"}"#,
                FieldUnknown,
                Some("success_url"),
            ),
            (Shape::Form, "price=pro&currency=usd", FieldUnknown, Some("currency")),
            (Shape::Form, "price=pro&discounts[0][coupon]=", FieldUnknown, Some("discounts[0][coupon]")),
            (Shape::Form, "price=pro&price=mug", FieldInvalid, Some("price")),
            (Shape::Form, "price=pro&locale=en&locale=de", FieldInvalid, Some("locale")),
            (
                Shape::Form,
                "price=pro&metadata[size]=L&metadata[size]=M",
                FieldInvalid,
                Some("metadata[size]"),
            ),
            (
                Shape::Json,
                r#"{"price": "pro", "customer_email": "ada"}"#,
                FieldInvalid,
                Some("customer_email"),
            ),
            (
                Shape::Json,
                r#"{"price": "pro", "customer_email": ["a@b.example"]}"#,
                FieldInvalid,
                Some("customer_email"),
            ),
            (Shape::Json, &long, FieldInvalid, Some("client_reference_id")),
            (Shape::Json, r#"{"price": "pro", "locale": "../x"}"#, FieldInvalid, Some("locale")),
            (
                Shape::Json,
                r#"{"price": "pro", "metadata": {"admin": "1"}}"#,
                FieldUnknown,
                Some("metadata[admin]"),
            ),
            (
                Shape::Json,
                r#"{"price": "pro", "metadata": {"size": 1}}"#,
                FieldInvalid,
                Some("metadata[size]"),
            ),
            (Shape::Json, r#"{"price": "pro", "metadata": "x"}"#, FieldInvalid, Some("metadata")),
            (Shape::Form, "price=pro&metadata=x", FieldUnknown, Some("metadata")),
        ];
        for (shape, body, fault, param) in cases {
            let refusal = OrderError { fault, param: param.map(str::to_owned) };
            assert_eq!(read(shape, body), Err(refusal), "{body}");
        }
    }

    #[test]
    fn setting_up_a_payment_needs_no_price() {
        let terms = terms(&TERMS.replacen("success_url", "mode = \"setup\"\nsuccess_url", 1));
        for (shape, body) in [(Shape::Json, "{}"), (Shape::Form, "")] {
            assert_eq!(Order::read(shape, body.as_bytes(), &terms), Ok(order(&[], CheckoutMode::Setup)));
        }
    }

    #[test]
    fn a_session_has_no_more_lines_than_stripe_takes() {
        let (mut text, mut items) = ("success_url = \"https://shop.example\"\n".to_owned(), Vec::new());
        for n in 0..101 {
            text += &format!("[[checkout.price]]\nid = \"price_{n}\"\n");
            items.push(format!("{{\"price\": \"price_{n}\"}}"));
        }
        for (count, mode, fine) in [
            (100, "payment", true),
            (101, "payment", false),
            (40, "subscription", true),
            (41, "subscription", false),
        ] {
            let terms = terms(&format!("mode = \"{mode}\"\n{text}"));
            let body = format!("{{\"items\": [{}]}}", items[..count].join(","));
            assert_eq!(Order::read(Shape::Json, body.as_bytes(), &terms).is_ok(), fine, "{count} {mode}");
        }
    }

    proptest! {
        /// Pieces of good orders, torn and stuck together anyhow.
        #[test]
        fn whatever_is_sent_it_is_an_order_within_the_terms_or_refused(
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
            let shape = if json { Shape::Json } else { Shape::Form };
            let terms = terms(TERMS);
            if let Ok(order) = Order::read(shape, body.as_bytes(), &terms) {
                for item in &order.items {
                    let price = terms.prices.iter().find(|price| price.id == item.price).unwrap();
                    prop_assert!((price.min..=price.max).contains(&item.quantity), "{body}");
                }
                prop_assert!(order.metadata.iter().all(|(key, _)| terms.metadata.contains(key)), "{body}");
            }
        }
    }

    /// What the order above is made of.
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
    fn a_shape_is_named_by_the_type_alone() {
        for (text, shape) in [
            ("application/json", Some(Shape::Json)),
            ("Application/JSON; charset=utf-8", Some(Shape::Json)),
            ("application/x-www-form-urlencoded ;charset=UTF-8", Some(Shape::Form)),
            ("text/plain", None),
            ("multipart/form-data; boundary=x", None),
            ("application/json-patch+json", None),
            ("", None),
        ] {
            assert_eq!(Shape::of(text.as_bytes()), shape, "{text}");
        }
    }
}
