//! The probes of `check --probe` for the backend and the ledger. A probe leaves nothing behind, and tests the ledger's
//! lock without keeping it.

use crate::backend::BackendTls;
use crate::cli::runtime::block_on;
use crate::config::{BackendConfig, BackendUrl, LedgerConfig, LedgerUrl, RedisUrl};
use crate::ledger::redis::{RedisLedger, RedisOptions};
use crate::ledger::sqlite::{is_locked, lock_file};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// The result of a probe.
#[derive(Debug, PartialEq)]
pub(super) enum ProbeResult {
    /// The part can be used; the text says which address or file was reached.
    Ok(String),
    /// The part cannot be used; the text says why.
    Failed(String),
}

impl<E: std::fmt::Display> From<Result<String, E>> for ProbeResult {
    fn from(result: Result<String, E>) -> Self {
        match result {
            Ok(detail) => Self::Ok(detail),
            Err(reason) => Self::Failed(reason.to_string()),
        }
    }
}

/// Connects to each address of the backend. The records of a name are tried in order until one accepts.
pub(super) fn backend(backend: &BackendConfig) -> ProbeResult {
    let reached: Result<Vec<_>, String> = backend
        .urls
        .iter()
        .map(|url| match url {
            BackendUrl::Unix(path) => UnixStream::connect(path)
                .map(|_| path.display().to_string())
                .map_err(|error| format!("{}: {error}", path.display())),
            BackendUrl::Http { host, port } | BackendUrl::Https { host, port } => {
                tcp_backend(backend, url, host, *port)
            }
        })
        .collect();
    reached.map(|reached| reached.join(", ")).into()
}

/// Connects to the first address of a host that accepts, and makes the TLS handshake of an `https://` backend.
fn tcp_backend(backend: &BackendConfig, url: &BackendUrl, host: &str, port: u16) -> Result<String, String> {
    let tls = BackendTls::new(url, backend.ca.as_ref())?;
    let addresses = (host, port).to_socket_addrs();
    let addresses = addresses.map_err(|error| format!("{host} cannot be resolved: {error}"))?;
    let mut errors = Vec::new();
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, backend.connect_timeout);
        let probed = match (connected, &tls) {
            (Ok(_), None) => Ok(address.to_string()),
            (Ok(stream), Some(tls)) => handshake(tls, stream, backend.connect_timeout)
                .map(|()| format!("{address}, with a valid certificate")),
            (Err(error), _) => Err(error.to_string()),
        };
        match probed {
            Ok(detail) => return Ok(detail),
            Err(reason) => errors.push(format!("{address}: {reason}")),
        }
    }
    Err(if errors.is_empty() { format!("{host} has no address") } else { errors.join("; ") })
}

fn handshake(tls: &BackendTls, stream: TcpStream, limit: Duration) -> Result<(), String> {
    stream.set_nonblocking(true).map_err(|error| error.to_string())?;
    let handshake = async {
        let stream = tokio::net::TcpStream::from_std(stream).map_err(|error| error.to_string())?;
        match timeout(limit, tls.handshake(stream)).await {
            Ok(result) => result.map(drop),
            Err(_) => Err(format!("the TLS handshake was not over within {limit:?}")),
        }
    };
    block_on(handshake).map_err(|error| error.message)?
}

/// Checks that the ledger can be opened and written to. With `queueing` it must also be durable enough for queued events.
pub(super) fn ledger(ledger: &LedgerConfig, queueing: bool) -> ProbeResult {
    match &ledger.url {
        LedgerUrl::None => ProbeResult::Ok("none is configured".to_owned()),
        LedgerUrl::Sqlite(path) => sqlite(path).into(),
        LedgerUrl::Redis(url) => redis(url, ledger, queueing).into(),
    }
}

fn redis(url: &RedisUrl, ledger: &LedgerConfig, queueing: bool) -> Result<String, String> {
    let options = RedisOptions::new(url, ledger, queueing);
    let result = block_on(RedisLedger::inspect(&options)).map_err(|error| error.message)?;
    let server = result.map_err(|reason| format!("{url}: {reason}"))?;
    Ok(format!("{url}, {server}"))
}

