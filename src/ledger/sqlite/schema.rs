//! The file: its tables, their version, and how a connection is set up. It never touches a row.
//!
//! `events` is a log: unsettled and recent events, appended in the order of arrival, so that a group of transitions
//! touches few pages whatever the ids are. `archive` holds events settled longer ago, by key. An event is looked up
//! through the index in memory first (`index`), then in the archive; where both have it, `events` is right.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::error::{file_error, sqlite_error};
use crate::ledger::LedgerError;

/// The schema version that this program reads and writes, stored in `user_version`.
const VERSION: i64 = 4;

/// `CtSn`, stored in `application_id`: it tells a ledger from another program's database.
const APPLICATION: i64 = 0x4374_536e;

/// The time to wait for another program's lock. A claim that waits behind one such timeout fails after the next, so
/// within a second.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(400);

/// The size in bytes above which the file of the write-ahead log is cut. SQLite keeps a file of this size for reuse.
pub(super) const WAL_SIZE_LIMIT: u64 = 64 << 20;

/// The tables of version 1. Times are Unix milliseconds, except `created`, which is Stripe's, in seconds. States are
/// those of [`State`](crate::ledger::State). `query` holds the [`variant`](crate::ledger::EventKey::variant) of an event's key.
/// `due` is when a RUNNING event's lease expires, or a PENDING one is due.
const TABLES: &str = "
    CREATE TABLE events (
        seq      INTEGER PRIMARY KEY,
        id       TEXT    NOT NULL,
        endpoint TEXT    NOT NULL,
        query    TEXT    NOT NULL,
        type     TEXT    NOT NULL,
        created  INTEGER,
        livemode INTEGER,
        account  TEXT,
        seen     INTEGER NOT NULL,
        state    INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        status   INTEGER,
        token    INTEGER,
        due      INTEGER,
        settled  INTEGER
    ) STRICT;
    CREATE TABLE archive (
        id       TEXT    NOT NULL,
        endpoint TEXT    NOT NULL,
        query    TEXT    NOT NULL,
        type     TEXT    NOT NULL,
        created  INTEGER,
        livemode INTEGER,
        account  TEXT,
        seen     INTEGER NOT NULL,
        state    INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        status   INTEGER,
        settled  INTEGER NOT NULL,
        PRIMARY KEY (id, endpoint, query)
    ) STRICT, WITHOUT ROWID;
";

/// The tables of queued events, by the event's `seq`; version 2 had `payloads` under other names. `queue` has the events
/// that are not DEAD, and its `due` is the event's. It is a table of its own so that rescheduling does not write
/// payloads.
const QUEUE_TABLES: &str = "
    CREATE TABLE payloads (
        seq       INTEGER PRIMARY KEY,
        mode      INTEGER NOT NULL,
        head      BLOB    NOT NULL,
        signature BLOB    NOT NULL,
        body      BLOB    NOT NULL
    ) STRICT;
    CREATE TABLE queue (
        endpoint TEXT    NOT NULL,
        due      INTEGER NOT NULL,
        seq      INTEGER NOT NULL,
        PRIMARY KEY (endpoint, due, seq)
    ) STRICT, WITHOUT ROWID;
";

/// The table that version 4 adds. Its row `marker` is random and never changes, so it tells this file from one that was
/// put in its place. Rows named by [`arrival_name`] hold part of the head of an endpoint's last webhook.
const META_TABLE: &str = "
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('marker', lower(hex(randomblob(8))));
";

/// The renames from version 2 to 3. Both change the schema only, whatever the size of the table.
const RENAMES: &str = "
    ALTER TABLE parcels RENAME TO payloads;
    ALTER TABLE payloads RENAME COLUMN way TO mode;
";

/// Opens the file for the writer. Creates the file and its tables if they are missing, and migrates older versions.
///
/// # Errors
/// The file cannot be opened or written, belongs to another program, or has a newer version.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    create_private(path);
    let mut conn = Connection::open_with_flags(path, flags).map_err(|e| sqlite_error(path, &e))?;
    let version = check_version(&conn, path)?;
    configure(&conn, 8 * 1024).map_err(|e| sqlite_error(path, &e))?;
    if version < VERSION {
        migrate(&mut conn, version).map_err(|e| sqlite_error(path, &e))?;
    }
    Ok(conn)
}

/// Creates a missing file with access for this user only: it may hold payloads. SQLite gives its other files the same
/// permissions. A failure is reported by the opening that follows.
fn create_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// Opens an existing file beside the writer, to read and to checkpoint.
pub(super) fn open_beside(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| sqlite_error(path, &e))?;
    configure(&conn, 512).map_err(|e| sqlite_error(path, &e))?;
    Ok(conn)
}

