//! A webhook's whole body, within its limit. The deadline is the caller's.

use bytes::{Bytes, BytesMut};
use pingora::proxy::Session;

/// Why there is no whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is longer than the limit, by its `Content-Length` or while it came.
    TooLarge,
    /// It broke off, or its coding is faulty. There may be no one left to answer.
    Broken,
}

/// The length that the head promises; `None` for a chunked body.
pub fn promised(session: &Session) -> Option<u64> {
    let value = session.req_header().headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

/// Reads it. A body that came in one piece is not copied again.
pub async fn read(session: &mut Session, limit: u64) -> Result<Bytes, BodyFault> {
    let promised = promised(session);
    if promised.is_some_and(|length| length > limit) {
        return Err(BodyFault::TooLarge);
    }
    let Some(first) = chunk(session).await? else { return Ok(Bytes::new()) };
    if promised == Some(first.len() as u64) {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(usize::try_from(promised.unwrap_or(16 * 1024)).unwrap_or(0));
    whole.extend_from_slice(&first);
    loop {
        if whole.len() as u64 > limit {
            return Err(BodyFault::TooLarge);
        }
        match chunk(session).await? {
            Some(more) => whole.extend_from_slice(&more),
            None => return Ok(whole.freeze()),
        }
    }
}

async fn chunk(session: &mut Session) -> Result<Option<Bytes>, BodyFault> {
    session.downstream_session.read_request_body().await.map_err(|_| BodyFault::Broken)
}
