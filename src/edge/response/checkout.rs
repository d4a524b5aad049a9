//! The checkout's part of the table of responses: what each caller gets, outcome by outcome. It decides no outcome.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{JSON, Response, ResponseRow};
use crate::checkout::error::{OrderError, OrderErrorKind};
use crate::checkout::session::{CheckoutSession, PaymentUi};
use crate::checkout::{self, OrderDisposition};
use crate::edge::cors::CorsDecision;
use crate::http1::headers::{is_token, list_items};
use crate::outcome::checkout::CheckoutOutcome;
use crate::stripe_api::{ApiError, StripeError};

/// How long a browser may cache the response to a preflight request, in seconds.
const MAX_PREFLIGHT_AGE: &[u8] = b"600";

/// The message of `field_unknown` if the field exists, but an identity header fills it.
const FIELD_FROM_IDENTITY: &str = "This field comes from a header of [checkout.identity], so that no buyer can name \
                                   somebody else. Leave it out of the order.";

/// The responses of the checkout, in the order of [`CheckoutOutcome::ALL`].
#[rustfmt::skip]
static ROWS: [ResponseRow<CheckoutOutcome>; CheckoutOutcome::ALL.len()] = [
    // The status is 303 where the response is a redirect to Stripe.
    (CheckoutOutcome::Created, 200, None, "The session was created."),
    (CheckoutOutcome::Status, 200, None, "This is the session's status."),
    (CheckoutOutcome::Preflight, 204, None, ""),
    (CheckoutOutcome::MethodNotAllowed, 405, None, "Send orders with POST, and ask for a session's status with GET."),
    (CheckoutOutcome::OriginForbidden, 403, None, "The page's origin may not place orders. Add it to [checkout] allowed_origins to allow it."),
    (CheckoutOutcome::RateLimited, 429, Some(1), "Too many requests. Try again later."),
    (CheckoutOutcome::ContentTypeUnsupported, 415, None, "Send the order as application/json or as an HTML form (application/x-www-form-urlencoded)."),
    (CheckoutOutcome::BodyEncoded, 415, None, "The body has a Content-Encoding. Send it without one."),
    (CheckoutOutcome::BodyTooLarge, 413, None, "The order is larger than max_body."),
    (CheckoutOutcome::BodyTooSlow, 408, None, "The order did not arrive in time. Send it again."),
    (CheckoutOutcome::BodyMalformed, 400, None, "The body is incomplete, or its Transfer-Encoding is invalid."),
    (CheckoutOutcome::RequestMalformed, 400, None, "The request's headers cannot be parsed."),
    (CheckoutOutcome::IdentityInvalid, 400, None, "A header that identifies the buyer is repeated or cannot be parsed."),
    (CheckoutOutcome::OrderMalformed, 400, None, "The order is not a JSON object such as {\"price\": \"...\", \"quantity\": 1}."),
    (CheckoutOutcome::FieldUnknown, 400, None, "Unknown field. An order may have price, quantity, items, customer_email, client_reference_id, locale and the configured metadata keys."),
    (CheckoutOutcome::FieldInvalid, 400, None, "This field has an invalid value, or is repeated."),
    (CheckoutOutcome::FieldMissing, 400, None, "Missing price."),
    (CheckoutOutcome::PriceUnknown, 400, None, "Unknown price."),
    (CheckoutOutcome::PriceUnavailable, 503, Some(60), "This price cannot be sold at the moment. Try again later."),
    (CheckoutOutcome::QuantityMetered, 400, None, "This price is billed by its use. Order it without a quantity."),
    (CheckoutOutcome::QuantityOutOfRange, 400, None, "Quantity is out of range."),
    (CheckoutOutcome::ModesMixed, 400, None, "These prices have different modes and cannot be combined in one order. Order them separately."),
    (CheckoutOutcome::AccountsMixed, 400, None, "These prices have different sellers and cannot be combined in one order. Order them separately."),
    (CheckoutOutcome::SessionUnknown, 404, None, "There is no such session."),
    (CheckoutOutcome::StripeRefused, 400, None, "Stripe does not accept this order."),
    (CheckoutOutcome::StripeCardRefused, 402, None, "The card was declined."),
    (CheckoutOutcome::StripeConflict, 409, Some(1), "The same order is being processed right now. Try again later."),
    (CheckoutOutcome::StripeRateLimited, 429, Some(1), "There are too many orders at the moment. Try again later."),
    // Only the log says what is wrong with the key.
    (CheckoutOutcome::StripeKeyRefused, 502, None, "The shop cannot take orders at the moment. The server's log has the reason."),
    (CheckoutOutcome::StripeFailed, 502, None, "Stripe did not give a valid response. Try again later."),
    (CheckoutOutcome::StripeUnreachable, 502, None, "Stripe cannot be reached. Try again later."),
    (CheckoutOutcome::StripeTimeout, 504, None, "Stripe did not respond in time. Try again later."),
    (CheckoutOutcome::Overloaded, 503, Some(1), "Too many orders at once. Try again later."),
    (CheckoutOutcome::ShuttingDown, 503, Some(1), "The server is shutting down. Send it again."),
];

