//! `[admin]`: the listener for health, metrics and the events API, and the token of the events API.

use super::listen::Listen;
use super::reader::Section;
use super::token::Token;

/// The section `[admin]`. A reload changes the token; another address needs a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminConfig {
    /// The address of the admin listener. Defaults to `127.0.0.1:9464`.
    pub listen: Listen,
    /// The bearer token of the events API. `None` if it is blank: then there is no events API.
    pub token: Option<Token>,
}

impl AdminConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let listen = section.text("listen", "{$ADMIN_LISTEN:127.0.0.1:9464}", Listen::parse);
        let token = section.secret_or_blank("token", "{$COUNTERSIGN_ADMIN_TOKEN:}", Token::parse);
        Some(Self { listen: listen?, token: token? })
    }
}
