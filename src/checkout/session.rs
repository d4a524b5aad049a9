//! An order and a buyer → the parameters of a Checkout Session, and Stripe's answer → what the client needs of it. Pure;
//! the call itself is `stripe_api`'s.

use serde::Deserialize;

use super::identity::Identity;
use super::order::Order;
use crate::config;
use crate::stripe::form::{Param, Params};

/// Where sessions are created and read.
pub(super) const PATH: &str = "/v1/checkout/sessions";

/// The parameters that create it. What Caddy says of the buyer beats what the client says; what the configuration says
/// beats both, but for a language and metadata that clients may set.
pub(super) fn params(order: Order, buyer: &Identity, terms: &config::CheckoutConfig) -> Params {
    let mut params = Params::new();
    let mut add = |key: &str, value: Option<Param>| {
        if let Some(value) = value {
            params.push((key.to_owned(), value));
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Param::from);
    let item = |item: super::order::Item| {
        let quantity = Param::from(item.quantity);
        Param::Table(vec![("price".to_owned(), Param::Text(item.price)), ("quantity".to_owned(), quantity)])
    };
    add("mode", Some(order.mode.as_str().into()));
    add("ui_mode", terms.ui_mode.as_str().map(Param::from));
    add(
        "line_items",
        (!order.items.is_empty()).then(|| Param::List(order.items.into_iter().map(item).collect())),
    );
    add("success_url", text(&terms.success_url));
    add("cancel_url", text(&terms.cancel_url));
    add("return_url", text(&terms.return_url));
    add("customer", text(&buyer.customer));
    if buyer.customer.is_none() {
        // Stripe takes one of the two, and its own customer has an address.
        add("customer_email", text(&buyer.customer_email).or_else(|| text(&order.customer_email)));
    }
    let reference = text(&buyer.client_reference_id).or_else(|| text(&order.client_reference_id));
    add("client_reference_id", reference);
    let said = order.metadata.into_iter().map(|(key, value)| (key, Param::Text(value))).collect();
    add("locale", text(&order.locale));
    add("metadata", Some(Param::Table(said)));
    for (key, value) in &terms.params {
        match (params.iter_mut().find(|(said, _)| said == key), value) {
            (None, value) => params.push((key.clone(), value.clone())),
            (Some((_, Param::Table(said))), Param::Table(more)) => {
                let new: Params =
                    more.iter().filter(|(key, _)| !said.iter().any(|(s, _)| s == key)).cloned().collect();
                said.extend(new);
            }
            (Some(_), _) => {}
        }
    }
    params
}

/// A session as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `cs_…`
    pub id: String,
    /// How the buyer pays.
    pub way: PaymentUi,
}

/// How the buyer pays.
#[derive(Clone, PartialEq, Eq)]
pub enum PaymentUi {
    /// On Stripe's page, at this URL.
    Page(String),
    /// In a form of the shop's own, which needs this secret.
    Form(String),
}

/// Whoever has either can pay in the buyer's place.
impl std::fmt::Debug for PaymentUi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PaymentUi::Page(_) => "Page(…)",
            PaymentUi::Form(_) => "Form(…)",
        })
    }
}

/// What is told of a session afterwards: nothing personal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `open`, `complete` or `expired`; Stripe may leave it out.
    pub status: Option<String>,
    /// `paid`, `unpaid` or `no_payment_required`.
    pub payment_status: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    url: Option<String>,
    client_secret: Option<String>,
    status: Option<String>,
    payment_status: Option<String>,
}

/// The session that Stripe created; `None` if the answer does not say what is needed.
pub(super) fn created(body: &[u8]) -> Option<Session> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    // The URL becomes a header's value.
    let url = answer.url.filter(|url| url.bytes().all(|b| b.is_ascii_graphic()) && !url.is_empty());
    let way = match (url, answer.client_secret) {
        (Some(url), _) => PaymentUi::Page(url),
        (None, Some(secret)) => PaymentUi::Form(secret),
        (None, None) => return None,
    };
    is_id(&answer.id).then_some(Session { id: answer.id, way })
}

/// The status that Stripe told.
pub(super) fn status(body: &[u8]) -> Option<Status> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some(Status { status: answer.status, payment_status: answer.payment_status })
}

