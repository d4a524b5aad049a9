//! The facts that a Redis server reports about itself, and the warnings that follow from them. Pure: INFO and CONFIG in,
//! texts out.

use std::collections::HashMap;

use crate::config::Durability;

/// What INFO and CONFIG say about a server. A field is `None` if the server does not report it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerInfo {
    version: Option<String>,
    /// `maxmemory-policy`: which keys the server drops when its memory is full.
    eviction: Option<String>,
    /// `appendonly`: whether the server writes an append-only file (AOF).
    aof_enabled: Option<bool>,
    /// `appendfsync`: when the server syncs the append-only file to disk.
    fsync: Option<String>,
    /// `no-appendfsync-on-rewrite`: whether the server stops syncing while it rewrites the append-only file.
    no_fsync_on_rewrite: bool,
    /// `connected_slaves` that are online: the replicas that receive every write.
    replicas: Option<usize>,
    /// `save`: when the server takes snapshots; an empty value means never.
    snapshots: Option<String>,
}

/// The settings that [`ServerInfo::parse`] takes from CONFIG GET.
pub(super) const SETTINGS: [&str; 5] =
    ["maxmemory-policy", "appendonly", "appendfsync", "save", "no-appendfsync-on-rewrite"];

impl ServerInfo {
    /// Parses INFO's text and the settings from CONFIG GET. Managed servers often forbid CONFIG; INFO has some of the
    /// same facts.
    pub(super) fn parse(info: &str, settings: &HashMap<String, String>) -> Self {
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
        };
        let setting = |name: &str| settings.get(name).cloned();
        Self {
            version: field("redis_version"),
            eviction: setting("maxmemory-policy").or_else(|| field("maxmemory_policy")),
            aof_enabled: setting("appendonly")
                .map(|value| value == "yes")
                .or_else(|| field("aof_enabled").map(|value| value == "1")),
            fsync: setting("appendfsync"),
            no_fsync_on_rewrite: setting("no-appendfsync-on-rewrite").is_some_and(|value| value == "yes"),
            replicas: field("connected_slaves").map(|_| online_replicas(info)),
            snapshots: setting("save"),
        }
    }

    /// Returns the server's version for display.
    pub(super) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or("unknown")
    }

    /// Returns a short description of the server's persistence for display.
    pub(super) fn persistence(&self) -> String {
        match (self.aof_enabled, &self.fsync, self.snapshots.as_deref()) {
            (Some(true), Some(fsync), _) => format!("appendonly, fsync {fsync}"),
            (Some(true), None, _) => "appendonly".to_owned(),
            (Some(false), _, Some("")) => "none".to_owned(),
            (Some(false), _, Some(_)) => "snapshots".to_owned(),
            (Some(false), _, None) => "no appendonly".to_owned(),
            (None, _, _) => "unknown".to_owned(),
        }
    }

    /// Checks that the server promises this durability, so that events may be queued on it.
    ///
    /// # Errors
    /// The server promises less, or does not report its settings. The text says which settings are needed.
    pub(super) fn check_durability(&self, durability: Durability) -> Result<(), String> {
        let syncs = |accepted: &[&str]| {
            self.aof_enabled == Some(true)
                && self.fsync.as_deref().is_some_and(|fsync| accepted.contains(&fsync))
        };
        let evicts = self.eviction.as_deref().is_some_and(|policy| policy.starts_with("allkeys"));
        let (is_durable, needed) = match durability {
            Durability::Always | Durability::Replicated => (
                syncs(&["always"]) && !self.no_fsync_on_rewrite && !evicts,
                "appendonly yes, appendfsync always, no-appendfsync-on-rewrite no and no allkeys eviction",
            ),
            Durability::EverySecond => (
                syncs(&["always", "everysec"]) && !evicts,
                "appendonly yes, appendfsync everysec and no allkeys eviction",
            ),
            Durability::None => (true, ""),
        };
        if is_durable && durability == Durability::Replicated && self.replicas == Some(0) {
            return Err(
                "queued and hybrid events need a connected replica (ledger.durability = \"replicated\"), and the server \
                 has none; start a replica and see INFO replication, or accept less with ledger.durability"
                    .to_owned(),
            );
        }
        if is_durable {
            return Ok(());
        }
        Err(format!(
            "queued and hybrid events need a server with {needed} that allows CONFIG GET (found: {}); change the server's \
             settings, or accept less with ledger.durability",
            self.persistence()
        ))
    }

    /// Returns one text for each way in which the server may lose records, with the setting that prevents it.
    pub(super) fn concerns(&self) -> Vec<String> {
        let mut concerns = Vec::new();
        match self.eviction.as_deref() {
            Some("noeviction") => {}
            Some(policy) => concerns.push(format!(
                "maxmemory-policy is {policy}: Redis drops records when its memory is full, and an event without its \
                 record is delivered again; set maxmemory-policy noeviction"
            )),
            None => concerns.push(
                "neither CONFIG nor INFO may be read: cannot check whether Redis drops records when its memory is full; \
                 make sure that it has maxmemory-policy noeviction"
                    .to_owned(),
            ),
        }
        match (self.aof_enabled, self.snapshots.as_deref()) {
            (Some(true), _) => {}
            (Some(false), Some("")) => concerns.push(
                "Redis keeps nothing on disk: a restart loses every record, and copies of the events are delivered \
                 again; set appendonly yes"
                    .to_owned(),
            ),
            (Some(false), _) => concerns.push(
                "Redis writes no append-only file: a restart loses the records since the last snapshot, and copies of \
                 those events are delivered again; set appendonly yes"
                    .to_owned(),
            ),
            (None, _) => concerns.push(
                "neither CONFIG nor INFO may be read: cannot check whether Redis writes its data to disk; make sure that \
                 it has appendonly yes"
                    .to_owned(),
            ),
        }
        concerns
    }
}

