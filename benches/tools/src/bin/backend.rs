//! The backend of the benchmark: one thread that responds to every request at once, never fails, and keeps connections
//! alive. It reads `Content-Length` and no chunks.
//!
//! | request | response |
//! |---|---|
//! | `POST /v1/checkout/sessions` | a Checkout Session, always the same |
//! | any other `POST` | a small JSON |
//! | `GET /delivered` | the number of POSTs so far |
//! | anything else | 1 KiB of text |
//!
//! `backend 127.0.0.1:9000` starts it.

use memchr::memmem;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, Read, Write};

const LISTENER: Token = Token(0);

struct Connection {
    stream: TcpStream,
    /// The part of a request's head that was read so far.
    head: Vec<u8>,
    /// How many bytes of the request's body are still to be read.
    body_left: usize,
    /// The response to send when the body was read.
    response: &'static [u8],
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).expect("usage: backend ADDRESS");
    let mut listener = TcpListener::bind(
        address.parse().expect("ADDRESS must be an IP address and a port: 127.0.0.1:9000"),
    )?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut buffer) = (Events::with_capacity(512), vec![0; 256 * 1024]);
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let (mut next, mut delivered) = (1, 0);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let token = Token(next);
                    next += 1;
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    connections.insert(
                        token,
                        Connection { stream, head: Vec::new(), body_left: 0, response: RECEIVED },
                    );
                }
            } else if let Some(connection) = connections.get_mut(&event.token())
                && connection.serve(&mut buffer, &mut delivered).is_err()
            {
                connections.remove(&event.token());
            }
        }
    }
}

impl Connection {
    /// Reads until the socket is empty, and responds to every request that is complete. An error ends the connection.
    fn serve(&mut self, buffer: &mut [u8], delivered: &mut u64) -> io::Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            self.feed(&buffer[..read], delivered)?;
            // A short read has emptied the socket. mio reports later bytes as a new event.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Handles bytes that were read: the rest of a body, a head, or several requests.
    fn feed(&mut self, mut bytes: &[u8], delivered: &mut u64) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let length = self.body_left.min(bytes.len());
                self.body_left -= length;
                bytes = &bytes[length..];
                if self.body_left == 0 {
                    *delivered += 1;
                    self.stream.write_all(self.response)?;
                }
                continue;
            }
            let head_before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else { return Ok(()) };
            bytes = &bytes[end + 4 - head_before..];
            if self.head.starts_with(b"POST") {
                self.body_left = content_length(&self.head[..end]).ok_or(io::ErrorKind::InvalidData)?;
                let is_order = self.head.starts_with(b"POST /v1/checkout/sessions ");
                self.response = if is_order { SESSION } else { RECEIVED };
            } else if self.head.starts_with(b"GET /delivered ") {
                let count = delivered.to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", count.len());
                self.stream.write_all((head + &count).as_bytes())?;
            } else {
                self.stream.write_all(PAGE)?;
            }
            self.head.clear();
        }
        Ok(())
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let value = name.eq_ignore_ascii_case(b"content-length:").then_some(value)?;
        str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

const RECEIVED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"received\":true}";

const SESSION: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_1Bench\r\nContent-Length: 157\r\n\r\n{\"id\":\"cs_test_a1Bench\",\"object\":\"checkout.session\",\"payment_status\":\"unpaid\",\"status\":\"open\",\"url\":\"https://checkout.stripe.com/c/pay/cs_test_a1Bench00000\"}";

const PAGE: &[u8] = &{
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n";
    let mut page = [b'x'; HEAD.len() + 1024];
    let mut at = 0;
    while at < HEAD.len() {
        page[at] = HEAD[at];
        at += 1;
    }
    page
};
