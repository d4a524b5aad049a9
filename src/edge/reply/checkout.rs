//! The checkout's part of THE table: what each caller gets, outcome by outcome.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{JSON, Response};
use crate::checkout::session::{PaymentUi, Session};
use crate::checkout::{self, OrderDisposition};
use crate::edge::page::Page;
use crate::outcome::checkout::CheckoutOutcome;
use crate::stripe_api::{ApiError, StripeError};

/// How long a browser may remember what it was allowed, in seconds.
const REMEMBERED: &[u8] = b"600";

/// Status, what the caller should know, `Retry-After` in seconds.
const fn row(outcome: CheckoutOutcome) -> (u16, &'static str, Option<u64>) {
    match outcome {
        // Or 303, where the answer is a way to go.
        CheckoutOutcome::Created => (200, "The session was created.", None),
        CheckoutOutcome::Status => (200, "This is the session's status.", None),
        CheckoutOutcome::Preflight => (204, "", None),
        CheckoutOutcome::MethodNotAllowed => {
            (405, "Orders are sent with POST; a session's status is asked for with GET.", None)
        }
        CheckoutOutcome::OriginForbidden => (
            403,
            "A page of another origin sent this. Pages that may order stand in [checkout] allowed_origins.",
            None,
        ),
        CheckoutOutcome::RateLimited => (429, "Too many requests; try again later.", Some(1)),
        CheckoutOutcome::ContentTypeUnsupported => {
            (415, "An order is application/json or an HTML form (application/x-www-form-urlencoded).", None)
        }
        CheckoutOutcome::BodyEncoded => (415, "The body has a Content-Encoding. Send it without.", None),
        CheckoutOutcome::BodyTooLarge => (413, "The order is longer than max_body.", None),
        CheckoutOutcome::BodyTooSlow => (408, "The order did not arrive in time.", None),
        CheckoutOutcome::BodyMalformed => (400, "The body broke off, or its framing is faulty.", None),
        CheckoutOutcome::RequestMalformed => (400, "The request's head cannot be read.", None),
        CheckoutOutcome::IdentityInvalid => {
            (400, "A header that says who buys came twice or cannot be read.", None)
        }
        CheckoutOutcome::OrderMalformed => {
            (400, "The order is not a JSON object such as {\"price\": \"...\", \"quantity\": 1}.", None)
        }
        CheckoutOutcome::FieldUnknown => (
            400,
            "No order has this field. There are price, quantity, items, customer_email, client_reference_id, locale and the keys of metadata that are allowed.",
            None,
        ),
        CheckoutOutcome::FieldInvalid => (400, "This field cannot have this value, or is given twice.", None),
        CheckoutOutcome::FieldMissing => (400, "The order names no price.", None),
        CheckoutOutcome::PriceUnknown => (400, "There is no such price.", None),
        CheckoutOutcome::QuantityOutOfRange => (400, "So few, or so many, cannot be ordered at once.", None),
        CheckoutOutcome::ModesMixed => {
            (400, "These prices cannot be bought together: order them one after the other.", None)
        }
        CheckoutOutcome::SessionUnknown => (404, "There is no such session.", None),
        CheckoutOutcome::StripeRefused => (400, "Stripe does not accept this order.", None),
        CheckoutOutcome::StripeCardRefused => (402, "The card was refused.", None),
        CheckoutOutcome::StripeConflict => {
            (409, "The same order is being dealt with right now; try again later.", Some(1))
        }
        CheckoutOutcome::StripeRateLimited => {
            (429, "There are too many orders at the moment; try again later.", Some(1))
        }
        // What is wrong with the key is for the log alone.
        CheckoutOutcome::StripeKeyRefused => {
            (502, "The shop cannot take orders at the moment. Its log says why.", None)
        }
        CheckoutOutcome::StripeFailed => (502, "Stripe failed to answer; try again later.", None),
        CheckoutOutcome::StripeUnreachable => (502, "Stripe cannot be reached; try again later.", None),
        CheckoutOutcome::StripeTimeout => (504, "Stripe did not answer in time; try again later.", None),
        CheckoutOutcome::Overloaded => (503, "Too many orders at once; try again later.", Some(1)),
        CheckoutOutcome::ShuttingDown => (503, "The server is shutting down; send it again.", Some(1)),
    }
}