// An outcome's number is the index of its row, so the order must be that of the enum.
const _: () = {
    let mut index = 0;
    while index < ROWS.len() {
        assert!(ROWS[index].0 as usize == index);
        index += 1;
    }
};

impl Response {
    /// Returns the response to an outcome of the checkout, as the table has it. `param` names the invalid field.
    pub fn from_checkout_outcome(outcome: CheckoutOutcome, param: Option<&str>) -> Self {
        let (_, status, retry_after, message) = ROWS[outcome as usize];
        let mut response = Self {
            code: outcome.as_str(),
            status,
            body: Bytes::new(),
            message: message.into(),
            content_type: None,
            retry_after,
            allow: None,
            extra_headers: vec![("Cache-Control", Bytes::from_static(b"no-store"))],
        };
        if outcome != CheckoutOutcome::Preflight {
            response.set_error(outcome.as_str(), param);
        }
        response
    }

    /// Returns the response to an order or a status request. A client that `follows_redirects` is sent on to Stripe's page.
    pub fn from_order(disposition: &OrderDisposition, follows_redirects: bool) -> Self {
        let outcome = disposition.outcome();
        match disposition {
            OrderDisposition::Created(session) => {
                Self::from_checkout_outcome(outcome, None).with_session(session, follows_redirects)
            }
            OrderDisposition::Status(session) => {
                let body = json!({ "status": session.status, "payment_status": session.payment_status });
                Self { body: body.to_string().into(), ..Self::from_checkout_outcome(outcome, None) }
            }
            OrderDisposition::Rejected(error) => Self::from_order_error(outcome, error),
            OrderDisposition::SessionNotFound => Self::from_checkout_outcome(outcome, None),
            OrderDisposition::Failed(ApiError::Rejected(error)) => Self::from_stripe(outcome, error),
            OrderDisposition::Failed(
                ApiError::Invalid(_) | ApiError::Unreachable(_) | ApiError::Timeout | ApiError::Busy,
            ) => Self::from_checkout_outcome(outcome, None),
        }
    }

    /// Returns the response to an order that is not valid.
    fn from_order_error(outcome: CheckoutOutcome, error: &OrderError) -> Self {
        let mut response = Self::from_checkout_outcome(outcome, error.param.as_deref());
        if error.kind == OrderErrorKind::FieldFromIdentity {
            response.message = FIELD_FROM_IDENTITY.into();
            response.set_error(response.code, error.param.as_deref());
        }
        response
    }

