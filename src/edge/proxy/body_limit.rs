//! How much of a request's body pingora may still read, so that it never reads into the next request.

use crate::http1::chunked::{Decoder, Step};
use crate::http1::framing::Framing;

/// What is left of a request's body.
#[derive(Debug)]
pub(super) enum BodyLimit {
    /// A body of known length: so many bytes are left.
    Length(u64),
    /// A chunked body: the decoder knows where it ends.
    Chunked(Decoder),
}

impl BodyLimit {
    /// Creates the limit of a body of which nothing has been read.
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Decoder::new()),
        }
    }

    /// Takes the part of the body off the limit that `bytes` begins with. Returns how many bytes that is.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(left) => {
                let n = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                n
            }
            Self::Chunked(decoder) => {
                let mut rest = bytes;
                // What is not the coding is for pingora to refuse: it gets everything.
                match decoder.feed(&mut rest, |_| {}) {
                    Step::More | Step::Done => bytes.len() - rest.len(),
                    Step::Invalid => bytes.len(),
                }
            }
        }
    }

    /// How many bytes are left; `None` if only the bytes themselves tell.
    pub(super) fn known(&self) -> Option<usize> {
        match self {
            Self::Length(left) => Some(usize::try_from(*left).unwrap_or(usize::MAX)),
            Self::Chunked(_) => None,
        }
    }

    /// Takes `n` bytes off a known limit, after they were read past the connection's buffer.
    pub(super) fn reduce(&mut self, n: usize) {
        match self {
            Self::Length(left) => *left = left.saturating_sub(n as u64),
            Self::Chunked(_) => {}
        }
    }

    /// Returns true once the whole body has been read.
    pub(super) fn is_reached(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
        }
    }
}
