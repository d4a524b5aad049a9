//! The file: its tables, their version, and how a connection to it is set up. No rows are touched here.
//!
//! `events` is a log: what is open or recent, appended in the order of arrival, so that a group of transitions
//! touches a few pages whatever the ids look like. `archive` holds what was settled longer ago, by key. An event is
//! found through the index in memory first (`index`), then in the archive; where both have it, `events` is right.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::LedgerError;
use super::fault::{explain, refuse};

/// The version this program reads and writes, kept in `user_version`.
const VERSION: i64 = 2;

/// `CtSn`, kept in `application_id`: what tells the file from another program's database.
const APPLICATION: i64 = 0x4374_536e;

/// How long to wait for an outsider's lock. A claim that queues behind one such wait fails after the next: within a
/// second.
const BUSY: Duration = Duration::from_millis(400);

/// Times are Unix milliseconds, except `created`, which is Stripe's and in seconds. States are those of
/// [`State`](crate::ledger::State). `due`: when a RUNNING event's lease ends, or a PENDING one is to be delivered.
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

/// What came with version 2: what is kept of events that are delivered later, by their `seq`. `queue` has those that
/// are not DEAD; its `due` is the event's. It stands apart, so that moving an event in it does not write its payload.
const KEPT: &str = "
    CREATE TABLE parcels (
        seq       INTEGER PRIMARY KEY,
        way       INTEGER NOT NULL,
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

/// Opens the file for the writer, making it and its tables if need be.
///
/// # Errors
/// It cannot be opened or written, is another program's, or a newer version's.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    private(path);
    let mut conn = Connection::open_with_flags(path, flags).map_err(|e| explain(path, &e))?;
    let version = check(&conn, path)?;
    set_up(&conn, 8 * 1024).map_err(|e| explain(path, &e))?;
    if version < VERSION {
        bring_up(&mut conn, version).map_err(|e| explain(path, &e))?;
    }
    Ok(conn)
}

/// A new file is for this user alone: it may hold payloads. SQLite gives its other files the same permissions. If that
/// fails, opening it tells why.
fn private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// Opens the file beside the writer, to read and to checkpoint. It must be there.
pub(super) fn open_beside(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| explain(path, &e))?;
    set_up(&conn, 512).map_err(|e| explain(path, &e))?;
    Ok(conn)
}

/// Writes something that changes nothing, through to the disk: whether the file can be written.
pub(super) fn probe(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "user_version", VERSION)
}

/// The file's version; 0 for a new file. Nothing is written before this has passed.
fn check(conn: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let read = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = read("user_version")
        .and_then(|version| Ok((version, read("application_id")?)))
        .map_err(|e| explain(path, &e))?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|e| explain(path, &e))?;
    if tables == 0 && version == 0 {
        return Ok(0);
    }
    if application != APPLICATION {
        return Err(refuse(path, "it is another program's database; name a file of its own for the ledger"));
    }
    if !(1..=VERSION).contains(&version) {
        return Err(refuse(
            path,
            &format!("it was written by a newer Countersign (schema {version}; this one knows {VERSION})"),
        ));
    }
    Ok(version)
}

fn set_up(conn: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    // WAL and FULL: a commit is one sequential write and one sync, and readers stand beside it.
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "full")?;
    // Checkpoints are the keeper's, so that no claim waits for one.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", false)
}

/// Makes what a file of this version lacks, all of it or nothing.
fn bring_up(conn: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
    if version < 1 {
        transaction.execute_batch(TABLES)?;
    }
    transaction.execute_batch(KEPT)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(make: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        Connection::open(&path).unwrap().execute_batch(make).unwrap();
        let before = std::fs::read(&path).unwrap();
        let reason = open(&path).unwrap_err().to_string();
        assert_eq!(std::fs::read(&path).unwrap(), before, "a refused file is left as it was");
        reason
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let made = format!("{TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 3");
        assert!(refused(&made).ends_with("written by a newer Countersign (schema 3; this one knows 2)"));
    }

    #[test]
    fn a_file_of_the_version_before_is_brought_up_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let made = format!("{TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 1");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&made).unwrap();
        old.execute_batch("INSERT INTO archive VALUES ('evt_1', 'a', '', 't', 1, 1, NULL, 1, 2, 1, 200, 1)")
            .unwrap();
        drop(old);
        for _ in 0..2 {
            let conn = open(&path).unwrap();
            let count = |table: &str| -> i64 {
                conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
            };
            assert_eq!((count("archive"), count("parcels"), count("queue")), (1, 0, 0));
        }
    }

    #[test]
    fn another_programs_database_is_refused() {
        assert!(refused("CREATE TABLE orders (id)").contains("another program's database"));
    }

    #[test]
    fn a_file_is_made_once_and_opened_again() {
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
