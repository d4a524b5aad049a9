//! The search for a ledger that this one may replace. Where a start finds its own ledger empty, it looks for another one
//! with records at the places that it can know, and logs what that one holds. It changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::open_ledger::{OpenLedger, ledger_ready};
use crate::config::{Config, LedgerUrl, RedisUrl};
use crate::ledger::redis::{RedisLedger, RedisOptions};
use crate::ledger::sqlite::{SqliteLedger, is_locked};
use crate::ledger::stats::LedgerStats;
use crate::ledger::{Ledger, LedgerError, State};

/// The file of the default configuration.
const DEFAULT_FILE: &str = "data/ledger.db";
/// The most ledgers on the same Redis server that are looked at.
const MAX_PREFIXES: usize = 5;
/// The longest wait for a connection to one of them.
const MAX_CONNECT: Duration = Duration::from_secs(5);
/// The time without polls after which a ledger on a server counts as abandoned. A process polls at least every 5 s.
const ABANDONED_AFTER: Duration = Duration::from_secs(8);

/// Warns of every ledger that this one may have replaced, once this one is ready and if it is empty.
pub(super) async fn warn_of_old_ledgers(config: Config, ledger: OpenLedger) {
    match (&config.ledger.url, &ledger) {
        (LedgerUrl::Sqlite(path), OpenLedger::Sqlite(ledger)) => {
            ledger_ready(&**ledger).await;
            let own = path.clone();
            if let Ok(Ok(false)) = spawn_blocking(move || SqliteLedger::holds_records(&own)).await {
                warn_of_files(candidates(Some(path)), &config).await;
            }
        }
        (LedgerUrl::Redis(url), OpenLedger::Redis(ledger)) => {
            ledger_ready(&**ledger).await;
            if let Ok(true) = ledger.is_new().await {
                warn_of_files(candidates(None), &config).await;
                if let Err(error) = warn_of_prefixes(ledger, url, &config).await {
                    tracing::debug!(%error, "cannot search the server for other ledgers");
                }
            }
        }
        (LedgerUrl::None | LedgerUrl::Sqlite(_) | LedgerUrl::Redis(_), _) => {}
    }
}

/// Returns the files that may be an old ledger: the default one, and those beside a file that is in use.
fn candidates(own: Option<&Path>) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(DEFAULT_FILE)];
    let folder = own.and_then(Path::parent);
    let folder = folder.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let beside = folder.and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    files.extend(beside.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "db")));
    let identity = |path: &Path| path.canonicalize().ok();
    let own = own.and_then(identity);
    let mut seen = Vec::new();
    files.retain(|path| match identity(path) {
        Some(path) if own.as_ref() != Some(&path) && !seen.contains(&path) => {
            seen.push(path);
            true
        }
        Some(_) | None => false,
    });
    files
}

/// Warns of each file that is a ledger with records, and that no process has open.
async fn warn_of_files(files: Vec<PathBuf>, config: &Config) {
    for path in files {
        let file = path.clone();
        let read = move || match is_locked(&file) {
            Ok(false) => SqliteLedger::stats(&file),
            Ok(true) | Err(_) => Ok(LedgerStats::default()),
        };
        if let Ok(Ok(stats)) = spawn_blocking(read).await {
            let old = LedgerUrl::Sqlite(path);
            let command = format!("countersign ledger copy --from {old} --to {}", config.ledger.url);
            warn(&old, &command, stats.records(&[State::Pending, State::Running]), &stats, config);
        }
    }
}

fn warn(old: &LedgerUrl, command: &str, unsettled: u64, stats: &LedgerStats, config: &Config) {
    let (dead, settled) = (stats.records(&[State::Dead]), stats.records(&[State::Delivered, State::Failed]));
    if unsettled + dead + settled == 0 {
        return;
    }
    tracing::warn!(
        ledger = %config.ledger.url,
        old = %old,
        unsettled,
        dead,
        settled,
        "the ledger is empty, but an old one holds events, which nobody delivers or recognises now: stop, run `{command}`, \
         and start again"
    );
}

/// Warns of ledgers with other prefixes on the same server that hold queued or dead events, and that no process polls.
async fn warn_of_prefixes(ledger: &RedisLedger, url: &RedisUrl, config: &Config) -> Result<(), LedgerError> {
    let prefixes = ledger.other_prefixes().await?;
    if !prefixes.is_empty() {
        // The process before this one has just polled it.
        sleep(ABANDONED_AFTER).await;
    }
    for prefix in prefixes.into_iter().take(MAX_PREFIXES) {
        let mut settings = config.ledger.clone();
        settings.prefix.clone_from(&prefix);
        let old = RedisLedger::start(RedisOptions::new(url, &settings, false), Arc::default());
        if timeout(MAX_CONNECT, ledger_ready(&old)).await.is_err() {
            continue;
        }
        let backlogs = old.backlog().await?;
        old.close();
        let is_polled = |ago: Option<Duration>| ago.is_some_and(|ago| ago < ABANDONED_AFTER);
        let abandoned: Vec<_> =
            backlogs.iter().filter(|backlog| !is_polled(backlog.last_polled_ago)).collect();
        let queued: u64 = abandoned.iter().map(|backlog| backlog.queued).sum();
        let dead: u64 = abandoned.iter().map(|backlog| backlog.dead).sum();
        if queued + dead > 0 {
            tracing::warn!(
                ledger = %url,
                prefix = config.ledger.prefix,
                old_prefix = prefix,
                queued,
                dead,
                "the ledger is empty, but one with another prefix on this server holds events that nobody delivers: if \
                 this one replaces it, stop, run `countersign ledger copy --from URL --from-prefix {prefix} --to URL`, \
                 and start again"
            );
        }
    }
    Ok(())
}
