//! `[admin]`: the listener for health and metrics.

use super::section::Section;
use super::{Listen, units};

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Where to listen. Default `127.0.0.1:9464`.
    pub listen: Listen,
}

impl Admin {
    pub(super) fn read(section: &mut Section) -> Option<Admin> {
        Some(Admin { listen: section.text("listen", "{$ADMIN_LISTEN:127.0.0.1:9464}", units::listen)? })
    }
}
