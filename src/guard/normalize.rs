//! The canonical form of a path, for judging only: what the most lenient of readers makes of it. Each rule of the
//! guard that changes a path stands here once, in the order in which they apply. Nothing here knows which paths
//! are guarded.

/// Rounds of percent-decoding that still count as spelling; what needs more is `too_deep`.
pub(super) const ROUNDS: u8 = 4;

/// A path, percent-decoded until it changes no more, and case folded.
pub(super) struct Decoded {
    /// The decoded bytes, not necessarily UTF-8.
    pub text: Vec<u8>,
    /// In which round each of them came out.
    depths: Vec<u8>,
    /// How many rounds of percent-decoding that took; 255 stands for all above.
    pub rounds: u8,
    /// Whether overlong UTF-8 was read for what it stands for.
    pub overlong: bool,
    /// Whether it is to be.
    shortens: bool,
}

impl Decoded {
    /// Decodes in one pass: whenever the bytes read so far end in something that stands for another byte, that
    /// byte takes its place, which may complete a further one. No two encodings overlap, so the end is the same
    /// as after any number of rounds over the whole, and a long tower of `%25` costs no more than a plain path.
    /// Folding goes along with it, so that what folding brings out (`／`, `．`, `％`) is read on as well.
    pub fn of(path: &[u8]) -> Decoded {
        Decoded::shortening(path, true)
    }

    /// The same to those for whom overlong UTF-8 is none.
    pub fn of_valid(path: &[u8]) -> Decoded {
        Decoded::shortening(path, false)
    }

    fn shortening(path: &[u8], shortens: bool) -> Decoded {
        let (text, depths) = (Vec::with_capacity(path.len()), Vec::with_capacity(path.len()));
        let mut decoded = Decoded { text, depths, rounds: 0, overlong: false, shortens };
        for &byte in path {
            decoded.push(byte.to_ascii_lowercase(), 0);
            while decoded.collapse() {}
        }
        decoded
    }

    /// The text of those who drop parameters after each number of rounds and decode on then: what was still encoded
    /// goes with them. Empty if there are none.
    pub fn without_parameters(&self) -> impl Iterator<Item = Vec<u8>> {
        let last = self.text.contains(&b';').then_some(self.rounds.min(ROUNDS + 1));
        last.into_iter().flat_map(|last| 0..=last).map(|round| {
            let mut dropping = false;
            let bytes = self.text.iter().zip(&self.depths).filter(|&(&byte, &depth)| {
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

    fn push(&mut self, byte: u8, depth: u8) {
        self.text.push(byte);
        self.depths.push(depth);
        self.rounds = self.rounds.max(depth);
    }

    /// Replaces the last `len` bytes.
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

    /// Puts what the last bytes stand for in their place; `false` if they stand for themselves.
    fn collapse(&mut self) -> bool {
        match *self.text {
            // Rule: percent-decoding.
            [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                self.replace(3, &[hex(high) << 4 | hex(low)], 1)
            }
            // Rule: `%u0073`, which IIS and old servlet containers read.
            [.., b'%', b'u', a, b, c, d] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
                let code = [a, b, c, d].iter().fold(0, |code, &digit| code << 4 | u32::from(hex(digit)));
                let Some(character) = char::from_u32(code) else { return false };
                self.replace(6, character.encode_utf8(&mut [0; 4]).as_bytes(), 1)
            }
            // Rule: the four letters that case-insensitive matchers fold into ASCII: ſ K İ ı.
            [.., 0xC5, 0xBF] => self.replace(2, b"s", 0),
            [.., 0xE2, 0x84, 0xAA] => self.replace(3, b"k", 0),
            [.., 0xC4, 0xB0 | 0xB1] => self.replace(2, b"i", 0),
            // Rule: fullwidth ASCII, U+FF01 to U+FF5E.
            [.., 0xEF, 0xBC, last @ 0x81..=0xBF] => self.replace(3, &[last - 0x60], 0),
            [.., 0xEF, 0xBD, last @ 0x80..=0x9E] => self.replace(3, &[last - 0x20], 0),
            // Rule: overlong UTF-8, also of the five and six bytes it once had.
            [.., 0xC0 | 0xC1, 0x80..=0xBF] => self.shorten(2),
            [.., 0xE0, 0x80..=0x9F, 0x80..=0xBF] => self.shorten(3),
            [.., 0xF0, 0x80..=0x8F, 0x80..=0xBF, 0x80..=0xBF] => self.shorten(4),
            [.., 0xF8, 0x80..=0x87, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF] => self.shorten(5),
            [.., 0xFC, 0x80..=0x83, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF] => self.shorten(6),
            _ => false,
        }
    }

    /// Writes the overlong sequence at the end as the character it stands for, if it is one.
    fn shorten(&mut self, len: usize) -> bool {
        if !self.shortens {
            return false;
        }
        let sequence = &self.text[self.text.len() - len..];
        // Of an overlong lead byte only the last bit can be set, and that in `C1` alone.
        let lead = u32::from(sequence[0] == 0xC1);
        let code = sequence[1..].iter().fold(lead, |code, &byte| code << 6 | u32::from(byte & 0x3F));
        let Some(character) = char::from_u32(code) else { return false };
        self.overlong = true;
        self.replace(len, character.encode_utf8(&mut [0; 4]).as_bytes(), 0)
    }
}

/// A path in canonical form.
pub(super) struct Canonical {
    /// Empty (for the root), or begins with a slash.
    pub path: Vec<u8>,
    /// Where the path may begin for a server that runs scripts: at its start, and after each script name
    /// (`/index.php/webhooks/stripe`). Who knows no parameters sees one in `/i;ndex.php` as well.
    starts: Vec<usize>,
}

impl Canonical {
    /// The canonical form of decoded text.
    pub fn of(text: &[u8]) -> Canonical {
        let text = before_question(text);
        let (mut path, mut starts) = (Vec::with_capacity(text.len() + 1), vec![0]);
        for whole in names(text) {
            let segment = bare(whole);
            match segment {
                // Rule: slashes are merged, dot segments resolved; above the root is the root.
                b"" | b"." => {}
                b".." => path.truncate(path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)),
                _ => {
                    path.push(b'/');
                    path.extend_from_slice(segment);
                }
            }
            while starts.pop_if(|start| *start > path.len()).is_some() {}
            if is_script(segment) || is_script(whole) {
                starts.push(path.len());
            }
        }
        let len = trim(&path).len();
        path.truncate(len);
        while starts.pop_if(|start| *start > len).is_some() {}
        Canonical { path, starts }
    }

    /// What is left of the path from each of its starts on, the whole of it first.
    pub fn readings(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|&start| &self.path[start..])
    }
}

/// Decoded text as those read it who drop what they do not understand: escapes that are none, bytes that are not UTF-8,
/// control characters; who take `+` for a space, and no space for a part of a name that it begins or ends. `None` where
/// that changes nothing.
pub(super) fn lenient(text: &[u8]) -> Option<Vec<u8>> {
    if text.iter().all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'+')) {
        return None;
    }
    // An escape that the end cuts short goes with the one character that it has.
    let text = match before_question(text) {
        [rest @ .., b'%'] | [rest @ .., b'%', _] => rest,
        whole => whole,
    };
    let understood = text.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
    let kept: String = understood
        .filter(|&character| character != '%' && !character.is_control())
        .map(|character| if character == '+' { ' ' } else { character })
        .collect();
    let names: Vec<&str> = kept.split(['/', '\\']).map(str::trim).collect();
    Some(names.join("/").into_bytes())
}