impl Response {
    /// An answer of the checkout that needs nothing but its outcome, and the field that is meant if there is one.
    pub fn of_checkout(outcome: CheckoutOutcome, param: Option<&str>) -> Response {
        let (status, message, retry_after) = row(outcome);
        let mut reply = Response {
            code: outcome.as_str(),
            status,
            body: Bytes::new(),
            message: message.into(),
            content_type: None,
            retry_after,
            allow: None,
            more: vec![("Cache-Control", Bytes::from_static(b"no-store"))],
        };
        if outcome != CheckoutOutcome::Preflight {
            reply.error(outcome.as_str(), param);
        }
        reply
    }

    /// The answer to an order, or to a question for a session. `go`: whoever asked follows a redirect.
    pub fn to_checkout(disposition: &OrderDisposition, go: bool) -> Response {
        let outcome = disposition.outcome();
        match disposition {
            OrderDisposition::Created(session) => Response::of_checkout(outcome, None).session(session, go),
            OrderDisposition::Told(told) => {
                let body = json!({ "status": told.status, "payment_status": told.payment_status });
                Response { body: body.to_string().into(), ..Response::of_checkout(outcome, None) }
            }
            OrderDisposition::Refused(refusal) => Response::of_checkout(outcome, refusal.param.as_deref()),
            OrderDisposition::Unknown => Response::of_checkout(outcome, None),
            OrderDisposition::Failed(ApiError::Rejected(refused)) => Response::of_stripe(outcome, refused),
            OrderDisposition::Failed(
                ApiError::Invalid(_) | ApiError::Unreachable(_) | ApiError::Timeout | ApiError::Busy,
            ) => Response::of_checkout(outcome, None),
        }
    }

    /// What Stripe said, as far as it concerns whoever ordered.
    fn of_stripe(outcome: CheckoutOutcome, refused: &StripeError) -> Response {
        let mut reply = Response::of_checkout(outcome, None);
        // A card's refusal is written for its owner (https://docs.stripe.com/error-handling#payment-errors).
        let theirs = outcome == CheckoutOutcome::StripeCardRefused
            || (outcome == CheckoutOutcome::StripeRefused
                && checkout::refused_for_the_clients_own_words(refused));
        if let (true, Some(message)) = (theirs, &refused.message) {
            reply.message = message.clone().into();
        }
        if refused.is_key_reuse() {
            reply.message = "This Idempotency-Key was used for another order. Use a new one.".into();
            reply.error("idempotency_error", None);
        } else if matches!(outcome, CheckoutOutcome::StripeRefused | CheckoutOutcome::StripeCardRefused) {
            reply.error(refused.code.as_deref().unwrap_or(reply.code), refused.param.as_deref());
        }
        if let (Some(_), Some(wait)) = (reply.retry_after, refused.retry_after) {
            reply.retry_after = Some(wait.max(1));
        }
        reply
    }

    fn error(&mut self, code: &str, param: Option<&str>) {
        let mut error = Map::new();
        error.insert("code".to_owned(), code.into());
        error.insert("message".to_owned(), self.message.as_ref().into());
        if let Some(param) = param {
            error.insert("param".to_owned(), param.into());
        }
        self.body = json!({ "error": Value::Object(error) }).to_string().into();
        self.content_type = Some(Bytes::from_static(JSON));
    }

    fn session(mut self, session: &Session, go: bool) -> Response {
        let body = match &session.way {
            PaymentUi::Page(url) => {
                if go {
                    self.status = 303;
                    self.more.push(("Location", url.clone().into()));
                }
                json!({ "id": session.id, "url": url })
            }
            // A form of the shop's own has nowhere to go.
            PaymentUi::Form(secret) => json!({ "id": session.id, "clientSecret": secret }),
        };
        self.body = body.to_string().into();
        self
    }

    /// With the methods that a path has.
    pub fn allowing(mut self, methods: &'static str) -> Response {
        self.allow = Some(methods);
        self
    }

