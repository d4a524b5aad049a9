//! The transition `import`: writes events of another ledger.

use rusqlite::Result;

use super::Transitions;
use crate::ledger::sqlite::row::NewRow;
use crate::ledger::transfer::{Precedence, TransferredEvent};
use crate::ledger::{Arrival, Record};

impl Transitions<'_> {
    /// Writes the events of which the file knows less, and returns their number. An imported lease is nobody's: it ends by
    /// the wall clock.
    pub(in crate::ledger::sqlite) fn import(&mut self, events: &[TransferredEvent]) -> Result<u64> {
        let mut written = 0;
        for event in events {
            written += u64::from(self.import_event(event)?);
        }
        Ok(written)
    }

    fn import_event(&mut self, event: &TransferredEvent) -> Result<bool> {
        let TransferredEvent { record, request } = event;
        let (key, hash) = (&record.key, self.rows.hash(&record.key));
        let row = match self.rows.seq(hash) {
            Some(seq) => self.rows.read(seq, key)?.map(|row| (seq, row)),
            None => None,
        };
        if let Some((seq, row)) = row {
            let has_payload = self.payloads.contains(seq);
            if event.precedence() <= Precedence::new(row.state, has_payload, row.attempts) {
                return Ok(false);
            }
            if has_payload {
                self.payloads.delete(seq, &key.endpoint, row.due)?;
            }
            self.rows.delete(&row, hash)?;
            // Archiving copies first and deletes later, so there may be a copy.
            self.rows.delete_archived(key)?;
        } else if let Some(archived) = self.rows.read_archived(key, hash)? {
            if event.precedence() <= Precedence::new(archived.state, false, archived.attempts) {
                return Ok(false);
            }
            self.rows.delete_archived(key)?;
        }
        let Record {
            key,
            event_type,
            created,
            livemode,
            account,
            state,
            attempts,
            status,
            seen,
            due,
            settled,
        } = record.clone();
        let arrival = Arrival { key, event_type, created, livemode, account };
        let row = NewRow { seen, state, attempts, status, token: None, due, settled };
        let seq = self.rows.append(&arrival, hash, &row)?;
        if let Some(request) = request {
            let endpoint = &arrival.key.endpoint;
            self.payloads.insert(seq, endpoint, due.unwrap_or_default(), request)?;
            if due.is_none() {
                // A DEAD event has a payload and is not in the queue.
                self.payloads.reschedule(seq, endpoint, Some(0), None)?;
            }
        }
        Ok(true)
    }
}
