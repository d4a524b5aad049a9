//! The pairs that some parser reads in a form so far. How a form is encoded is not known here.

use crate::guard::query::{PairsRead, QueryGuard};
use std::sync::Arc;

/// The maximum of a field that is held, in bytes. A longer value of a key that tells a webhook counts as its value.
pub(super) const MAX_FIELD: usize = 64 << 10;

/// The fields of one form.
#[derive(Debug, Clone)]
pub(super) struct FormFields {
    queries: Arc<QueryGuard>,
    read: PairsRead,
}

impl FormFields {
    /// Creates the fields of a form in a request whose target holds these pairs.
    pub(super) fn new(queries: Arc<QueryGuard>, read: PairsRead) -> Self {
        Self { queries, read }
    }

    /// Returns the positions of the locations whose pairs are all read.
    pub(super) fn complete(&self) -> impl Iterator<Item = usize> {
        self.queries.complete(&self.read)
    }

    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.queries.add(key, value, &mut self.read);
    }

    pub(super) fn add_any_value(&mut self, key: &[u8]) {
        self.queries.add_any_value(key, &mut self.read);
    }

    pub(super) fn add_all(&mut self) {
        self.queries.add_all(&mut self.read);
    }

    pub(super) fn knows_key(&self, key: &[u8]) -> bool {
        self.queries.knows_key(key)
    }
}
