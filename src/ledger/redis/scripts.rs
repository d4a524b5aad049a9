//! The Lua scripts: one for each transition of the ledger, and the probe. Each script's header gives its keys,
//! arguments and reply. The layout of a record stands in `claim.lua`; `lease.lua` is put before some of them.

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
    pub(super) expire: Script,
    pub(super) probe: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim: after_lease(include_str!("claim.lua")),
            settle: Script::new(include_str!("settle.lua")),
            enqueue: after_lease(include_str!("enqueue.lua")),
            claim_due: after_lease(include_str!("claim_due.lua")),
            reschedule: Script::new(include_str!("reschedule.lua")),
            operator: after_lease(include_str!("operator.lua")),
            backlog: Script::new(include_str!("backlog.lua")),
            import: Script::new(include_str!("import.lua")),
            fail_abandoned: after_lease(include_str!("fail_abandoned.lua")),
            expire: Script::new(include_str!("expire.lua")),
            probe: Script::new(include_str!("probe.lua")),
        }
    }

    /// Returns every script, for loading.
    pub(super) fn all(&self) -> [&Script; 11] {
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
            expire,
            probe,
        } = self;
        [
            claim,
            settle,
            enqueue,
            claim_due,
            reschedule,
            operator,
            backlog,
            import,
            fail_abandoned,
            expire,
            probe,
        ]
    }
}

/// Returns a script that judges leases by the function in `lease.lua`.
fn after_lease(script: &str) -> Script {
    Script::new(&[include_str!("lease.lua"), script].concat())
}
