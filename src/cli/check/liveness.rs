//! `check --live`: asks the running program's `/livez`. It judges the status alone.

use crate::cli::admin::AdminClient;
use crate::cli::error::CliError;
use crate::cli::runtime::block_on;
use crate::config::Listen;
use reqwest::Method;
use std::time::Duration;

/// The time from the start of the connection to the end of the response.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the program at `listen`, and returns the line to print if it is alive.
///
/// # Errors
/// There was no response in time, or it was not 200. The exit status is always 1: a container's health check reserves
/// every other one.
pub(super) fn ask(listen: &Listen) -> Result<String, CliError> {
    let failed = |error: CliError| CliError::failed(error.message);
    let client = AdminClient::new(listen, TIMEOUT).map_err(failed)?;
    let (status, _) = block_on(client.send(client.request(Method::GET, "/livez")))??;
    match status {
        200 => Ok(format!("{listen} is alive")),
        _ => Err(client.unexpected_status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Responds to one request on a free port of `host`, and returns the port.
    fn responding(host: &str, response: &'static str) -> u16 {
        install_crypto_provider();
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            read_head(&mut socket);
            socket.write_all(response.as_bytes()).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let _ = socket.read(&mut [0]);
        });
        port
    }

    /// Reads a request's head to its end.
    fn read_head(socket: &mut impl Read) {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"GET /livez HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    }

    /// `main` does this for the program.
    fn install_crypto_provider() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    fn tcp(address: String) -> Listen {
        Listen::Tcp(address)
    }

    fn error(listen: &Listen) -> String {
        let error = ask(listen).unwrap_err();
        assert_eq!(error.exit_code, 1);
        error.message
    }

    #[test]
    fn a_response_of_200_means_alive_on_every_address_that_is_listened_on() {
        for (bound, configured) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", ""),
            ("0.0.0.0", "0.0.0.0"),
            ("127.0.0.1", "localhost"),
        ] {
            let port = responding(bound, "HTTP/1.1 200 OK\r\n\r\n{\"live\": true}");
            assert_eq!(
                ask(&tcp(format!("{configured}:{port}"))).unwrap(),
                format!("{configured}:{port} is alive")
            );
        }
    }

    #[test]
    fn a_unix_socket_is_asked_too() {
        install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let responding = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            read_head(&mut socket);
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        let listen = Listen::Unix { path, mode: None };
        ask(&listen).unwrap();
        responding.join().unwrap();
        assert!(error(&listen).contains("Connection refused"));
    }

    #[test]
    fn any_other_response_is_an_error() {
        for (response, expected) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "unexpected status 503: is this Countersign's"),
            ("", "connection closed before message completed"),
            ("hello 404\n", "invalid HTTP version parsed"),
        ] {
            let port = responding("127.0.0.1", response);
            let message = error(&tcp(format!("127.0.0.1:{port}")));
            assert!(message.contains(expected), "{message}");
        }
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(error(&tcp(unused.to_string())).contains("Connection refused"));
        assert!(error(&tcp(":0".to_owned())).contains("port 0"));
    }

    #[test]
    fn a_program_that_hangs_is_not_alive() {
        install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let message = error(&tcp(address.to_string()));
        assert_eq!(message, format!("{address}: no response within 2 s; is the program running?"));
    }
}
