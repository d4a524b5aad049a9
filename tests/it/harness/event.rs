//! Events as Stripe sends and signs them. The signature is computed here from Stripe's description, not by the
//! program's code.

use super::request::Request;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::atomic::{AtomicU64, Ordering};

/// The secret that every [`super::Setup`] has.
pub const SECRET: &str = "whsec_tests_know_this_one";
/// A secret that a setup has only if the test adds it.
pub const OTHER_SECRET: &str = "whsec_tests_keep_this_one_apart";

/// Returns the Unix time in seconds.
pub fn now() -> i64 {
    i64::try_from(countersign::clock::unix().as_secs()).expect("this century")
}

/// Returns the value of a `Stripe-Signature` header, with one `v1` for each secret.
pub fn sign(secrets: &[&str], timestamp: i64, body: &[u8]) -> String {
    let mut header = format!("t={timestamp}");
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
        mac.update(format!("{timestamp}.").as_bytes());
        mac.update(body);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        header += &format!(",v1={hex}");
    }
    header
}

/// One event. Clones are copies of the same event.
#[derive(Debug, Clone)]
pub struct Event {
    /// The id, `evt_…`, unlike that of any other test.
    pub id: String,
    kind: String,
    livemode: bool,
    /// The member that names the connected account, and its value.
    account: Option<(String, String)>,
    created: i64,
    size: usize,
}

impl Event {
    /// A small event of this type, in test mode.
    pub fn new(kind: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("evt_1Tests{:08x}{n:04}", std::process::id());
        Self { id, kind: kind.into(), livemode: false, account: None, created: now(), size: 0 }
    }

    /// A completed checkout.
    pub fn checkout() -> Self {
        Self::new("checkout.session.completed")
    }

    /// Sets the id.
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.into();
        self
    }

    /// Sets how many seconds ago Stripe created it.
    pub fn created_ago(mut self, seconds: i64) -> Self {
        self.created = now() - seconds;
        self
    }

    /// Sets live mode.
    pub fn live(mut self) -> Self {
        self.livemode = true;
        self
    }

    /// Sets the connected account.
    pub fn account(self, account: &str) -> Self {
        self.account_as("account", account)
    }

    /// Names the connected account in another member than `account`.
    pub fn account_as(mut self, member: &str, value: &str) -> Self {
        self.account = Some((member.into(), value.into()));
        self
    }

    /// Pads the body to exactly this many bytes.
    pub fn sized(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Returns the body, indented by two spaces and without a final newline, as Stripe sends it.
    pub fn body(&self) -> Vec<u8> {
        let empty = self.render("");
        if self.size == 0 {
            return self.render("Zoë Ünal · 注文").into_bytes();
        }
        let room = self.size.checked_sub(empty.len()).expect("an event has a least size");
        self.render(&"x".repeat(room)).into_bytes()
    }

    fn render(&self, note: &str) -> String {
        let member = |(name, value): &(String, String)| format!("  \"{name}\": \"{value}\",\n");
        let account = self.account.as_ref().map(member).unwrap_or_default();
        let Self { id, kind, livemode, created, .. } = self;
        format!(
            r#"{{
  "id": "{id}",
  "object": "event",
{account}  "api_version": "2026-04-22.dahlia",
  "created": {created},
  "data": {{
    "object": {{
      "id": "cs_test_a1Tests",
      "object": "checkout.session",
      "amount_total": 4200,
      "client_reference_id": "user-42",
      "currency": "eur",
      "metadata": {{
        "note": "{note}"
      }},
      "payment_status": "paid",
      "status": "complete"
    }}
  }},
  "livemode": {livemode},
  "pending_webhooks": 1,
  "request": {{
    "id": null,
    "idempotency_key": null
  }},
  "type": "{kind}"
}}"#
        )
    }

    /// Returns Stripe's request for it, signed now with [`SECRET`].
    pub fn signed(&self) -> Request {
        self.signed_by(&[SECRET])
    }

    /// Returns Stripe's request for it, signed now with these secrets.
    pub fn signed_by(&self, secrets: &[&str]) -> Request {
        self.signed_at(now(), secrets)
    }

    /// Returns Stripe's request for it, signed at this time.
    pub fn signed_at(&self, timestamp: i64, secrets: &[&str]) -> Request {
        let body = self.body();
        let signature = sign(secrets, timestamp, &body);
        self.unsigned().header("Stripe-Signature", &signature)
    }

    /// Returns Stripe's request for it without a signature.
    pub fn unsigned(&self) -> Request {
        webhook(&self.body())
    }
}

/// Returns Stripe's request around any body, without a signature.
pub fn webhook(body: &[u8]) -> Request {
    Request::new("POST", "/webhooks/stripe")
        .header("Cache-Control", "no-cache")
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Accept", "*/*; q=0.5, application/xml")
        .header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .body(body)
}
