//! The promises about the Redis ledger: how many events a second are claimed and settled, alone and 64 at once; how
//! long a claim takes with a thousand records and with a million; what a remembered event costs of the server's memory.
//!
//! `cargo bench --bench redis`; it starts a `redis-server` of its own. `-- --quick` for a short look.

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

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // Past 2^20, where the server's table doubles: that happens once, and is not what a claim costs.
    let (small, large) = (1_000, if quick { 140_000 } else { 1_100_000 });
    let (turns, time) = if quick { (2, Duration::from_millis(500)) } else { (5, Duration::from_secs(2)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (few, many) = (Server::start(), Server::start());
    let ledgers = [&few, &many].map(|server| open(&runtime, server));

    println!("{:<44}{:>12}", "claimed and settled", "events/s");
    for (name, tasks) in [("alone", 1), ("64 at once", 64)] {
        let claims = runtime.block_on(load(&ledgers[0], arrival, tasks, usize::MAX, time));
        println!("{name:<44}{:>12.0}", claims.len() as f64 / time.as_secs_f64());
    }
    few.ask(&["FLUSHALL"]);

    let empty = many.memory();
    for (ledger, records) in ledgers.iter().zip([small, large]) {
        runtime.block_on(load(ledger, arrival, 256, records, Duration::MAX));
    }
    println!("\n{:<44}{:>12.0}", "bytes of memory a record", (many.memory() - empty) as f64 / large as f64);

    println!("\n{:<40}{small:>10}{large:>12} records{:>9}", "time of a claim, µs", "growth");
    for (name, tasks, events) in [("alone", 1, 2_000), ("64 at once", 64, 20_000)] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..turns {
            // Interleaved; the small one is made small again.
            few.ask(&["FLUSHALL"]);
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

fn open(runtime: &tokio::runtime::Runtime, server: &Server) -> Arc<RedisLedger> {
    let options = RedisOptions {
        url: format!("redis://127.0.0.1:{}", server.port).parse().unwrap(),
        prefix: "countersign".to_owned(),
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(5),
        retention: Duration::from_secs(35 * 24 * 60 * 60),
        durability: Durability::None,
        keeps: false,
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
            query: "".into(),
            id: format!("evt_{a:016x}{:08x}", b as u32).into(),
        },
        event_type: "checkout.session.completed".into(),
        created: Some(1_760_000_000),
        livemode: Some(true),
        account: Some("acct_1032D82eZvKYlo2C".into()),
    }
}

/// A `redis-server` that keeps nothing on disk; killed on drop.
struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn start() -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Server { port, child }
    }

    fn ask(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query(&mut client.get_connection().unwrap()).unwrap()
    }

    fn memory(&self) -> u64 {
        let info: String = redis::from_redis_value(self.ask(&["INFO", "memory"])).unwrap();
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
