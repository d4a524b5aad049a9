//! The reader of Stripe's responses about a Checkout Session. Pure: `stripe_api` makes the calls.

use serde::Deserialize;

/// The path under which sessions are created and read.
pub(super) const PATH: &str = "/v1/checkout/sessions";

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
