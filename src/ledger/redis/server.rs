//! What a Redis server says of itself, and what of that an operator should know. Pure: INFO and CONFIG in, sentences
//! out.

use std::collections::HashMap;

use crate::config::Durability;

/// A server, as far as its INFO and CONFIG could be read. Absent is what it did not say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    version: Option<String>,
    /// `maxmemory-policy`: what it drops when its memory is full.
    eviction: Option<String>,
    /// `appendonly`.
    log: Option<bool>,
    /// `appendfsync`.
    sync: Option<String>,
    /// `no-appendfsync-on-rewrite`: it does not sync while it rewrites its log.
    lazy: bool,
    /// `save`: when it takes snapshots; blank is never.
    snapshots: Option<String>,
}

/// The settings that are asked for by CONFIG GET.
pub(super) const SETTINGS: [&str; 5] =
    ["maxmemory-policy", "appendonly", "appendfsync", "save", "no-appendfsync-on-rewrite"];

impl Server {
    /// Reads INFO's text, and the settings that could be had. CONFIG is what managed servers forbid; INFO tells a part
    /// of the same.
    pub(super) fn read(info: &str, settings: &HashMap<String, String>) -> Server {
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
        };
        let setting = |name: &str| settings.get(name).cloned();
        Server {
            version: field("redis_version"),
            eviction: setting("maxmemory-policy").or_else(|| field("maxmemory_policy")),
            log: setting("appendonly")
                .map(|value| value == "yes")
                .or_else(|| field("aof_enabled").map(|value| value == "1")),
            sync: setting("appendfsync"),
            lazy: setting("no-appendfsync-on-rewrite").is_some_and(|value| value == "yes"),
            snapshots: setting("save"),
        }
    }

    /// Its version, to be shown.
    pub(super) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or("unknown")
    }

    /// How it keeps what it is told, to be shown.
    pub(super) fn persistence(&self) -> String {
        match (self.log, &self.sync, self.snapshots.as_deref()) {
            (Some(true), Some(sync), _) => format!("appendonly, fsync {sync}"),
            (Some(true), None, _) => "appendonly".to_owned(),
            (Some(false), _, Some("")) => "none".to_owned(),
            (Some(false), _, Some(_)) => "snapshots".to_owned(),
            (Some(false), _, None) => "no appendonly".to_owned(),
            (None, _, _) => "unknown".to_owned(),
        }
    }

    /// Why events must not be kept on it under this demand, if so.
    pub(super) fn falls_short_of(&self, durability: Durability) -> Option<String> {
        let synced = |enough: &[&str]| {
            self.log == Some(true) && self.sync.as_deref().is_some_and(|sync| enough.contains(&sync))
        };
        let evicts = self.eviction.as_deref().is_some_and(|policy| policy.starts_with("allkeys"));
        let (kept, wanted) = match durability {
            Durability::Always => (
                synced(&["always"]) && !self.lazy && !evicts,
                "appendonly yes, appendfsync always, no-appendfsync-on-rewrite no and no allkeys eviction",
            ),
            Durability::EverySecond => (
                synced(&["always", "everysec"]) && !evicts,
                "appendonly yes, appendfsync everysec and no allkeys eviction",
            ),
            Durability::None => (true, ""),
        };
        (!kept).then(|| {
            format!(
                "queued and hybrid events need a server with {wanted}, and one that lets CONFIG GET say so (it has: {}); \
                 ledger.durability says what is accepted",
                self.persistence()
            )
        })
    }

    /// One sentence for each way in which it may forget what it was told.
    pub(super) fn concerns(&self) -> Vec<String> {
        let mut concerns = Vec::new();
        match self.eviction.as_deref() {
            Some("noeviction") => {}
            Some(policy) => concerns.push(format!(
                "its maxmemory-policy is {policy}: when memory is full it drops records, and an event whose record is \
                 gone is delivered again; set maxmemory-policy noeviction"
            )),
            None => concerns.push(
                "neither CONFIG nor INFO may be read: whether it drops records when memory is full is not known; it \
                 should have maxmemory-policy noeviction"
                    .to_owned(),
            ),
        }
        match (self.log, self.snapshots.as_deref()) {
            (Some(true), _) => {}
            (Some(false), Some("")) => concerns.push(
                "it keeps nothing on disk: after a restart it knows no event, and copies are delivered again; set \
                 appendonly yes"
                    .to_owned(),
            ),
            (Some(false), _) => concerns.push(
                "it keeps no append-only file: a restart takes it back to its last snapshot, and copies of later \
                 events are delivered again; set appendonly yes"
                    .to_owned(),
            ),
            (None, _) => concerns.push(
                "neither CONFIG nor INFO may be read: whether it keeps anything on disk is not known; it should have \
                 appendonly yes"
                    .to_owned(),
            ),
        }
        concerns
    }
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
    fn settings_count_before_info_and_info_stands_in_for_them() {
        let told = settings(&[
            ("maxmemory-policy", "noeviction"),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("save", ""),
        ]);
        let server = Server::read(INFO, &told);
        assert_eq!(
            (server.version(), server.persistence()),
            ("7.0.15", "appendonly, fsync always".to_owned())
        );
        assert_eq!(server.concerns(), Vec::<String>::new());

        let server = Server::read(INFO, &HashMap::new());
        assert_eq!(server.persistence(), "no appendonly");
        let concerns = server.concerns();
        assert_eq!(concerns.len(), 2, "{concerns:?}");
        assert!(concerns[0].contains("maxmemory-policy is allkeys-lru"), "{concerns:?}");
        assert!(concerns[1].contains("set appendonly yes"), "{concerns:?}");
    }

    #[test]
    fn events_are_kept_where_the_server_promises_enough() {
        use Durability::{Always, EverySecond, None};
        for (pairs, keeps) in [
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
            let server = Server::read("", &settings(pairs));
            let found = [Always, EverySecond, None].map(|wanted| server.falls_short_of(wanted).is_none());
            assert_eq!(found, keeps, "{pairs:?}");
        }
        let why = Server::read(INFO, &HashMap::new()).falls_short_of(Always).unwrap();
        assert!(why.contains("appendfsync always") && why.contains("no appendonly"), "{why}");
    }

    #[test]
    fn every_way_to_forget_is_a_concern() {
        for (pairs, concerns) in [
            (&[("maxmemory-policy", "noeviction"), ("appendonly", "yes")][..], 0),
            (&[("maxmemory-policy", "volatile-ttl"), ("appendonly", "yes")], 1),
            (&[("maxmemory-policy", "noeviction"), ("appendonly", "no"), ("save", "")], 1),
            (&[("maxmemory-policy", "noeviction"), ("appendonly", "no"), ("save", "3600 1")], 1),
            (&[("maxmemory-policy", "allkeys-lfu"), ("appendonly", "no"), ("save", "")], 2),
            (&[], 2),
        ] {
            let server = Server::read("", &settings(pairs));
            assert_eq!(server.concerns().len(), concerns, "{pairs:?}: {:?}", server.concerns());
        }
        assert_eq!(Server::default().version(), "unknown");
    }
}