/// Whether this is a session's id: `cs_test_…` or `cs_live_…`. It becomes part of a path at Stripe.
pub fn is_id(text: &str) -> bool {
    let rest = text.strip_prefix("cs_test_").or_else(|| text.strip_prefix("cs_live_"));
    rest.is_some_and(|rest| {
        (1..=255).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::order::Shape;
    use crate::checkout::testing::terms;
    use crate::stripe::form;

    /// The parameters, one a line.
    fn sent(checkout: &str, buyer: &Identity, body: &str) -> Vec<String> {
        let terms = terms(checkout);
        let order = Order::read(Shape::Json, body.as_bytes(), &terms).unwrap();
        form::encode(&params(order, buyer, &terms)).split('&').map(str::to_owned).collect()
    }

    const HOSTED: &str = r#"
        success_url = "https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}"
        [[checkout.price]]
        id = "price_pro"
        name = "pro"
        max = 9
    "#;

    #[test]
    fn a_hosted_session_is_a_mode_the_items_and_where_to_go() {
        let sent = sent(HOSTED, &Identity::default(), r#"{"price": "pro", "quantity": 3}"#);
        assert_eq!(
            sent,
            [
                "mode=payment",
                "line_items[0][price]=price_pro",
                "line_items[0][quantity]=3",
                "success_url=https%3A%2F%2Fshop.example%2Fthanks%3Fsession_id%3D%7BCHECKOUT_SESSION_ID%7D",
            ]
        );
    }

    #[test]
    fn an_embedded_session_says_its_kind_and_where_to_return_to() {
        let terms = r#"
            ui_mode = "embedded_page"
            mode = "subscription"
            return_url = "https://shop.example/back"
            [[checkout.price]]
            id = "price_1"
        "#;
        assert_eq!(
            sent(terms, &Identity::default(), r#"{"price": "price_1"}"#),
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
    fn what_caddy_says_of_the_buyer_beats_what_the_client_says() {
        let body = r#"{"price": "pro", "customer_email": "evil@b.example", "client_reference_id": "admin"}"#;
        let own = |text: &str| Some(text.to_owned());
        let rest = |buyer: Identity| sent(HOSTED, &buyer, body)[4..].to_vec();
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
    fn further_parameters_go_as_they_are_and_clients_change_only_what_they_may() {
        let terms = format!(
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
            let mut tail = sent(&terms, &Identity::default(), body)[4..].to_vec();
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
    fn an_answer_is_a_page_or_a_form_or_nothing() {
        let page = PaymentUi::Page("https://checkout.stripe.com/c/pay/cs_test_1#x".into());
        for (body, expected) in [
            (
                r#"{"id": "cs_test_1", "url": "https://checkout.stripe.com/c/pay/cs_test_1#x", "client_secret": null}"#,
                Some(Session { id: "cs_test_1".into(), way: page }),
            ),
            (
                r#"{"id": "cs_live_1", "url": null, "client_secret": "cs_live_1_secret_x"}"#,
                Some(Session { id: "cs_live_1".into(), way: PaymentUi::Form("cs_live_1_secret_x".into()) }),
            ),
            (r#"{"id": "cs_test_1"}"#, None),
            (r#"{"id": "cs_test_1", "url": "https://a\r\nX: y"}"#, None),
            (r#"{"id": "pi_1", "url": "https://a"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(created(body.as_bytes()), expected, "{body}");
        }
        let told = status(br#"{"id": "cs_test_1", "status": "complete", "payment_status": "paid", "customer_details": {"email": "a@b.example"}}"#);
        let expected = Status { status: Some("complete".into()), payment_status: Some("paid".into()) };
        assert_eq!(told, Some(expected));
    }

    #[test]
    fn only_an_id_is_asked_for() {
        for (text, is) in [
            ("cs_test_a1B2", true),
            ("cs_live_0", true),
            ("cs_test_", false),
            ("cs_prod_1", false),
            ("cs_test_1/expire", false),
            ("cs_test_1%2Fexpire", false),
            ("cs_test_1_secret_2", false),
            ("", false),
        ] {
            assert_eq!(is_id(text), is, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_way_to_pay() {
        let session = Session { id: "cs_test_1".into(), way: PaymentUi::Form("cs_test_1_secret_x".into()) };
        assert_eq!(format!("{session:?}"), r#"Session { id: "cs_test_1", way: Form(…) }"#);
    }
}
