//! `[admin]`: the listener for health, metrics and the events API, and the token that opens the latter.

use super::section::Section;
use super::{Listen, units};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminConfig {
    /// Where to listen. Default `127.0.0.1:9464`.
    pub listen: Listen,
    /// What opens the events API; `None` if blank: there is none then.
    pub token: Option<Token>,
}

/// A bearer token: 16 characters or more, each fit for a header. `Debug` shows nothing of it.
#[derive(Debug, Clone)]
pub struct Token(SecretString);

impl Token {
    pub(crate) fn new(text: &str) -> Token {
        Token(SecretString::from(text))
    }

    /// Whether this is it. Takes as long for what is nearly right as for what is all wrong.
    pub fn is(&self, given: &[u8]) -> bool {
        // Comparing the MACs of both tells nothing of where they differ, nor of how long the right one is.
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(b"countersign admin token") else { return false };
        let expected = mac.clone().chain_update(self.0.expose_secret()).finalize().into_bytes();
        mac.chain_update(given).verify(&expected).is_ok()
    }

    /// Itself, for whoever has to show it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.is(other.expose().as_bytes())
    }
}

impl AdminConfig {
    pub(super) fn read(section: &mut Section) -> Option<AdminConfig> {
        let listen = section.text("listen", "{$ADMIN_LISTEN:127.0.0.1:9464}", units::listen);
        let token = section.token_or_blank("token", "{$COUNTERSIGN_ADMIN_TOKEN:}");
        Some(AdminConfig { listen: listen?, token: token? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_it_and_debug_shows_nothing() {
        let token = Token::new("hush-hush-hush-hush");
        for (given, is) in [
            ("hush-hush-hush-hush", true),
            ("hush-hush-hush-hus", false),
            ("hush-hush-hush-hush ", false),
            ("Hush-hush-hush-hush", false),
            ("", false),
        ] {
            assert_eq!(token.is(given.as_bytes()), is, "{given}");
        }
        assert!(token == token.clone() && token != Token::new("another-token-of-16"));
        assert!(!format!("{token:?}").contains("hush"));
    }
}
