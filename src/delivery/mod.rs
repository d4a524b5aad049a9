//! Delivery of events to the backend. Owns attempts, queues and retries; never decides what a caller is told.
//!
//! - [`dispatcher`]: one attempt, from a lease to its settlement
//! - [`worker`]: the queues: leases what is due and has the dispatcher deliver it
//! - [`retry_schedule`]: when a failed event is tried again

pub mod dispatcher;
pub mod retry_schedule;
pub mod worker;
