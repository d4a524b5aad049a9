//! Steps over one nested JSON object or array, 64 bytes at a time, without reading what is in it.
//!
//! What holds of a value that is stepped over: its brackets balance, each closed by one of its own kind, no more
//! than [`DEPTH_LIMIT`] of them open at once; its strings end; no backslash stands outside a string. What is not
//! looked at: commas and colons, numbers and literals, escapes, control characters, UTF-8. The signature vouches for
//! those; this file only has to find, beyond doubt, where the value ends. The way of it is simdjson's (Langdale and
//! Lemire, "Parsing gigabytes of JSON per second", section 3.1).

use super::json::JsonError;
use wide::u8x16;

/// How many brackets may be open at once inside the body's own object: with it 128, as in serde_json. Ruby's parser
/// stops at 100, PHP's at 512; Stripe's events stay under 15.
const DEPTH_LIMIT: u32 = 127;

/// The length of the object or array that `bytes` begins with.
pub(super) fn nested(bytes: &[u8]) -> Result<usize, JsonError> {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut scan = Scan::default();
    for (n, block) in blocks.iter().enumerate() {
        if let Some(length) = scan.block(block)? {
            return Ok(n * 64 + length);
        }
    }
    let mut last = [b' '; 64];
    last[..rest.len()].copy_from_slice(rest);
    match scan.block(&last)? {
        Some(length) => Ok(blocks.len() * 64 + length),
        None => Err(JsonError::Truncated),
    }
}

/// What one block leaves to the next.
#[derive(Default)]
struct Scan {
    /// All ones if the block ended inside a string, else 0.
    inside: u64,
    /// 1 if the block ended in a backslash that escapes the next byte, else 0.
    escaping: u64,
    open: Open,
}

impl Scan {
    /// How much of the block belongs to the value, if it ends here.
    fn block(&mut self, bytes: &[u8; 64]) -> Result<Option<usize>, JsonError> {
        let block = Block::new(bytes);
        let quotes = block.bits(|part| part.simd_eq(u8x16::splat(b'"')));
        // `[` and `{` differ in one bit, and so do `]` and `}`.
        let brackets = block.bits(|part| {
            let folded = part | u8x16::splat(0x20);
            folded.simd_eq(u8x16::splat(b'{')) | folded.simd_eq(u8x16::splat(b'}'))
        });
        let backslash = |part: u8x16| part.simd_eq(u8x16::splat(b'\\'));
        let strings = if self.escaping != 0 || block.any(backslash) {
            let backslashes = block.bits(backslash);
            let escaped = self.escaped(backslashes);
            let strings = self.strings(quotes & !escaped);
            // Whatever an escape hides is inside a string, or this is not JSON.
            if backslashes & !strings != 0 {
                return Err(JsonError::Syntax);
            }
            strings
        } else {
            self.strings(quotes)
        };
        for at in ones(brackets & !strings) {
            if self.open.bracket(bytes[at])? {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }

    /// The bytes inside strings, an opening quote counted in and a closing one not.
    fn strings(&mut self, quotes: u64) -> u64 {
        let mut strings = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            strings ^= strings << shift;
        }
        strings ^= self.inside;
        self.inside = 0_u64.wrapping_sub(strings >> 63);
        strings
    }

    /// The bytes that a backslash before them escapes.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = self.escaping;
        self.escaping = 0;
        for at in ones(backslashes) {
            if escaped >> at & 1 == 0 {
                match at {
                    63 => self.escaping = 1,
                    _ => escaped |= 1 << (at + 1),
                }
            }
        }
        escaped
    }
}

/// The brackets that are open, innermost last: a stack of bits, one for a brace, zero for a square bracket.
#[derive(Default)]
struct Open {
    braces: u128,
    depth: u32,
}