fn sqlite(path: &Path) -> Result<String, String> {
    let with_path = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The program creates missing folders and the file itself, so the nearest existing folder must be writable.
    if !folder.exists() {
        let above = folder.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
        check_writable(above).map_err(|error| with_path(above, &error))?;
        return Ok(format!("{} will be created at the first start", folder.display()));
    }
    check_writable(folder).map_err(|error| with_path(folder, &error))?;
    if !path.try_exists().map_err(|error| with_path(path, &error))? {
        return Ok(format!("{} will be created at the first start", path.display()));
    }
    OpenOptions::new().write(true).open(path).map_err(|error| with_path(path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // SQLite opens any file: only the first query reads the header and finds a file that is not a database.
    let count_tables = |connection: Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
    };
    Connection::open_with_flags(path, flags)
        .and_then(count_tables)
        .map_err(|error| with_path(path, &error))?;
    match is_locked(path) {
        Ok(true) => Ok(format!("{}, in use by a running program", path.display())),
        Ok(false) => Ok(path.display().to_string()),
        Err(error) => Err(with_path(&lock_file(path), &error)),
    }
}

/// Checks that files can be created in a folder, by creating one and removing it at once.
fn check_writable(folder: &Path) -> io::Result<()> {
    // A random name: two probes may run at the same time.
    let random = getrandom::u64().map_err(io::Error::other)?;
    let file = folder.join(format!(".countersign-probe-{random:016x}"));
    File::create_new(&file)?;
    fs::remove_file(&file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    fn config(url: BackendUrl) -> BackendConfig {
        let second = Duration::from_secs(1);
        BackendConfig {
            urls: vec![url],
            ca: None,
            connect_timeout: second,
            connect_retry: Duration::ZERO,
            response_timeout: second,
            idle_timeout: second,
        }
    }

    fn to_result(result: ProbeResult) -> Result<String, String> {
        match result {
            ProbeResult::Ok(detail) => Ok(detail),
            ProbeResult::Failed(reason) => Err(reason),
        }
    }

    #[test]
    fn a_backend_is_reached_where_it_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = BackendUrl::Http { host: "127.0.0.1".to_owned(), port: address.port() };
        assert_eq!(backend(&config(url.clone())), ProbeResult::Ok(address.to_string()));
        drop(listener);
        assert!(to_result(backend(&config(url))).unwrap_err().contains("Connection refused"));
        let nowhere = BackendUrl::Http { host: "nowhere.invalid".to_owned(), port: 80 };
        assert!(to_result(backend(&config(nowhere))).unwrap_err().contains("cannot be resolved"));
    }

    #[test]
    fn a_backend_is_reached_on_its_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let url = BackendUrl::Unix(path.clone());
        assert!(to_result(backend(&config(url.clone()))).unwrap_err().contains("No such file"));
        let _listener = UnixListener::bind(&path).unwrap();
        assert_eq!(backend(&config(url)), ProbeResult::Ok(path.display().to_string()));
    }

    #[test]
    fn a_missing_ledger_is_ok_where_files_can_be_created() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("l.db"), folder.path().join("a/b/l.db")] {
            let detail = sqlite(&path).unwrap();
            assert!(detail.ends_with("will be created at the first start"), "{detail}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a probe leaves nothing behind");
        // Even root cannot create a file in this folder.
        let reason = sqlite("/proc/self/l.db".as_ref()).unwrap_err();
        assert!(reason.starts_with("/proc/self: "), "{reason}");
    }

    #[test]
    fn an_existing_ledger_must_be_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        fs::write(
            &path,
            "a text file that is as long as a database header, which has a hundred bytes; this has more than that",
        )
        .unwrap();
        let reason = sqlite(&path).unwrap_err();
        assert!(reason.contains("not a database"), "{reason}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let reason = sqlite(&path).unwrap_err();
        assert!(reason.contains("Is a directory"), "{reason}");
        fs::remove_dir(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_eq!(sqlite(&path), Ok(path.display().to_string()));
    }

    #[test]
    fn a_lock_held_by_a_running_program_is_ok_and_stays_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let lock = File::create(lock_file(&path)).unwrap();
        lock.try_lock().unwrap();
        let detail = sqlite(&path).unwrap();
        assert!(detail.ends_with("in use by a running program"), "{detail}");
        assert!(is_locked(&path).unwrap());
        lock.unlock().unwrap();
        assert!(!is_locked(&path).unwrap());
        lock.try_lock().expect("the probe released the lock");
    }
}
