//! `check --probe`: tries what the program will need. It leaves nothing behind and holds the ledger's lock for no
//! longer than a look at it takes.

use crate::config::{BackendConfig, BackendUrl, LedgerConfig, LedgerUrl, RedisUrl};
use crate::ledger::redis::{RedisLedger, RedisOptions};
use crate::ledger::sqlite::lock_file;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// How a probe went, and why.
#[derive(Debug, PartialEq)]
pub(super) enum Probe {
    Reached(String),
    Failed(String),
}

impl<E: std::fmt::Display> From<Result<String, E>> for Probe {
    fn from(result: Result<String, E>) -> Probe {
        match result {
            Ok(how) => Probe::Reached(how),
            Err(why) => Probe::Failed(why.to_string()),
        }
    }
}

/// Connects to the backend, to each of its addresses until one answers.
pub(super) fn backend(backend: &BackendConfig) -> Probe {
    match &backend.url {
        BackendUrl::Unix(path) => UnixStream::connect(path)
            .map(|_| path.display().to_string())
            .map_err(|error| format!("{}: {error}", path.display()))
            .into(),
        BackendUrl::Http { host, port } => {
            let addresses = match (host.as_str(), *port).to_socket_addrs() {
                Ok(addresses) => addresses,
                Err(error) => return Probe::Failed(format!("{host} cannot be resolved: {error}")),
            };
            let mut refused = Vec::new();
            for address in addresses {
                match TcpStream::connect_timeout(&address, backend.connect_timeout) {
                    Ok(_) => return Probe::Reached(address.to_string()),
                    Err(error) => refused.push(format!("{address}: {error}")),
                }
            }
            match refused.is_empty() {
                true => Probe::Failed(format!("{host} has no address")),
                false => Probe::Failed(refused.join("; ")),
            }
        }
    }
}

/// Looks whether the ledger can be opened and written to, and is fit for events to be kept if `keeps` asks for that.
pub(super) fn ledger(ledger: &LedgerConfig, keeps: bool) -> Probe {
    match &ledger.url {
        LedgerUrl::None => Probe::Reached("none is configured".to_owned()),
        LedgerUrl::Sqlite(path) => sqlite(path).into(),
        LedgerUrl::Redis(url) => redis(url, ledger, keeps).into(),
    }
}

fn redis(url: &RedisUrl, ledger: &LedgerConfig, keeps: bool) -> Result<String, String> {
    let options = RedisOptions::new(url, ledger, keeps);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let server = runtime.block_on(RedisLedger::inspect(&options)).map_err(|why| format!("{url}: {why}"))?;
    Ok(format!("{url}, {server}"))
}

fn sqlite(path: &Path) -> Result<String, String> {
    let named = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.exists() {
        let above = folder.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
        writable(above).map_err(|error| named(above, &error))?;
        return Ok(format!("{} will be made at the first start", folder.display()));
    }
    writable(folder).map_err(|error| named(folder, &error))?;
    if !path.try_exists().map_err(|error| named(path, &error))? {
        return Ok(format!("{} will be made at the first start", path.display()));
    }
    OpenOptions::new().write(true).open(path).map_err(|error| named(path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let tables = |connection: Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
    };
    Connection::open_with_flags(path, flags).and_then(tables).map_err(|error| named(path, &error))?;
    match held(path) {
        Ok(true) => Ok(format!("{}, in use by a running program", path.display())),
        Ok(false) => Ok(path.display().to_string()),
        Err(error) => Err(named(&lock_file(path), &error)),
    }
}

/// Whether files can be made in a folder, by making one that goes away at once.
fn writable(folder: &Path) -> io::Result<()> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    let file = folder.join(format!(".countersign-probe-{random:016x}"));
    File::create_new(&file)?;
    fs::remove_file(&file)
}

/// Whether a program holds the ledger's lock (`ledger::sqlite`).
fn held(path: &Path) -> io::Result<bool> {
    let file = match File::open(lock_file(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    fn to(url: BackendUrl) -> BackendConfig {
        let second = Duration::from_secs(1);
        BackendConfig { url, connect_timeout: second, response_timeout: second, idle_timeout: second }
    }

    fn text(probe: Probe) -> Result<String, String> {
        match probe {
            Probe::Reached(how) => Ok(how),
            Probe::Failed(why) => Err(why),
        }
    }

    #[test]
    fn a_backend_is_reached_where_it_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = BackendUrl::Http { host: "127.0.0.1".to_owned(), port: address.port() };
        assert_eq!(backend(&to(url.clone())), Probe::Reached(address.to_string()));
        drop(listener);
        assert!(text(backend(&to(url))).unwrap_err().contains("Connection refused"));
        let nowhere = BackendUrl::Http { host: "nowhere.invalid".to_owned(), port: 80 };
        assert!(text(backend(&to(nowhere))).unwrap_err().contains("cannot be resolved"));
    }

    #[test]
    fn a_backend_is_reached_on_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let url = BackendUrl::Unix(path.clone());
        assert!(text(backend(&to(url.clone()))).unwrap_err().contains("No such file"));
        let _listener = UnixListener::bind(&path).unwrap();
        assert_eq!(backend(&to(url)), Probe::Reached(path.display().to_string()));
    }

    #[test]
    fn a_ledger_that_is_not_there_yet_can_be_made_where_files_can() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("l.db"), folder.path().join("a/b/l.db")] {
            let reached = sqlite(&path).unwrap();
            assert!(reached.ends_with("will be made at the first start"), "{reached}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a probe leaves nothing behind");
        // A folder in which even root can make nothing.
        let why = sqlite("/proc/self/l.db".as_ref()).unwrap_err();
        assert!(why.starts_with("/proc/self: "), "{why}");
    }

    #[test]
    fn a_ledger_that_is_there_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        fs::write(
            &path,
            "something else that is long enough to be taken for a header, surely more than a hundred",
        )
        .unwrap();
        let why = sqlite(&path).unwrap_err();
        assert!(why.contains("not a database"), "{why}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let why = sqlite(&path).unwrap_err();
        assert!(why.contains("Is a directory"), "{why}");
        fs::remove_dir(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_eq!(sqlite(&path), Ok(path.display().to_string()));
    }

    #[test]
    fn a_lock_held_by_a_running_program_is_no_fault_and_stays_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let lock = File::create(lock_file(&path)).unwrap();
        lock.try_lock().unwrap();
        let reached = sqlite(&path).unwrap();
        assert!(reached.ends_with("in use by a running program"), "{reached}");
        assert!(held(&path).unwrap());
        lock.unlock().unwrap();
        assert!(!held(&path).unwrap());
        lock.try_lock().expect("the probe let go of the lock");
    }
}
