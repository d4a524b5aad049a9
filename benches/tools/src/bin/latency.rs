//! An open-loop client: requests are due at random times (Poisson), whether or not earlier ones have a response. A latency
//! counts from the time at which the request was due, so a server that stalls is charged for every request that waited.
//!
//! `latency ADDRESS POOL RATE SECONDS SEED` sends the requests of a pool (see `pool.lua`) in order. It prints one JSON object:
//! how many requests were sent, how many did not get a 200, and quantiles of the latency in microseconds.

#![allow(clippy::disallowed_methods, reason = "this client measures time")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// The number of connections, each with a thread of its own.
const CONNECTIONS: usize = 64;

/// The times at which requests are due, in a random order that the seed fixes.
struct Schedule {
    /// When the last request was due.
    due: Instant,
    /// No request is due from this time on.
    end: Instant,
    /// Requests a second, on average.
    rate: f64,
    /// The state of the generator (xorshift).
    random: u64,
    /// The number of the next request, counted from 0.
    next: usize,
}

impl Schedule {
    /// Returns when the next request is due, and its number, or `None` at the end.
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
    let requests =
        read_pool(pool).expect("POOL must be a file of requests, each behind its length in eight digits");
    // By default the kernel may end a sleep up to 50 µs late. The threads below inherit this setting.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let start = Instant::now() + Duration::from_millis(100);
    let schedule = Mutex::new(Schedule {
        due: start,
        end: start + Duration::from_secs_f64(seconds.parse().expect("SECONDS must be a number")),
        rate: rate.parse().expect("RATE must be a number of requests a second"),
        random: seed.parse::<u64>().expect("SEED must be a whole number") * 2 + 1,
        next: 0,
    });
    let (mut latencies, mut wrong) = (Vec::new(), 0);
    thread::scope(|scope| {
        let send_requests = || {
            let mut stream = connect(address).expect("the server must accept connections");
            let (mut own_latencies, mut wrong) = (Vec::new(), 0);
            loop {
                let Some((due, number)) = schedule.lock().expect("no thread panics with the lock").next()
                else {
                    break;
                };
                thread::sleep(due.saturating_duration_since(Instant::now()));
                match exchange(&mut stream, &requests[number % requests.len()]) {
                    Ok(true) => {}
                    Ok(false) => wrong += 1,
                    Err(_) => {
                        wrong += 1;
                        stream = connect(address).expect("the server must accept a new connection");
                    }
                }
                own_latencies.push(due.elapsed());
            }
            (own_latencies, wrong)
        };
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(send_requests)).collect();
        for worker in workers {
            let (own_latencies, own_wrong) = worker.join().expect("no worker panics");
            latencies.extend(own_latencies);
            wrong += own_wrong;
        }
    });
    latencies.sort_unstable();
    let quantile = |fraction: f64| {
        let index = (latencies.len() as f64 * fraction) as usize;
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

/// Sends a request, reads its response, and returns whether the status was 200.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<bool> {
    stream.write_all(request)?;
    let (mut response, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        response.extend_from_slice(&buffer[..read]);
        let Some(end) = memchr::memmem::find(&response, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&response[..end]).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        if response.len() >= end + 4 + length {
            return Ok(head.starts_with("http/1.1 200"));
        }
    }
}

/// Reads a file of requests, each behind its length in eight digits.
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
