//! Speed and memory of the Redis ledger. It measures how many events a second are claimed and settled, alone and 64 at once;
//! how long a claim takes with a thousand records and with a million; and how much memory the server needs for a record.
//!
//! `cargo bench --bench redis` runs it, with a `redis-server` of its own; `-- --quick` takes a short look.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a bench measures time, and stops when it cannot"
)]

mod load;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign::config::Durability;
use countersign::ledger::redis::{RedisLedger, RedisOptions};
use countersign::ledger::{Arrival, EventKey, Health, Ledger};
use countersign::metrics::Metrics;
use load::load;
use tokio::runtime::Runtime;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // The large ledger is past 2^20 records, where the server doubles its table. That cost happens once and is no claim's.
    let (small, large) = (1_000, if quick { 140_000 } else { 1_100_000 });
    let (turns, time) = if quick { (2, Duration::from_millis(500)) } else { (5, Duration::from_secs(2)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (small_server, large_server) = (Server::start(), Server::start());
    let ledgers = [&small_server, &large_server].map(|server| open(&runtime, server));

    measure_rates(&runtime, &ledgers[0], time);
    small_server.query(&["FLUSHALL"]);

    let empty = large_server.memory();
    for (ledger, records) in ledgers.iter().zip([small, large]) {
        runtime.block_on(load(ledger, arrival, 256, records, Duration::MAX));
    }
    println!(
        "\n{:<44}{:>12.0}",
        "bytes of memory a record",
        (large_server.memory() - empty) as f64 / large as f64
    );

    measure_claims(&runtime, &small_server, &ledgers, [small, large], turns);
}

/// Prints how many events a second are claimed and settled.
fn measure_rates(runtime: &Runtime, ledger: &Arc<RedisLedger>, time: Duration) {
    println!("{:<44}{:>12}", "claimed and settled", "events/s");
    for (name, tasks) in [("alone", 1), ("64 at once", 64)] {
        let claims = runtime.block_on(load(ledger, arrival, tasks, usize::MAX, time));
        println!("{name:<44}{:>12.0}", claims.len() as f64 / time.as_secs_f64());
    }
}

/// Prints how long a claim takes in a small ledger and in a large one.
fn measure_claims(
    runtime: &Runtime,
    small_server: &Server,
    ledgers: &[Arc<RedisLedger>; 2],
    [small, large]: [usize; 2],
    turns: u32,
) {
    println!("\n{:<40}{small:>10}{large:>12} records{:>9}", "time of a claim, µs", "growth");
    for (name, tasks, events) in [("alone", 1, 2_000), ("64 at once", 64, 20_000)] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..turns {
            // The ledgers take turns. Each turn needs a small ledger, and the load made it large.
            small_server.query(&["FLUSHALL"]);
            runtime.block_on(load(&ledgers[0], arrival, 256, small, Duration::MAX));
            for (ledger, times) in ledgers.iter().zip(&mut times) {
                times.extend(runtime.block_on(load(ledger, arrival, tasks, events, Duration::MAX)));
            }
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
            let [a, b] =
                [0, 1].map(|i| times[i][(times[i].len() as f64 * share) as usize].as_secs_f64() * 1e6);
            println!("{:<40}{a:>10.0}{b:>12.0}{:>16.0}%", format!("{name}, {what}"), (b / a - 1.0) * 100.0);
        }
    }
}

fn open(runtime: &Runtime, server: &Server) -> Arc<RedisLedger> {
    let options = RedisOptions {
        url: format!("redis://127.0.0.1:{}", server.port).parse().unwrap(),
        prefix: "countersign".to_owned(),
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(5),
        retention: Duration::from_secs(35 * 24 * 60 * 60),
        durability: Durability::None,
        queueing_enabled: false,
    };
    runtime.block_on(async {
        let ledger = Arc::new(RedisLedger::start(options, Arc::new(Metrics::new())));
        while ledger.health() != Health::Ready {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ledger
    })
}

fn arrival() -> Arrival {
    let (a, b) = (getrandom::u64().unwrap(), getrandom::u64().unwrap());
    Arrival {
        key: EventKey {
            endpoint: "/webhooks/stripe".into(),
            segments: "".into(),
            query: "".into(),
            id: format!("evt_{a:016x}{:08x}", b as u32).into(),
        },
        event_type: "checkout.session.completed".into(),
        created: Some(1_760_000_000),
        livemode: Some(true),
        account: Some("acct_1032D82eZvKYlo2C".into()),
    }
}

/// A `redis-server` that writes nothing to disk. It is killed on drop.
struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed");
        Self { port, child }
    }

    fn query(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query(&mut client.get_connection().unwrap()).unwrap()
    }

    /// Returns the memory that the server uses, in bytes.
    fn memory(&self) -> u64 {
        let info: String = redis::from_redis_value(self.query(&["INFO", "memory"])).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