    /// Returns the response to an error of Stripe's, with as much of it as the client may see.
    fn from_stripe(outcome: CheckoutOutcome, error: &StripeError) -> Self {
        let mut response = Self::from_checkout_outcome(outcome, None);
        // Stripe's message about a card is meant for its owner
        // (https://docs.stripe.com/error-handling#payment-errors). Other messages may name the shop's own data.
        let is_for_client = outcome == CheckoutOutcome::StripeCardRefused
            || (outcome == CheckoutOutcome::StripeRefused && checkout::is_client_input_error(error));
        if let (true, Some(message)) = (is_for_client, &error.message) {
            response.message = message.clone().into();
        }
        if error.is_key_reuse() {
            response.message = "This Idempotency-Key was used for another order. Use a new one.".into();
            response.set_error("idempotency_error", None);
        } else if matches!(outcome, CheckoutOutcome::StripeRefused | CheckoutOutcome::StripeCardRefused) {
            response.set_error(error.code.as_deref().unwrap_or(response.code), error.param.as_deref());
        }
        if let (Some(_), Some(wait)) = (response.retry_after, error.retry_after) {
            response.retry_after = Some(wait.max(1));
        }
        response
    }

    /// Replaces the body by an error with this code and this response's message.
    fn set_error(&mut self, code: &str, param: Option<&str>) {
        let mut error = Map::new();
        error.insert("code".to_owned(), code.into());
        error.insert("message".to_owned(), self.message.as_ref().into());
        if let Some(param) = param {
            error.insert("param".to_owned(), param.into());
        }
        self.body = json!({ "error": Value::Object(error) }).to_string().into();
        self.content_type = Some(Bytes::from_static(JSON));
    }

    fn with_session(mut self, session: &CheckoutSession, follows_redirects: bool) -> Self {
        let body = match &session.payment_ui {
            PaymentUi::Hosted(url) => {
                if follows_redirects {
                    self.status = 303;
                    self.extra_headers.push(("Location", url.clone().into()));
                }
                json!({ "id": session.id, "url": url })
            }
            // An embedded form has no URL to redirect to.
            PaymentUi::Embedded(secret) => json!({ "id": session.id, "clientSecret": secret }),
        };
        self.body = body.to_string().into();
        self
    }

    /// Returns this response with `Allow`.
    pub fn with_allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Returns this response with the headers that let an allowed page read it in a browser.
    /// `requested` holds the values of `Access-Control-Request-Headers`: a preflight is granted what it asks for.
    pub(in crate::edge) fn with_cors<'a>(
        mut self,
        decision: &CorsDecision,
        methods: &'static str,
        requested: impl Iterator<Item = &'a [u8]>,
    ) -> Self {
        self.extra_headers.push(("Vary", Bytes::from_static(b"Origin")));
        let origin = match decision {
            CorsDecision::Allow(origin) => origin,
            CorsDecision::Any | CorsDecision::Deny => return self,
        };
        let fixed = |value: &'static str| Bytes::from_static(value.as_bytes());
        self.extra_headers.push(("Access-Control-Allow-Origin", origin.clone().into()));
        // A cookie may identify the buyer.
        self.extra_headers.push(("Access-Control-Allow-Credentials", fixed("true")));
        if self.status == 204 {
            self.extra_headers.push(("Access-Control-Allow-Methods", fixed(methods)));
            self.extra_headers.push(("Access-Control-Allow-Headers", allowed_headers(requested)));
            self.extra_headers.push(("Access-Control-Max-Age", Bytes::from_static(MAX_PREFLIGHT_AGE)));
        } else {
            self.extra_headers
                .push(("Access-Control-Expose-Headers", fixed("Countersign-Outcome, Retry-After")));
        }
        self
    }
}

