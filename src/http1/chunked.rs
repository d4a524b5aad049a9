//! The chunked transfer coding, decoded piece by piece as it arrives (RFC 9112, section 7.1). Chunk extensions are skipped,
//! trailers are kept. The decoder never holds body data: it hands the data on.

/// What the decoder expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderState {
    /// A line with the size of the next chunk.
    Size,
    /// As many more bytes of the current chunk.
    Data(u64),
    /// The line end after a chunk's data.
    DataEnd,
    /// A trailer line, or the empty line that ends the body.
    Trailer,
    /// Nothing: the body is complete.
    Done,
    /// Nothing: the input is not the coding, and stays so.
    Invalid,
}

/// The result of feeding bytes to a [`Decoder`].
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All input was used, and the body needs more.
    More,
    /// The body is complete.
    Done,
    /// The input is not the chunked coding.
    Invalid,
}

/// Decodes one body in the chunked transfer coding.
#[derive(Debug)]
pub struct Decoder {
    state: DecoderState,
    /// The part of a size line or trailer that has arrived so far.
    line: Vec<u8>,
    /// The trailer lines that have arrived, with their line ends.
    trailers: Vec<u8>,
}

/// The most bytes of trailers that are kept. Of more, none is.
const MAX_TRAILERS: usize = 16 * 1024;

/// The longest size line or trailer, in bytes. A longer one is an attack or a mistake.
const MAX_LINE: usize = 4096;

#[allow(clippy::new_without_default, reason = "a decoder is made for one body, never as a default")]
impl Decoder {
    /// Creates a decoder that stands at the beginning of a body.
    pub fn new() -> Self {
        Self { state: DecoderState::Size, line: Vec::new(), trailers: Vec::new() }
    }

    /// Returns true once the whole body has been decoded.
    pub fn is_done(&self) -> bool {
        self.state == DecoderState::Done
    }

    /// The trailer lines of a body that has been decoded, with their line ends.
    pub fn trailers(&self) -> &[u8] {
        if self.trailers.len() > MAX_TRAILERS { &[] } else { &self.trailers }
    }

    /// Takes bytes off the front of `input` and hands the data in them to `data`. Bytes after the body stay in `input`.
    pub fn feed(&mut self, input: &mut &[u8], mut data: impl FnMut(&[u8])) -> Step {
        loop {
            match self.state {
                DecoderState::Done => return Step::Done,
                DecoderState::Invalid => return Step::Invalid,
                DecoderState::Data(left) => {
                    if input.is_empty() {
                        return Step::More;
                    }
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (now, rest) = input.split_at(n);
                    data(now);
                    *input = rest;
                    let left = left - n as u64;
                    self.state = if left == 0 { DecoderState::DataEnd } else { DecoderState::Data(left) };
                }
                DecoderState::Size | DecoderState::DataEnd | DecoderState::Trailer => {
                    let Some(line) = self.take_line(input) else {
                        if self.line.len() <= MAX_LINE {
                            return Step::More;
                        }
                        self.state = DecoderState::Invalid;
                        continue;
                    };
                    if self.state == DecoderState::Trailer
                        && line != b"\r\n"
                        && self.trailers.len() <= MAX_TRAILERS
                    {
                        self.trailers.extend_from_slice(&line);
                    }
                    self.state = next_state(self.state, &line);
                }
            }
        }
    }

    /// Takes the next complete line, with its line end; `None` while it is incomplete.
    fn take_line(&mut self, input: &mut &[u8]) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', input);
        let (now, rest) = input.split_at(end.map_or(input.len(), |i| i + 1));
        self.line.extend_from_slice(now);
        *input = rest;
        end?;
        Some(std::mem::take(&mut self.line))
    }
}

/// Returns the state after a line. A line that ends with a bare line feed is invalid, as in a head: readers differ on it.
fn next_state(state: DecoderState, line: &[u8]) -> DecoderState {
    let Some(line) = line.strip_suffix(b"\r\n") else { return DecoderState::Invalid };
    match state {
        DecoderState::Size => match parse_size(line) {
            Some(0) => DecoderState::Trailer,
            Some(n) => DecoderState::Data(n),
            None => DecoderState::Invalid,
        },
        DecoderState::DataEnd if line.is_empty() => DecoderState::Size,
        DecoderState::DataEnd => DecoderState::Invalid,
        DecoderState::Trailer if line.is_empty() => DecoderState::Done,
        DecoderState::Trailer => DecoderState::Trailer,
        DecoderState::Data(_) | DecoderState::Done | DecoderState::Invalid => state,
    }
}

/// Parses the size in a size line, without its extensions. Fifteen digits cannot overflow a `u64`.
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> (Step, Vec<u8>, Vec<u8>) {
        let (mut decoder, mut out) = (Decoder::new(), Vec::new());
        let mut step = Step::More;
        let mut rest = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            step = decoder.feed(&mut input, |d| out.extend_from_slice(d));
            rest = input.to_vec();
        }
        (step, out, rest)
    }

    #[test]
    fn a_body_is_decoded_wherever_its_bytes_are_split() {
        let coded = b"5;x=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: t\r\n\r\n";
        for cut in 0..coded.len() {
            let (step, out, rest) = decode(&[&coded[..cut], &coded[cut..]]);
            assert_eq!(
                (step, out.as_slice(), rest.as_slice()),
                (Step::Done, &b"hello world"[..], &b""[..]),
                "{cut}"
            );
        }
    }

    #[test]
    fn trailers_are_kept_unless_they_are_too_long() {
        let trailers = |lines: &str| {
            let (mut decoder, coded) = (Decoder::new(), format!("1\r\nx\r\n0\r\n{lines}\r\n"));
            assert_eq!(decoder.feed(&mut coded.as_bytes(), |_| {}), Step::Done);
            decoder.trailers().to_vec()
        };
        assert_eq!(trailers(""), b"");
        assert_eq!(trailers("A: 1\r\nB: 2\r\n"), b"A: 1\r\nB: 2\r\n");
        assert_eq!(trailers(&"A: 1\r\n".repeat(MAX_TRAILERS)), b"");
    }

    #[test]
    fn bytes_after_the_body_are_left_in_the_input() {
        assert_eq!(decode(&[b"0\r\n\r\nHTTP"]), (Step::Done, vec![], b"HTTP".to_vec()));
    }

    #[test]
    fn input_that_is_not_the_coding_is_invalid() {
        for invalid in [
            &b"x\r\n"[..],
            b"\r\n",
            b"5\r\nhelloX\r\n",
            b"-1\r\n",
            b"1000000000000000\r\n",
            b"5\nhello\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(decode(&[invalid]).0, Step::Invalid, "{:?}", String::from_utf8_lossy(invalid));
        }
        assert_eq!(decode(&[&[b'1'; MAX_LINE + 1]]).0, Step::Invalid);
        assert_eq!(decode(&[b"x\r\n", b"0\r\n\r\n"]).0, Step::Invalid, "and stays so");
    }
}
