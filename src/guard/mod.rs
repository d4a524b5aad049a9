//! The path guard: the only spelling of a webhook path that reaches the backend is the configured one, which is verified.
//! It classifies a request target and does nothing else. Responses are made by `edge::response`, and what passes is
//! passed on byte for byte: nothing that is computed here is ever sent.
//!
//! Backends read paths differently. The guard therefore does not ask which path a target names, but whether any known
//! kind of reader takes it for a webhook path.
//!
//! - `target` finds the path in a request target
//! - `decode` decodes it as often as any reader does
//! - `normalize` brings the decoded path into the form that the most lenient reader sees
//! - `guarded_path` compares that form with a configured path
//! - `reason` names the rules by which a target is ambiguous
//!
//! Readers can differ before they arrive at one form. The rules for these cases stand here. `differential_tests` compares
//! the guard with a slow reading of the same rules, and with many kinds of backends.

mod decode;
#[cfg(test)]
mod differential_tests;
mod guarded_path;
mod normalize;
mod reason;
mod target;

use decode::Decoded;
use guarded_path::{GuardedPath, starts_with_segment, whole_segments};
use memchr::{memchr, memchr_iter};
use normalize::Canonical;
use target::{TargetForm, behind_host, path_of, with_host};

pub use reason::Reason;
pub use target::is_target;

/// The configured webhook paths, prepared for comparison. A call costs little, because it precedes every request.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The configured paths in their order; a target must equal one byte for byte to be a webhook.
    paths: Vec<Box<[u8]>>,
    /// The canonical forms of these paths; none is empty, and the longest comes first.
    guarded: Vec<GuardedPath>,
}

/// What a request target is to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classification {
    /// The target spells the configured path at this position exactly.
    Webhook(usize),
    /// The target is spelled differently, and yet some backend takes it for a webhook path.
    Ambiguous {
        /// The rule that found it.
        reason: Reason,
        /// The position of the configured path that it is taken for; the longest if there are several.
        webhook: usize,
    },
    /// The target is any other path.
    Other,
}

/// A configured path that some reader takes a target for.
#[derive(Debug, Clone, Copy)]
struct Match {
    reason: Reason,
    /// The position of the configured path.
    webhook: usize,
}

