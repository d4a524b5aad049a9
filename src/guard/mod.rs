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
//! - `location` is what the configuration says of a webhook: a path, and the query of a front controller
//! - `preset` knows products with a front controller, and `joomla` how that one reads a command
//! - `query` judges the query of a front controller, and `parameter` how a key and a value are read
//! - `form` judges the fields of a form as they stream
//! - `guarded_path` compares that form with a configured path
//! - `paths` has the rules for readers that differ before they arrive at one form
//! - `reason` names the rules by which a target is ambiguous
//!
//! `differential_tests` compares the guard with a slow reading of the same rules, and with many kinds of backends.

mod decode;
#[cfg(test)]
mod differential_tests;
mod form;
mod guarded_path;
mod joomla;
mod location;
mod normalize;
mod parameter;
mod paths;
mod preset;
mod query;
mod reason;
mod target;

use memchr::memchr;
use paths::{Match, PathGuard};
use query::{QueryGuard, QueryMatch};
use std::sync::Arc;
use target::{TargetForm, path_of};

pub use form::{FormGuard, FormInspector, FormKind, UnreadableForm};
pub use location::{Location, QueryPair, is_variable_value, variable_name};
pub use preset::Preset;
pub use query::{MAX_QUERY_PAIRS, same_key};
pub use reason::Reason;
pub use target::is_target;

/// The configured webhook paths, prepared for comparison. A call costs little, because it precedes every request.
#[derive(Debug, Clone)]
pub struct Guard {
    /// What tells a webhook, in the order of the configuration. A target must be spelled as one to be a webhook.
    locations: Vec<Location>,
    /// The canonical forms of the paths that tell a webhook.
    paths: PathGuard,
    /// Whether any path has a variable segment.
    has_variables: bool,
    /// The locations that a query tells; `None` if there are none, so that other queries cost nothing.
    queries: Option<Arc<QueryGuard>>,
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

impl Guard {
    /// Creates a guard of locations that the configuration has checked. Their paths are absolute and without `?`, `#` and
    /// `%`.
    pub fn new<L: Into<Location>>(locations: impl IntoIterator<Item = L>) -> Self {
        let locations: Vec<Location> = locations.into_iter().map(Into::into).collect();
        let has_variables = locations.iter().any(Location::is_variable);
        let queries = QueryGuard::new(&locations).map(Arc::new);
        let paths = PathGuard::new(&locations);
        Self { locations, paths, has_variables, queries }
    }

    /// Returns the values of the variable segments in a target that [`classify`](Self::classify) takes for the webhook at
    /// this position, separated by `/`.
    pub fn segments(&self, position: usize, target: &[u8]) -> Box<str> {
        if !self.has_variables {
            return Box::default();
        }
        self.locations[position].segments(path_of(target).0).into()
    }

    /// Returns whether some location is told by a query, so that forms have to be judged.
    pub fn judges_forms(&self) -> bool {
        self.queries.is_some()
    }

    /// Returns the guard of a form that is sent to a target, or `None` if no location is told by a query.
    pub fn form(&self, target: &[u8], kind: FormKind) -> Option<FormGuard> {
        let queries = self.queries.as_ref()?;
        let read = queries.read(path_of(target).0, query_of(target));
        Some(FormGuard::new(queries.clone(), read, kind))
    }

    /// Classifies a request target as it stands in the request line: origin form (`/a?b`), absolute form
    /// (`http://host/a?b`, whose path the backend reads) or `*`.
    pub fn classify(&self, target: &[u8]) -> Classification {
        let (path, form) = path_of(target);
        let by_path = self.classify_path(target, path, form);
        match &self.queries {
            Some(queries) => self.classify_query(queries, target, path, form, by_path),
            None => by_path,
        }
    }

    /// Classifies a target by its path alone.
    fn classify_path(&self, target: &[u8], path: &[u8], form: TargetForm) -> Classification {
        if form != TargetForm::Irregular
            && let Some(position) = self.exact(path)
        {
            let other =
                self.locations[position].is_variable().then(|| self.paths.other_spelling(position, path));
            return match other.flatten() {
                Some(Match { reason, webhook }) => Classification::Ambiguous { reason, webhook },
                None => Classification::Webhook(position),
            };
        }
        let unrelated = form == TargetForm::Regular
            && target.first() == Some(&b'/')
            && self.paths.is_plain_and_unrelated(path);
        let found = if unrelated { None } else { self.paths.inspect_target(target, path, form) };
        match found.or_else(|| self.paths.inspect_query(target)) {
            Some(Match { reason, webhook }) => Classification::Ambiguous { reason, webhook },
            None => Classification::Other,
        }
    }

    /// Classifies a target whose query may tell a webhook, and whose path says what `by_path` says.
    fn classify_query(
        &self,
        queries: &QueryGuard,
        target: &[u8],
        path: &[u8],
        form: TargetForm,
        by_path: Classification,
    ) -> Classification {
        let ambiguous = |webhook| Classification::Ambiguous { reason: Reason::Query, webhook };
        let is_path =
            |position: usize| form != TargetForm::Irregular && self.locations[position].is_path(path);
        let by_query = queries.classify(path, query_of(target), is_path);
        match (by_path, by_query) {
            (Classification::Ambiguous { .. }, _) => by_path,
            // The query of a webhook that its path tells must not make it another one.
            (_, Some(QueryMatch::Ambiguous(webhook))) => ambiguous(webhook),
            (_, Some(QueryMatch::Exact(position))) => Classification::Webhook(position),
            // A product reads its webhook in a path, too; such a path may be a location of its own.
            (Classification::Webhook(position), None) if self.locations[position].preset.is_some() => by_path,
            (Classification::Webhook(_) | Classification::Other, None) => {
                queries.classify_path(path).map_or(by_path, ambiguous)
            }
        }
    }

