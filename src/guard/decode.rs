//! Decoding for the guard: percent-encoding, case and overlong UTF-8, until nothing changes. Folding belongs here because
//! it can produce an escape (`％`), a slash (`／`) or a dot (`．`). It knows no guarded path, and
//! its result is never sent.

/// How many rounds of percent-decoding count as spelling; a path that needs more is `too_deep`.
pub(super) const MAX_SPELLING_ROUNDS: u8 = 4;

/// What a reader has to do until it sees a byte.
#[derive(Debug, Clone, Copy, Default)]
struct DecodingDepth {
    /// The rounds of percent-decoding.
    rounds: u8,
    /// Whether the reader has to fold letters, or to decode overlong UTF-8.
    folds: bool,
}

/// A path that is decoded until it changes no more, and case folded.
pub(super) struct Decoded {
    /// The decoded bytes, not necessarily UTF-8.
    pub text: Vec<u8>,
    /// For each byte of `text`, what a reader has to do until it sees the byte.
    depths: Vec<DecodingDepth>,
    /// The number of rounds of percent-decoding; 255 stands for 255 and more.
    pub rounds: u8,
    /// Whether an overlong UTF-8 sequence was decoded.
    pub overlong: bool,
    /// Whether overlong UTF-8 sequences are decoded at all.
    decodes_overlong: bool,
}

