//! Decoding for the guard: percent-encoding, case and overlong UTF-8, until nothing changes. Folding belongs here because
//! it can produce an escape (`％`), a slash (`／`) or a dot (`．`). It knows no guarded path, and
//! its result is never sent.

/// How many rounds of percent-decoding count as spelling; a path that needs more is `too_deep`.
pub(super) const MAX_SPELLING_ROUNDS: u8 = 4;

/// A path that is decoded until it changes no more, and case folded.
pub(super) struct Decoded {
    /// The decoded bytes, not necessarily UTF-8.
    pub text: Vec<u8>,
    /// For each byte of `text`, the round of percent-decoding that produced it.
    depths: Vec<u8>,
    /// The number of rounds of percent-decoding; 255 stands for 255 and more.
    pub rounds: u8,
    /// Whether an overlong UTF-8 sequence was decoded.
    pub overlong: bool,
    /// Whether overlong UTF-8 sequences are decoded at all.
    decodes_overlong: bool,
}

impl Decoded {
    /// Decodes a path in one pass, as a reader does that accepts overlong UTF-8.
    ///
    /// Whenever the last bytes stand for another byte, that byte replaces them, which may complete a further escape. No
    /// two encodings overlap, so the result is that of any number of rounds over the whole path. A long `%252525…`
    /// therefore costs no more than a plain path of its length.
    pub(super) fn new(path: &[u8]) -> Self {
        Self::decode(path, true)
    }

    /// Decodes a path in one pass, and leaves overlong UTF-8 as it is.
    pub(super) fn without_overlong(path: &[u8]) -> Self {
        Self::decode(path, false)
    }

    fn decode(path: &[u8], decodes_overlong: bool) -> Self {
        let (text, depths) = (Vec::with_capacity(path.len()), Vec::with_capacity(path.len()));
        let mut decoded = Self { text, depths, rounds: 0, overlong: false, decodes_overlong };
        for &byte in path {
            decoded.push(byte.to_ascii_lowercase(), 0);
            while decoded.collapse() {}
        }
        decoded
    }

    /// Returns the texts of readers that drop parameters after some round of decoding, and decode on afterwards.
    ///
    /// Such a reader drops what is still encoded within the parameters. The iterator is empty if there are none.
    pub(super) fn without_parameters(&self) -> impl Iterator<Item = Vec<u8>> {
        let last = self.text.contains(&b';').then_some(self.rounds.min(MAX_SPELLING_ROUNDS + 1));
        last.into_iter().flat_map(|last| 0..=last).map(|round| {
            let mut dropping = false;
            let bytes = self.text.iter().zip(&self.depths).filter(|&(&byte, &depth)| {
                // A `;` or `/` from a later round is still encoded when this reader drops parameters.
                match byte {
                    b';' if depth <= round => dropping = true,
                    b'/' if depth <= round => dropping = false,
                    _ => {}
                }
                !dropping
            });
            bytes.map(|(&byte, _)| byte).collect()
        })
    }

    /// Returns the texts of readers that split the path into segments after some round of decoding.
    ///
    /// To such a reader a slash, or another byte that ends a segment, is a plain character if it was still encoded.
    pub(super) fn split_early(&self) -> impl Iterator<Item = Vec<u8>> {
        let bytes = || self.text.iter().zip(&self.depths);
        let ends = |byte: &u8| matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#');
        // Only some readers take a backslash for a slash.
        let last = bytes().filter_map(|(byte, &depth)| match byte {
            b'\\' => Some(depth.max(1)),
            _ => (depth > 0 && ends(byte)).then_some(depth),
        });
        let rounds = last.max().into_iter().flat_map(|last| 0..last.min(MAX_SPELLING_ROUNDS + 1));
        rounds.map(move |round| {
            let plain = bytes().map(|(&byte, &depth)| match byte {
                b'\\' => b'_',
                _ if ends(&byte) && depth > round => b'_',
                _ => byte,
            });
            plain.collect()
        })
    }

