//! What is remembered of an endpoint's last webhook.

use rusqlite::Result;

use super::Transitions;
use crate::ledger::sqlite::schema::arrival_name;

impl Transitions<'_> {
    /// Remembers part of the head of an endpoint's last webhook. So rare that no statement is prepared for it.
    pub(in crate::ledger::sqlite) fn remember_arrival(&mut self, endpoint: &str, head: &str) -> Result<()> {
        let name = arrival_name(endpoint);
        self.conn.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", (name, head)).map(drop)
    }
}
