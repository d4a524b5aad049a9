//! Chunked transfer coding, decoded as it comes (RFC 9112, 7.1). Extensions and trailers are skipped.

/// Where in the coding the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
    Faulty,
}

/// What became of the bytes given.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All is used up; more is needed.
    More,
    /// The body is whole.
    Done,
    /// This is not the coding.
    Faulty,
}

/// Follows the coding, byte by byte.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    line: Vec<u8>,
}

/// A size line or trailer longer than this is an attack or a mistake.
const MAX_LINE: usize = 4096;

#[allow(clippy::new_without_default, reason = "there is nothing default about it")]
impl Decoder {
    /// At the beginning of a body.
    pub fn new() -> Decoder {
        Decoder { state: State::Size, line: Vec::new() }
    }

    /// The body is whole.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes off the front of `input` and hands the data in them to `data`.
    pub fn feed(&mut self, input: &mut &[u8], mut data: impl FnMut(&[u8])) -> Step {
        loop {
            match self.state {
                State::Done => return Step::Done,
                State::Faulty => return Step::Faulty,
                State::Data(left) => {
                    if input.is_empty() {
                        return Step::More;
                    }
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (now, rest) = input.split_at(n);
                    data(now);
                    *input = rest;
                    let left = left - n as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                }
                State::Size | State::DataEnd | State::Trailer => {
                    let Some(line) = self.line(input) else {
                        if self.line.len() <= MAX_LINE {
                            return Step::More;
                        }
                        self.state = State::Faulty;
                        continue;
                    };
                    self.state = next(self.state, &line);
                }
            }
        }
    }

    /// The next whole line, with its end.
    fn line(&mut self, input: &mut &[u8]) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', input);
        let (now, rest) = input.split_at(end.map_or(input.len(), |i| i + 1));
        self.line.extend_from_slice(now);
        *input = rest;
        end?;
        Some(std::mem::take(&mut self.line))
    }
}

/// Where a line leads. One that a line feed alone has ended is a fault, as in the head.
fn next(state: State, line: &[u8]) -> State {
    let Some(line) = line.strip_suffix(b"\r\n") else { return State::Faulty };
    match state {
        State::Size => match size(line) {
            Some(0) => State::Trailer,
            Some(n) => State::Data(n),
            None => State::Faulty,
        },
        State::DataEnd if line.is_empty() => State::Size,
        State::DataEnd => State::Faulty,
        State::Trailer if line.is_empty() => State::Done,
        State::Trailer => State::Trailer,
        State::Data(_) | State::Done | State::Faulty => state,
    }
}

fn size(line: &[u8]) -> Option<u64> {
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
    fn a_body_is_decoded_wherever_it_is_cut() {
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
    fn what_follows_the_body_is_left() {
        assert_eq!(decode(&[b"0\r\n\r\nHTTP"]), (Step::Done, vec![], b"HTTP".to_vec()));
    }

    #[test]
    fn what_is_not_the_coding_is_said() {
        for faulty in [
            &b"x\r\n"[..],
            b"\r\n",
            b"5\r\nhelloX\r\n",
            b"-1\r\n",
            b"1000000000000000\r\n",
            b"5\nhello\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(decode(&[faulty]).0, Step::Faulty, "{:?}", String::from_utf8_lossy(faulty));
        }
        assert_eq!(decode(&[&[b'1'; MAX_LINE + 1]]).0, Step::Faulty);
        assert_eq!(decode(&[b"x\r\n", b"0\r\n\r\n"]).0, Step::Faulty, "and stays so");
    }
}
