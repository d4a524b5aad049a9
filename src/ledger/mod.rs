//! The ledger: the durable state of every event, and the right to deliver one (a [`Lease`]).
//! It never delivers, and never decides what an HTTP caller is told.
//!
//! | file | what it owns |
//! |---|---|
//! | `api` | [`Ledger`], the trait that every backing store implements |
//! | `arrival` | [`EventKey`], [`Arrival`] |
//! | `types` | the results of claims, settlements and their results, [`Health`] |
//! | `record` | [`State`], [`Record`], [`StoredRequest`], pages, operator actions, [`Backlog`] |
//! | `lease`, `error` | [`Lease`]; [`LedgerError`] and [`SettleError`] |
//! | `metered`, `none` | a wrapper that measures another ledger; `ledger.url = "none"` |
//! | `stats` | what a ledger holds, in numbers |
//! | `transfer` | the copy of events from one ledger into another |
//! | `tokens`, `millis` | fencing tokens; durations as integer milliseconds |
//! | `abandoned`, `usual_lease` | events whose process died; how old a running delivery is |
//! | `retention` | the pace at which settled events are deleted |
//! | [`sqlite`], [`redis`] | the two durable ledgers |
//!
//! One row of the diagram is one transition: the call, the states it starts from, and the state it leads to. A lease
//! is *in force* until it ends. *Payload* means that a [`StoredRequest`] is stored with the event.
//!
//! ```text
//!  call       from                                               to
//!  claim      no record, FAILED, or RUNNING with expired lease ─▶ RUNNING, lease granted (Leased)
//!             RUNNING without payload, lease in force ──────────▶ unchanged              (InFlight)
//!             DELIVERED, or any state with payload ─────────────▶ unchanged              (Duplicate)
//!  enqueue    as claim; stores the payload where claim grants ──▶ RUNNING with a lease, or PENDING, due now
//!  claim_due  PENDING and due ──────────────────────────────────▶ RUNNING, lease granted
//!             RUNNING with payload and expired lease ───────────▶ RUNNING, new lease granted
//!  settle     Delivered: any state, any token ──────────────────▶ DELIVERED, payload deleted
//!             Failed: RUNNING without payload, current token ───▶ FAILED
//!             Retry:  RUNNING with payload, current token ──────▶ PENDING, due after the wait
//!             Dead:   RUNNING with payload, current token ──────▶ DEAD, payload retained
//!  apply      Redeliver: payload, no lease in force ────────────▶ PENDING, due now, attempts reset to 0
//!             Delete: any state, no lease in force ─────────────▶ no record
//!  (sweep)    RUNNING without payload, lease ended ───────────▶ FAILED, within a minute
//!  retention  DELIVERED or FAILED, settled `retention` ago ─────▶ no record
//! ```
//!
//! `Delivered` needs no current token because the backend's 2xx is a fact. Every other settlement needs it, so a late
//! holder cannot undo a later lease. PENDING and DEAD events never expire. A RUNNING event is delivered again, or becomes
//! FAILED, after its lease.

mod abandoned;
mod api;
mod arrival;
mod error;
mod lease;
mod metered;
mod millis;
mod none;
mod record;
pub mod redis;
mod retention;
pub mod sqlite;
pub mod stats;
mod tokens;
pub mod transfer;
mod types;
mod usual_lease;

pub use api::Ledger;
pub use arrival::{Arrival, EventKey};
pub use error::{LedgerError, SettleError};
pub use lease::Lease;
pub use metered::Metered;
pub use none::NoLedger;
pub use record::{ActionResult, Backlog, OperatorAction, Page, Record, RecordFilter, State, StoredRequest};
pub use types::{Claim, EnqueueResult, Health, MAX_WAIT, Settled, Settlement};