impl Open {
    /// Takes in a bracket; true if it closed the last one open.
    fn bracket(&mut self, bracket: u8) -> Result<bool, JsonError> {
        let brace = u128::from(matches!(bracket, b'{' | b'}'));
        if matches!(bracket, b'{' | b'[') {
            if self.depth == DEPTH_LIMIT {
                return Err(JsonError::TooDeep);
            }
            self.braces = self.braces << 1 | brace;
            self.depth += 1;
            return Ok(false);
        }
        if self.depth == 0 || self.braces & 1 != brace {
            return Err(JsonError::Syntax);
        }
        self.braces >>= 1;
        self.depth -= 1;
        Ok(self.depth == 0)
    }
}

/// 64 bytes in vectors that every x86-64 and every aarch64 has.
struct Block([u8x16; 4]);

impl Block {
    fn new(bytes: &[u8; 64]) -> Block {
        let (parts, _) = bytes.as_chunks::<16>();
        Block(std::array::from_fn(|n| u8x16::new(parts[n])))
    }

    /// One bit for each byte, the first one lowest, set where `test` gives all ones.
    #[inline(always)]
    fn bits(&self, test: impl Fn(u8x16) -> u8x16) -> u64 {
        let mut bits = 0;
        for (n, part) in self.0.iter().enumerate() {
            bits |= u64::from(test(*part).to_bitmask()) << (16 * n);
        }
        bits
    }

    #[inline(always)]
    fn any(&self, test: impl Fn(u8x16) -> u8x16) -> bool {
        let [a, b, c, d] = self.0.map(test);
        (a | b | c | d).to_bitmask() != 0
    }
}

/// The positions of the bits that are set, from the lowest on.
#[inline(always)]
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 64).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_value_ends_where_its_first_bracket_is_closed() {
        let table: [(&str, Result<usize, JsonError>); 22] = [
            ("{}", Ok(2)),
            ("[] ]", Ok(2)),
            ("[[]]]", Ok(4)),
            (r#"{"a": [1, {"b": []}]}, "c": {}}"#, Ok(21)),
            (r#"{"a": "}"}"#, Ok(10)),
            (r#"["\"]", "\\"]"#, Ok(13)),
            (r#"["\\\"]"]"#, Ok(9)),
            (r#"["[{"]"#, Ok(6)),
            ("{", Err(JsonError::Truncated)),
            ("[{}", Err(JsonError::Truncated)),
            (r#"["]"#, Err(JsonError::Truncated)),
            (r#"["\"]"#, Err(JsonError::Truncated)),
            (r#"["\\\"]"#, Err(JsonError::Truncated)),
            (r#"["\"#, Err(JsonError::Truncated)),
            ("[}", Err(JsonError::Syntax)),
            ("{]", Err(JsonError::Syntax)),
            ("[{]}", Err(JsonError::Syntax)),
            (r#"{"a": \"]}"#, Err(JsonError::Syntax)),
            (r"[\]", Err(JsonError::Syntax)),
            ("[\u{1}\u{ff}]", Ok(5)),
            ("[nonsense: is, not; read]", Ok(25)),
            ("}", Err(JsonError::Syntax)),
        ];
        for (text, expected) in table {
            assert_eq!(nested(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn it_ends_there_wherever_in_a_block_its_parts_fall() {
        for inner in ["", "\\\\", "\\\"", "]", "[", "\\\\\\\"]", "\\u005d"] {
            for before in 0..200 {
                let text = format!("[{}\"{inner}\"{}]", " ".repeat(before), " ".repeat(200 - before));
                let whole = format!("{text}]\"");
                assert_eq!(nested(whole.as_bytes()), Ok(text.len()), "{whole}");
            }
        }
    }

    #[test]
    fn nesting_is_followed_to_the_limit_and_refused_beyond_it() {
        let limit = DEPTH_LIMIT as usize;
        let of = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(nested(of(limit).as_bytes()), Ok(2 * limit));
        assert_eq!(nested(of(limit + 1).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(nested("[{".repeat(1_000_000).as_bytes()), Err(JsonError::TooDeep));
    }
}