    fn push(&mut self, byte: u8, depth: u8) {
        self.text.push(byte);
        self.depths.push(depth);
        self.rounds = self.rounds.max(depth);
    }

    /// Replaces the last `len` bytes, and counts `rounds` more than the deepest of them needed. Returns `true`.
    fn replace(&mut self, len: usize, with: &[u8], rounds: u8) -> bool {
        let start = self.text.len() - len;
        let depth = self.depths[start..].iter().fold(0, |deepest, &depth| deepest.max(depth));
        self.text.truncate(start);
        self.depths.truncate(start);
        for byte in with {
            self.push(byte.to_ascii_lowercase(), depth.saturating_add(rounds));
        }
        true
    }

    /// Replaces the last bytes by what they stand for. Returns `false` if they stand for themselves.
    fn collapse(&mut self) -> bool {
        match *self.text {
            // Percent-encoding. A proxy and the router behind it may each decode once, so rounds add up.
            [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                self.replace(3, &[hex(high) << 4 | hex(low)], 1)
            }
            // `%u0073`, which IIS and old servlet containers decode.
            [.., b'%', b'u', a, b, c, d] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
                let code = [a, b, c, d].iter().fold(0, |code, &digit| code << 4 | u32::from(hex(digit)));
                let Some(character) = char::from_u32(code) else { return false };
                self.replace(6, character.encode_utf8(&mut [0; 4]).as_bytes(), 1)
            }
            // The four letters that case-insensitive matchers fold into ASCII: ſ K İ ı. Python's `re.IGNORECASE` folds
            // all of them.
            [.., 0xC5, 0xBF] => self.replace(2, b"s", 0),
            [.., 0xE2, 0x84, 0xAA] => self.replace(3, b"k", 0),
            [.., 0xC4, 0xB0 | 0xB1] => self.replace(2, b"i", 0),
            // Fullwidth ASCII, U+FF01 to U+FF5E. Unicode's NFKC and Windows' best-fit conversion map it to ASCII.
            [.., 0xEF, 0xBC, last @ 0x81..=0xBF] => self.replace(3, &[last - 0x60], 0),
            [.., 0xEF, 0xBD, last @ 0x80..=0x9E] => self.replace(3, &[last - 0x20], 0),
            // Overlong UTF-8, which old versions of IIS and Tomcat decoded. Old decoders also know sequences of five and
            // six bytes.
            [.., 0xC0 | 0xC1, 0x80..=0xBF] => self.decode_overlong(2),
            [.., 0xE0, 0x80..=0x9F, 0x80..=0xBF] => self.decode_overlong(3),
            [.., 0xF0, 0x80..=0x8F, 0x80..=0xBF, 0x80..=0xBF] => self.decode_overlong(4),
            [.., 0xF8, 0x80..=0x87, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF] => self.decode_overlong(5),
            [.., 0xFC, 0x80..=0x83, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF] => {
                self.decode_overlong(6)
            }
            _ => false,
        }
    }

    /// Replaces the overlong sequence of `len` bytes at the end by its character. Returns `false` if it has none.
    fn decode_overlong(&mut self, len: usize) -> bool {
        if !self.decodes_overlong {
            return false;
        }
        let sequence = &self.text[self.text.len() - len..];
        // In the lead byte of an overlong sequence only the last bit can be set, and only in `C1`.
        let lead = u32::from(sequence[0] == 0xC1);
        let code = sequence[1..].iter().fold(lead, |code, &byte| code << 6 | u32::from(byte & 0x3F));
        let Some(character) = char::from_u32(code) else { return false };
        self.overlong = true;
        self.replace(len, character.encode_utf8(&mut [0; 4]).as_bytes(), 0)
    }
}

/// Returns the value of a byte that the caller knows to be a hexadecimal digit in lower case.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}
