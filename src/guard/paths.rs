//! The paths that tell a webhook, and the readers of paths. A reader may decode, drop or split a path in its own way; each
//! rule on how readers differ before they arrive at one form stands here. Queries of front controllers are `query`'s.

use super::decode::{self, Decoded};
use super::guarded_path::{GuardedPath, loses_segments, starts_with_segment, whole_segments};
use super::location::Location;
use super::normalize::{self, Canonical};
use super::reason::Reason;
use super::target::{TargetForm, behind_host, with_host};
use memchr::{memchr, memchr_iter};

/// The canonical forms of the paths that tell a webhook.
#[derive(Debug, Clone)]
pub(super) struct PathGuard {
    /// None is empty, and the longest comes first.
    guarded: Vec<GuardedPath>,
    /// Whether any of them has a variable segment.
    has_variables: bool,
}

/// A path that some reader takes a target for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    pub(super) reason: Reason,
    /// The position of its location.
    pub(super) webhook: usize,
}

impl PathGuard {
    /// Creates the guard of the locations that their path alone tells.
    pub(super) fn new(locations: &[Location]) -> Self {
        let paths = || locations.iter().enumerate().filter(|(_, location)| location.query.is_empty());
        let canonical: Vec<(usize, Canonical)> = paths()
            .map(|(webhook, location)| {
                (webhook, Canonical::new(&Decoded::new(location.path.as_bytes()).text))
            })
            .collect();
        // A whole path takes precedence over a path that follows a script name in another one.
        let whole = canonical.iter().map(|(webhook, canonical)| (*webhook, &canonical.path[..]));
        let behind_scripts = canonical.iter().flat_map(|(webhook, canonical)| {
            canonical.routed_paths().skip(1).map(move |path| (*webhook, path))
        });
        let mut guarded: Vec<GuardedPath> = Vec::new();
        for (webhook, path) in whole.chain(behind_scripts) {
            // A script name at the end leaves an empty path, which every target would begin with.
            if let Some(path) = GuardedPath::new(path, webhook)
                && !guarded.iter().any(|known| known.path == path.path)
            {
                guarded.push(path);
            }
        }
        guarded.sort_by_key(|path| std::cmp::Reverse(path.path.len()));
        let has_variables = guarded.iter().any(GuardedPath::is_variable);
        Self { guarded, has_variables }
    }

    /// Returns the path of another location that this path is another spelling of. `position` is that of the location with
    /// variable segments that has this path: the value of one must not spell another webhook.
    pub(super) fn other_spelling(&self, position: usize, path: &[u8]) -> Option<Match> {
        let canonical = Canonical::new(&Decoded::new(path).text);
        let others = || self.guarded.iter().filter(|guarded| guarded.webhook != position);
        canonical.routed_paths().enumerate().find_map(|(at, path)| {
            // A whole path that two locations with variable segments have is no error: they belong to one endpoint.
            let mut comparable = others().filter(|guarded| at > 0 || !guarded.is_variable());
            comparable.find_map(|guarded| {
                let reason = guarded.relation(path)?;
                (reason != Reason::Beneath).then_some(Match { reason, webhook: guarded.webhook })
            })
        })
    }

    /// Returns whether a quick look proves that no reader takes the path for a webhook path.
    ///
    /// Without a byte that a reader decodes, drops or takes for a slash, the segments are what they seem. One of them
    /// would have to be the last segment of a webhook path.
    pub(super) fn is_plain_and_unrelated(&self, path: &[u8]) -> bool {
        // No early exit: the loop over all bytes compiles to fewer branches, and most paths are plain.
        let plain = path.iter().fold(true, |plain, &byte| plain & PLAIN[byte as usize]);
        plain
            && memchr_iter(b'/', path).all(|slash| {
                let rest = &path[slash + 1..];
                !self.guarded.iter().any(|guarded| starts_with_segment(rest, guarded.last_literal()))
            })
    }