/// Returns the headers that a preflight is granted: those that every order may have, and those that it asks for.
fn allowed_headers<'a>(requested: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut allowed = b"Accept, Content-Type, Idempotency-Key".to_vec();
    for name in requested.flat_map(list_items).filter(|name| is_token(name)) {
        let is_known = list_items(&allowed).any(|known| known.eq_ignore_ascii_case(name));
        if !is_known {
            allowed.extend_from_slice(b", ");
            allowed.extend_from_slice(name);
        }
    }
    allowed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_json_with_its_code_and_no_store() {
        for outcome in CheckoutOutcome::ALL {
            let response = Response::from_checkout_outcome(outcome, Some("items[0][price]"));
            let head = String::from_utf8(response.head(true)).unwrap();
            assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nCountersign-Outcome: {}\r\n", outcome.as_str())), "{head}");
            if response.status < 300 {
                continue;
            }
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(body["error"]["code"], outcome.as_str());
            assert_eq!(body["error"]["param"], "items[0][price]");
            assert!(body["error"]["message"].as_str().unwrap().len() > 10);
            let waits = matches!(response.status, 409 | 429 | 503);
            assert_eq!(response.retry_after.is_some(), waits, "{outcome:?}");
        }
    }

    fn response_to_stripe_error(status: u16, code: &str, param: &str) -> Response {
        let error = StripeError {
            status,
            code: Some(code.into()),
            param: Some(param.into()).filter(|param: &String| !param.is_empty()),
            message: Some("acct_1 said <b>".into()),
            ..StripeError::default()
        };
        Response::from_order(&OrderDisposition::Failed(ApiError::Rejected(Box::new(error))), false)
    }

    #[test]
    fn stripes_message_is_shown_only_if_it_concerns_the_client_and_its_code_and_param_always() {
        for (status, code, param, expected, shown) in [
            (400, "email_invalid", "customer_email", 400, true),
            (400, "resource_missing", "line_items[0][price]", 400, false),
            (402, "card_declined", "", 402, true),
            (404, "resource_missing", "customer", 400, false),
        ] {
            let response = response_to_stripe_error(status, code, param);
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!((response.status, &body["error"]["code"]), (expected, &Value::from(code)));
            assert_eq!(body["error"]["param"].as_str().unwrap_or_default(), param);
            assert_eq!(body["error"]["message"] == "acct_1 said <b>", shown, "{code}");
        }
        for (status, code) in
            [(401, ""), (403, ""), (409, "idempotency_key_in_use"), (429, "rate_limit"), (500, "")]
        {
            let response = response_to_stripe_error(status, code, "x");
            let text = String::from_utf8(response.body.to_vec()).unwrap();
            assert!(
                !text.contains("acct_1") && text.contains(response.code) && !text.contains("param"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_preflight_is_granted_the_headers_that_it_asks_for_and_no_other_text() {
        let allowed = |values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            String::from_utf8(allowed_headers(values.into_iter()).to_vec()).unwrap()
        };
        let usual = "Accept, Content-Type, Idempotency-Key";
        assert_eq!(allowed(&[]), usual);
        assert_eq!(
            allowed(&["baggage,content-type, traceparent", "x"]),
            format!("{usual}, baggage, traceparent, x")
        );
        assert_eq!(allowed(&["a b", "", ":", "x,X"]), format!("{usual}, x"));
    }

    #[test]
    fn an_html_page_escapes_the_message() {
        let page = response_to_stripe_error(402, "card_declined", "").into_html();
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(text.contains("acct_1 said &lt;b>"), "{text}");
    }

    #[test]
    fn only_a_hosted_session_is_a_redirect() {
        let session =
            |payment_ui| OrderDisposition::Created(CheckoutSession { id: "cs_test_1".into(), payment_ui });
        let page = session(PaymentUi::Hosted("https://pay.example/1".into()));
        let form = session(PaymentUi::Embedded("cs_test_1_secret_x".into()));
        for (disposition, follows_redirects, status, location, body) in [
            (&page, false, 200, false, json!({"id": "cs_test_1", "url": "https://pay.example/1"})),
            (&page, true, 303, true, json!({"id": "cs_test_1", "url": "https://pay.example/1"})),
            (&form, false, 200, false, json!({"id": "cs_test_1", "clientSecret": "cs_test_1_secret_x"})),
            (&form, true, 200, false, json!({"id": "cs_test_1", "clientSecret": "cs_test_1_secret_x"})),
        ] {
            let response = Response::from_order(disposition, follows_redirects);
            let head = String::from_utf8(response.head(true)).unwrap();
            assert_eq!(response.status, status);
            assert_eq!(head.contains("\r\nLocation: https://pay.example/1\r\n"), location, "{head}");
            assert_eq!(serde_json::from_slice::<Value>(&response.body).unwrap(), body);
        }
    }
}
