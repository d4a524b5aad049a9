//! The parameters of a Checkout Session, and the reader of Stripe's responses about it. Pure: `stripe_api` makes the calls.

use serde::Deserialize;

use super::identity::Identity;
use super::order::{LineItem, Order};
use crate::config::CheckoutConfig;
use crate::stripe::form::{Param, Params};

/// The path under which sessions are created and read.
pub(super) const PATH: &str = "/v1/checkout/sessions";

/// Returns the parameters that create a session. The buyer's verified identity overrides what the client sent. Configured
/// parameters are added, but never replace a parameter that the order set: clients may set only `locale` and metadata.
pub(super) fn params(order: Order, buyer: &Identity, config: &CheckoutConfig) -> Params {
    let mut params = Params::new();
    let mut add = |key: &str, value: Option<Param>| {
        if let Some(value) = value {
            params.push((key.to_owned(), value));
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Param::from);
    let line_item = |item: LineItem| {
        let quantity = Param::from(item.quantity);
        Param::Table(vec![("price".to_owned(), Param::Text(item.price)), ("quantity".to_owned(), quantity)])
    };
    add("mode", Some(order.mode.as_str().into()));
    add("ui_mode", config.ui_mode.as_str().map(Param::from));
    add(
        "line_items",
        (!order.items.is_empty()).then(|| Param::List(order.items.into_iter().map(line_item).collect())),
    );
    add("success_url", text(&config.success_url));
    add("cancel_url", text(&config.cancel_url));
    add("return_url", text(&config.return_url));
    add("customer", text(&buyer.customer));
    if buyer.customer.is_none() {
        // Stripe accepts either `customer` or `customer_email`; a customer already has an address.
        add("customer_email", text(&buyer.customer_email).or_else(|| text(&order.customer_email)));
    }
    let reference = text(&buyer.client_reference_id).or_else(|| text(&order.client_reference_id));
    add("client_reference_id", reference);
    let metadata = order.metadata.into_iter().map(|(key, value)| (key, Param::Text(value))).collect();
    add("locale", text(&order.locale));
    add("metadata", Some(Param::Table(metadata)));
    add_configured(&mut params, &config.params);
    params
}

/// Adds the configured parameters. In tables such as `metadata` they add the keys that the order did not set.
fn add_configured(params: &mut Params, configured: &Params) {
    for (key, value) in configured {
        match (params.iter_mut().find(|(existing, _)| existing == key), value) {
            (None, value) => params.push((key.clone(), value.clone())),
            (Some((_, Param::Table(existing))), Param::Table(more)) => {
                let is_new = |(key, _): &&(String, Param)| !existing.iter().any(|(other, _)| other == key);
                let new: Params = more.iter().filter(is_new).cloned().collect();
                existing.extend(new);
            }
            (Some(_), _) => {}
        }
    }
}

/// A new session, as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSession {
    /// The id, `cs_…`.
    pub id: String,
    /// The page or form in which the buyer pays.
    pub payment_ui: PaymentUi,
}

/// The page or form in which the buyer pays.
#[derive(Clone, PartialEq, Eq)]
pub enum PaymentUi {
    /// The buyer pays on Stripe's page, at this URL.
    Hosted(String),
    /// The buyer pays in a form on the shop's page, which needs this client secret.
    Embedded(String),
}

/// Hides the URL and the client secret: either of them is enough to pay in the buyer's place.
impl std::fmt::Debug for PaymentUi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hosted(_) => "Hosted(…)",
            Self::Embedded(_) => "Embedded(…)",
        })
    }
}

/// The status of a session. It holds no personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// The session's status: `open`, `complete` or `expired`. `None` if Stripe left it out.
    pub status: Option<String>,
    /// The payment's status: `paid`, `unpaid` or `no_payment_required`. `None` if Stripe left it out.
    pub payment_status: Option<String>,
}

