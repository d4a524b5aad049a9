//! A model of the protocol of the ledger, explored in all of its states: one event, Stripe's copies of it, holders that die or
//! are slow, leases that expire, and a backend that goes on working after a holder's death. Time is counted in ticks, and
//! only differences are stored, so that the number of states is finite.
//!
//! Each rule of the protocol can be left out ([`Flaw`]). A test shows that the model then finds a broken property; otherwise
//! it would prove nothing.

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
enum Way {
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
    CutsItFine,
    /// An attempt begins however little is left of its lease.
    BeginsLate,
    /// A lease is as long as its attempt, counted from the grant, and the rest of it is never checked.
    LeaseFromGrant,
    /// A process that starts frees the leases of its predecessor.
    FreedAtStart,
    /// Stripe gets its 2xx before the event is stored.
    AcknowledgedFirst,
    /// A claim ignores the state.
    DeliveredIsAdmitted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Record {
    Absent,
    Running { token: u8, left: u8, kept: bool },
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
    Careless,
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
    at_app: Vec<(Option<usize>, u8)>,
    applied: u8,
    acknowledged: bool,
    copies: u8,
    crashes: u8,
    redeliveries: u8,
    /// Whether the event was leased after a 2xx was recorded.
    again: bool,
    /// Whether an attempt began after a late 2xx was recorded, on a lease from before that.
    beforehand: bool,
    superseded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Stripe sends the event, and this holder claims it.
    Arrive(usize),
    /// This holder's worker claims what is due.
    Look(usize),
    /// The ledger handles the claim.
    Grant(usize),
    /// The holder that acknowledged first stores the event at last.
    KeepLate(usize),
    Send(usize),
    /// Too little is left of the lease for an attempt, so it is postponed.
    PutOff(usize),
    /// The backend finishes a request.
    Answer {
        request: usize,
        success: bool,
    },
    Settle(usize),
    /// The deadline of a hybrid delivery passes, and Stripe gets a 2xx because the event is stored.
    Deadline(usize),
    Crash(usize),
    Redeliver,
    Tick,
}

#[derive(Debug, Clone)]
struct Protocol {
    way: Way,
    flaw: Flaw,
    holders: usize,
    copies: u8,
    crashes: u8,
    redeliveries: u8,
}

impl Protocol {
    fn of(way: Way, flaw: Flaw) -> Protocol {
        let holders = if way == Way::Inline { 3 } else { 2 };
        Protocol { way, flaw, holders, copies: 3, crashes: 2, redeliveries: 1 }
    }

    fn lease(&self) -> u8 {
        if self.flaw == Flaw::LeaseFromGrant { ATTEMPT } else { ATTEMPT + MARGIN }
    }

    /// Returns whether an attempt may begin with this much left of its lease.
    fn fits(&self, left: u8) -> bool {
        match self.flaw {
            Flaw::BeginsLate | Flaw::LeaseFromGrant => true,
            Flaw::CutsItFine => left >= ATTEMPT,
            Flaw::None
            | Flaw::FailureNeedsNoToken
            | Flaw::FreedAtStart
            | Flaw::AcknowledgedFirst
            | Flaw::DeliveredIsAdmitted => left > ATTEMPT,
        }
    }

    fn grant(&self, state: &mut State, who: usize, waited: u8, stripe: bool) {
        state.holders[who] = Holder::Idle;
        let over = matches!(state.record, Record::Running { left: 0, .. });
        let kept = matches!(state.record, Record::Running { kept: true, .. });
        let admitted = match state.record {
            Record::Absent | Record::Failed => stripe,
            Record::Running { .. } => over && (stripe != kept),
            Record::Pending => !stripe,
            Record::Delivered => stripe && self.flaw == Flaw::DeliveredIsAdmitted,
            Record::Dead => false,
        };
        if !admitted {
            // An event in flight inline is not acknowledged: Stripe tries again. Any other event is stored or
            // delivered.
            let in_flight = matches!(state.record, Record::Running { kept: false, .. });
            state.acknowledged |= stripe && !in_flight;
            return;
        }
        if stripe && self.way == Way::Queued {
            state.record = Record::Pending;
            state.acknowledged = true;
            return;
        }
        state.again |= state.record == Record::Delivered;
        // More attempts than this change nothing, and the limit keeps the states finite.
        state.attempts = (state.attempts + 1).min(ATTEMPTS);
        let (token, lease) = (fresh(state), self.lease());
        state.record = Record::Running { token, left: lease, kept: self.way != Way::Inline };
        let left = if self.flaw == Flaw::LeaseFromGrant { lease } else { lease.saturating_sub(waited) };
        state.holders[who] = Holder::Leased { token, left, stripe };
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
            state.record = match self.way {
                Way::Inline => Record::Failed,
                Way::Queued | Way::Hybrid if counts && state.attempts >= ATTEMPTS => Record::Dead,
                Way::Queued | Way::Hybrid => Record::Pending,
            };
        } else {
            state.superseded = true;
        }
        // A hybrid event is stored, whatever the result of the attempt.
        state.acknowledged |= stripe && (success || self.way != Way::Inline);
    }
}

