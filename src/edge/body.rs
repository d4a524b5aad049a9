//! A webhook's whole body, within its limit. The deadline is the caller's.

use bytes::{Bytes, BytesMut};

use super::connection::Connection;
use crate::http1::chunked::{Decoder, Step};
use crate::http1::head::Framing;

/// What is read at once of a chunked body.
const READ: usize = 16 * 1024;

/// Why there is no whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is longer than the limit, by its `Content-Length` or while it came.
    TooLarge,
    /// Its coding is faulty.
    Malformed,
    /// The client has left.
    Gone,
}

/// Reads it. A body of known length is not copied.
pub async fn read(connection: &mut Connection, framing: Framing, limit: u64) -> Result<Bytes, BodyFault> {
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
