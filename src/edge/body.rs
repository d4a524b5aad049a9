//! A request's whole body, within its limits, for those requests that are answered here.

use bytes::{Bytes, BytesMut};
use std::time::Duration;
use tokio::time::timeout;

use super::connection::Connection;
use super::gate::Pass;
use crate::http1::chunked::{Decoder, Step};
use crate::http1::head::{Framing, Headers};

/// What is read at once of a chunked body.
const READ: usize = 16 * 1024;

/// Why there is no whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is longer than the limit, by its `Content-Length` or while it came.
    TooLarge,
    /// Its coding is faulty.
    Malformed,
    /// It did not come in time.
    TooSlow,
    /// Its place at the gate was needed while it was waited for.
    SentAway,
    /// The client has left.
    Gone,
}

/// How long a body may be, in bytes, and how long all of it may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// In bytes.
    pub limit: u64,
    /// For the whole.
    pub within: Duration,
}

/// Whether the client waits to be told that its body is wanted (RFC 9110, 10.1.1).
pub fn awaited(head: &[u8], fields: &Headers) -> bool {
    fields.values(head, "expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Waits for the whole body, for as long as its place at the gate is not needed.
pub async fn receive(
    connection: &mut Connection,
    awaited: bool,
    framing: Framing,
    bounds: Bounds,
    pass: &mut Pass,
) -> Result<Bytes, BodyFault> {
    if awaited && connection.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"").await.is_err() {
        return Err(BodyFault::Gone);
    }
    let read = tokio::select! {
        // A body that came with its head is taken before anything waits.
        biased;
        read = timeout(bounds.within, read(connection, framing, bounds.limit)) => read,
        () = pass.sent_away() => return Err(BodyFault::SentAway),
    };
    pass.stay();
    read.unwrap_or(Err(BodyFault::TooSlow))
}

/// Reads it. A body of known length is not copied.
async fn read(connection: &mut Connection, framing: Framing, limit: u64) -> Result<Bytes, BodyFault> {
    match framing {
        Framing::Length(length) if length > limit => Err(BodyFault::TooLarge),
        Framing::Length(length) => {
            // Within the limit, which the configuration keeps far below what a usize holds.
            let length = usize::try_from(length).map_err(|_| BodyFault::TooLarge)?;
            while connection.buffered().len() < length {
                more(connection, length - connection.buffered().len()).await?;
            }
            Ok(connection.take(length))
        }
        Framing::Chunked => chunked(connection, limit).await,
    }
}

async fn chunked(connection: &mut Connection, limit: u64) -> Result<Bytes, BodyFault> {
    let (mut decoder, mut body) = (Decoder::new(), BytesMut::new());
    loop {
        let mut input = connection.buffered();
        let before = input.len();
        let step = decoder.feed(&mut input, |data| body.extend_from_slice(data));
        let used = before - input.len();
        drop(connection.take(used));
        if body.len() as u64 > limit {
            return Err(BodyFault::TooLarge);
        }
        match step {
            Step::Done => return Ok(body.freeze()),
            Step::Faulty => return Err(BodyFault::Malformed),
            Step::More => more(connection, READ).await?,
        }
    }
}

async fn more(connection: &mut Connection, room: usize) -> Result<(), BodyFault> {
    match connection.fill(room).await {
        Ok(n) if n > 0 => Ok(()),
        Ok(_) | Err(_) => Err(BodyFault::Gone),
    }
}
