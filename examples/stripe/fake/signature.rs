//! Signatures of webhooks (docs.stripe.com/webhooks/signature), computed without the program's own code, so that a mistake
//! there cannot hide here.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Returns the value of `Stripe-Signature` for a payload. `timestamp` is in Unix seconds.
pub fn sign(secret: &str, timestamp: u64, payload: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(payload);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={timestamp},v1={hex}")
}
