//! A model of the protocol of the ledger, explored in all of its states: one event, Stripe's copies of it, holders that
//! die or are slow, leases that expire, and a backend that goes on working after a holder's death. Time is counted in
//! ticks, and only differences are stored, so that the number of states is finite.
//!
//! Each rule of the protocol can be left out ([`Flaw`]). A test shows that the model then finds a broken property;
//! otherwise it would prove nothing. The file is long because state, steps and properties are one concept.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// How many processes can hold the event at once.
const HOLDERS: usize = 3;
/// The timeout of an attempt, in ticks, and the longest time that the backend works on one.
const ATTEMPT: u8 = 1;
/// How much longer a lease is than an attempt, in ticks.
const MARGIN: u8 = 2;
/// An event is dead after this many counted attempts.
const ATTEMPTS: u8 = 2;

/// The delivery mode of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum DeliveryMode {
    Inline,
    Queued,
    Hybrid,
}

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// A failure settles any state, with any token.
    FailureNeedsNoToken,
    /// An attempt may begin even if its timeout ends together with the lease, which a late timer exceeds.
    AttemptEndsWithLease,
    /// An attempt begins however little is left of its lease.
    IgnoresRemainingLease,
    /// A lease is as long as its attempt, counted from the grant, and the rest of it is never checked.
    LeaseFromGrant,
    /// A process that starts frees the leases of its predecessor.
    FreesLeasesAtStart,
    /// Stripe gets its 2xx before the event is stored.
    AcknowledgedFirst,
    /// A claim leases an event that was delivered.
    LeasesDelivered,
    /// An inline event whose holder is gone becomes failed before its lease is over.
    SweepsEarly,
    /// An inline event whose lease is over stays as it is.
    NeverSweeps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Record {
    Absent,
    Running { token: u8, left: u8, stored: bool },
    Pending,
    Delivered,
    Failed,
    Dead,
}

/// The state of a holder. `left` is what it believes is left of its lease; `stripe` says whether Stripe waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Idle,
    /// Has acknowledged the event and not stored it yet. Exists only with [`Flaw::AcknowledgedFirst`].
    AcknowledgedUnstored,
    /// Has sent its claim this many ticks ago, and the ledger has not responded.
    Asking {
        waited: u8,
        stripe: bool,
    },
    Leased {
        token: u8,
        left: u8,
        stripe: bool,
    },
    /// Has an open request at the backend.
    Sent {
        token: u8,
        stripe: bool,
    },
    /// Has finished its request, and the ledger has not recorded the result.
    Settling {
        token: u8,
        success: bool,
        stripe: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    record: Record,
    attempts: u8,
    holders: [Holder; HOLDERS],
    /// Requests that the backend works on: the holder, and the most ticks left. The holder is `None` after its death.
    at_backend: Vec<(Option<usize>, u8)>,
    applied: u8,
    acknowledged: bool,
    copies: u8,
    crashes: u8,
    redeliveries: u8,
    /// Whether the event was leased after a 2xx was recorded.
    leased_after_delivery: bool,
    /// Whether an attempt began after a late 2xx was recorded, on a lease from before that.
    sent_after_delivery: bool,
    superseded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Stripe sends the event, and this holder claims it.
    Claim(usize),
    /// This holder's worker claims what is due.
    ClaimDue(usize),
    /// The ledger handles the claim.
    Respond(usize),
    /// The holder that acknowledged first stores the event at last.
    StoreLate(usize),
    Send(usize),
    /// Too little is left of the lease for an attempt, so it is postponed.
    Postpone(usize),
    /// The backend finishes a request.
    BackendResponds {
        request: usize,
        success: bool,
    },
    Settle(usize),
    /// The deadline of a hybrid delivery passes, and Stripe gets a 2xx because the event is stored.
    Deadline(usize),
    Crash(usize),
    Redeliver,
    /// The sweep finds an inline event whose lease is over.
    FailAbandoned,
    Tick,
}

#[derive(Debug, Clone)]
struct Protocol {
    mode: DeliveryMode,
    flaw: Flaw,
    holders: usize,
    copies: u8,
    crashes: u8,
    redeliveries: u8,
}

impl Protocol {
    fn new(mode: DeliveryMode, flaw: Flaw) -> Self {
        let holders = if mode == DeliveryMode::Inline { 3 } else { 2 };
        Self { mode, flaw, holders, copies: 3, crashes: 2, redeliveries: 1 }
    }

    fn lease(&self) -> u8 {
        if self.flaw == Flaw::LeaseFromGrant { ATTEMPT } else { ATTEMPT + MARGIN }
    }