/// The members of Stripe's session object that are used.
#[derive(Deserialize)]
struct SessionObject {
    id: String,
    url: Option<String>,
    client_secret: Option<String>,
    status: Option<String>,
    payment_status: Option<String>,
}

/// Parses the response to the creation of a session. Returns `None` if it has no valid id, or neither URL nor client secret.
pub(super) fn parse_created(body: &[u8]) -> Option<CheckoutSession> {
    let object: SessionObject = serde_json::from_slice(body).ok()?;
    // The URL becomes the value of a `Location` header, so it must not contain a line break.
    let url = object.url.filter(|url| url.bytes().all(|b| b.is_ascii_graphic()) && !url.is_empty());
    let payment_ui = match (url, object.client_secret) {
        (Some(url), _) => PaymentUi::Hosted(url),
        (None, Some(secret)) => PaymentUi::Embedded(secret),
        (None, None) => return None,
    };
    is_session_id(&object.id).then_some(CheckoutSession { id: object.id, payment_ui })
}

/// Parses the response to a request for a session. Returns `None` if it is not a session object.
pub(super) fn parse_status(body: &[u8]) -> Option<SessionStatus> {
    let object: SessionObject = serde_json::from_slice(body).ok()?;
    Some(SessionStatus { status: object.status, payment_status: object.payment_status })
}