/// Counts the replicas that INFO reports as online. One that still loads the data set confirms no write.
fn online_replicas(info: &str) -> usize {
    let is_online = |line: &&str| line.starts_with("slave") && line.contains("state=online");
    info.lines().filter(is_online).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:allkeys-lru\r\n\
                        # Persistence\r\naof_enabled:0\r\n";

    #[test]
    fn settings_take_precedence_over_info_and_info_is_the_fallback() {
        let from_config = settings(&[
            ("maxmemory-policy", "noeviction"),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("save", ""),
        ]);
        let server = ServerInfo::parse(INFO, &from_config);
        assert_eq!(
            (server.version(), server.persistence()),
            ("7.0.15", "appendonly, fsync always".to_owned())
        );
        assert_eq!(server.concerns(), Vec::<String>::new());

        let server = ServerInfo::parse(INFO, &HashMap::new());
        assert_eq!(server.persistence(), "no appendonly");
        let concerns = server.concerns();
        assert_eq!(concerns.len(), 2, "{concerns:?}");
        assert!(concerns[0].contains("maxmemory-policy is allkeys-lru"), "{concerns:?}");
        assert!(concerns[1].contains("set appendonly yes"), "{concerns:?}");
    }

    #[test]
    fn queueing_needs_a_server_that_promises_the_durability() {
        use Durability::{Always, EverySecond, None};
        for (pairs, durable) in [
            (&[("appendonly", "yes"), ("appendfsync", "always")][..], [true, true, true]),
            (&[("appendonly", "yes"), ("appendfsync", "everysec")], [false, true, true]),
            (
                &[("appendonly", "yes"), ("appendfsync", "always"), ("no-appendfsync-on-rewrite", "yes")],
                [false, true, true],
            ),
            (
                &[("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "allkeys-lru")],
                [false, false, true],
            ),
            (&[("appendonly", "yes"), ("appendfsync", "no")], [false, false, true]),
            (&[("appendonly", "no"), ("appendfsync", "always")], [false, false, true]),
            (&[("appendonly", "yes")], [false, false, true]),
            (&[], [false, false, true]),
        ] {
            let server = ServerInfo::parse("", &settings(pairs));
            let found = [Always, EverySecond, None].map(|wanted| server.check_durability(wanted).is_ok());
            assert_eq!(found, durable, "{pairs:?}");
        }
        let why = ServerInfo::parse(INFO, &HashMap::new()).check_durability(Always).unwrap_err();
        assert!(why.contains("appendfsync always") && why.contains("no appendonly"), "{why}");
    }

    #[test]
    fn replicated_needs_an_online_replica_as_far_as_info_says() {
        let durable = settings(&[("appendonly", "yes"), ("appendfsync", "always")]);
        for (info, expected) in [
            ("connected_slaves:0", Some("need a connected replica")),
            (
                "connected_slaves:1\r\nslave0:ip=10.0.0.2,port=6379,state=wait_bgsave",
                Some("a connected replica"),
            ),
            ("connected_slaves:1\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0", None),
            // WAIT itself tells where INFO does not.
            ("", None),
        ] {
            let found = ServerInfo::parse(info, &durable).check_durability(Durability::Replicated).err();
            let fits = match (&found, expected) {
                (Some(why), Some(words)) => why.contains(words),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(fits, "{info}: {found:?}");
        }
    }

    #[test]
    fn every_way_to_lose_records_is_a_concern() {
        for (pairs, concerns) in [
            (&[("maxmemory-policy", "noeviction"), ("appendonly", "yes")][..], 0),
            (&[("maxmemory-policy", "volatile-ttl"), ("appendonly", "yes")], 1),
            (&[("maxmemory-policy", "noeviction"), ("appendonly", "no"), ("save", "")], 1),
            (&[("maxmemory-policy", "noeviction"), ("appendonly", "no"), ("save", "3600 1")], 1),
            (&[("maxmemory-policy", "allkeys-lfu"), ("appendonly", "no"), ("save", "")], 2),
            (&[], 2),
        ] {
            let server = ServerInfo::parse("", &settings(pairs));
            assert_eq!(server.concerns().len(), concerns, "{pairs:?}: {:?}", server.concerns());
        }
        assert_eq!(ServerInfo::default().version(), "unknown");
    }
}
