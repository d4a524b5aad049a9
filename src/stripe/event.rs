//! The proof that an event is genuine: [`VerifiedEvent`] is made here and nowhere else, by [`verify`] or of what somebody
//! else vouches for ([`parse_trusted`]), and nothing else can be delivered. What an event is says [`parse`]; whether its
//! signature holds says `signature`.

pub use super::envelope::{Envelope, PayloadError, parse};
pub use super::json::JsonError;

use super::signature::{self, Secret, SignatureRejection};
use crate::outcome::Outcome;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// An event whose signature holds and whose envelope is sound. It is the body and places in it: making one allocates
/// nothing.
#[derive(Clone)]
pub struct VerifiedEvent {
    body: Bytes,
    id: Text,
    kind: Text,
    created: Option<i64>,
    livemode: Option<bool>,
    account: Option<Text>,
    secret: usize,
}

impl VerifiedEvent {
    fn new(envelope: Envelope<'_>, body: &Bytes, secret: usize) -> VerifiedEvent {
        VerifiedEvent {
            id: Text::new(envelope.id, body),
            kind: Text::new(envelope.kind, body),
            created: envelope.created,
            livemode: envelope.livemode,
            account: envelope.account.map(|account| Text::new(account, body)),
            secret,
            body: body.clone(),
        }
    }

    /// The payload, byte for byte as it was signed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// `id`: 1 to 255 of `[A-Za-z0-9_]`, so fit for a header or a key.
    pub fn id(&self) -> &str {
        self.id.read(&self.body)
    }

    /// `type`: 1 to 255 of `[A-Za-z0-9._\[\]-]`.
    pub fn event_type(&self) -> &str {
        self.kind.read(&self.body)
    }

    /// `created` in unix seconds; `None` if Stripe gave no time that can be read.
    pub fn created(&self) -> Option<i64> {
        self.created
    }

    /// `livemode`; `None` if there is none.
    pub fn livemode(&self) -> Option<bool> {
        self.livemode
    }

    /// `account`: the connected account, any string; `None` for an event of the platform's own.
    pub fn account(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.read(&self.body))
    }

    /// Which of the secrets it was signed with, by position.
    pub fn secret(&self) -> usize {
        self.secret
    }
}

impl fmt::Debug for VerifiedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedEvent")
            .field("id", &self.id())
            .field("kind", &self.event_type())
            .finish_non_exhaustive()
    }
}

/// Why a webhook is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventRejection {
    /// Its signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureRejection),
    /// It is signed, but not an event.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl EventRejection {
    /// What the sender is told.
    pub fn outcome(self) -> Outcome {
        match self {
            EventRejection::Signature(refusal) => refusal.outcome(),
            EventRejection::Payload(_) => Outcome::PayloadInvalid,
        }
    }
}

/// Reads an event that needs no signature, since somebody else vouches for it: it was verified before it was kept, or
/// comes from Stripe's API or from an operator.
pub fn parse_trusted(body: Bytes) -> Result<VerifiedEvent, EventRejection> {
    let envelope = parse(&body)?;
    Ok(VerifiedEvent::new(envelope, &body, 0))
}

/// Judges a webhook as [`signature::verify`] does, with the same arguments, and then reads its envelope: a body that
/// nobody parse_trusted for is not parsed.
pub fn verify<'h>(
    secrets: &[Secret],
    headers: impl IntoIterator<Item = &'h [u8]>,
    body: Bytes,
    now: i64,
    tolerance: i64,
) -> Result<VerifiedEvent, EventRejection> {
    let signed = signature::verify(secrets, headers, &body, now, tolerance)?;
    let envelope = parse(&body)?;
    Ok(VerifiedEvent::new(envelope, &body, signed.secret))
}

/// A string of the envelope.
#[derive(Clone)]
enum Text {
    /// As it stands in the body, at these bytes.
    Plain(Range<usize>),
    /// Spelled with JSON escapes, which Stripe does not do.
    Resolved(Box<str>),
}

impl Text {
    fn new(text: Cow<'_, str>, body: &[u8]) -> Text {
        match text {
            Cow::Borrowed(text) => {
                let start = text.as_ptr().addr() - body.as_ptr().addr();
                Text::Plain(start..start + text.len())
            }
            Cow::Owned(text) => Text::Resolved(text.into()),
        }
    }

