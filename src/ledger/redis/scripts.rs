//! The Lua scripts: one for each transition of the ledger, and the probe. Each script's header gives its keys,
//! arguments and reply. The layout of a record stands in `claim.lua`.

use redis::Script;

/// The scripts, with their hashes computed. The server gets their text once per connection.
#[derive(Clone)]
pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) settle: Script,
    pub(super) enqueue: Script,
    pub(super) claim_due: Script,
    pub(super) reschedule: Script,
    pub(super) operator: Script,
    pub(super) backlog: Script,
    pub(super) import: Script,
    pub(super) fail_abandoned: Script,
    pub(super) probe: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim: Script::new(include_str!("claim.lua")),
            settle: Script::new(include_str!("settle.lua")),
            enqueue: Script::new(include_str!("enqueue.lua")),
            claim_due: Script::new(include_str!("claim_due.lua")),
            reschedule: Script::new(include_str!("reschedule.lua")),
            operator: Script::new(include_str!("operator.lua")),
            backlog: Script::new(include_str!("backlog.lua")),
            import: Script::new(include_str!("import.lua")),
            fail_abandoned: Script::new(include_str!("fail_abandoned.lua")),
            probe: Script::new(include_str!("probe.lua")),
        }
    }

    /// Returns every script, for loading.
    pub(super) fn all(&self) -> [&Script; 10] {
        let Self {
            claim,
            settle,
            enqueue,
            claim_due,
            reschedule,
            operator,
            backlog,
            import,
            fail_abandoned,
            probe,
        } = self;
        [claim, settle, enqueue, claim_due, reschedule, operator, backlog, import, fail_abandoned, probe]
    }
}
