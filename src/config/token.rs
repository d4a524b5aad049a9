//! The bearer token of the events API: how it is parsed and compared. Nothing shows it, except to a caller that asks.

use super::reader::InvalidValue;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The shortest token, in characters. A shorter one can be guessed.
const MIN_TOKEN: usize = 16;

/// A bearer token: at least 16 visible ASCII characters. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct Token(SecretString);

impl Token {
    pub(crate) fn new(text: &str) -> Self {
        Self(SecretString::from(text))
    }

    /// Parses a token. An error describes it without quoting it.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |found: &str| {
            InvalidValue::expected("a token of at least 16 characters without spaces").found(found)
        };
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(invalid("a token with white space, control or non-ASCII characters"));
        }
        if text.len() < MIN_TOKEN {
            return Err(invalid("a token that is too short").help("make one with: openssl rand -hex 32"));
        }
        Ok(Self::new(text))
    }

    /// Whether `given` is this token. The time it takes does not depend on how much of it is right.
    pub fn matches(&self, given: &[u8]) -> bool {
        // Comparing the MACs of both reveals neither where they differ nor how long the right one is.
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(b"countersign admin token") else { return false };
        let expected = mac.clone().chain_update(self.0.expose_secret()).finalize().into_bytes();
        mac.chain_update(given).verify(&expected).is_ok()
    }

    /// Returns the token's text, for a client that sends it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_matches_and_debug_shows_nothing() {
        let token = Token::new("hush-hush-hush-hush");
        for (given, matches) in [
            ("hush-hush-hush-hush", true),
            ("hush-hush-hush-hus", false),
            ("hush-hush-hush-hush ", false),
            ("Hush-hush-hush-hush", false),
            ("", false),
        ] {
            assert_eq!(token.matches(given.as_bytes()), matches, "{given}");
        }
        assert!(token == token.clone() && token != Token::new("another-token-of-16"));
        assert!(!format!("{token:?}").contains("hush"));
    }
}