    /// Returns whether an attempt may begin with this much left of its lease.
    fn may_begin(&self, left: u8) -> bool {
        match self.flaw {
            Flaw::IgnoresRemainingLease | Flaw::LeaseFromGrant => true,
            Flaw::AttemptEndsWithLease => left >= ATTEMPT,
            Flaw::None
            | Flaw::FailureNeedsNoToken
            | Flaw::FreesLeasesAtStart
            | Flaw::AcknowledgedFirst
            | Flaw::LeasesDelivered
            | Flaw::SweepsEarly
            | Flaw::NeverSweeps => left > ATTEMPT,
        }
    }

    fn grant(&self, state: &mut State, holder_index: usize, waited: u8, stripe: bool) {
        state.holders[holder_index] = Holder::Idle;
        let over = matches!(state.record, Record::Running { left: 0, .. });
        let stored = matches!(state.record, Record::Running { stored: true, .. });
        let admitted = match state.record {
            Record::Absent | Record::Failed => stripe,
            Record::Running { .. } => over && (stripe != stored),
            Record::Pending => !stripe,
            Record::Delivered => stripe && self.flaw == Flaw::LeasesDelivered,
            Record::Dead => false,
        };
        if !admitted {
            // An event in flight inline is not acknowledged: Stripe tries again. Any other event is stored or
            // delivered.
            let in_flight = matches!(state.record, Record::Running { stored: false, .. });
            state.acknowledged |= stripe && !in_flight;
            return;
        }
        if stripe && self.mode == DeliveryMode::Queued {
            state.record = Record::Pending;
            state.acknowledged = true;
            return;
        }
        state.leased_after_delivery |= state.record == Record::Delivered;
        // More attempts than this change nothing, and the limit keeps the states finite.
        state.attempts = (state.attempts + 1).min(ATTEMPTS);
        let (token, lease) = (unused_token(state), self.lease());
        state.record = Record::Running { token, left: lease, stored: self.mode != DeliveryMode::Inline };
        let left = if self.flaw == Flaw::LeaseFromGrant { lease } else { lease.saturating_sub(waited) };
        state.holders[holder_index] = Holder::Leased { token, left, stripe };
    }

    /// Applies the ledger's response to a settlement, and then Stripe's response.
    fn settle(&self, state: &mut State, token: u8, success: bool, stripe: bool, counts: bool) {
        let current = matches!(state.record, Record::Running { token: t, .. } if t == token);
        if success {
            state.record = Record::Delivered;
        } else if current || self.flaw == Flaw::FailureNeedsNoToken {
            if !counts {
                state.attempts = state.attempts.saturating_sub(1);
            }
            state.record = match self.mode {
                DeliveryMode::Inline => Record::Failed,
                DeliveryMode::Queued | DeliveryMode::Hybrid if counts && state.attempts >= ATTEMPTS => {
                    Record::Dead
                }
                DeliveryMode::Queued | DeliveryMode::Hybrid => Record::Pending,
            };
        } else {
            state.superseded = true;
        }
        // A hybrid event is stored, whatever the result of the attempt.
        state.acknowledged |= stripe && (success || self.mode != DeliveryMode::Inline);
    }
}

