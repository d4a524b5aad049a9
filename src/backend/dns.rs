//! One lookup of the backend's name. The system's own `getaddrinfo` does it, so `/etc/hosts`, search domains and
//! `nsswitch.conf` count as for every other program. It decides nothing about the addresses that are in use.
//!
//! The standard library and tokio call `getaddrinfo` too, but do not say why it failed.

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use std::net::SocketAddr;
use tokio::task::spawn_blocking;

/// The result of one lookup of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameLookup {
    /// The name has these addresses, in the order of preference.
    Found(Vec<SocketAddr>),
    /// A name server says that the name does not exist, or that it has no address.
    NoSuchName,
    /// No name server gave a usable answer: they are silent, or have failed. The name may still exist.
    Failed,
}

/// Looks a name up, on one of tokio's blocking threads.
pub(super) async fn look_up(host: &str, port: u16) -> NameLookup {
    let host = host.to_owned();
    // A lookup that panicked says nothing about the name.
    spawn_blocking(move || look_up_blocking(&host, port)).await.unwrap_or(NameLookup::Failed)
}

fn look_up_blocking(host: &str, port: u16) -> NameLookup {
    // Without a type of socket each address would come once for each type.
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    match getaddrinfo(Some(host), None, Some(hints)) {
        Ok(found) => {
            let with_port = |mut address: SocketAddr| {
                address.set_port(port);
                address
            };
            let addresses: Vec<_> = found.flatten().map(|info| with_port(info.sockaddr)).collect();
            if addresses.is_empty() { NameLookup::NoSuchName } else { NameLookup::Found(addresses) }
        }
        Err(error) if matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData) => {
            NameLookup::NoSuchName
        }
        Err(_) => NameLookup::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_the_hosts_file_has_the_port_that_was_asked_for() {
        let NameLookup::Found(addresses) = look_up("localhost", 81).await else { panic!("localhost exists") };
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 81));
    }

    #[tokio::test]
    async fn a_name_that_no_server_can_be_asked_for_is_a_failure() {
        // getaddrinfo takes no NUL.
        assert_eq!(look_up("back\0end", 81).await, NameLookup::Failed);
    }
}