    /// Applies all rules to the path of a target that a quick look leaves open.
    pub(super) fn inspect_target(&self, target: &[u8], path: &[u8], form: TargetForm) -> Option<Match> {
        let without_host = || match form {
            // A reader that strips the authority before percent-decoding strips `//a%2fb`; `match_text`, which decodes
            // first, strips only `//a`.
            TargetForm::MaybeHost => {
                behind_host(path).find_map(|path| self.inspect(path, TargetForm::Regular))
            }
            TargetForm::Regular | TargetForm::Irregular => None,
        };
        // A server that appends an absolute form to a base reads its host as a segment: `//webhooks/stripe`.
        let host_as_segment = || self.inspect(with_host(target)?, TargetForm::Regular);
        self.inspect(path, form).or_else(without_host).or_else(host_as_segment)
    }

    /// Applies all rules to a query that begins with a slash, encoded or not.
    ///
    /// Front controllers such as CodeIgniter's read their path there: `/?/webhooks/stripe`,
    /// `/index.php?/webhooks/stripe`.
    pub(super) fn inspect_query(&self, target: &[u8]) -> Option<Match> {
        let query = &target[memchr(b'?', target)?..];
        if !matches!(query.get(1), Some(b'/' | b'\\' | b'%' | b'?')) {
            return None;
        }
        match_decodings(query, |decoded| {
            let start = decoded.text.iter().position(|&byte| byte != b'?')?;
            self.match_path(normalize::routed_query(&decoded.text[start..])?, TargetForm::Regular)
        })
    }

    /// Applies all rules to an encoded path.
    fn inspect(&self, path: &[u8], form: TargetForm) -> Option<Match> {
        match_decodings(path, |decoded| self.match_decoded(decoded, form))
    }

    /// Checks a decoded path with its parameters, and then as the readers see it that drop them early.
    ///
    /// Servlet containers drop parameters before they decode. They drop the slash in `/webhooks;a%2fb/stripe` with them.
    fn match_decoded(&self, decoded: &Decoded, form: TargetForm) -> Option<Match> {
        let read = |text: Vec<u8>| self.match_any_reader(&text, form);
        let dropped = || decoded.without_parameters().find_map(read);
        // A router that splits the path before it decodes takes `a%2Fb` for the value of one variable segment.
        let split = || self.has_variables.then(|| decoded.split_early().find_map(read)).flatten();
        self.match_any_reader(&decoded.text, form).or_else(dropped).or_else(split)
    }

    /// Checks a path, and the paths on which front controllers route that read the query.
    fn match_any_reader(&self, text: &[u8], form: TargetForm) -> Option<Match> {
        self.match_path(text, form).or_else(|| {
            normalize::behind_questions(text).find_map(|path| self.match_path(path, TargetForm::Regular))
        })
    }

    /// Checks two kinds of readers: literal, and lenient (drops invalid escapes).
    fn match_path(&self, text: &[u8], form: TargetForm) -> Option<Match> {
        self.match_around_nul(text, form)
            .or_else(|| self.match_text(&normalize::lenient(text)?, form))
            .or_else(|| self.match_text(&normalize::lenient(&text[..memchr(0, text)?])?, form))
    }

    /// Checks a text that may hold a NUL: readers in C stop at the first one, and others skip every one.
    ///
    /// With two of them, a reader may remove the first together with a host or a segment before `..`, and stop at the
    /// second. As with `..` it is then enough that the segments of a webhook path stand in order.
    fn match_around_nul(&self, text: &[u8], form: TargetForm) -> Option<Match> {
        let Some(nul) = memchr(0, text) else { return self.match_text(text, form) };
        let skipped: Vec<u8> = text.iter().copied().filter(|&byte| byte != 0).collect();
        let found = self.match_text(&text[..nul], form).or_else(|| self.match_text(&skipped, form));
        let several = text.len() - skipped.len() > 1;
        let webhook = match found {
            Some(found) => found.webhook,
            None if several => {
                let split: Vec<u8> = text.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
                self.guarded.iter().find(|guarded| guarded.contains_in_order(&split))?.webhook
            }
            None => return None,
        };
        Some(Match { reason: Reason::Nul, webhook })
    }

