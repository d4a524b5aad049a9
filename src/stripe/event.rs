//! The proof that an event is genuine. A [`VerifiedEvent`] is made only by [`verify`] and [`parse_trusted`], and nothing
//! else can be delivered. `envelope` decides what an event is; `signature` decides whether it is signed.

pub use super::envelope::{Envelope, PayloadError, parse};
pub use super::json::error::JsonError;

use super::signature::{self, Secret, SignatureRejection};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// How the ids of Stripe's sample events begin, such as those that the dashboard sends as a test.
const SAMPLE_ID_PREFIXES: [&str; 2] = ["evt_test_", "evt_"];
/// The minimum of zeros that follow. The dashboard sends 14 (`evt_00000000000000`), and examples of Stripe's libraries
/// have 24.
const MIN_SAMPLE_ZEROS: usize = 10;
/// The maximum of zeros that follow. The ledger adds to such an id.
const MAX_SAMPLE_ZEROS: usize = 64;

/// The type of the event that tests whether an event destination is reachable
/// (<https://docs.stripe.com/api/v2/core/event-destinations/ping>).
const PING_TYPE: &str = "v2.core.event_destination.ping";

/// An event with a valid signature and a valid envelope. It refers to its strings by their position in the body, so
/// making one allocates nothing.
#[derive(Clone)]
pub struct VerifiedEvent {
    body: Bytes,
    id: EnvelopeString,
    event_type: EnvelopeString,
    created: Option<i64>,
    livemode: Option<bool>,
    account: Option<EnvelopeString>,
    secret: usize,
}

impl VerifiedEvent {
    fn new(envelope: Envelope<'_>, body: &Bytes, secret: usize) -> Self {
        Self {
            id: EnvelopeString::new(envelope.id, body),
            event_type: EnvelopeString::new(envelope.event_type, body),
            created: envelope.created,
            livemode: envelope.livemode,
            account: envelope.account.map(|account| EnvelopeString::new(account, body)),
            secret,
            body: body.clone(),
        }
    }

    /// Returns the payload, byte for byte as it was signed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the `id`: 1 to 255 characters of `[A-Za-z0-9_]`, so safe in a header or a key.
    pub fn id(&self) -> &str {
        self.id.resolve(&self.body)
    }

    /// Returns whether the `id` identifies the event. The id of sample events does not: each of them is another event.
    pub fn is_identified(&self) -> bool {
        let suffix = SAMPLE_ID_PREFIXES.iter().find_map(|prefix| self.id().strip_prefix(prefix));
        let range = MIN_SAMPLE_ZEROS..=MAX_SAMPLE_ZEROS;
        suffix.is_none_or(|zeros| !range.contains(&zeros.len()) || zeros.bytes().any(|byte| byte != b'0'))
    }

    /// Returns whether the event only tests that its destination is reachable.
    pub fn is_ping(&self) -> bool {
        self.event_type() == PING_TYPE
    }

    /// Returns the `type`: 1 to 255 characters of `[A-Za-z0-9._\[\]-]`.
    pub fn event_type(&self) -> &str {
        self.event_type.resolve(&self.body)
    }

    /// Returns the time of creation in Unix seconds, or `None` if `created` is not a valid time.
    pub fn created(&self) -> Option<i64> {
        self.created
    }

    /// Returns `livemode`, or `None` if it is not a boolean.
    pub fn livemode(&self) -> Option<bool> {
        self.livemode
    }

    /// Returns the connected account, which may be any string that is not empty. `None` for an event that names none: of
    /// the platform's own account, as a rule.
    pub fn account(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.resolve(&self.body))
    }

    /// Returns the position of the secret that signed the event. 0 for an event from [`parse_trusted`].
    pub fn secret(&self) -> usize {
        self.secret
    }
}

/// Shows `id` and `type` only: the payload may hold personal data.
impl fmt::Debug for VerifiedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedEvent")
            .field("id", &self.id())
            .field("event_type", &self.event_type())
            .finish_non_exhaustive()
    }
}

/// The reason why a webhook is not a genuine event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventRejection {
    /// The signature is missing, invalid, or outside the tolerance.
    #[error(transparent)]
    Signature(#[from] SignatureRejection),
    /// The signature is valid, but the payload is not an event.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

/// Parses an event without checking a signature. The caller guarantees its origin: it was verified before it was stored,
/// or it comes from Stripe's API or from an operator.
///
/// # Errors
/// Returns [`EventRejection::Payload`] if the body is not an event.
pub fn parse_trusted(body: Bytes) -> Result<VerifiedEvent, EventRejection> {
    let envelope = parse(&body)?;
    Ok(VerifiedEvent::new(envelope, &body, 0))
}

/// Verifies the signature of a webhook and parses its envelope. The arguments are those of [`signature::verify`]. A body
/// without a valid signature is not parsed.
///
/// # Errors
/// Returns [`EventRejection::Signature`] or [`EventRejection::Payload`].
pub fn verify<'h>(
    secrets: &[Secret],
    headers: impl IntoIterator<Item = &'h [u8]>,
    body: Bytes,
    now: i64,
    tolerance: i64,
) -> Result<VerifiedEvent, EventRejection> {
    let signature = signature::verify(secrets, headers, &body, now, tolerance)?;
    let envelope = parse(&body)?;
    Ok(VerifiedEvent::new(envelope, &body, signature.secret))
}