impl Guard {
    /// Creates a guard of paths that the configuration has checked: absolute, not `/`, and without `?`, `#` and `%`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let paths: Vec<Box<[u8]>> = paths.into_iter().map(|path| path.as_bytes().into()).collect();
        let canonical: Vec<Canonical> =
            paths.iter().map(|path| Canonical::new(&Decoded::new(path).text)).collect();
        // A whole path takes precedence over a path that follows a script name in another one.
        let all = || canonical.iter().enumerate();
        let whole = all().map(|(webhook, canonical)| (webhook, &canonical.path[..]));
        let behind_scripts = all().flat_map(|(webhook, canonical)| {
            canonical.routed_paths().skip(1).map(move |path| (webhook, path))
        });
        let mut guarded: Vec<GuardedPath> = Vec::new();
        for (webhook, path) in whole.chain(behind_scripts) {
            // A script name at the end leaves an empty path, which every target would begin with.
            if !path.is_empty() && !guarded.iter().any(|known| known.path == path) {
                guarded.push(GuardedPath::new(path, webhook));
            }
        }
        guarded.sort_by_key(|path| std::cmp::Reverse(path.path.len()));
        Self { paths, guarded }
    }

    /// Classifies a request target as it stands in the request line: origin form (`/a?b`), absolute form
    /// (`http://host/a?b`, whose path the backend reads) or `*`.
    pub fn classify(&self, target: &[u8]) -> Classification {
        let (path, form) = path_of(target);
        if form != TargetForm::Irregular
            && let Some(position) = self.paths.iter().position(|exact| **exact == *path)
        {
            return Classification::Webhook(position);
        }
        let unrelated =
            form == TargetForm::Regular && target.first() == Some(&b'/') && self.is_plain_and_unrelated(path);
        let found = if unrelated { None } else { self.inspect_target(target, path, form) };
        match found.or_else(|| self.inspect_query(target)) {
            Some(Match { reason, webhook }) => Classification::Ambiguous { reason, webhook },
            None => Classification::Other,
        }
    }

    /// Returns whether a quick look proves that no reader takes the path for a webhook path.
    ///
    /// Without a byte that a reader decodes, drops or takes for a slash, the segments are what they seem. One of them
    /// would have to be the last segment of a webhook path.
    fn is_plain_and_unrelated(&self, path: &[u8]) -> bool {
        // No early exit: the loop over all bytes compiles to fewer branches, and most paths are plain.
        let plain = path.iter().fold(true, |plain, &byte| plain & PLAIN[byte as usize]);
        plain
            && memchr_iter(b'/', path).all(|slash| {
                let rest = &path[slash + 1..];
                !self.guarded.iter().any(|guarded| starts_with_segment(rest, guarded.last_segment()))
            })
    }

    /// Applies all rules to the path of a target that a quick look leaves open.
    fn inspect_target(&self, target: &[u8], path: &[u8], form: TargetForm) -> Option<Match> {
        let without_host = || match form {
            // A reader that strips the authority before percent-decoding strips `//a%2fb`; `match_text`, which decodes
            // first, strips only `//a`.
            TargetForm::MaybeHost => self.inspect(behind_host(path), TargetForm::Regular),
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
    fn inspect_query(&self, target: &[u8]) -> Option<Match> {
        let query = &target[memchr(b'?', target)?..];
        if !matches!(query.get(1), Some(b'/' | b'\\' | b'%' | b'?')) {
            return None;
        }
        match_decodings(query, |decoded| {
            self.match_any_reader(normalize::behind_question(&decoded.text)?, TargetForm::Regular)
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
        let dropped = || decoded.without_parameters().find_map(|text| self.match_any_reader(&text, form));
        self.match_any_reader(&decoded.text, form).or_else(dropped)
    }

    /// Checks three kinds of readers: literal, lenient (drops invalid escapes), and front controllers that route on the
    /// query.
    fn match_any_reader(&self, text: &[u8], form: TargetForm) -> Option<Match> {
        self.match_around_nul(text, form)
            .or_else(|| self.match_text(&normalize::lenient(text)?, form))
            .or_else(|| self.match_text(&normalize::lenient(&text[..memchr(0, text)?])?, form))
            .or_else(|| self.match_any_reader(normalize::behind_question(text)?, TargetForm::Regular))
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

#[cfg(test)]
mod tests {
    use super::Classification::{Other, Webhook};
    use super::*;

    fn stripe() -> Guard {
        Guard::new(["/webhooks/stripe"])
    }

    /// Returns the classification of a target that is ambiguous with the first configured path.
    fn ambiguous(reason: Reason) -> Classification {
        Classification::Ambiguous { reason, webhook: 0 }
    }

    #[track_caller]
    fn assert_all(guard: &Guard, want: Classification, targets: &[&str]) {
        for target in targets {
            assert_eq!(guard.classify(target.as_bytes()), want, "{target:?}");
        }
    }

    #[test]
    fn the_configured_spelling_is_the_webhook_with_any_query() {
        assert_all(
            &stripe(),
            Webhook(0),
            &[
                "/webhooks/stripe",
                "/webhooks/stripe?",
                "/webhooks/stripe?version=2&x=%00",
                "/webhooks/stripe?/../x",
                "http://shop.example/webhooks/stripe",
                "HTTPS://[::1]:5000/webhooks/stripe?version=2",
            ],
        );
    }

    #[test]
    fn other_paths_are_not_ambiguous() {
        assert_all(
            &stripe(),
            Other,
            &[
                "/",
                "*",
                "",
                "/webhooks",
                "/webhooks/",
                "/webhooks/stripes",
                "/webhooks/stripes.json",
                "/webhooks/strip",
                "/webhooks/stripe-test",
                "/webhooks/stripe_",
                "/webhooks/stripe+x",
                "/webhooks/stripe%2Bx",
                "/webhooks/stripe:80",
                "/webhooks/github",
                "/webhooks/github/stripes",
                "/webhooks-stripe",
                "/stripe",
                "/stripe/webhooks",
                "/api/webhooks/stripe",
                "/docs/webhooks/stripe.html",
                "/x/webhooks/stripe",
                "/a%2Fb",
                "//a//b",
                "/a/./b",
                "/a/../b/..",
                "/a/b/",
                "/a.b/c.d",
                "/index.php",
                "/index.php/posts/1",
                "/wp-login.php?x=/webhooks/stripe",
                "/posts/1",
                "/Posts/UPPER",
                "/posts/caf\u{e9}/\u{1f980}",
                "/posts/caf%C3%A9",
                "/posts/a%20b%2520c",
                "/posts/100%",
                "/posts/%zz%4",
                "/posts/1;a=b",
                "/admin/webhooks/stripe;jsessionid=1",
                "/webhooks/x;a=b/stripe",
                "/posts/%00",
                "/posts/%c0%af",
                "/%25%32%35%32%35%32%35%32%35",
                "/api/x?next=/webhooks/stripe",
                "/api/x%3Fnext=/webhooks/stripe",
                "/api/x#/webhooks/stripe",
                "/api/../webhooks?/stripe",
                "/login?to=//webhooks/stripe",
                "/login?webhooks/stripe",
                "/login?/webhooks/stripes",
                "/?x&/webhooks/stripe",
                "/search?%2f%2fwebhooks",
                "/web/hooks/stripe",
                "/web%2fhooks/stripe",
                "/webhooks/str/ipe",
                "/webhooks/%C5%A1tripe",
                "/webhooks/stripe%C3%A9",
                "/webhooks%00x/stripes",
                "/webhooks%00x/stripes%00",
                "/%00stripe/webhooks%00",
                "http://shop.example",
                "http://shop.example/posts/1",
                "http://webhooks/stripes",
                "shop.example:443",
            ],
        );
    }

    #[test]
    fn each_rule_alone_makes_a_spelling_ambiguous() {
        let rules: [(&str, &[&str]); 16] = [
            (
                "percent-decoding, four rounds",
                &[
                    "/webhooks/%73tripe",
                    "/webhooks%2Fstripe",
                    "/webhooks%2fstripe",
                    "%2fwebhooks/stripe",
                    "/webhooks/%2573tripe",
                    "/webhooks/%252573tripe",
                    "/webhooks/%25252573tripe",
                    "/webhooks/%%37%33tripe",
                    "/%77%65%62%68%6F%6f%6b%73/%73%74%72%69%70%65",
                ],
            ),
            (
                "%u",
                &[
                    "/webhooks/%u0073tripe",
                    "/webhooks/%U0053tripe",
                    "/webhooks%u002fstripe",
                    "/x/%u002e%u002e/webhooks/stripe",
                    "/webhooks/%25u0073tripe",
                    "/webhooks/%uff53tripe",
                ],
            ),
            (
                "parts that lenient readers drop",
                &[
                    "/webhooks/stripe%ff",
                    "/webhooks/%80stripe",
                    "/web%80hooks/stripe",
                    "/webhooks/strip%c3e",
                    "/webhooks/st%ed%a0%80ripe",
                    "/webhooks/st%f5ripe",
                    "/web%01hooks/stripe",
                    "/web%7fhooks/stripe",
                    "/webhooks%01/stripe",
                    "/web\thooks/stripe",
                    "/webhooks/stripe%ff%00x",
                    "/webhooks/stripe%7#x",
                    "/webhooks/stripe%#/y",
                    "/webhooks/stripe%",
                    "/webhooks/stripe%2",
                    "/webhooks/stripe%/",
                    "/webhooks/stripe%x",
                    "/webhooks/stripe%;",
                    "/webhooks/stripe%?x",
                    "/webhooks/st%ripe",
                ],
            ),
            (
                "spaces and `+`",
                &[
                    "/webhooks/stripe+",
                    "/webhooks/stripe%2B",
                    "/+webhooks/stripe",
                    "/+/webhooks/stripe",
                    "/%20webhooks/stripe",
                    "/ webhooks/stripe",
                    "/webhooks/stripe%20+",
                    "/webhooks+/stripe",
                    "/webhooks/+stripe;a",
                ],
            ),
            (
                "a query that is the path",
                &[
                    "/?/webhooks/stripe",
                    "/index.php?/webhooks/stripe",
                    "/shop/?/webhooks/stripe",
                    "/?//webhooks/stripe",
                    "/?/%77ebhooks/stripe/",
                    "/?%2fwebhooks/stripe&x=1",
                    "/?/x/../webhooks/stripe",
                    "/?/webhooks/stripe?x",
                    "/??/webhooks/stripe",
                    "/?/+webhooks/stripe",
                    "/index.php%2f%3f/webhooks/stripe",
                    "/index.php%3f/webhooks/stripe",
                    "http://shop.example?/webhooks/stripe",
                ],
            ),
            (
                "a `?` or `#` that appears by decoding",
                &[
                    "/webhooks/stripe%3f",
                    "/webhooks/stripe%3Fx=1",
                    "/webhooks/stripe%23x",
                    "/webhooks/stripe%253fx",
                    "/webhooks/stripe#",
                    "/webhooks/stripe#a?b",
                ],
            ),
            (
                "backslash",
                &["/webhooks\\stripe", "/webhooks%5cstripe", "/webhooks%5Cstripe", "\\webhooks\\stripe"],
            ),
            (
                "parameters",
                &[
                    "/webhooks/stripe;",
                    "/webhooks/stripe;a=b",
                    "/webhooks;a=b/stripe",
                    "/;/webhooks/stripe",
                    "/webhooks/stripe%3ba=b",
                    "/webhooks/stripe;a.json",
                ],
            ),
            (
                "parameters dropped before decoding",
                &[
                    "/webhooks;a%2fb/stripe",
                    "/webhooks;a%5cb/stripe",
                    "/webhooks;a\\b/stripe",
                    "/webhooks;a%3fb/stripe",
                    "/webhooks;a%23b/%73tripe",
                    "/webhooks%3ba%252fb/stripe",
                    "/;%2fwebhooks%3ba%252fb/stripe",
                ],
            ),
            (
                "slashes",
                &["//webhooks/stripe", "/webhooks//stripe", "/webhooks/stripe//", "///webhooks///stripe"],
            ),
            (
                "dot segments",
                &[
                    "/./webhooks/stripe",
                    "/webhooks/./stripe",
                    "/webhooks/%2e/stripe",
                    "/webhooks/stripe/.",
                    "/x/../webhooks/stripe",
                    "/../webhooks/stripe",
                    "/x/%2e%2e/webhooks/stripe",
                    "/x/.%2E/webhooks/stripe",
                    "/x%2f..%2fwebhooks/stripe",
                    "/x/../webhooks/stripe;a=b",
                    "/x/..;a=b/webhooks/stripe",
                    "/webhooks/x/../stripe",
                    "/webhooks/x/y/../../stripe",
                ],
            ),
            (
                "script names",
                &[
                    "/index.php/webhooks/stripe",
                    "/INDEX.PHP/webhooks/stripe",
                    "/app/index.php/webhooks/stripe",
                    "/i;ndex.php/webhooks/stripe",
                    "/x/.;.php/webhooks/stripe",
                    "/x/i%20;ndex.php/webhooks/stripe",
                    "/index.ph%70/webhooks/stripe",
                    "/x.cgi/webhooks/stripe",
                    "/x.fcgi/webhooks/stripe",
                    "/x.pl/webhooks/stripe",
                    "/x.py/webhooks/stripe",
                    "/x.rb/webhooks/stripe",
                    "/x.asp/webhooks/stripe",
                    "/x.aspx/webhooks/stripe",
                    "/x.jsp/webhooks/stripe",
                    "/x.cfm/webhooks/stripe",
                    "/.php/webhooks/stripe",
                    "/index.php;x/webhooks/stripe",
                    "/a.php/b.php/webhooks/stripe",
                ],
            ),
            (
                "trailing characters",
                &[
                    "/webhooks/stripe/",
                    "/webhooks/stripe.",
                    "/webhooks/stripe...",
                    "/webhooks/stripe%20",
                    "/webhooks/stripe ",
                    "/webhooks/stripe%0a",
                    "/webhooks/stripe%0D%0A",
                    "/webhooks/stripe%09",
                    "/webhooks/stripe%7f",
                    "/webhooks/stripe\u{1}",
                    "/webhooks/stripe/%20/.%0a",
                    "/webhooks/stripe%C2%85",
                    "/webhooks/stripe%C2%A0",
                    "/webhooks/stripe%E3%80%80",
                ],
            ),
            ("case", &["/Webhooks/Stripe", "/WEBHOOKS/STRIPE", "/webhooks/strip%45", "/Webhooks/Stripe/"]),
            (
                "letters that fold into ASCII",
                &[
                    "/webhooks/%C5%BFtripe",
                    "/webhook\u{17f}/stripe",
                    "/webhoo\u{212a}s/stripe",
                    "/webhooks/str\u{130}pe",
                    "/webhooks/str%c4%b1pe",
                    "/webhooks/%25C5%25BFtripe",
                ],
            ),
            (
                "fullwidth ASCII",
                &[
                    "/\u{ff57}ebhooks/stripe",
                    "/webhooks/\u{ff33}tripe",
                    "/webhooks/%EF%BD%93tripe",
                    "/webhooks\u{ff0f}stripe",
                    "/webhooks/stripe\u{ff1f}x",
                    "/webhooks/\u{ff05}73tripe",
                ],
            ),
        ];
        for (rule, targets) in rules {
            for target in targets {
                assert_eq!(
                    stripe().classify(target.as_bytes()),
                    ambiguous(Reason::Spelling),
                    "{rule}: {target:?}"
                );
            }
        }
    }

    #[test]
    fn a_path_beneath_or_with_an_extension_is_ambiguous() {
        assert_all(
            &stripe(),
            ambiguous(Reason::Beneath),
            &[
                "/webhooks/stripe/x",
                "/webhooks/stripe/x/y.json",
                "/Webhooks//Stripe/%78",
                "/webhooks/stripe/%2541",
                "/webhooks/stripe;/x",
                "/index.php/webhooks/stripe/x",
                "/webhooks/stripe/index.php",
            ],
        );
        assert_all(
            &stripe(),
            ambiguous(Reason::Extension),
            &[
                "/webhooks/stripe.json",
                "/webhooks/stripe.JSON/",
                "/webhooks/stripe%2ejson",
                "/webhooks/stripe.json/x",
                "/webhooks/stripe.php",
                "/webhooks/stripe..x",
            ],
        );
    }

    #[test]
    fn one_reader_that_arrives_at_the_webhook_by_dots_is_enough() {
        assert_all(
            &stripe(),
            ambiguous(Reason::Traversal),
            &[
                // A URL parser removes the empty segment; a reader that merges slashes first removes `webhooks`.
                "/webhooks//../stripe",
                // To a reader that resolves `..` before it decodes, `a%2fb` is one segment.
                "/webhooks/a%2fb/../stripe",
                "/webhooks/a%5cb/../stripe",
                "/webhooks/a\\b/../stripe",
                "/webhooks/a%3f/../stripe",
                "/webhooks//../stripe%3fx",
                "/webhooks/..;/../stripe",
                "/webhooks/a;/b/../stripe.json",
                // To a reader that resolves nothing, these paths lie beneath the webhook.
                "/webhooks/stripe/..",
                "/webhooks/stripe/../github",
                "/webhooks/stripe;/../../x",
                "/webhooks/stripe/..%3fx",
                "/webhooks/stripe/..#",
            ],
        );
        assert_all(&stripe(), Other, &["/stripe/../webhooks", "/webhooks/../posts", "/webhooks/../stripes"]);
    }

    #[test]
    fn a_host_in_front_of_a_path_does_not_hide_it() {
        assert_all(
            &stripe(),
            ambiguous(Reason::Spelling),
            &[
                "//evil.example/webhooks/stripe",
                "/\\evil.example/webhooks/stripe",
                "///evil.example/webhooks/stripe",
                "//a%2fb/webhooks/stripe",
                "//a\\b/webhooks/stripe",
                "webhooks/stripe",
                "http:/webhooks/stripe",
                "http:webhooks/stripe",
                "http:///webhooks/stripe",
                "http://a@b/webhooks/stripe",
                "http://a%2fb/webhooks/stripe",
                "http:\\\\a\\webhooks\\stripe",
                "http://a//webhooks/stripe",
                "http://a/Webhooks/stripe?x",
                "http://webhooks/stripe",
                "x://Webhooks/x/../stripe?x",
            ],
        );
        assert_all(&stripe(), Other, &["//evil.example/posts", "//webhooks/x/stripe"]);
    }

    #[test]
    fn a_path_that_needs_a_broken_decoder_is_ambiguous() {
        assert_all(
            &stripe(),
            ambiguous(Reason::TooDeep),
            &["/webhooks/%2525252573tripe", "/webhooks/%252525252573tripe", "/webhooks%252525252fstripe"],
        );
        assert_all(
            &stripe(),
            ambiguous(Reason::OverlongUtf8),
            &[
                "/webhooks%c0%afstripe",
                "/webhooks%e0%80%afstripe",
                "/webhooks%f0%80%80%afstripe",
                "/webhooks%f8%80%80%80%afstripe",
                "/webhooks%fc%80%80%80%80%afstripe",
                "/webhooks/%c1%b3tripe",
                "/x/%c0%ae%c0%ae/webhooks/stripe",
                "/webhooks/%c0%a573tripe",
                "/webhooks/%e0%85%bftripe",
                "/webhooks/stripe%c0%bfx",
                // A reader that drops invalid UTF-8 sees the webhook here.
                "/webhooks/st%c0%afripe",
                "/webhooks/%c1%b3stripe",
                "/webhooks/stripe%c1%81",
                "/webhooks/st%e0%80%afripe",
                "/webhooks%c0%ae/stripe",
            ],
        );
        assert_all(
            &stripe(),
            ambiguous(Reason::Nul),
            &[
                "/webhooks/stripe%00",
                "/webhooks/stripe%00.txt",
                "/webhooks/stripe%00x",
                "/webhooks/stripe\0x",
                "/webhooks/str%00ipe",
                "/%00webhooks/stripe",
                "/webhooks/stripe%2500x",
                "/webhooks/stripe%c0%80x",
                "/x/.%00./webhooks/stripe",
                "//host%00/webhooks/stripe%00x",
                "/x%00/../webhooks/stripe%00y",
                "/%00/%00/webhooks/stripe%00/x",
            ],
        );
        let bytes: [&[u8]; 2] = [b"/webhooks/\xC1\xB3tripe", b"/webhooks\xC0\xAFstripe"];
        for target in bytes {
            assert_eq!(stripe().classify(target), ambiguous(Reason::OverlongUtf8), "{target:?}");
        }
        assert_eq!(stripe().classify(b"/webhooks/\xFFstripe"), ambiguous(Reason::Spelling));
        assert_eq!(stripe().classify(b"/webhooks/\xFFstripes"), Other);
    }

    #[test]
    fn several_paths_keep_their_positions_and_a_nested_path_is_a_webhook() {
        let guard = Guard::new(["/hooks", "/hooks/stripe", "/Billing/Stripe.Events"]);
        assert_all(&guard, Webhook(0), &["/hooks", "/hooks?x"]);
        assert_all(&guard, Webhook(1), &["/hooks/stripe"]);
        assert_all(&guard, Webhook(2), &["/Billing/Stripe.Events"]);
        let ambiguous = |reason, webhook| Classification::Ambiguous { reason, webhook };
        assert_all(&guard, ambiguous(Reason::Spelling, 0), &["/hooks/", "/%68ooks"]);
        assert_all(&guard, ambiguous(Reason::Beneath, 0), &["/hooks/github", "/Hooks/stripes"]);
        assert_all(&guard, ambiguous(Reason::Extension, 0), &["/hooks.json"]);
        assert_all(&guard, ambiguous(Reason::Spelling, 1), &["/hooks/Stripe", "/HOOKS/stripe"]);
        assert_all(&guard, ambiguous(Reason::Beneath, 1), &["/hooks/stripe/x"]);
        assert_all(&guard, ambiguous(Reason::Nul, 1), &["/hooks/stripe%00x"]);
        assert_all(&guard, ambiguous(Reason::Traversal, 1), &["/hooks//../stripe"]);
        assert_all(
            &guard,
            ambiguous(Reason::Spelling, 2),
            &["/billing/stripe.events", "/BILLING/stripe.events/"],
        );
        assert_all(&guard, ambiguous(Reason::Extension, 2), &["/billing/stripe.events.json"]);
        assert_all(&guard, Other, &["/hook", "/billing/stripe", "/stripe.events", "/billing"]);
    }

    #[test]
    fn a_configured_script_is_guarded_as_a_path_and_not_as_the_root() {
        let guard = Guard::new(["/shop/stripe.php", "/index.php/hooks"]);
        assert_all(&guard, Webhook(0), &["/shop/stripe.php"]);
        assert_all(&guard, Webhook(1), &["/index.php/hooks"]);
        assert_all(&guard, ambiguous(Reason::Spelling), &["/shop/Stripe.php", "/x/../shop/stripe.php"]);
        let hooks = Classification::Ambiguous { reason: Reason::Spelling, webhook: 1 };
        assert_all(&guard, hooks, &["/hooks", "/app.php/hooks", "/Index.php/hooks"]);
        assert_all(&guard, ambiguous(Reason::Beneath), &["/shop/stripe.php/x"]);
        assert_all(
            &guard,
            Other,
            &["/", "/shop", "/shop/stripe", "/shop/other.php", "/shop/other.php/x", "/index.php"],
        );
    }

    #[test]
    fn a_path_with_parameters_or_letters_beyond_ascii_is_a_webhook_if_spelled_exactly() {
        let guard = Guard::new(["/Zahlungen/K\u{f6}ln/", "/a;v=1/b"]);
        assert_all(&guard, Webhook(0), &["/Zahlungen/K\u{f6}ln/"]);
        assert_all(&guard, Webhook(1), &["/a;v=1/b"]);
        assert_all(&guard, ambiguous(Reason::Spelling), &["/zahlungen/k\u{f6}ln", "/Zahlungen/K%C3%B6ln/"]);
        assert_all(
            &guard,
            Classification::Ambiguous { reason: Reason::Spelling, webhook: 1 },
            &["/a/b", "/a;v=2/b"],
        );
        assert_all(&guard, Other, &["/Zahlungen/Koln/", "/a"]);
    }

    #[test]
    fn a_guard_of_no_path_or_of_the_root_finds_nothing_ambiguous() {
        assert_all(&Guard::new([]), Other, &["/", "/x", "/%2e%2e"]);
        let root = Guard::new(["/"]);
        assert_all(&root, Webhook(0), &["/"]);
        assert_all(&root, Other, &["/x", "//", "/%2e"]);
    }

    #[test]
    fn nested_encoding_of_any_depth_is_decoded_in_linear_time() {
        let mut nested = b"/webhooks/%".to_vec();
        nested.extend(b"25".repeat(200_000));
        nested.extend(b"73tripe");
        assert_eq!(stripe().classify(&nested), ambiguous(Reason::TooDeep));
        // Each digit completes the escape before it. Decoding must not recurse so deep.
        let mut chain = b"/webhooks/%7".to_vec();
        chain.extend(b"%3".repeat(200_000));
        chain.extend(b"3tripe");
        assert_eq!(stripe().classify(&chain), ambiguous(Reason::TooDeep));
    }
}
