//! One guarded path in canonical form, and how other paths relate to it. It never decodes or normalizes a path itself.

use super::normalize;
use super::reason::Reason;
use std::ops::Range;

/// The canonical form of a configured webhook path, such as `/webhooks/stripe` or `/tenants/{}/stripe`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GuardedPath {
    /// The canonical form; begins with a slash, and has at least one segment that is not [`VARIABLE`].
    pub path: Vec<u8>,
    /// The place in `path` of its last segment that is not variable.
    last_literal: Range<usize>,
    /// Whether any segment is variable.
    is_variable: bool,
    /// The position of the location that has this path.
    pub webhook: usize,
}

/// A variable segment in a canonical path. No other segment has a brace.
const VARIABLE: &[u8] = b"{}";

impl GuardedPath {
    /// Creates a guarded path from a canonical one. Returns `None` if every path would relate to it.
    pub(super) fn new(path: &[u8], webhook: usize) -> Option<Self> {
        let is_name = |segment: &[u8]| segment.starts_with(b"{") && segment.ends_with(b"}");
        let (mut canonical, mut last_literal, mut is_variable) =
            (Vec::with_capacity(path.len()), None, false);
        for segment in path.split(|&byte| byte == b'/').skip(1) {
            canonical.push(b'/');
            if is_name(segment) {
                is_variable = true;
                canonical.extend_from_slice(VARIABLE);
            } else {
                last_literal = Some(canonical.len()..canonical.len() + segment.len());
                canonical.extend_from_slice(segment);
            }
        }
        Some(Self { path: canonical, last_literal: last_literal?, is_variable, webhook })
    }

    /// Returns the last segment that is not variable, without which no other path can relate to this one.
    pub(super) fn last_literal(&self) -> &[u8] {
        &self.path[self.last_literal.clone()]
    }

    /// Returns whether any segment is variable.
    pub(super) fn is_variable(&self) -> bool {
        self.is_variable
    }

    /// Returns why a path in canonical form is ambiguous with this one, if it is.
    pub(super) fn relation(&self, canonical: &[u8]) -> Option<Reason> {
        if self.is_variable {
            return self.relation_by_segments(canonical);
        }
        match canonical.strip_prefix(&self.path[..])? {
            [] => Some(Reason::Spelling),
            // Routers mount handlers on a prefix, as Express' `app.use` does.
            [b'/', ..] => Some(Reason::Beneath),
            // Routers take an extension for a format, as Rails does with `.json`.
            [b'.', ..] => Some(Reason::Extension),
            _ => None,
        }
    }

    /// Compares a path in canonical form segment by segment. A variable segment is any one segment.
    fn relation_by_segments(&self, canonical: &[u8]) -> Option<Reason> {
        let mut given = canonical.split(|&byte| byte == b'/').skip(1);
        let mut wanted = self.path.split(|&byte| byte == b'/').skip(1).peekable();
        while let Some(name) = wanted.next() {
            let segment = given.next()?;
            match segment.strip_prefix(name) {
                _ if name == VARIABLE => {}
                Some([]) => {}
                Some([b'.', ..]) if wanted.peek().is_none() && given.next().is_none() => {
                    return Some(Reason::Extension);
                }
                Some(_) | None => return None,
            }
        }
        Some(if given.next().is_none() { Reason::Spelling } else { Reason::Beneath })
    }

    /// Returns whether a decoded text has the segments of this path in this order, with any others between them.
    ///
    /// A variable segment may be any of the others, or one that is lost.
    pub(super) fn contains_in_order(&self, text: &[u8]) -> bool {
        let leading = &self.path[..self.last_literal.start];
        let is_wanted = |segment: &&[u8]| !segment.is_empty() && *segment != VARIABLE;
        let mut wanted = leading.split(|&byte| byte == b'/').filter(is_wanted);
        let mut next = wanted.next();
        whole_segments(text).any(|segment| match next {
            Some(name) => {
                if name == segment {
                    next = wanted.next();
                }
                false
            }
            None => starts_with_segment(normalize::trim(segment), self.last_literal()),
        })
    }
}

/// Returns whether a decoded text has a segment that the canonical form loses: `//`, `/./`, `/;a/`.
///
/// A reader that loses nothing takes it for the value of a variable segment. One slash at the end is none.
pub(super) fn loses_segments(text: &[u8]) -> bool {
    let mut segments = normalize::segments(text).skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment.trim_ascii() {
            b"" if segments.peek().is_some() => return true,
            b"." => return true,
            _ => {}
        }
    }
    false
}

/// Returns the segments of the whole decoded text, across a `?` or `#`.
///
/// A reader that resolves dot segments before it decodes sees past a `?` that appears only by decoding.
pub(super) fn whole_segments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'?' | b'#')).flat_map(normalize::segments)
}

/// Returns whether the first segment of `rest` is `name` in any case, alone or with an extension.
pub(super) fn starts_with_segment(rest: &[u8], name: &[u8]) -> bool {
    match rest.split_at_checked(name.len()) {
        Some((head, after)) => {
            matches!(after.first(), None | Some(b'/' | b'.')) && head.eq_ignore_ascii_case(name)
        }
        None => false,
    }
}
