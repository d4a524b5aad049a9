//! Delivery of events to the backend. Owns attempts, queues and retries; never decides what a caller is told.
//!
//! - [`dispatcher`]: one attempt, from a lease to its settlement
//! - [`attempt`]: an event to deliver, and one attempt at it
//! - [`import_head`]: the head of an event that came with no request
//! - [`last_arrival`]: what is remembered of an endpoint's last webhook
//! - `settlement`: records an attempt's result in the ledger, in the background if the ledger is slow
//! - [`worker`]: starts one queue for each endpoint that has stored events
//! - `endpoint_queue`: one endpoint's loop: leases due events and has the dispatcher deliver them
//! - `pacing`: how much a queue leases, how often it polls, when it pauses; pure
//! - [`policy`]: what delivering one endpoint's events needs: signing secrets, schedule, slots
//! - [`slots`]: how many deliveries of one endpoint's stored events may run at once
//! - [`retry_schedule`]: when a failed event is tried again
//! - [`wakeup`]: how others wake the worker

pub mod attempt;
pub mod dispatcher;
mod endpoint_queue;
pub mod import_head;
pub mod last_arrival;
mod pacing;
pub mod policy;
pub mod retry_schedule;
mod settlement;
pub mod slots;
pub mod wakeup;
pub mod worker;
