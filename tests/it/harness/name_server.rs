//! A name server, and a network of one's own in which it is the system's. In a container, the name server is the
//! platform's; here a test decides what it says.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What a name server says about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// The name has this address.
    Address(Ipv4Addr),
    /// NXDOMAIN.
    NoSuchName,
    /// An answer without an address.
    Empty,
    /// SERVFAIL.
    Failure,
    /// No response.
    Silence,
}

/// A name server at 127.0.0.1, port 53. It knows no name at first.
pub struct NameServer {
    names: Arc<Mutex<HashMap<String, Names>>>,
}

impl NameServer {
    /// Starts the name server. It ends with the process.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("port 53 in a network of its own");
        let server = Self { names: Arc::default() };
        let names = server.names.clone();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                let (name, question) = parse_question(&query[..length]);
                let answer = names.lock().unwrap().get(&name).cloned().unwrap_or(Names::NoSuchName);
                if let Some(response) = respond(&query[..2], question, &answer) {
                    socket.send_to(&response, client).expect("a datagram on loopback");
                }
            }
        });
        server
    }

    /// Sets what the server says about a name from now on.
    pub fn set(&self, name: &str, answer: Names) {
        self.names.lock().unwrap().insert(name.into(), answer);
    }
}

/// Returns the name that a query asks for, and its question section (RFC 1035, 4.1.2).
fn parse_question(query: &[u8]) -> (String, &[u8]) {
    let (mut at, mut labels) = (12, vec![]);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), &query[12..at + 5])
}

fn respond(id: &[u8], question: &[u8], answer: &Names) -> Option<Vec<u8>> {
    let is_a = question[question.len() - 4..][..2] == [0, 1];
    let (code, address) = match answer {
        Names::Address(address) => (0, Some(address).filter(|_| is_a)),
        Names::NoSuchName => (3, None),
        Names::Empty => (0, None),
        Names::Failure => (2, None),
        Names::Silence => return None,
    };
    let answers = u8::from(address.is_some());
    let mut response = [id, &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0], question].concat();
    if let Some(address) = address {
        // A pointer to the name, type A, class IN, a lifetime of no seconds, four bytes.
        response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        response.extend(address.octets());
    }
    Some(response)
}

/// Says to the inner process that it is the inner one.
const INNER: &str = "COUNTERSIGN_TEST_OWN_NETWORK";

/// Returns true inside a network of its own, where 127.0.0.1 is the name server, `shop.internal` the search domain, and
/// `hosts.test` a name of the hosts file (127.0.0.1). Elsewhere it runs this test once more in such a network, and
/// returns false when that has passed. Prints a note where networks cannot be made.
pub fn alone(test: &str) -> bool {
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let unshare = ["--user", "--map-root-user", "--net", "--mount"];
    let allowed = Command::new("unshare").args(unshare).args(["ip", "link", "set", "lo", "up"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no right to make a network namespace here, or no unshare and ip");
        return false;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in [
        ("resolv.conf", "nameserver 127.0.0.1\nsearch shop.internal\noptions timeout:1 attempts:1\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
        ("hosts", "127.0.0.1 localhost hosts.test\n"),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let script = r#"set -e
        ip link set lo up
        for name in resolv.conf nsswitch.conf hosts; do mount --bind "$0/$name" "/etc/$name"; done
        exec "$@""#;
    let status = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", script])
        .arg(folder.path())
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(INNER, "1")
        .status();
    assert!(status.expect("unshare").success(), "{test} failed in a network of its own");
    false
}