/// Returns a token that is not in use. Real tokens are random; the lowest free one keeps the number of states small.
fn unused_token(state: &State) -> u8 {
    let used = |token: u8| {
        let held = state.holders.iter().any(|holder| match *holder {
            Holder::Leased { token: t, .. }
            | Holder::Sent { token: t, .. }
            | Holder::Settling { token: t, .. } => t == token,
            Holder::Idle | Holder::AcknowledgedUnstored | Holder::Asking { .. } => false,
        });
        held || matches!(state.record, Record::Running { token: t, .. } if t == token)
    };
    (0..).find(|token| !used(*token)).expect("there are more tokens than holders")
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            record: Record::Absent,
            attempts: 0,
            holders: [Holder::Idle; HOLDERS],
            at_backend: vec![],
            applied: 0,
            acknowledged: false,
            copies: 0,
            crashes: 0,
            redeliveries: 0,
            leased_after_delivery: false,
            sent_after_delivery: false,
            superseded: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        // Holders are interchangeable, so the first idle one stands for all.
        let idle = state.holders[..self.holders].iter().position(|holder| *holder == Holder::Idle);
        if let Some(holder_index) = idle {
            if state.copies < self.copies {
                steps.push(Step::Claim(holder_index));
            }
            let due = matches!(state.record, Record::Pending | Record::Running { stored: true, left: 0, .. });
            if due && !state.holders.iter().any(|h| matches!(h, Holder::Asking { stripe: false, .. })) {
                steps.push(Step::ClaimDue(holder_index));
            }
        }
        for (holder_index, holder) in state.holders.iter().enumerate() {
            match *holder {
                Holder::Idle => continue,
                Holder::AcknowledgedUnstored => steps.push(Step::StoreLate(holder_index)),
                Holder::Asking { .. } => steps.push(Step::Respond(holder_index)),
                Holder::Leased { left, .. } => {
                    steps.push(if self.may_begin(left) {
                        Step::Send(holder_index)
                    } else {
                        Step::Postpone(holder_index)
                    });
                }
                Holder::Sent { .. } => {}
                Holder::Settling { .. } => steps.push(Step::Settle(holder_index)),
            }
            let waits = matches!(
                holder,
                Holder::Leased { stripe: true, .. }
                    | Holder::Sent { stripe: true, .. }
                    | Holder::Settling { stripe: true, .. }
            );
            if self.mode == DeliveryMode::Hybrid && waits {
                steps.push(Step::Deadline(holder_index));
            }
            if state.crashes < self.crashes {
                steps.push(Step::Crash(holder_index));
            }
        }
        for request in 0..state.at_backend.len() {
            steps.extend([true, false].map(|success| Step::BackendResponds { request, success }));
        }
        if state.redeliveries < self.redeliveries && state.record == Record::Dead {
            steps.push(Step::Redeliver);
        }
        let sweeps = match (state.record, self.flaw) {
            (Record::Running { stored: false, .. }, Flaw::SweepsEarly) => true,
            (_, Flaw::NeverSweeps) => false,
            (record, _) => matches!(record, Record::Running { stored: false, left: 0, .. }),
        };
        if sweeps {
            steps.push(Step::FailAbandoned);
        }
        // Every attempt ends by its timeout, so no tick passes that moment.
        let moves = matches!(state.record, Record::Running { left: 1.., .. })
            || state
                .holders
                .iter()
                .any(|h| matches!(h, Holder::Leased { left: 1.., .. } | Holder::Asking { .. }))
            || !state.at_backend.is_empty();
        if moves && state.at_backend.iter().all(|(_, left)| *left > 0) {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Claim(holder_index) => {
                state.copies += 1;
                state.holders[holder_index] = Holder::Asking { waited: 0, stripe: true };
                if self.flaw == Flaw::AcknowledgedFirst && self.mode == DeliveryMode::Queued {
                    state.holders[holder_index] = Holder::AcknowledgedUnstored;
                    state.acknowledged = true;
                }
            }
            Step::ClaimDue(holder_index) => {
                state.holders[holder_index] = Holder::Asking { waited: 0, stripe: false }
            }
            Step::Respond(holder_index) => {
                let Holder::Asking { waited, stripe } = state.holders[holder_index] else { return None };
                self.grant(&mut state, holder_index, waited, stripe);
            }
            Step::StoreLate(holder_index) => self.grant(&mut state, holder_index, 0, true),
            Step::Send(holder_index) => {
                let Holder::Leased { token, stripe, .. } = state.holders[holder_index] else { return None };
                state.sent_after_delivery |= state.record == Record::Delivered;
                state.holders[holder_index] = Holder::Sent { token, stripe };
                state.at_backend.push((Some(holder_index), ATTEMPT));
            }
            Step::Postpone(holder_index) => {
                let Holder::Leased { token, stripe, .. } = state.holders[holder_index] else { return None };
                state.holders[holder_index] = Holder::Idle;
                self.settle(&mut state, token, false, stripe, false);
            }
            Step::BackendResponds { request, success } => {
                let (owner, _) = state.at_backend.remove(request);
                state.applied = (state.applied + u8::from(success)).min(3);
                if let Some(holder_index) = owner
                    && let Holder::Sent { token, stripe } = state.holders[holder_index]
                {
                    state.holders[holder_index] = Holder::Settling { token, success, stripe };
                }
            }
            Step::Settle(holder_index) => {
                let Holder::Settling { token, success, stripe } = state.holders[holder_index] else {
                    return None;
                };
                state.holders[holder_index] = Holder::Idle;
                self.settle(&mut state, token, success, stripe, true);
            }
            Step::Deadline(holder_index) => {
                state.acknowledged = true;
                match &mut state.holders[holder_index] {
                    Holder::Leased { stripe, .. }
                    | Holder::Sent { stripe, .. }
                    | Holder::Settling { stripe, .. } => *stripe = false,
                    Holder::Idle | Holder::AcknowledgedUnstored | Holder::Asking { .. } => return None,
                }
            }
            Step::Crash(holder_index) => {
                state.crashes += 1;
                state.holders[holder_index] = Holder::Idle;
                // The connection is gone, and the backend may still work.
                for (owner, _) in
                    state.at_backend.iter_mut().filter(|(owner, _)| *owner == Some(holder_index))
                {
                    *owner = None;
                }
                if self.flaw == Flaw::FreesLeasesAtStart
                    && let Record::Running { left, .. } = &mut state.record
                {
                    *left = 0;
                }
            }
            Step::Redeliver => {
                state.redeliveries += 1;
                state.attempts = 0;
                state.record = Record::Pending;
            }
            Step::FailAbandoned => state.record = Record::Failed,
            Step::Tick => {
                if let Record::Running { left, .. } = &mut state.record {
                    *left = left.saturating_sub(1);
                }
                for holder in &mut state.holders {
                    match holder {
                        Holder::Leased { left, .. } => *left = left.saturating_sub(1),
                        Holder::Asking { waited, .. } => *waited = (*waited + 1).min(ATTEMPT + MARGIN),
                        Holder::Idle
                        | Holder::AcknowledgedUnstored
                        | Holder::Sent { .. }
                        | Holder::Settling { .. } => {}
                    }
                }
                state.at_backend.iter_mut().for_each(|(_, left)| *left -= 1);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_OVERLAP, |_, state: &State| state.at_backend.len() <= 1),
            Property::always(NEVER_LOST, |_, state: &State| {
                let stored = matches!(
                    state.record,
                    Record::Pending | Record::Dead | Record::Running { stored: true, .. }
                );
                !state.acknowledged || stored || state.applied > 0
            }),
            Property::always(NO_LEASE_AFTER_DELIVERY, |_, state: &State| !state.leased_after_delivery),
            Property::always(ENDS_DELIVERED_OR_DEAD, |model: &Self, state: &State| {
                let (mut steps, mut left) = (vec![], state.acknowledged);
                model.actions(state, &mut steps);
                left &= steps.is_empty();
                !left
                    || state.record == Record::Dead
                    || state.record == Record::Delivered && state.applied > 0
            }),
            Property::always(NEVER_LEFT_RUNNING, |model: &Self, state: &State| {
                let mut steps = vec![];
                model.actions(state, &mut steps);
                !steps.is_empty() || !matches!(state.record, Record::Running { .. })
            }),
            // These must be reachable, or the model proves less than it claims.
            Property::sometimes(APPLIED_TWICE, |_, state: &State| state.applied == 2),
            Property::sometimes(LATE_FAILURE, |_, state: &State| state.superseded),
            Property::sometimes(SENT_AFTER_DELIVERY, |_, state: &State| state.sent_after_delivery),
        ]
    }
}