/// Rule: a `?` or `#` that decoding brings out ends the path.
fn before_question(text: &[u8]) -> &[u8] {
    text.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or(text)
}

/// What stands behind a `?`, if that is a path: up to the next one, or to a `&`.
pub(super) fn behind_question(text: &[u8]) -> Option<&[u8]> {
    let at = text.iter().position(|&byte| byte == b'?')?;
    let query = &text[at..];
    let start = query.iter().position(|&byte| byte != b'?')?;
    let path = query[start..].split(|byte| matches!(byte, b'?' | b'&')).next()?;
    matches!(path.first(), Some(b'/' | b'\\')).then_some(path)
}

/// The segments of decoded text. Rules: a backslash is a slash; `;` and what follows it in a segment is dropped.
pub(super) fn segments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    names(text).map(bare)
}

/// The segments with their parameters.
fn names(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'/' | b'\\'))
}

fn bare(segment: &[u8]) -> &[u8] {
    segment.split(|&byte| byte == b';').next().unwrap_or(segment)
}

/// Rule: trailing slashes, dots, spaces and control characters are dropped; those beyond ASCII too.
pub(super) fn trim(path: &[u8]) -> &[u8] {
    let mut path = path;
    while let Some(last) = last_char(path)
        && (matches!(last, '/' | '.' | '\u{FEFF}') || last.is_whitespace() || last.is_control())
    {
        path = &path[..path.len() - last.len_utf8()];
    }
    path
}

fn is_script(name: &[u8]) -> bool {
    SCRIPTS.iter().any(|extension| name.ends_with(extension))
}

/// Extensions of script names.
const SCRIPTS: [&[u8]; 10] =
    [b".php", b".cgi", b".fcgi", b".pl", b".py", b".rb", b".asp", b".aspx", b".jsp", b".cfm"];

/// The last character, if the path ends in whole UTF-8.
fn last_char(path: &[u8]) -> Option<char> {
    (1..=path.len().min(4)).find_map(|len| str::from_utf8(&path[path.len() - len..]).ok()?.chars().next())
}

/// The value of a hexadecimal digit, which the caller has seen to be one.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}