/// Returns a token that is not in use. Real tokens are random; the lowest free one keeps the number of states small.
fn fresh(state: &State) -> u8 {
    let used = |token: u8| {
        let held = state.holders.iter().any(|holder| match *holder {
            Holder::Leased { token: t, .. }
            | Holder::Sent { token: t, .. }
            | Holder::Settling { token: t, .. } => t == token,
            Holder::Idle | Holder::Careless | Holder::Asking { .. } => false,
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
            at_app: vec![],
            applied: 0,
            acknowledged: false,
            copies: 0,
            crashes: 0,
            redeliveries: 0,
            again: false,
            beforehand: false,
            superseded: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        // Holders are interchangeable, so the first idle one stands for all.
        let idle = state.holders[..self.holders].iter().position(|holder| *holder == Holder::Idle);
        if let Some(who) = idle {
            if state.copies < self.copies {
                steps.push(Step::Arrive(who));
            }
            let due = matches!(state.record, Record::Pending | Record::Running { kept: true, left: 0, .. });
            if due && !state.holders.iter().any(|h| matches!(h, Holder::Asking { stripe: false, .. })) {
                steps.push(Step::Look(who));
            }
        }
        for (who, holder) in state.holders.iter().enumerate() {
            match *holder {
                Holder::Idle => continue,
                Holder::Careless => steps.push(Step::KeepLate(who)),
                Holder::Asking { .. } => steps.push(Step::Grant(who)),
                Holder::Leased { left, .. } => {
                    steps.push(if self.fits(left) { Step::Send(who) } else { Step::PutOff(who) });
                }
                Holder::Sent { .. } => {}
                Holder::Settling { .. } => steps.push(Step::Settle(who)),
            }
            let waits = matches!(
                holder,
                Holder::Leased { stripe: true, .. }
                    | Holder::Sent { stripe: true, .. }
                    | Holder::Settling { stripe: true, .. }
            );
            if self.way == Way::Hybrid && waits {
                steps.push(Step::Deadline(who));
            }
            if state.crashes < self.crashes {
                steps.push(Step::Crash(who));
            }
        }
        for request in 0..state.at_app.len() {
            steps.extend([true, false].map(|success| Step::Answer { request, success }));
        }
        if state.redeliveries < self.redeliveries && state.record == Record::Dead {
            steps.push(Step::Redeliver);
        }
        // Every attempt ends by its timeout, so no tick passes that moment.
        let moves = matches!(state.record, Record::Running { left: 1.., .. })
            || state
                .holders
                .iter()
                .any(|h| matches!(h, Holder::Leased { left: 1.., .. } | Holder::Asking { .. }))
            || !state.at_app.is_empty();
        if moves && state.at_app.iter().all(|(_, left)| *left > 0) {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Arrive(who) => {
                state.copies += 1;
                state.holders[who] = Holder::Asking { waited: 0, stripe: true };
                if self.flaw == Flaw::AcknowledgedFirst && self.way == Way::Queued {
                    state.holders[who] = Holder::Careless;
                    state.acknowledged = true;
                }
            }
            Step::Look(who) => state.holders[who] = Holder::Asking { waited: 0, stripe: false },
            Step::Grant(who) => {
                let Holder::Asking { waited, stripe } = state.holders[who] else { return None };
                self.grant(&mut state, who, waited, stripe);
            }
            Step::KeepLate(who) => self.grant(&mut state, who, 0, true),
            Step::Send(who) => {
                let Holder::Leased { token, stripe, .. } = state.holders[who] else { return None };
                state.beforehand |= state.record == Record::Delivered;
                state.holders[who] = Holder::Sent { token, stripe };
                state.at_app.push((Some(who), ATTEMPT));
            }
            Step::PutOff(who) => {
                let Holder::Leased { token, stripe, .. } = state.holders[who] else { return None };
                state.holders[who] = Holder::Idle;
                self.settle(&mut state, token, false, stripe, false);
            }
            Step::Answer { request, success } => {
                let (whose, _) = state.at_app.remove(request);
                state.applied = (state.applied + u8::from(success)).min(3);
                if let Some(who) = whose
                    && let Holder::Sent { token, stripe } = state.holders[who]
                {
                    state.holders[who] = Holder::Settling { token, success, stripe };
                }
            }
            Step::Settle(who) => {
                let Holder::Settling { token, success, stripe } = state.holders[who] else { return None };
                state.holders[who] = Holder::Idle;
                self.settle(&mut state, token, success, stripe, true);
            }
            Step::Deadline(who) => {
                state.acknowledged = true;
                match &mut state.holders[who] {
                    Holder::Leased { stripe, .. }
                    | Holder::Sent { stripe, .. }
                    | Holder::Settling { stripe, .. } => *stripe = false,
                    Holder::Idle | Holder::Careless | Holder::Asking { .. } => return None,
                }
            }
            Step::Crash(who) => {
                state.crashes += 1;
                state.holders[who] = Holder::Idle;
                // The connection is gone, and the backend may still work.
                for (whose, _) in state.at_app.iter_mut().filter(|(whose, _)| *whose == Some(who)) {
                    *whose = None;
                }
                if self.flaw == Flaw::FreedAtStart
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
            Step::Tick => {
                if let Record::Running { left, .. } = &mut state.record {
                    *left = left.saturating_sub(1);
                }
                for holder in &mut state.holders {
                    match holder {
                        Holder::Leased { left, .. } => *left = left.saturating_sub(1),
                        Holder::Asking { waited, .. } => *waited = (*waited + 1).min(ATTEMPT + MARGIN),
                        Holder::Idle | Holder::Careless | Holder::Sent { .. } | Holder::Settling { .. } => {}
                    }
                }
                state.at_app.iter_mut().for_each(|(_, left)| *left -= 1);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_AT_A_TIME, |_, state: &State| state.at_app.len() <= 1),
            Property::always(NEVER_LOST, |_, state: &State| {
                let kept = matches!(
                    state.record,
                    Record::Pending | Record::Dead | Record::Running { kept: true, .. }
                );
                !state.acknowledged || kept || state.applied > 0
            }),
            Property::always(NEVER_AGAIN, |_, state: &State| !state.again),
            Property::always(COMES_TO_AN_END, |model: &Protocol, state: &State| {
                let (mut steps, mut left) = (vec![], state.acknowledged);
                model.actions(state, &mut steps);
                left &= steps.is_empty();
                !left
                    || state.record == Record::Dead
                    || state.record == Record::Delivered && state.applied > 0
            }),
            // These must be reachable, or the model proves less than it claims.
            Property::sometimes(TWICE, |_, state: &State| state.applied == 2),
            Property::sometimes(LATE, |_, state: &State| state.superseded),
            Property::sometimes(BEFOREHAND, |_, state: &State| state.beforehand),
        ]
    }
}

const ONE_AT_A_TIME: &str = "never two requests open at once";
const NEVER_LOST: &str = "what was acknowledged is kept or was applied";
const NEVER_AGAIN: &str = "never leased again once a 2xx is recorded";
const COMES_TO_AN_END: &str = "when nothing can happen any more, what was acknowledged is delivered or dead";
const TWICE: &str = "applied twice, after a death between the 2xx and its record";
/// A record can take longer than a lease while the ledger is unreachable. A lease granted in between cannot be
/// revoked.
const BEFOREHAND: &str = "an attempt leased before a late record begins after it";
const LATE: &str = "a failure that comes late changes nothing";

#[test]
fn every_reachable_state_of_the_protocol_keeps_the_promise() {
    for way in [Way::Inline, Way::Queued, Way::Hybrid] {
        let explored = Protocol::of(way, Flaw::None).checker().threads(2).spawn_bfs().join();
        explored.assert_properties();
    }
}

#[test]
fn leaving_out_any_rule_of_the_protocol_breaks_the_promise() {
    for (flaw, way, broken) in [
        (Flaw::FailureNeedsNoToken, Way::Queued, ONE_AT_A_TIME),
        (Flaw::FailureNeedsNoToken, Way::Inline, ONE_AT_A_TIME),
        (Flaw::CutsItFine, Way::Queued, ONE_AT_A_TIME),
        (Flaw::BeginsLate, Way::Hybrid, ONE_AT_A_TIME),
        (Flaw::LeaseFromGrant, Way::Inline, ONE_AT_A_TIME),
        (Flaw::FreedAtStart, Way::Queued, ONE_AT_A_TIME),
        (Flaw::AcknowledgedFirst, Way::Queued, NEVER_LOST),
        (Flaw::DeliveredIsAdmitted, Way::Inline, NEVER_AGAIN),
    ] {
        let stop = HasDiscoveries::AnyOf([broken].into());
        let explored = Protocol::of(way, flaw).checker().threads(2).finish_when(stop).spawn_bfs().join();
        assert!(explored.discovery(broken).is_some(), "{flaw:?} {way:?} does not break: {broken}");
    }
}
