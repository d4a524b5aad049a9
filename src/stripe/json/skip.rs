//! Finds the end of one nested JSON object or array, 64 bytes at a time, without reading its content.
//!
//! Checked in the skipped value: brackets balance and match in type, at most [`MAX_DEPTH`] are open at once, every string
//! ends, and no backslash stands outside a string. Not checked: commas, colons, numbers, literals, escapes, control
//! characters, UTF-8. The signature covers those; this file only has to find the end of the value without doubt. The
//! method is simdjson's (Langdale and Lemire, "Parsing gigabytes of JSON per second", section 3.1).

use super::error::JsonError;
use wide::u8x16;

/// The maximum number of brackets open at once inside the top-level object. Including that object the limit is 128, as in
/// serde_json. Ruby's parser stops at 100, PHP's at 512; Stripe's events stay under 15.
const MAX_DEPTH: u32 = 127;

/// Returns the length in bytes of the object or array that `bytes` begins with.
///
/// # Errors
/// Returns `Truncated` if the value has no end, `TooDeep` beyond [`MAX_DEPTH`], `Syntax` for brackets that do not match.
pub(super) fn nested_len(bytes: &[u8]) -> Result<usize, JsonError> {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut scanner = Scanner::default();
    for (n, block) in blocks.iter().enumerate() {
        if let Some(length) = scanner.scan(block)? {
            return Ok(n * 64 + length);
        }
    }
    // Padding with spaces cannot close a bracket or a string.
    let mut last = [b' '; 64];
    last[..rest.len()].copy_from_slice(rest);
    match scanner.scan(&last)? {
        Some(length) => Ok(blocks.len() * 64 + length),
        None => Err(JsonError::Truncated),
    }
}

/// The state that carries over from one 64-byte block to the next.
#[derive(Default)]
struct Scanner {
    /// All ones if the last block ended inside a string, else 0.
    in_string: u64,
    /// 1 if the last block ended in a backslash that escapes the next byte, else 0.
    escape_next: u64,
    /// The brackets that are open at the end of the last block.
    open: BracketStack,
}

impl Scanner {
    /// Scans one block. Returns how many of its bytes belong to the value if the value ends here, else `None`.
    fn scan(&mut self, bytes: &[u8; 64]) -> Result<Option<usize>, JsonError> {
        let block = Block::new(bytes);
        let quotes = block.bitmask(|part| part.simd_eq(u8x16::splat(b'"')));
        // `[` and `{` differ in one bit (0x20), and so do `]` and `}`.
        let brackets = block.bitmask(|part| {
            let folded = part | u8x16::splat(0x20);
            folded.simd_eq(u8x16::splat(b'{')) | folded.simd_eq(u8x16::splat(b'}'))
        });
        let is_backslash = |part: u8x16| part.simd_eq(u8x16::splat(b'\\'));
        // Backslashes are rare: most blocks skip the escape handling.
        let strings = if self.escape_next != 0 || block.any(is_backslash) {
            let backslashes = block.bitmask(is_backslash);
            let escaped = self.escaped(backslashes);
            let strings = self.strings(quotes & !escaped);
            // A backslash is only valid inside a string.
            if backslashes & !strings != 0 {
                return Err(JsonError::Syntax);
            }
            strings
        } else {
            self.strings(quotes)
        };
        for position in set_bits(brackets & !strings) {
            if self.open.apply(bytes[position])? {
                return Ok(Some(position + 1));
            }
        }
        Ok(None)
    }

    /// Returns a mask of the bytes inside strings, including the opening quote and excluding the closing one.
    fn strings(&mut self, quotes: u64) -> u64 {
        // A prefix XOR: each bit becomes the parity of the quotes up to and including it.
        let mut strings = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            strings ^= strings << shift;
        }
        strings ^= self.in_string;
        // Spread the highest bit over all 64 for the next block.
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        strings
    }

    /// Returns a mask of the bytes that a backslash before them escapes.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = self.escape_next;
        self.escape_next = 0;
        for position in set_bits(backslashes) {
            // An escaped backslash escapes nothing.
            if escaped >> position & 1 == 0 {
                match position {
                    63 => self.escape_next = 1,
                    _ => escaped |= 1 << (position + 1),
                }
            }
        }
        escaped
    }
}

/// A stack of open brackets, one bit each, innermost lowest: 1 for a brace, 0 for a square bracket.
#[derive(Default)]
struct BracketStack {
    braces: u128,
    depth: u32,
}

impl BracketStack {
    /// Pushes an opening bracket or pops for a closing one. Returns true if it closed the outermost bracket.
    fn apply(&mut self, bracket: u8) -> Result<bool, JsonError> {
        let brace = u128::from(matches!(bracket, b'{' | b'}'));
        if matches!(bracket, b'{' | b'[') {
            if self.depth == MAX_DEPTH {
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

/// A block of 64 bytes in 16-byte vectors, which every x86-64 and every aarch64 supports.
struct Block([u8x16; 4]);

impl Block {
    fn new(bytes: &[u8; 64]) -> Self {
        let (parts, _) = bytes.as_chunks::<16>();
        Self(std::array::from_fn(|n| u8x16::new(parts[n])))
    }

    /// Returns one bit for each byte, the first byte lowest: 1 where `test` gives all ones.
    #[inline(always)]
    fn bitmask(&self, test: impl Fn(u8x16) -> u8x16) -> u64 {
        let mut bits = 0;
        for (n, part) in self.0.iter().enumerate() {
            bits |= u64::from(test(*part).to_bitmask()) << (16 * n);
        }
        bits
    }

    /// Returns whether `test` gives all ones for any byte.
    #[inline(always)]
    fn any(&self, test: impl Fn(u8x16) -> u8x16) -> bool {
        let [a, b, c, d] = self.0.map(test);
        (a | b | c | d).to_bitmask() != 0
    }
}

/// Returns the positions of the set bits, lowest first.
#[inline(always)]
fn set_bits(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let position = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (position < 64).then_some(position)
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
            assert_eq!(nested_len(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_end_is_found_at_every_offset_within_a_block() {
        for inner in ["", "\\\\", "\\\"", "]", "[", "\\\\\\\"]", "\\u005d"] {
            for before in 0..200 {
                let text = format!("[{}\"{inner}\"{}]", " ".repeat(before), " ".repeat(200 - before));
                let whole = format!("{text}]\"");
                assert_eq!(nested_len(whole.as_bytes()), Ok(text.len()), "{whole}");
            }
        }
    }

    #[test]
    fn nesting_is_accepted_up_to_the_limit_and_rejected_beyond_it() {
        let limit = MAX_DEPTH as usize;
        let brackets = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(nested_len(brackets(limit).as_bytes()), Ok(2 * limit));
        assert_eq!(nested_len(brackets(limit + 1).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(nested_len("[{".repeat(1_000_000).as_bytes()), Err(JsonError::TooDeep));
    }
}
