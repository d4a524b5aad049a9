//! The canonical form of a decoded path, for comparison only: what the most lenient reader makes of it. Each rule stands
//! here once, in the order in which it applies, with a reader that applies it. No guarded path is known here.

/// A path in canonical form.
pub(super) struct Canonical {
    /// The path; empty for the root, or begins with a slash.
    pub path: Vec<u8>,
    /// Where the path may begin for a server that runs scripts: at 0, and after each script name.
    starts: Vec<usize>,
}

impl Canonical {
    /// Brings a decoded text into canonical form.
    pub(super) fn new(text: &[u8]) -> Self {
        let text = before_question(text);
        let (mut path, mut starts) = (Vec::with_capacity(text.len() + 1), vec![0]);
        for whole in segments_with_parameters(text) {
            let segment = without_parameters(whole);
            match segment {
                // nginx merges slashes, and most servers resolve dot segments (RFC 3986, section 5.2.4).
                b"" | b"." => {}
                // `..` at the root stays at the root.
                b".." => path.truncate(path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)),
                _ => {
                    path.push(b'/');
                    path.extend_from_slice(segment);
                }
            }
            while starts.pop_if(|start| *start > path.len()).is_some() {}
            // CGI and PHP run `/index.php/webhooks/stripe` as `index.php` with the path that follows. A server that
            // knows no parameters sees a script name in `/i;ndex.php`, too.
            if is_script(segment) || is_script(whole) {
                starts.push(path.len());
            }
        }
        let len = trim(&path).len();
        path.truncate(len);
        while starts.pop_if(|start| *start > len).is_some() {}
        Self { path, starts }
    }

    /// Returns the paths that a server may route on: the whole path first, then the rest after each script name.
    pub(super) fn routed_paths(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|&start| &self.path[start..])
    }
}

/// Returns a decoded text as lenient readers see it, or `None` if they see the same.
///
/// They drop what they do not understand: invalid escapes, bytes that are not UTF-8 (as Python's `errors="ignore"` does)
/// and control characters. They read `+` as a space (as PHP's `urldecode` does) and trim spaces around a segment.
pub(super) fn lenient(text: &[u8]) -> Option<Vec<u8>> {
    if text.iter().all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'+')) {
        return None;
    }
    let mut read = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends_path) {
        let (piece, end) = match piece {
            [piece @ .., end @ (b'?' | b'#')] => (piece, Some(char::from(*end))),
            whole => (whole, None),
        };
        // An escape that the end of the path cuts short is dropped with its one digit.
        let piece = match piece {
            [rest @ .., b'%'] | [rest @ .., b'%', _] => rest,
            whole => whole,
        };
        let understood = piece.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
        let kept = understood.filter(|&character| character != '%' && !character.is_control());
        read.extend(kept.map(|character| if character == '+' { ' ' } else { character }).chain(end));
    }
    let segments: Vec<&str> = read.split(['/', '\\']).map(str::trim).collect();
    Some(segments.join("/").into_bytes())
}

/// Returns the text before the first `?` or `#`. A reader that decodes before it splits ends the path there.
fn before_question(text: &[u8]) -> &[u8] {
    text.split(ends_path).next().unwrap_or(text)
}

/// Returns the texts behind each `?` and `#`, up to the next one.
pub(super) fn behind_ends(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(ends_path).skip(1)
}

/// Returns the paths behind each `?`, on which a front controller may route.
///
/// They are read after decoding, because a `?` may have been encoded.
pub(super) fn behind_questions(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'?').skip(1).filter_map(routed_query)
}

/// Returns the path with which a query begins, up to the next `?` or `&`; `None` if it begins with none.
///
/// CodeIgniter routes on such a query.
pub(super) fn routed_query(query: &[u8]) -> Option<&[u8]> {
    let path = query.split(|byte| matches!(byte, b'?' | b'&')).next()?;
    matches!(path.first(), Some(b'/' | b'\\')).then_some(path)
}

fn ends_path(byte: &u8) -> bool {
    matches!(byte, b'?' | b'#')
}

/// Returns the segments of a decoded text without their parameters.
pub(super) fn segments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    segments_with_parameters(text).map(without_parameters)
}

/// Returns the segments of a decoded text. IIS and the URL standard read a backslash as a slash.
fn segments_with_parameters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'/' | b'\\'))
}

/// Returns a segment up to its first `;`. Servlet containers such as Tomcat drop the rest.
fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|&byte| byte == b';').next().unwrap_or(segment)
}

/// Returns a path without trailing slashes, dots, spaces and control characters, including those beyond ASCII.
///
/// Routers accept a trailing slash, Windows drops trailing dots and spaces, Python's `$` matches before a line feed, and
/// `trim` in many languages removes Unicode spaces.
pub(super) fn trim(path: &[u8]) -> &[u8] {
    let mut path = path;
    while let Some(last) = last_char(path)
        && (matches!(last, '/' | '.' | '\u{FEFF}') || last.is_whitespace() || last.is_control())
    {
        path = &path[..path.len() - last.len_utf8()];
    }
    path
}

fn is_script(segment: &[u8]) -> bool {
    SCRIPT_EXTENSIONS.iter().any(|extension| segment.ends_with(extension))
}

/// The extensions by which servers recognize a script.
const SCRIPT_EXTENSIONS: [&[u8]; 10] =
    [b".php", b".cgi", b".fcgi", b".pl", b".py", b".rb", b".asp", b".aspx", b".jsp", b".cfm"];

/// Returns the last character of a path, or `None` if the path does not end in valid UTF-8.
fn last_char(path: &[u8]) -> Option<char> {
    (1..=path.len().min(4)).find_map(|len| str::from_utf8(&path[path.len() - len..]).ok()?.chars().next())
}