impl DecodingDepth {
    /// Returns whether a reader that has done as much sees a byte with this depth.
    fn is_seen_by(self, reader: Self) -> bool {
        self.rounds <= reader.rounds && (reader.folds || !self.folds)
    }
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
            decoded.push(byte.to_ascii_lowercase(), DecodingDepth::default());
            while decoded.collapse() {}
        }
        decoded
    }

    /// Returns the texts of readers that drop parameters before they have decoded all, and decode on afterwards.
    ///
    /// Such a reader drops what is still encoded within the parameters. The iterator is empty if there are none.
    pub(super) fn without_parameters(&self) -> impl Iterator<Item = Vec<u8>> {
        let readers = self.text.contains(&b';').then(|| self.readers());
        // To some readers a backslash ends a segment, and its parameters with it.
        let ends: &[&[u8]] = if self.text.contains(&b'\\') { &[b"/", b"/\\"] } else { &[b"/"] };
        let readers = readers.into_iter().flatten();
        readers.flat_map(move |reader| ends.iter().map(move |ends| self.without_parameters_of(reader, ends)))
    }

    /// Returns the texts of readers that split the path into segments before they have decoded all.
    ///
    /// To such a reader a slash, or another byte that ends a segment, is a plain character if it was still encoded.
    pub(super) fn split_early(&self) -> impl Iterator<Item = Vec<u8>> {
        let bytes = || self.text.iter().zip(&self.depths);
        let ends = |byte: &u8| matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#');
        // Only some readers take a backslash for a slash.
        let is_hidden =
            |byte: &u8, depth: &DecodingDepth, reader| *byte == b'\\' || !depth.is_seen_by(reader);
        let any = bytes().any(|(byte, depth)| ends(byte) && is_hidden(byte, depth, DecodingDepth::default()));
        let readers = any.then(|| self.readers()).into_iter().flatten();
        readers.map(move |reader| {
            let plain = bytes().map(
                |(byte, depth)| {
                    if ends(byte) && is_hidden(byte, depth, reader) { b'_' } else { *byte }
                },
            );
            plain.collect()
        })
    }

    /// Returns what each kind of reader has done when it splits the path: some rounds of decoding, with or without folding.
    fn readers(&self) -> impl Iterator<Item = DecodingDepth> {
        let folds: &[bool] =
            if self.depths.iter().any(|depth| depth.folds) { &[false, true] } else { &[false] };
        let rounds = 0..=self.rounds.min(MAX_SPELLING_ROUNDS + 1);
        rounds.flat_map(|rounds| folds.iter().map(move |&folds| DecodingDepth { rounds, folds }))
    }

    /// Returns the text of a reader that drops parameters that has done as much. `ends` are the bytes that end them.
    fn without_parameters_of(&self, reader: DecodingDepth, ends: &[u8]) -> Vec<u8> {
        let mut dropping = false;
        let bytes = self.text.iter().zip(&self.depths).filter(|&(&byte, &depth)| {
            match byte {
                // What this reader does not see yet can neither begin nor end parameters.
                _ if !depth.is_seen_by(reader) => {}
                b';' => dropping = true,
                _ if ends.contains(&byte) => dropping = false,
                _ => {}
            }
            !dropping
        });
        bytes.map(|(&byte, _)| byte).collect()
    }

    fn push(&mut self, byte: u8, depth: DecodingDepth) {
        self.text.push(byte);
        self.depths.push(depth);
        self.rounds = self.rounds.max(depth.rounds);
    }

    /// Replaces the last `len` bytes by what percent-decoding makes of them. Returns `true`.
    fn unescape(&mut self, len: usize, with: &[u8]) -> bool {
        let depth = self.depth_of_last(len);
        self.replace(len, with, DecodingDepth { rounds: depth.rounds.saturating_add(1), ..depth })
    }

    /// Replaces the last `len` bytes by what folding makes of them. Returns `true`.
    fn fold(&mut self, len: usize, with: &[u8]) -> bool {
        let depth = self.depth_of_last(len);
        self.replace(len, with, DecodingDepth { folds: true, ..depth })
    }

    /// Returns what a reader has to do until it sees each of the last `len` bytes.
    fn depth_of_last(&self, len: usize) -> DecodingDepth {
        let last = &self.depths[self.depths.len() - len..];
        last.iter().fold(DecodingDepth::default(), |all, one| DecodingDepth {
            rounds: all.rounds.max(one.rounds),
            folds: all.folds || one.folds,
        })
    }

    fn replace(&mut self, len: usize, with: &[u8], depth: DecodingDepth) -> bool {
        let start = self.text.len() - len;
        self.text.truncate(start);
        self.depths.truncate(start);
        for byte in with {
            self.push(byte.to_ascii_lowercase(), depth);
        }
        true
    }

    /// Replaces the last bytes by what they stand for. Returns `false` if they stand for themselves.
    fn collapse(&mut self) -> bool {
        match *self.text {
            // Percent-encoding. A proxy and the router behind it may each decode once, so rounds add up.
            [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                self.unescape(3, &[hex(high) << 4 | hex(low)])
            }
            // `%u0073`, which IIS and old servlet containers decode.
            [.., b'%', b'u', a, b, c, d] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
                let code = [a, b, c, d].iter().fold(0, |code, &digit| code << 4 | u32::from(hex(digit)));
                let Some(character) = char::from_u32(code) else { return false };
                self.unescape(6, character.encode_utf8(&mut [0; 4]).as_bytes())
            }
            // The four letters that case-insensitive matchers fold into ASCII: ſ K İ ı. Python's `re.IGNORECASE` folds
            // all of them.
            [.., 0xC5, 0xBF] => self.fold(2, b"s"),
            [.., 0xE2, 0x84, 0xAA] => self.fold(3, b"k"),
            [.., 0xC4, 0xB0 | 0xB1] => self.fold(2, b"i"),
            // Fullwidth ASCII, U+FF01 to U+FF5E. Unicode's NFKC and Windows' best-fit conversion map it to ASCII.
            [.., 0xEF, 0xBC, last @ 0x81..=0xBF] => self.fold(3, &[last - 0x60]),
            [.., 0xEF, 0xBD, last @ 0x80..=0x9E] => self.fold(3, &[last - 0x20]),
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
        self.fold(len, character.encode_utf8(&mut [0; 4]).as_bytes())
    }
}

/// Returns the value of a byte that the caller knows to be a hexadecimal digit in lower case.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}
