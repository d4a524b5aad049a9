//! The copy of a ledger's events into another ledger. [`copy`] reads page after page from an [`EventSource`] and writes it
//! into an [`EventSink`]. It never changes the source. It can be repeated after a crash: an event that the target knows
//! already is written only where the source knows more of it.

use async_trait::async_trait;

use super::api::Ledger;
use super::error::LedgerError;
use super::record::{Record, State, StoredRequest};

/// An event with everything that a ledger knows of it, but for the token of its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferredEvent {
    /// The event's record.
    pub record: Record,
    /// The stored request, if the ledger has one.
    pub request: Option<StoredRequest>,
}

impl TransferredEvent {
    /// How much this event's record says. Of two records of one event, the greater one is right.
    pub(super) fn precedence(&self) -> Precedence {
        Precedence::new(self.record.state, self.request.is_some(), self.record.attempts)
    }

    /// Whether the event waits for a delivery that cannot be made, because its payload was deleted.
    fn is_incomplete(&self) -> bool {
        matches!(self.record.state, State::Pending | State::Dead) && self.request.is_none()
    }
}

/// How much a record says of its event: a delivered one more than a stored one, and that more than one that Stripe will
/// send again. The number of attempts decides between equals. `import.lua` has the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    rank: u8,
    attempts: u32,
}

impl Precedence {
    pub(super) fn new(state: State, has_payload: bool, attempts: u32) -> Self {
        let rank = match state {
            State::Delivered => 3,
            State::Pending | State::Dead => 2,
            State::Running if has_payload => 2,
            State::Running | State::Failed => 1,
        };
        Self { rank, attempts }
    }
}

/// A part of a ledger's events.
#[derive(Debug)]
pub struct TransferPage {
    /// The events. A page may be empty without being the last.
    pub events: Vec<TransferredEvent>,
    /// The cursor of the next page; `None` after the last.
    pub next: Option<String>,
}

/// A ledger whose events can be read one after the other. An event that never changes is read at least once.
#[async_trait]
pub trait EventSource: Send + Sync {
    /// Returns a page. `after` is the `next` of the previous page.
    ///
    /// # Errors
    /// The ledger is unavailable, or `after` is not a cursor of this ledger.
    async fn export(&self, after: Option<&str>) -> Result<TransferPage, LedgerError>;

    /// Returns the endpoints whose last webhook is remembered, each with [what is](crate::ledger::Ledger::last_arrival).
    ///
    /// # Errors
    /// The ledger is unavailable.
    async fn last_arrivals(&self) -> Result<Vec<(String, String)>, LedgerError>;
}

/// A ledger that can take the events of another one.
#[async_trait]
pub trait EventSink: Ledger {
    /// Writes the events of which this ledger knows less, and returns their number. It is durable when it is returned.
    ///
    /// # Errors
    /// The ledger is unavailable. Some of the events may have been written.
    async fn import(&self, events: Vec<TransferredEvent>) -> Result<u64, LedgerError>;
}

/// The result of a copy, as numbers of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferCounts {
    /// Read from the source. An event that changed its place while it was read counts twice.
    pub read: u64,
    /// Written into the target. The others were known there, or their retention has passed.
    pub written: u64,
    /// PENDING, or RUNNING with a payload, in the source.
    pub queued: u64,
    /// DEAD in the source.
    pub dead: u64,
    /// PENDING or DEAD in the source, but without a payload: they cannot be delivered, and were not copied.
    pub incomplete: u64,
}

/// Why a copy ended early, and at which of the two ledgers.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The source could not be read.
    #[error("cannot read the old ledger: {0}")]
    Source(LedgerError),
    /// The target could not be written.
    #[error("cannot write the new ledger: {0}")]
    Target(LedgerError),
}

/// Copies every event of `source` into `target`, and what it remembers of last webhooks. `progress` gets the counts after
/// each page of events.
///
/// # Errors
/// A ledger is unavailable. The copy can be repeated from the start.
pub async fn copy(
    source: &dyn EventSource,
    target: &dyn EventSink,
    mut progress: impl FnMut(&TransferCounts),
) -> Result<TransferCounts, TransferError> {
    let (mut counts, mut after) = (TransferCounts::default(), None::<String>);
    loop {
        let page = source.export(after.as_deref()).await.map_err(TransferError::Source)?;
        let mut events = Vec::with_capacity(page.events.len());
        for event in page.events {
            counts.read += 1;
            if event.is_incomplete() {
                counts.incomplete += 1;
                continue;
            }
            match event.record.state {
                State::Dead => counts.dead += 1,
                State::Pending => counts.queued += 1,
                State::Running if event.request.is_some() => counts.queued += 1,
                State::Running | State::Delivered | State::Failed => {}
            }
            events.push(event);
        }
        if !events.is_empty() {
            counts.written += target.import(events).await.map_err(TransferError::Target)?;
        }
        progress(&counts);
        after = page.next;
        if after.is_none() {
            copy_last_arrivals(source, target).await?;
            return Ok(counts);
        }
    }
}

/// Copies what is remembered of the last webhook of each endpoint, unless one has come to the target since.
async fn copy_last_arrivals(source: &dyn EventSource, target: &dyn EventSink) -> Result<(), TransferError> {
    for (endpoint, head) in source.last_arrivals().await.map_err(TransferError::Source)? {
        if target.last_arrival(&endpoint).await.map_err(TransferError::Target)?.is_none() {
            target.remember_arrival(&endpoint, &head).await.map_err(TransferError::Target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_says_more_takes_precedence() {
        let of = |state, has_payload, attempts| Precedence::new(state, has_payload, attempts);
        let ascending = [
            of(State::Running, false, 1),
            of(State::Failed, false, 2),
            of(State::Pending, true, 0),
            of(State::Running, true, 3),
            of(State::Dead, true, 4),
            of(State::Delivered, false, 1),
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
        assert_eq!(of(State::Running, false, 2), of(State::Failed, false, 2));
    }
}
