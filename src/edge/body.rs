//! The whole body of a request that Countersign answers itself, read within its limits. It never decides what a body means.

use bytes::{Bytes, BytesMut};
use std::time::Duration;
use tokio::time::timeout;

use super::admission::AdmissionPermit;
use super::connection::Connection;
use crate::http1::chunked::{Decoder, Step};
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;

/// How many bytes of a chunked body one read takes at most.
const READ_SIZE: usize = 16 * 1024;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The body is longer than the limit, by its `Content-Length` or by what arrived.
    TooLarge,
    /// The chunked coding is invalid.
    Malformed,
    /// The body did not arrive in time.
    TooSlow,
    /// The admission limiter gave this request's place to another one while the body was awaited.
    Evicted,
    /// The body arrived, but the program ends before the work on it can be done.
    ShuttingDown,
    /// The client closed the connection before the body was complete.
    Disconnected,
}

/// The limits of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    /// The longest body, in bytes.
    pub max_bytes: u64,
    /// How long the whole body may take to arrive.
    pub timeout: Duration,
}

/// Reads the whole body of the request with this head. It gives up when `permit` is evicted.
pub(super) async fn read(
    connection: &mut Connection,
    head: &RequestHead,
    limits: ReadLimits,
    permit: &mut AdmissionPermit,
) -> Result<Bytes, BodyError> {
    if head.expects_continue() && connection.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"").await.is_err() {
        return Err(BodyError::Disconnected);
    }
    let body = tokio::select! {
        // In this order a body that came with its head is read without becoming evictable.
        biased;
        body = timeout(limits.timeout, read_framed(connection, head.framing(), limits.max_bytes)) => body,
        () = permit.evicted() => return Err(BodyError::Evicted),
    };
    permit.pin();
    body.unwrap_or(Err(BodyError::TooSlow))
}

async fn read_framed(connection: &mut Connection, framing: Framing, limit: u64) -> Result<Bytes, BodyError> {
    match framing {
        Framing::Length(length) if length > limit => Err(BodyError::TooLarge),
        Framing::Length(length) => {
            // Within the limit, which the configuration keeps far below what a usize holds.
            let length = usize::try_from(length).map_err(|_| BodyError::TooLarge)?;
            while connection.buffered().len() < length {
                read_more(connection, length - connection.buffered().len()).await?;
            }
            // The body leaves the read buffer without a copy.
            Ok(connection.take(length))
        }
        Framing::Chunked => read_chunked(connection, limit).await,
    }
}

async fn read_chunked(connection: &mut Connection, limit: u64) -> Result<Bytes, BodyError> {
    let (mut decoder, mut body) = (Decoder::new(), BytesMut::new());
    loop {
        let mut input = connection.buffered();
        let before = input.len();
        let step = decoder.feed(&mut input, |data| body.extend_from_slice(data));
        let used = before - input.len();
        connection.consume(used);
        if body.len() as u64 > limit {
            return Err(BodyError::TooLarge);
        }
        match step {
            Step::Done => return Ok(body.freeze()),
            Step::Invalid => return Err(BodyError::Malformed),
            Step::More => read_more(connection, READ_SIZE).await?,
        }
    }
}

async fn read_more(connection: &mut Connection, additional: usize) -> Result<(), BodyError> {
    match connection.fill(additional).await {
        Ok(n) if n > 0 => Ok(()),
        Ok(_) | Err(_) => Err(BodyError::Disconnected),
    }
}