    /// Returns the position of the location whose path is spelled so. A path without variable segments takes precedence.
    fn exact(&self, path: &[u8]) -> Option<usize> {
        let told_by_path = |location: &Location| location.query.is_empty();
        let literal = |location: &Location| told_by_path(location) && location.path.as_bytes() == path;
        self.locations.iter().position(literal).or_else(|| match self.has_variables {
            true => {
                self.locations.iter().position(|location| told_by_path(location) && location.is_path(path))
            }
            false => None,
        })
    }
}

/// Returns the query of a target, without `?`.
fn query_of(target: &[u8]) -> &[u8] {
    memchr(b'?', target).map_or(&[], |at| &target[at + 1..])
}

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
    fn a_variable_segment_matches_any_segment_in_judging() {
        let guard = Guard::new(["/tenants/{tenant}/stripe", "/hooks/{a}/{b}", "/hooks/main"]);
        for target in ["/tenants/acme/stripe?x", "/tenants/A.c~m-e_1/stripe", "http://a/tenants/x/stripe"] {
            assert_eq!(guard.classify(target.as_bytes()), Webhook(0), "{target}");
        }
        assert_eq!(&*guard.segments(0, b"http://a/tenants/x/stripe?y"), "x");
        assert_eq!(guard.classify(b"/hooks/x/y.json"), Webhook(1));
        assert_eq!(&*guard.segments(1, b"/hooks/x/y.json"), "x/y.json");
        assert_eq!(guard.classify(b"/hooks/main"), Webhook(2));
        let all = [
            (Reason::Spelling, "/tenants/%61cme/stripe", 0),
            (Reason::Spelling, "/tenants/a%2Fb/stripe", 0),
            (Reason::Spelling, "/tenants/a%252F%252fb/stripe", 0),
            (Reason::Spelling, "/tenants/a\\b/stripe", 0),
            (Reason::Spelling, "/tenants/./stripe", 0),
            (Reason::Spelling, "/tenants//stripe", 0),
            (Reason::Spelling, "//tenants/x/stripe", 0),
            (Reason::Spelling, "/index.php/tenants/x/stripe", 0),
            (Reason::Extension, "/tenants/x/stripe.json", 0),
            (Reason::Beneath, "/tenants/x/stripe/y", 0),
            (Reason::Traversal, "/tenants/x/y/../../stripe", 0),
            (Reason::Beneath, "/hooks/main/x/y", 1),
            (Reason::Spelling, "/Hooks/x/y", 1),
        ];
        for (reason, target, webhook) in all {
            assert_eq!(
                guard.classify(target.as_bytes()),
                Classification::Ambiguous { reason, webhook },
                "{target}"
            );
        }
        let others =
            ["/tenants/", "/tenants/x", "/tenants/x/stripes", "/tenants/x/y/stripe", "/x/stripe", "/hooks/x"];
        assert_all(&guard, Other, &others);
    }

    #[test]
    fn the_value_of_a_variable_segment_spells_no_other_webhook() {
        let guard = Guard::new(["/{tenant}/stripe", "/stripe", "/{a}/{b}/hooks", "/{b}/hooks"]);
        assert_all(&guard, Webhook(0), &["/acme/stripe", "/index.html/stripe"]);
        assert_all(&guard, Webhook(2), &["/a/b/hooks"]);
        let ambiguous = |webhook| Classification::Ambiguous { reason: Reason::Spelling, webhook };
        assert_all(&guard, ambiguous(1), &["/index.php/stripe", "/INDEX.PHP/stripe", "/a.cgi/stripe"]);
        assert_all(&guard, ambiguous(3), &["/index.php/b/hooks"]);
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
                "/login?%61=b?/webhooks/stripe",
                "/login?to=a.php/webhooks/stripe",
                "/login%3fa=b.php",
                "/login%3fa=b.php/posts%3f/webhooks",
                "/index.php%3fx/webhooks/stripe",
                "/posts%23index.php/x/webhooks/stripe",
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
        let rules: [(&str, &[&str]); 18] = [
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
                    "/webhooks/;\u{ff0f}%23/stripe",
                    "/webhooks/;%ef%bc%8f%3f/stripe",
                    "/webhooks/;%2f%23\\stripe",
                    "/webhooks/%3b\u{ff05}2f%2523/stripe",
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
                "script names behind an encoded `?` or `#`",
                &[
                    "/%3findex.php/webhooks/stripe",
                    "/%3Findex.php/webhooks/stripe/",
                    "/%253findex.php/webhooks/stripe",
                    "/x%3fa.php/webhooks/stripe%3fx",
                    "/x%3fa%3fb.php/webhooks/stripe",
                    "/%23index.php/webhooks/stripe",
                    "/x/%2523index.cgi//webhooks/stripe",
                    "/%3f;index.php/webhooks/stripe",
                    "/%3findex.php;x/webhooks/stripe",
                    "/%3findex.php%2fwebhooks%2fstripe",
                    "/x\u{ff1f}index.php/webhooks/stripe",
                    "/%3findex.p%80hp/webhooks/+stripe",
                ],
            ),
            (
                "a path behind a second encoded `?`",
                &[
                    "/x%253fy%3f/webhooks/stripe",
                    "/x%3fy%3f/webhooks/stripe&a",
                    "/%3fa.php%3f/webhooks/stripe",
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
                "//a%3f%23\\webhooks/stripe",
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
        assert_all(&Guard::new::<&str>([]), Other, &["/", "/x", "/%2e%2e"]);
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