/// Returns whether the text is a session id: `cs_test_…` or `cs_live_…`. The id becomes part of a path, so nothing else is
/// accepted.
pub fn is_session_id(text: &str) -> bool {
    let rest = text.strip_prefix("cs_test_").or_else(|| text.strip_prefix("cs_live_"));
    rest.is_some_and(|rest| {
        (1..=255).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::order::OrderEncoding;
    use crate::checkout::testing::checkout_config;
    use crate::stripe::form;

    /// Returns the encoded parameters of an order, one an element.
    fn encoded_params(checkout: &str, buyer: &Identity, body: &str) -> Vec<String> {
        let config = checkout_config(checkout);
        let order = Order::parse(OrderEncoding::Json, body.as_bytes(), &config).unwrap();
        form::encode(&params(order, buyer, &config)).split('&').map(str::to_owned).collect()
    }

    const HOSTED: &str = r#"
        success_url = "https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}"
        [[checkout.price]]
        id = "price_pro"
        name = "pro"
        max = 9
    "#;

    #[test]
    fn a_hosted_session_has_mode_line_items_and_success_url() {
        let params = encoded_params(HOSTED, &Identity::default(), r#"{"price": "pro", "quantity": 3}"#);
        assert_eq!(
            params,
            [
                "mode=payment",
                "line_items[0][price]=price_pro",
                "line_items[0][quantity]=3",
                "success_url=https%3A%2F%2Fshop.example%2Fthanks%3Fsession_id%3D%7BCHECKOUT_SESSION_ID%7D",
            ]
        );
    }

    #[test]
    fn an_embedded_session_has_ui_mode_and_return_url() {
        let config = r#"
            ui_mode = "embedded_page"
            mode = "subscription"
            return_url = "https://shop.example/back"
            [[checkout.price]]
            id = "price_1"
        "#;
        assert_eq!(
            encoded_params(config, &Identity::default(), r#"{"price": "price_1"}"#),
            [
                "mode=subscription",
                "ui_mode=embedded_page",
                "line_items[0][price]=price_1",
                "line_items[0][quantity]=1",
                "return_url=https%3A%2F%2Fshop.example%2Fback",
            ]
        );
    }

    #[test]
    fn the_verified_identity_overrides_what_the_client_sent() {
        let body = r#"{"price": "pro", "customer_email": "evil@b.example", "client_reference_id": "admin"}"#;
        let own = |text: &str| Some(text.to_owned());
        let rest = |buyer: Identity| encoded_params(HOSTED, &buyer, body)[4..].to_vec();
        for (buyer, expected) in [
            (Identity::default(), vec!["customer_email=evil%40b.example", "client_reference_id=admin"]),
            (
                Identity {
                    client_reference_id: own("42"),
                    customer_email: own("a@b.example"),
                    customer: None,
                },
                vec!["customer_email=a%40b.example", "client_reference_id=42"],
            ),
            (
                Identity {
                    customer: own("cus_1"),
                    customer_email: own("a@b.example"),
                    client_reference_id: None,
                },
                vec!["customer=cus_1", "client_reference_id=admin"],
            ),
        ] {
            assert_eq!(rest(buyer), expected);
        }
    }

    #[test]
    fn configured_parameters_are_added_and_clients_override_only_locale_and_metadata() {
        let config = format!(
            r#"metadata = ["size"]
            {HOSTED}
            [checkout.params]
            allow_promotion_codes = true
            locale = "de"
            automatic_tax = {{ enabled = true }}
            payment_method_types = ["card", "link"]
            metadata = {{ shop = "north", size = "M" }}
            "#
        );
        let tail = |body: &str| {
            let mut tail = encoded_params(&config, &Identity::default(), body)[4..].to_vec();
            tail.sort();
            tail
        };
        let common = [
            "allow_promotion_codes=true",
            "automatic_tax[enabled]=true",
            "payment_method_types[0]=card",
            "payment_method_types[1]=link",
            "metadata[shop]=north",
        ];
        for (body, own) in [
            (r#"{"price": "pro"}"#, ["locale=de", "metadata[size]=M"]),
            (
                r#"{"price": "pro", "locale": "fr", "metadata": {"size": "L"}}"#,
                ["locale=fr", "metadata[size]=L"],
            ),
        ] {
            let mut expected = [&common[..], &own].concat();
            expected.sort_unstable();
            assert_eq!(tail(body), expected, "{body}");
        }
    }

    #[test]
    fn a_created_session_is_hosted_or_embedded_or_invalid() {
        let hosted = PaymentUi::Hosted("https://checkout.stripe.com/c/pay/cs_test_1#x".into());
        for (body, expected) in [
            (
                r#"{"id": "cs_test_1", "url": "https://checkout.stripe.com/c/pay/cs_test_1#x", "client_secret": null}"#,
                Some(CheckoutSession { id: "cs_test_1".into(), payment_ui: hosted }),
            ),
            (
                r#"{"id": "cs_live_1", "url": null, "client_secret": "cs_live_1_secret_x"}"#,
                Some(CheckoutSession {
                    id: "cs_live_1".into(),
                    payment_ui: PaymentUi::Embedded("cs_live_1_secret_x".into()),
                }),
            ),
            (r#"{"id": "cs_test_1"}"#, None),
            (r#"{"id": "cs_test_1", "url": "https://a\r\nX: y"}"#, None),
            (r#"{"id": "pi_1", "url": "https://a"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(parse_created(body.as_bytes()), expected, "{body}");
        }
        let status = parse_status(br#"{"id": "cs_test_1", "status": "complete", "payment_status": "paid", "customer_details": {"email": "a@b.example"}}"#);
        let expected = SessionStatus { status: Some("complete".into()), payment_status: Some("paid".into()) };
        assert_eq!(status, Some(expected));
    }

    #[test]
    fn only_a_session_id_is_accepted() {
        for (text, accepted) in [
            ("cs_test_a1B2", true),
            ("cs_live_0", true),
            ("cs_test_", false),
            ("cs_prod_1", false),
            ("cs_test_1/expire", false),
            ("cs_test_1%2Fexpire", false),
            ("cs_test_1_secret_2", false),
            ("", false),
        ] {
            assert_eq!(is_session_id(text), accepted, "{text}");
        }
    }

    #[test]
    fn debug_output_hides_url_and_client_secret() {
        let session = CheckoutSession {
            id: "cs_test_1".into(),
            payment_ui: PaymentUi::Embedded("cs_test_1_secret_x".into()),
        };
        assert_eq!(format!("{session:?}"), r#"CheckoutSession { id: "cs_test_1", payment_ui: Embedded(…) }"#);
    }
}
