//! The kernel's keep-alive, as `/proc/net/tcp` shows it.

use crate::harness::{Backend, Program, Request, Setup, until};

/// Waits until the kernel is to probe the program's end of a connection, with these ports, within `seconds`.
async fn await_probe(local: Option<u16>, remote: Option<u16>, seconds: u64) {
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    until("a keep-alive timer", async || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let ours = local.is_none_or(|local| port(fields[1]) == local)
                && remote.is_none_or(|remote| port(fields[2]) == remote);
            // State 01 is an established connection, timer 02 is keep-alive, in hundredths of a second.
            let left = fields[5].strip_prefix("02:").filter(|_| ours && fields[3] == "01")?;
            (u64::from_str_radix(left, 16).unwrap() <= seconds * 100).then_some(())
        })
    })
    .await;
}

#[tokio::test]
async fn both_sides_of_a_silent_connection_are_probed() {
    let backend = Backend::start().await;
    for (setup, seconds) in
        [(Setup::new(&backend), 30), (Setup::new(&backend).set("server.tcp_keepalive", "2s"), 2)]
    {
        let program = Program::start(setup).await;
        let mut client = program.connect().await;
        assert_eq!(client.send(&Request::get("/posts/1")).await.status, 200);
        let socket = program.connect().await.web_socket("/ws").await;
        await_probe(Some(program.proxy().port()), None, seconds).await;
        await_probe(None, Some(backend.address().port()), seconds).await;
        drop(socket);
    }
}
