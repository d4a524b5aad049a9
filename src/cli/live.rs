//! `check --live`: asks the running program's `/livez`, within two seconds in all.

use crate::clock;
use crate::config::Listen;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// From the first attempt to connect to the answer's status line.
const LIMIT: Duration = Duration::from_secs(2);

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What the program at `listen` said; the error says why it is not known to live.
pub(super) fn ask(listen: &Listen) -> Result<String, String> {
    let deadline = clock::instant() + LIMIT;
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{listen}: no answer within {} s", LIMIT.as_secs())
        }
        _ => format!("{listen}: {error}"),
    };
    let status = match listen.host_and_port() {
        Some((_, 0)) => {
            return Err(format!(
                "admin.listen is \"{listen}\": port 0 takes a free port, which nobody else knows"
            ));
        }
        Some((host, port)) => ask_tcp(host, port, deadline),
        None => {
            let Listen::Unix { path, .. } = listen else { return Err(format!("{listen}: no address")) };
            UnixStream::connect(path).and_then(|mut socket| {
                let left = left(deadline)?;
                socket.set_write_timeout(Some(left))?;
                exchange(&mut socket, deadline, |socket, left| socket.set_read_timeout(Some(left)))
            })
        }
    }
    .map_err(failed)?;
    match status.split_whitespace().nth(1) {
        Some("200") => Ok(format!("{listen} lives")),
        _ => Err(format!("{listen} answered: {status}")),
    }
}

fn ask_tcp(host: &str, port: u16, deadline: Instant) -> io::Result<String> {
    // One listener on every address answers on the loopback ones, IPv6 or IPv4 as the system has it.
    let hosts: &[&str] = match host {
        "" | "::" => &["127.0.0.1", "::1"],
        "0.0.0.0" => &["127.0.0.1"],
        host => &[host],
    };
    let mut last = io::Error::new(ErrorKind::NotFound, "no address");
    for host in hosts {
        for address in (*host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(mut socket) => {
                    socket.set_write_timeout(Some(left(deadline)?))?;
                    return exchange(&mut socket, deadline, |socket, left| {
                        socket.set_read_timeout(Some(left))
                    });
                }
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// Asks, and reads the answer's first line. Each read gets what is left of the time.
fn exchange<S: Read + Write>(
    socket: &mut S,
    deadline: Instant,
    limit: impl Fn(&S, Duration) -> io::Result<()>,
) -> io::Result<String> {
    socket.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < 4096 {
        limit(socket, left(deadline)?)?;
        match socket.read(&mut buffer)? {
            0 => break,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    let line = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    if line.is_empty() {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed without an answer"));
    }
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(clock::instant());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Answers one request on a free port of `host` with `answer`; the port.
    fn answering(host: &str, answer: &'static str) -> u16 {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = vec![0; REQUEST.len()];
            socket.read_exact(&mut request).unwrap();
            assert_eq!(request, REQUEST);
            socket.write_all(answer.as_bytes()).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let _ = socket.read(&mut request);
        });
        port
    }

    fn tcp(address: String) -> Listen {
        Listen::Tcp(address)
    }

    #[test]
    fn an_answer_of_200_is_life_on_whatever_address_is_listened_on() {
        for (bound, asked) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", ""),
            ("0.0.0.0", "0.0.0.0"),
            ("127.0.0.1", "localhost"),
        ] {
            let port = answering(bound, "HTTP/1.1 200 OK\r\n\r\n{\"live\": true}");
            assert_eq!(ask(&tcp(format!("{asked}:{port}"))), Ok(format!("{asked}:{port} lives")));
        }
    }

    #[test]
    fn a_socket_is_asked_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let answering = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.read_exact(&mut vec![0; REQUEST.len()]).unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        let listen = Listen::Unix { path, mode: None };
        ask(&listen).unwrap();
        answering.join().unwrap();
        assert!(ask(&listen).unwrap_err().contains("Connection refused"));
    }

    #[test]
    fn anything_else_is_not() {
        for (answer, expected) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "answered: HTTP/1.1 503 Service Unavailable"),
            ("", "closed without an answer"),
            ("hello 404\n", "answered: hello 404"),
        ] {
            let port = answering("127.0.0.1", answer);
            let why = ask(&tcp(format!("127.0.0.1:{port}"))).unwrap_err();
            assert!(why.ends_with(expected), "{why}");
        }
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ask(&tcp(unused.to_string())).unwrap_err().contains("Connection refused"));
        assert!(ask(&tcp(":0".to_owned())).unwrap_err().contains("port 0"));
    }

    #[test]
    fn a_program_that_hangs_does_not_live() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let why = ask(&tcp(address.to_string())).unwrap_err();
        assert_eq!(why, format!("{address}: no answer within 2 s"));
    }
}
