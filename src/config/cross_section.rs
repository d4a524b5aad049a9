//! Rules between sections: what two sections may not say together. Each rule reports under the key to change, and knows
//! addresses only as far as they can be compared without resolving names.

use super::admin::AdminConfig;
use super::backend::{BackendConfig, BackendUrl};
use super::checkout::CheckoutConfig;
use super::ledger::{LedgerConfig, LedgerUrl};
use super::listen::Listen;
use super::reader::Section;
use super::server::ServerConfig;
use super::webhook::WebhookConfig;
use crate::guard::{Location, variable_name};

/// Reports an admin listener on the address of the public one.
pub(super) fn check_admin_listener(section: &Section, admin: &AdminConfig, server: &ServerConfig) {
    if same_address(&server.listen, &admin.listen) {
        section.report(
            "listen",
            format!("\"{}\"", admin.listen),
            "an address other than server.listen",
            "health and metrics need a listener of their own, to which Caddy does not forward",
        );
    }
}

/// Reports a backend that is the public listener itself: every request would loop.
pub(super) fn check_backend_url(section: &Section, backend: &BackendConfig, server: &ServerConfig) {
    if let Some(url) = backend.urls.iter().find(|url| reaches(url, &server.listen)) {
        section.report(
            "url",
            format!("\"{url}\""),
            "an address other than server.listen",
            "Countersign would send every request to itself",
        );
    }
}

/// Reports a checkout path that is a webhook's or below one: the guard would reject every order. A checkout that is off
/// claims no path, so it is not checked.
pub(super) fn check_checkout_paths(section: &Section, checkout: &CheckoutConfig, webhooks: &[WebhookConfig]) {
    for path in &checkout.paths {
        let lower = path.to_ascii_lowercase();
        // A front controller's path passes with other queries.
        let mut locations =
            webhooks.iter().flat_map(|w| &w.locations).filter(|location| location.query.is_empty());
        if let Some(location) = locations.find(|location| guards(location, &lower)) {
            section.report(
                "paths",
                format!("\"{path}\""),
                "a path that is neither a webhook's nor below one",
                format!("the webhook \"{}\" guards it", location.path),
            );
        }
    }
}

/// Whether a path, in lower case, is a webhook's or below it.
fn guards(location: &Location, path: &str) -> bool {
    let guarded = location.path.trim_end_matches('/').to_ascii_lowercase();
    let (mut wanted, mut given) = (guarded.split('/').peekable(), path.split('/'));
    while let Some(name) = wanted.next() {
        // Some backends route `/hook.json` to `/hook`, so the guard covers a dot as well as a slash.
        let is_last = wanted.peek().is_none();
        let matches = given.next().and_then(|segment| match variable_name(name) {
            Some(_) => Some(true),
            None => Some(segment.strip_prefix(name)?)
                .map(|rest| rest.is_empty() || is_last && rest.starts_with('.')),
        });
        if matches != Some(true) {
            return false;
        }
    }
    true
}

/// Reports queued delivery without a ledger to store the events.
pub(super) fn check_ledger_for_queues(section: &Section, ledger: &LedgerConfig, webhooks: &[WebhookConfig]) {
    if ledger.url != LedgerUrl::None {
        return;
    }
    if let Some(webhook) = webhooks.iter().find(|webhook| webhook.queues_events()) {
        section.report(
            "url",
            "\"none\"",
            "a ledger that stores events",
            format!(
                "webhook \"{}\" needs one: it delivers some or all events as queued or hybrid",
                webhook.name
            ),
        );
    }
}

/// Whether two listeners would bind one address. Port 0 picks a free one, so it never meets another.
fn same_address(one: &Listen, other: &Listen) -> bool {
    if let (Listen::Unix { path, .. }, Listen::Unix { path: other, .. }) = (one, other) {
        return path == other;
    }
    match (one.host_and_port(), other.host_and_port()) {
        (Some((host, port)), Some((other_host, other_port))) => {
            port != 0
                && port == other_port
                && (host == other_host || is_unspecified(host) || is_unspecified(other_host))
        }
        (None, _) | (_, None) => false,
    }
}

/// Whether the backend is the listener itself, as far as that shows without resolving names.
fn reaches(backend: &BackendUrl, listen: &Listen) -> bool {
    match (backend, listen.host_and_port()) {
        (
            BackendUrl::Http { host, port } | BackendUrl::Https { host, port },
            Some((listen_host, listen_port)),
        ) => {
            *port == listen_port
                && is_loopback(host)
                && (is_unspecified(listen_host) || is_loopback(listen_host))
        }
        (BackendUrl::Unix(backend), None) => matches!(listen, Listen::Unix { path, .. } if path == backend),
        (BackendUrl::Http { .. } | BackendUrl::Https { .. }, None) | (BackendUrl::Unix(_), Some(_)) => false,
    }
}

fn is_unspecified(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_meet_are_recognised() {
        let tcp = |text: &str| Listen::Tcp(text.to_owned());
        let http = |host: &str, port| BackendUrl::Http { host: host.to_owned(), port };
        for (one, other, expected) in [
            (":80", ":80", true),
            (":80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(same_address(&tcp(one), &tcp(other)), expected, "{one} {other}");
        }
        for (backend, listen, expected) in [
            (http("localhost", 80), ":80", true),
            (http("::1", 80), "[::1]:80", true),
            (http("127.0.0.1", 80), "0.0.0.0:80", true),
            (http("127.0.0.1", 81), ":80", false),
            (http("backend", 80), ":80", false),
            (http("127.0.0.1", 80), "10.0.0.1:80", false),
        ] {
            assert_eq!(reaches(&backend, &tcp(listen)), expected, "{backend} {listen}");
        }
    }
}