/// A string of the envelope.
#[derive(Clone)]
enum EnvelopeString {
    /// The string stands in the body at this range of bytes.
    InBody(Range<usize>),
    /// The string is written with JSON escapes, which Stripe does not use. It holds the decoded text.
    Decoded(Box<str>),
}

impl EnvelopeString {
    /// Stores a string that was parsed from `body`.
    fn new(text: Cow<'_, str>, body: &[u8]) -> Self {
        match text {
            // A borrowed string points into `body`: the difference of the addresses is its position.
            Cow::Borrowed(text) => {
                let start = text.as_ptr().addr() - body.as_ptr().addr();
                Self::InBody(start..start + text.len())
            }
            Cow::Owned(text) => Self::Decoded(text.into()),
        }
    }

    /// Returns the text. `body` is the body that `new` got.
    fn resolve<'a>(&'a self, body: &'a [u8]) -> &'a str {
        match self {
            #[expect(clippy::expect_used, reason = "`new` got these bytes of this body as a str")]
            Self::InBody(range) => str::from_utf8(&body[range.clone()]).expect("valid UTF-8"),
            Self::Decoded(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::signature::sign;

    const NOW: i64 = 1_791_300_000;

    fn verify_signed(body: &[u8]) -> Result<VerifiedEvent, EventRejection> {
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
    fn a_signed_snapshot_or_thin_event_exposes_its_envelope_and_unchanged_body() {
        type EventFixture = (&'static [u8], &'static str, &'static str, i64, bool, Option<&'static str>);
        let table: [EventFixture; 5] = [
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
        for (body, id, event_type, created, livemode, account) in table {
            let event = verify_signed(body).unwrap();
            assert_eq!(event.body(), body, "{id}");
            assert_eq!((event.id(), event.event_type(), event.account()), (id, event_type, account));
            assert_eq!((event.created(), event.livemode()), (Some(created), Some(livemode)), "{id}");
            assert_eq!(event.secret(), 1, "{id}");
        }
    }

    #[test]
    fn an_event_written_with_escapes_is_the_same_event() {
        let body =
            br#"{"\u0069d": "evt_\u0031", "object": "\u0065vent", "type": "a\u002eb", "account": "\u00e9"}"#;
        let event = verify_signed(body).unwrap();
        assert_eq!((event.id(), event.event_type(), event.account()), ("evt_1", "a.b", Some("é")));
    }

    #[test]
    fn a_signed_payload_that_is_not_an_event_is_rejected() {
        let table: [(&[u8], PayloadError); 4] = [
            (fixture!("customer.created.without_id"), PayloadError::IdMissing),
            (b"", PayloadError::Json(JsonError::NotAnObject)),
            (b"{\"id\": \"evt_1\"", PayloadError::Json(JsonError::Truncated)),
            (b"{\"id\": \"evt_1\", \"type\": \"a\", \"object\": \"charge\"}", PayloadError::NotAnEvent),
        ];
        for (body, error) in table {
            let rejection = verify_signed(body).unwrap_err();
            assert_eq!(rejection, EventRejection::Payload(error));
        }
    }

    #[test]
    fn a_body_with_a_wrong_signature_is_rejected_before_it_is_parsed() {
        for body in [&b"{}"[..], fixture!("invoice.paid")] {
            let secrets = [Secret::new("whsec_a")];
            let header = sign([&Secret::new("whsec_b")], NOW, body);
            let found = verify(&secrets, [header.as_bytes()], Bytes::from_static(body), NOW, 300);
            let rejection = found.unwrap_err();
            assert_eq!(rejection, EventRejection::Signature(SignatureRejection::Mismatch));
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
    fn the_id_of_sample_events_identifies_nothing() {
        for (id, identified) in [
            ("evt_00000000000000", false),
            ("evt_000000000000000000000000", false),
            ("evt_test_00000000000000", false),
            ("evt_00000000000001", true),
            ("evt_test_1", true),
            ("evt_0", true),
            ("evt_", true),
            ("evt_1", true),
        ] {
            let body = format!(r#"{{"id": "{id}", "object": "event", "type": "a"}}"#);
            assert_eq!(parse_trusted(body.into()).unwrap().is_identified(), identified, "{id}");
        }
    }

    #[test]
    fn a_ping_is_known_by_its_type() {
        for (event_type, ping) in
            [("v2.core.event_destination.ping", true), ("v2.core.event_destination.pinged", false)]
        {
            let body = format!(r#"{{"id": "evt_1", "object": "v2.core.event", "type": "{event_type}"}}"#);
            assert_eq!(parse_trusted(body.into()).unwrap().is_ping(), ping, "{event_type}");
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let event = verify_signed(fixture!("checkout.session.completed")).unwrap();
        let shown = r#"VerifiedEvent { id: "evt_1Qk2Lighthouse0001abcd", event_type: "checkout.session.completed", .. }"#;
        assert_eq!(format!("{event:?}"), shown);
    }
}