    fn read<'a>(&'a self, body: &'a [u8]) -> &'a str {
        match self {
            #[expect(clippy::expect_used, reason = "`new` got these bytes of this body as a str")]
            Text::Plain(range) => str::from_utf8(&body[range.clone()]).expect("checked when parsed"),
            Text::Resolved(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::signature::sign;

    const NOW: i64 = 1_791_300_000;

    fn judged(body: &[u8]) -> Result<VerifiedEvent, EventRejection> {
        let secrets = ["whsec_old", "whsec_new"].map(Secret::new);
        let header = sign([&secrets[1]], NOW, body);
        verify(&secrets, [header.as_bytes()], Bytes::copy_from_slice(body), NOW, 300)
    }

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/data/events/", $name, ".json"))
        };
    }

    #[test]
    fn a_signed_event_of_either_kind_shows_its_envelope_and_keeps_its_bytes() {
        type Row = (&'static [u8], &'static str, &'static str, i64, bool, Option<&'static str>);
        let table: [Row; 5] = [
            (
                fixture!("checkout.session.completed"),
                "evt_1Qk2Lighthouse0001abcd",
                "checkout.session.completed",
                1_791_200_458,
                true,
                None,
            ),
            (
                fixture!("invoice.paid"),
                "evt_1Qk2Lighthouse0002efgh",
                "invoice.paid",
                1_791_201_303,
                true,
                None,
            ),
            (
                fixture!("customer.subscription.deleted"),
                "evt_1Qk2Lighthouse0003ijkl",
                "customer.subscription.deleted",
                1_793_000_001,
                false,
                None,
            ),
            (
                fixture!("charge.succeeded.connect"),
                "evt_1Qk2Lighthouse0004mnop",
                "charge.succeeded",
                1_791_300_000,
                false,
                Some("acct_1HarbourFerries"),
            ),
            (
                fixture!("v1.billing.meter.error_report_triggered.thin"),
                "evt_test_61Lighthouse0005qrst",
                "v1.billing.meter.error_report_triggered",
                1_791_532_800,
                false,
                None,
            ),
        ];
        for (body, id, kind, created, livemode, account) in table {
            let event = judged(body).unwrap();
            assert_eq!(event.body(), body, "{id}");
            assert_eq!((event.id(), event.event_type(), event.account()), (id, kind, account));
            assert_eq!((event.created(), event.livemode()), (Some(created), Some(livemode)), "{id}");
            assert_eq!(event.secret(), 1, "{id}");
        }
    }

    #[test]
    fn an_event_spelled_with_escapes_is_the_same_event() {
        let body =
            br#"{"\u0069d": "evt_\u0031", "object": "\u0065vent", "type": "a\u002eb", "account": "\u00e9"}"#;
        let event = judged(body).unwrap();
        assert_eq!((event.id(), event.event_type(), event.account()), ("evt_1", "a.b", Some("é")));
    }

    #[test]
    fn what_is_signed_but_no_event_is_refused_as_such() {
        let table: [(&[u8], PayloadError); 4] = [
            (fixture!("customer.created.without_id"), PayloadError::IdMissing),
            (b"", PayloadError::Json(JsonError::NotAnObject)),
            (b"{\"id\": \"evt_1\"", PayloadError::Json(JsonError::Truncated)),
            (b"{\"id\": \"evt_1\", \"type\": \"a\", \"object\": \"charge\"}", PayloadError::NotAnEvent),
        ];
        for (body, fault) in table {
            let rejection = judged(body).unwrap_err();
            assert_eq!(rejection, EventRejection::Payload(fault));
            assert_eq!(rejection.outcome(), Outcome::PayloadInvalid);
        }
    }

    #[test]
    fn an_unsigned_body_is_refused_before_it_is_read() {
        for body in [&b"{}"[..], fixture!("invoice.paid")] {
            let secrets = [Secret::new("whsec_a")];
            let header = sign([&Secret::new("whsec_b")], NOW, body);
            let found = verify(&secrets, [header.as_bytes()], Bytes::from_static(body), NOW, 300);
            let rejection = found.unwrap_err();
            assert_eq!(rejection, EventRejection::Signature(SignatureRejection::Mismatch));
            assert_eq!(rejection.outcome(), Outcome::SignatureMismatch);
        }
    }

    #[test]
    fn accepting_an_event_allocates_nothing() {
        let secrets = ["whsec_old", "whsec_new"].map(Secret::new);
        let body = Bytes::from_static(fixture!("checkout.session.completed"));
        let header = sign([&secrets[1]], NOW, &body);
        let memory = allocation_counter::measure(|| {
            let event = verify(&secrets, [header.as_bytes()], body.clone(), NOW, 300).unwrap();
            assert_eq!(event.id(), "evt_1Qk2Lighthouse0001abcd");
        });
        assert_eq!(memory.count_total, 0);
    }

    #[test]
    fn debug_shows_no_payload() {
        let event = judged(fixture!("checkout.session.completed")).unwrap();
        let shown =
            r#"VerifiedEvent { id: "evt_1Qk2Lighthouse0001abcd", kind: "checkout.session.completed", .. }"#;
        assert_eq!(format!("{event:?}"), shown);
    }
}
