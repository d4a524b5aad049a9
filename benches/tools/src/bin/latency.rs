//! An open-loop client: requests are due at random times (Poisson), whether or not earlier ones are answered, and a
//! latency counts from when its request was due. So a server that stalls is charged for all that waited.
//!
//! `latency ADDRESS POOL RATE SECONDS SEED` sends the requests of a pool (see `pool.lua`) in order and prints one JSON
//! object: how many were answered, how many of those not with a 200, and quantiles in microseconds.

#![allow(clippy::disallowed_methods, reason = "measuring time is all it does")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Requests that may be waited for, or awaited, at once.
const CONNECTIONS: usize = 64;

/// The times at which requests are due, and which request is next.
struct Schedule {
    due: Instant,
    end: Instant,
    rate: f64,
    random: u64,
    next: usize,
}

impl Schedule {
    fn next(&mut self) -> Option<(Instant, usize)> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let uniform = ((self.random >> 11) + 1) as f64 / (1u64 << 53) as f64;
        self.due += Duration::from_secs_f64(-uniform.ln() / self.rate);
        self.next += 1;
        (self.due < self.end).then_some((self.due, self.next - 1))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, pool, rate, seconds, seed] = &arguments[..] else {
        panic!("usage: latency ADDRESS POOL RATE SECONDS SEED");
    };
    let requests = read_pool(pool).expect("a pool");
    // Sleeps end on time rather than up to 50 µs later; the threads below inherit it.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let start = Instant::now() + Duration::from_millis(100);
    let schedule = Mutex::new(Schedule {
        due: start,
        end: start + Duration::from_secs_f64(seconds.parse().expect("seconds")),
        rate: rate.parse().expect("a rate"),
        random: seed.parse::<u64>().expect("a seed") * 2 + 1,
        next: 0,
    });
    let (mut latencies, mut wrong) = (Vec::new(), 0);
    thread::scope(|scope| {
        let work = || {
            let mut stream = connect(address).expect("a connection");
            let (mut taken, mut wrong) = (Vec::new(), 0);
            loop {
                let Some((due, number)) = schedule.lock().expect("no panic holds it").next() else { break };
                thread::sleep(due.saturating_duration_since(Instant::now()));
                match exchange(&mut stream, &requests[number % requests.len()]) {
                    Ok(true) => {}
                    Ok(false) => wrong += 1,
                    Err(_) => {
                        wrong += 1;
                        stream = connect(address).expect("a new connection");
                    }
                }
                taken.push(due.elapsed());
            }
            (taken, wrong)
        };
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (taken, mistaken) = worker.join().expect("no worker panics");
            latencies.extend(taken);
            wrong += mistaken;
        }
    });
    latencies.sort_unstable();
    let quantile = |part: f64| {
        let index = (latencies.len() as f64 * part) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(0.0, |l| l.as_secs_f64() * 1e6)
    };
    println!(
        "{{\"n\": {}, \"wrong\": {wrong}, \"p50\": {:.1}, \"p90\": {:.1}, \"p99\": {:.1}, \"max\": {:.1}}}",
        latencies.len(),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(1.0)
    );
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// Sends a request and reads its answer; whether that was a 200.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<bool> {
    stream.write_all(request)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        if answer.len() >= end + 4 + length {
            return Ok(head.starts_with("http/1.1 200"));
        }
    }
}

/// Requests, each behind its length in eight digits.
fn read_pool(path: &str) -> io::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path)?;
    let (mut requests, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((length, after)) = rest.split_at_checked(8) {
        let length = str::from_utf8(length).ok().and_then(|text| text.parse().ok());
        let (request, more) =
            length.and_then(|length| after.split_at_checked(length)).ok_or(io::ErrorKind::InvalidData)?;
        requests.push(request.to_vec());
        rest = more;
    }
    Ok(requests)
}