    /// With what a browser needs to let the page read the answer.
    pub fn for_page(mut self, page: &Page, methods: &'static str) -> Response {
        self.more.push(("Vary", Bytes::from_static(b"Origin")));
        let Page::Of(origin) = page else { return self };
        let fixed = |value: &'static str| Bytes::from_static(value.as_bytes());
        self.more.push(("Access-Control-Allow-Origin", origin.clone().into()));
        // Who buys may be known by a cookie.
        self.more.push(("Access-Control-Allow-Credentials", fixed("true")));
        if self.status == 204 {
            self.more.push(("Access-Control-Allow-Methods", fixed(methods)));
            self.more.push(("Access-Control-Allow-Headers", fixed("Accept, Content-Type, Idempotency-Key")));
            self.more.push(("Access-Control-Max-Age", Bytes::from_static(REMEMBERED)));
        } else {
            self.more.push(("Access-Control-Expose-Headers", fixed("Countersign-Outcome, Retry-After")));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_json_with_its_code_and_never_to_be_kept() {
        for outcome in CheckoutOutcome::ALL {
            let reply = Response::of_checkout(outcome, Some("items[0][price]"));
            let head = String::from_utf8(reply.head(true)).unwrap();
            assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nCountersign-Outcome: {}\r\n", outcome.as_str())), "{head}");
            if reply.status < 300 {
                continue;
            }
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(body["error"]["code"], outcome.as_str());
            assert_eq!(body["error"]["param"], "items[0][price]");
            assert!(body["error"]["message"].as_str().unwrap().len() > 10);
            let waits = matches!(reply.status, 409 | 429 | 503);
            assert_eq!(reply.retry_after.is_some(), waits, "{outcome:?}");
        }
    }

    fn refused(status: u16, code: &str, param: &str) -> Response {
        let refused = StripeError {
            status,
            code: Some(code.into()),
            param: Some(param.into()).filter(|param: &String| !param.is_empty()),
            message: Some("acct_1 said <b>".into()),
            ..StripeError::default()
        };
        Response::to_checkout(&OrderDisposition::Failed(ApiError::Rejected(Box::new(refused))), false)
    }

    #[test]
    fn stripes_message_is_shown_to_whom_it_concerns_and_its_code_and_param_always() {
        for (status, code, param, answer, shown) in [
            (400, "email_invalid", "customer_email", 400, true),
            (400, "resource_missing", "line_items[0][price]", 400, false),
            (402, "card_declined", "", 402, true),
            (404, "resource_missing", "customer", 400, false),
        ] {
            let reply = refused(status, code, param);
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, &body["error"]["code"]), (answer, &Value::from(code)));
            assert_eq!(body["error"]["param"].as_str().unwrap_or_default(), param);
            assert_eq!(body["error"]["message"] == "acct_1 said <b>", shown, "{code}");
        }
        for (status, code) in
            [(401, ""), (403, ""), (409, "idempotency_key_in_use"), (429, "rate_limit"), (500, "")]
        {
            let reply = refused(status, code, "x");
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            assert!(
                !text.contains("acct_1") && text.contains(reply.code) && !text.contains("param"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_page_for_people_escapes_what_was_quoted() {
        let page = refused(402, "card_declined", "").for_people();
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(text.contains("acct_1 said &lt;b>"), "{text}");
    }

    #[test]
    fn a_hosted_session_is_a_way_to_go_and_an_embedded_one_is_not() {
        let session = |way| OrderDisposition::Created(Session { id: "cs_test_1".into(), way });
        let page = session(PaymentUi::Page("https://pay.example/1".into()));
        let form = session(PaymentUi::Form("cs_test_1_secret_x".into()));
        for (disposition, go, status, location, body) in [
            (&page, false, 200, false, json!({"id": "cs_test_1", "url": "https://pay.example/1"})),
            (&page, true, 303, true, json!({"id": "cs_test_1", "url": "https://pay.example/1"})),
            (&form, false, 200, false, json!({"id": "cs_test_1", "clientSecret": "cs_test_1_secret_x"})),
            (&form, true, 200, false, json!({"id": "cs_test_1", "clientSecret": "cs_test_1_secret_x"})),
        ] {
            let reply = Response::to_checkout(disposition, go);
            let head = String::from_utf8(reply.head(true)).unwrap();
            assert_eq!(reply.status, status);
            assert_eq!(head.contains("\r\nLocation: https://pay.example/1\r\n"), location, "{head}");
            assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), body);
        }
    }
}