/// Tests whether the file can be written: writes the version it already has, through to the disk.
pub(super) fn probe(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "user_version", VERSION)
}

/// Returns the name of the row of `meta` for the last webhook of an endpoint.
pub(super) fn arrival_name(endpoint: &str) -> String {
    format!("last_arrival {endpoint}")
}

/// Returns the marker of the file: 16 hexadecimal digits.
pub(super) fn marker(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row("SELECT value FROM meta WHERE name = 'marker'", [], |row| row.get(0))
}

/// Whether the file is a ledger of the current version.
pub(super) fn is_ledger(conn: &Connection) -> rusqlite::Result<bool> {
    let read = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(read("application_id")? == APPLICATION && read("user_version")? == VERSION)
}

/// Returns the file's version; 0 for a new file. Nothing is written before this check has passed.
fn check_version(conn: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let read = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = read("user_version")
        .and_then(|version| Ok((version, read("application_id")?)))
        .map_err(|e| sqlite_error(path, &e))?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|e| sqlite_error(path, &e))?;
    if tables == 0 && version == 0 {
        return Ok(0);
    }
    if application != APPLICATION {
        return Err(file_error(
            path,
            "it is another program's database; set ledger.url to a file that only Countersign uses",
        ));
    }
    if !(1..=VERSION).contains(&version) {
        return Err(file_error(
            path,
            &format!("it was written by a newer Countersign (schema {version}; this one knows {VERSION})"),
        ));
    }
    Ok(version)
}

fn configure(conn: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // WAL and FULL: a commit is one sequential write and one sync, and readers do not block it.
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "full")?;
    // The maintenance thread checkpoints, so that no claim waits for it.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT as i64)?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", false)
}

/// Migrates a file of this version to [`VERSION`], in one transaction.
fn migrate(conn: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
    if version < 1 {
        transaction.execute_batch(TABLES)?;
    }
    if version < 2 {
        transaction.execute_batch(QUEUE_TABLES)?;
    } else if version < 3 {
        transaction.execute_batch(RENAMES)?;
    }
    transaction.execute_batch(META_TABLE)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        let reason = open(&path).unwrap_err().to_string();
        assert_eq!(std::fs::read(&path).unwrap(), before, "a refused file is left as it was");
        reason
    }

    fn schema(conn: &Connection) -> Vec<(String, String)> {
        let mut tables =
            conn.prepare("SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY name").unwrap();
        let rows = tables.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(|row| row.map(|(name, sql)| (name, sql.replace('"', ""))).unwrap()).collect()
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let sql = format!("{TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 5");
        assert!(refused(&sql).ends_with("written by a newer Countersign (schema 5; this one knows 4)"));
    }

    #[test]
    fn a_file_of_version_1_is_migrated_and_retains_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let sql = format!("{TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 1");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&sql).unwrap();
        old.execute_batch("INSERT INTO archive VALUES ('evt_1', 'a', '', 't', 1, 1, NULL, 1, 2, 1, 200, 1)")
            .unwrap();
        drop(old);
        for _ in 0..2 {
            let conn = open(&path).unwrap();
            let count = |table: &str| -> i64 {
                conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
            };
            assert_eq!((count("archive"), count("payloads"), count("queue")), (1, 0, 0));
        }
    }

    #[test]
    fn a_migrated_file_of_version_2_has_the_tables_of_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old.db", "new.db"].map(|name| dir.path().join(name));
        let tables = QUEUE_TABLES.replace("payloads", "parcels").replace("mode ", "way  ");
        let sql = format!("{TABLES} {tables} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 2");
        Connection::open(&old).unwrap().execute_batch(&sql).unwrap();
        let [old, new] = [old, new].map(|path| open(&path).unwrap());
        let words = |conn| -> Vec<(String, Vec<String>)> {
            let split = |sql: String| sql.split_whitespace().map(str::to_owned).collect();
            schema(conn).into_iter().map(|(name, sql)| (name, split(sql))).collect()
        };
        assert_eq!(words(&old), words(&new));
        assert_eq!(
            old.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(),
            VERSION
        );
    }

    #[test]
    fn another_programs_database_is_refused() {
        assert!(refused("CREATE TABLE orders (id)").contains("another program's database"));
    }

    #[test]
    fn a_file_is_created_once_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        for _ in 0..2 {
            let conn = open(&path).unwrap();
            probe(&conn).unwrap();
            let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            let sync: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
            assert_eq!((mode.as_str(), sync), ("wal", 2));
            let permissions =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(permissions & 0o777, 0o600);
        }
        open_beside(&path).unwrap();
        assert!(open_beside(&dir.path().join("other.db")).is_err());
    }
}
