//! One guarded path in canonical form, and how other paths relate to it. It never decodes or normalizes a path itself.

use super::normalize;
use super::reason::Reason;

/// The canonical form of a configured webhook path, such as `/webhooks/stripe`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GuardedPath {
    /// The canonical form; not empty, and begins with a slash.
    pub path: Vec<u8>,
    /// The index in `path` at which its last segment begins.
    last_segment: usize,
    /// The position of the configured path that has this form.
    pub webhook: usize,
}

impl GuardedPath {
    pub(super) fn new(path: &[u8], webhook: usize) -> Self {
        let last_segment = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        Self { path: path.to_vec(), last_segment, webhook }
    }

    /// Returns the last segment, without which no other path can relate to this one.
    pub(super) fn last_segment(&self) -> &[u8] {
        &self.path[self.last_segment..]
    }

    /// Returns why a path in canonical form is ambiguous with this one, if it is.
    pub(super) fn relation(&self, canonical: &[u8]) -> Option<Reason> {
        match canonical.strip_prefix(&self.path[..])? {
            [] => Some(Reason::Spelling),
            // Routers mount handlers on a prefix, as Express' `app.use` does.
            [b'/', ..] => Some(Reason::Beneath),
            // Routers take an extension for a format, as Rails does with `.json`.
            [b'.', ..] => Some(Reason::Extension),
            _ => None,
        }
    }

    /// Returns whether a decoded text has the segments of this path in this order, with any others between them.
    pub(super) fn contains_in_order(&self, text: &[u8]) -> bool {
        let leading = &self.path[..self.last_segment];
        let mut wanted = leading.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty());
        let mut next = wanted.next();
        whole_segments(text).any(|segment| match next {
            Some(name) => {
                if name == segment {
                    next = wanted.next();
                }
                false
            }
            None => starts_with_segment(normalize::trim(segment), self.last_segment()),
        })
    }
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