const NO_OVERLAP: &str = "two requests are never open at the same time";
const NEVER_LOST: &str = "an acknowledged event is stored or was applied";
const NO_LEASE_AFTER_DELIVERY: &str = "no lease is granted after a 2xx is recorded";
const ENDS_DELIVERED_OR_DEAD: &str = "once no step is left, an acknowledged event is delivered or dead";
const NEVER_LEFT_RUNNING: &str = "once no step is left, no event is running";
const APPLIED_TWICE: &str = "an event is applied twice, after a death between the 2xx and its record";
/// A record can take longer than a lease while the ledger is unreachable. A lease granted in between cannot be
/// revoked.
const SENT_AFTER_DELIVERY: &str = "an attempt leased before a late record begins after it";
const LATE_FAILURE: &str = "a late failure changes nothing";

#[test]
fn every_reachable_state_of_the_protocol_keeps_the_promise() {
    for mode in [DeliveryMode::Inline, DeliveryMode::Queued, DeliveryMode::Hybrid] {
        let explored = Protocol::new(mode, Flaw::None).checker().threads(2).spawn_bfs().join();
        explored.assert_properties();
    }
}

#[test]
fn leaving_out_any_rule_of_the_protocol_breaks_the_promise() {
    for (flaw, mode, broken) in [
        (Flaw::FailureNeedsNoToken, DeliveryMode::Queued, NO_OVERLAP),
        (Flaw::FailureNeedsNoToken, DeliveryMode::Inline, NO_OVERLAP),
        (Flaw::AttemptEndsWithLease, DeliveryMode::Queued, NO_OVERLAP),
        (Flaw::IgnoresRemainingLease, DeliveryMode::Hybrid, NO_OVERLAP),
        (Flaw::LeaseFromGrant, DeliveryMode::Inline, NO_OVERLAP),
        (Flaw::FreesLeasesAtStart, DeliveryMode::Queued, NO_OVERLAP),
        (Flaw::AcknowledgedFirst, DeliveryMode::Queued, NEVER_LOST),
        (Flaw::LeasesDelivered, DeliveryMode::Inline, NO_LEASE_AFTER_DELIVERY),
        (Flaw::SweepsEarly, DeliveryMode::Inline, NO_OVERLAP),
        (Flaw::NeverSweeps, DeliveryMode::Inline, NEVER_LEFT_RUNNING),
    ] {
        let stop = HasDiscoveries::AnyOf([broken].into());
        let explored = Protocol::new(mode, flaw).checker().threads(2).finish_when(stop).spawn_bfs().join();
        assert!(explored.discovery(broken).is_some(), "{flaw:?} {mode:?} does not break: {broken}");
    }
}