    /// Compares a decoded text with the guarded paths.
    fn match_text(&self, text: &[u8], form: TargetForm) -> Option<Match> {
        let canonical = Canonical::new(text);
        // Servers that run scripts drop everything up to a script name, and differ on which of several they run.
        if let Some(found) = canonical.routed_paths().find_map(|path| self.match_canonical(path)) {
            return Some(found);
        }
        // To a server that looks for a script name first, a `?` or `#` that was encoded is a part of that name.
        let behind_scripts =
            |piece| Canonical::new(piece).routed_paths().skip(1).find_map(|path| self.match_canonical(path));
        if let Some(found) = normalize::behind_ends(text).find_map(behind_scripts) {
            return Some(found);
        }
        // A URL parser with a base reads `//host/path` as an address, as Node's `new URL(req.url, base)` does.
        if form == TargetForm::MaybeHost
            && let Some(end) = canonical.path.get(1..).and_then(|rest| memchr(b'/', rest))
            && let Some(found) = self.match_canonical(&canonical.path[end + 1..])
        {
            return Some(found);
        }
        // Readers differ on what `..` removes. From `/webhooks//../stripe`, `/webhooks/a%2fb/../stripe` and
        // `/webhooks/a;/../stripe` some arrive at the webhook. A reader that resolves nothing sees
        // `/webhooks/stripe/../x` beneath it. So it is enough that the segments of a webhook path stand in order.
        if self.has_variables && loses_segments(text) {
            let variable = self.guarded.iter().filter(|guarded| guarded.is_variable());
            if let Some(guarded) = variable.into_iter().find(|guarded| guarded.contains_in_order(text)) {
                return Some(Match { reason: Reason::Spelling, webhook: guarded.webhook });
            }
        }
        let traverses = whole_segments(text).any(|segment| segment == b"..");
        if !traverses && form != TargetForm::Irregular {
            return None;
        }
        let guarded = self.guarded.iter().find(|guarded| guarded.contains_in_order(text))?;
        let reason = if traverses { Reason::Traversal } else { Reason::Spelling };
        Some(Match { reason, webhook: guarded.webhook })
    }

    /// Compares a canonical path with the guarded paths, the longest first.
    fn match_canonical(&self, path: &[u8]) -> Option<Match> {
        self.guarded.iter().find_map(|guarded| {
            guarded.relation(path).map(|reason| Match { reason, webhook: guarded.webhook })
        })
    }
}

/// Returns what `find` finds in the decoded text. A reason that needs a broken decoder takes precedence over the rule found.
fn match_decodings(text: &[u8], find: impl Fn(&Decoded) -> Option<Match>) -> Option<Match> {
    let decoded = Decoded::new(text);
    let found = find(&decoded).or_else(|| {
        // A decoder that recognizes overlong UTF-8 as invalid may drop it instead.
        let valid = decoded.overlong.then(|| Decoded::without_overlong(text))?;
        find(&valid)
    })?;
    let reason = if found.reason == Reason::Nul {
        Reason::Nul
    } else if decoded.overlong {
        Reason::OverlongUtf8
    } else if decoded.rounds > decode::MAX_SPELLING_ROUNDS {
        Reason::TooDeep
    } else {
        found.reason
    };
    Some(Match { reason, ..found })
}

/// For each byte, whether no rule changes it, other than the rules for case, slashes and dots.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7F {
        plain[byte] = !matches!(byte as u8, b'%' | b'\\' | b';' | b'#' | b'?' | b'+');
        byte += 1;
    }
    plain
};
