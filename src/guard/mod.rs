//! The path guard: no spelling of a webhook path reaches the app except the configured one, which is verified.
//! It owns the verdict on a request target, and only that: what is refused is answered by `edge::reply`, what
//! passes is passed byte for byte, and nothing here is ever sent on.
//!
//! Backends read paths differently, so the question is never "which path is this" but "is there a reader who
//! takes it for the webhook". `canon` brings a path to the form that the most lenient of them sees; here that
//! form is compared, and the few cases are caught in which readers part ways before they arrive at one.

#[cfg(test)]
mod differential_tests;
mod normalize;

use memchr::{memchr, memchr_iter};
use normalize::{Canonical, Decoded};

/// The configured webhook paths, ready to be compared with. Cheap to ask: it stands before every request.
#[derive(Debug, Clone)]
pub struct Guard {
    /// As configured, in order; compared byte for byte.
    paths: Vec<Box<[u8]>>,
    /// What they mean: canonical forms, none of them empty, the longest first.
    forms: Vec<Form>,
}

/// A canonical form, `/webhooks/stripe`.
#[derive(Debug, Clone, PartialEq)]
struct Form {
    path: Vec<u8>,
    /// Where its last segment begins: no path means this one without having such a segment.
    tail: usize,
    /// The position of the configured path that means this.
    webhook: usize,
}

/// A reason, and the position of the configured path that it holds for.
type Finding = (Reason, usize);

/// What a request target is to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Spelled exactly as the configured path at this position.
    Webhook(usize),
    /// Not spelled so, and yet some backend would take it for one.
    Ambiguous {
        /// What gave it away.
        reason: Reason,
        /// The position of the path it would be taken for; of several, the longest.
        webhook: usize,
    },
    /// Any other path.
    Other,
}

/// What gave an ambiguous spelling away: the label `reason` of `guard_rejections_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The same path in other letters: case, encoding, slashes, dots, parameters, a script name before it.
    Spelling,
    /// Beneath a webhook path: `/webhooks/stripe/x`.
    Beneath,
    /// A webhook path with an extension: `/webhooks/stripe.json`.
    Extension,
    /// A `..` stands in it, and a webhook path is left if it takes the right segments away.
    Traversal,
    /// It takes a fifth round of percent-decoding to see it.
    TooDeep,
    /// It takes a decoder that lets overlong UTF-8 through.
    OverlongUtf8,
    /// It takes a reader who stops at a NUL, or skips it.
    Nul,
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Reason; 7] = [
        Reason::Spelling,
        Reason::Beneath,
        Reason::Extension,
        Reason::Traversal,
        Reason::TooDeep,
        Reason::OverlongUtf8,
        Reason::Nul,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Spelling => "spelling",
            Reason::Beneath => "beneath",
            Reason::Extension => "extension",
            Reason::Traversal => "traversal",
            Reason::TooDeep => "too_deep",
            Reason::OverlongUtf8 => "overlong_utf8",
            Reason::Nul => "nul",
        }
    }
}

impl Guard {
    /// A guard of these paths, which the configuration has found fit: absolute, not `/`, without `?`, `#`, `%`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Guard {
        let paths: Vec<Box<[u8]>> = paths.into_iter().map(|path| path.as_bytes().into()).collect();
        let wholes: Vec<Canonical> =
            paths.iter().map(|path| Canonical::of(&Decoded::of(path).text)).collect();
        // What a path means as a whole goes before what another one means behind a script name.
        let all = || wholes.iter().enumerate();
        let starts = all().map(|(webhook, whole)| (webhook, &whole.path[..]));
        let behind_scripts =
            all().flat_map(|(webhook, whole)| whole.readings().skip(1).map(move |path| (webhook, path)));
        let mut forms: Vec<Form> = Vec::new();
        for (webhook, path) in starts.chain(behind_scripts) {
            // A script name that ends a path leaves nothing, and nothing would be found everywhere.
            if !path.is_empty() && !forms.iter().any(|form| form.path == path) {
                forms.push(Form::new(path, webhook));
            }
        }
        forms.sort_by_key(|form| std::cmp::Reverse(form.path.len()));
        Guard { paths, forms }
    }

    /// Judges a request target as it stands in the request line: origin form (`/a?b`), absolute form
    /// (`http://host/a?b`, of which a backend reads the path) or `*`.
    pub fn judge(&self, target: &[u8]) -> Judgement {
        let (path, doubt) = path_of(target);
        if doubt != Doubt::Form
            && let Some(position) = self.paths.iter().position(|exact| **exact == *path)
        {
            return Judgement::Webhook(position);
        }
        let ordinary = doubt == Doubt::None && target.first() == Some(&b'/') && self.is_ordinary(path);
        let found = if ordinary { None } else { self.suspect_target(target, path, doubt) };
        match found.or_else(|| self.suspect_query(target)) {
            Some((reason, webhook)) => Judgement::Ambiguous { reason, webhook },
            None => Judgement::Other,
        }
    }

    fn suspect_target(&self, target: &[u8], path: &[u8], doubt: Doubt) -> Option<Finding> {
        let behind_host = || match doubt {
            // Who takes a host off before decoding takes all of `//a%2fb`, where `find` sees `//a`.
            Doubt::Host => self.suspect(behind_host(path), Doubt::None),
            Doubt::None | Doubt::Form => None,
        };
        // A server that puts a base in front of an absolute form sees its host as a segment: `//webhooks/stripe`.
        let with_host = || self.suspect(with_host(target)?, Doubt::None);
        self.suspect(path, doubt).or_else(behind_host).or_else(with_host)
    }

    /// Whether a glance is enough: without a byte that any reader decodes, drops or takes for a slash, the
    /// segments are what they seem, and one of them would have to be a webhook path's last.
    fn is_ordinary(&self, path: &[u8]) -> bool {
        let plain = path.iter().fold(true, |plain, &byte| plain & PLAIN[byte as usize]);
        plain
            && memchr_iter(b'/', path).all(|slash| {
                let rest = &path[slash + 1..];
                !self.forms.iter().any(|form| opens_with_segment(rest, form.tail()))
            })
    }

    /// Rule: a query that begins with a slash, encoded or not, is the path to a front controller that looks for it there,
    /// as CodeIgniter's does: `/?/webhooks/stripe`, `/index.php?/webhooks/stripe`.
    fn suspect_query(&self, target: &[u8]) -> Option<Finding> {
        let query = &target[memchr(b'?', target)?..];
        if !matches!(query.get(1), Some(b'/' | b'\\' | b'%' | b'?')) {
            return None;
        }
        decode(query, |decoded| self.find_any(normalize::behind_question(&decoded.text)?, Doubt::None))
    }

    /// The slow way, for what a glance leaves open: all rules at once.
    fn suspect(&self, path: &[u8], doubt: Doubt) -> Option<Finding> {
        decode(path, |decoded| self.find_decoded(decoded, doubt))
    }

    /// Rule: parameters are dropped. Who drops them first and decodes then, as servlet containers do, takes the slash in
    /// `/webhooks;a%2fb/stripe` along with them.
    fn find_decoded(&self, decoded: &Decoded, doubt: Doubt) -> Option<Finding> {
        let dropped = || decoded.without_parameters().find_map(|text| self.find_any(&text, doubt));
        self.find_any(&decoded.text, doubt).or_else(dropped)
    }

    /// By those who read what stands there, those who drop what they do not understand, and those to whom the query is the
    /// path.
    fn find_any(&self, text: &[u8], doubt: Doubt) -> Option<Finding> {
        self.find_around_nul(text, doubt)
            .or_else(|| self.find(&normalize::lenient(text)?, doubt))
            .or_else(|| self.find(&normalize::lenient(&text[..memchr(0, text)?])?, doubt))
            .or_else(|| self.find_any(normalize::behind_question(text)?, Doubt::None))
    }

    /// Rule: NUL. Some readers stop at the first, some skip every one, and who first takes off a host, or what a `..`
    /// takes away, may take the first along and stop at another. So of two it is enough, as it is of `..`, that a
    /// webhook's segments stand in order.
    fn find_around_nul(&self, text: &[u8], doubt: Doubt) -> Option<Finding> {
        let Some(nul) = memchr(0, text) else { return self.find(text, doubt) };
        let skipped: Vec<u8> = text.iter().copied().filter(|&byte| byte != 0).collect();
        let found = self.find(&text[..nul], doubt).or_else(|| self.find(&skipped, doubt));
        let several = text.len() - skipped.len() > 1;
        let webhook = match found {
            Some((_, webhook)) => webhook,
            None if several => {
                let parted: Vec<u8> = text.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
                self.forms.iter().find(|form| form.threads(&parted))?.webhook
            }
            None => return None,
        };
        Some((Reason::Nul, webhook))
    }

    /// What a decoded path has to do with the webhook paths.
    fn find(&self, text: &[u8], doubt: Doubt) -> Option<Finding> {
        let canonical = Canonical::of(text);
        // Rule: all up to a script name is dropped. Which of several a server runs is its own affair.
        if let Some(finding) = canonical.readings().find_map(|path| self.relation(path)) {
            return Some(finding);
        }
        // `//host/path` is an address to a URL parser that was given a base: `new URL(req.url, base)`.
        if doubt == Doubt::Host
            && let Some(end) = canonical.path.get(1..).and_then(|rest| memchr(b'/', rest))
            && let Some(finding) = self.relation(&canonical.path[end + 1..])
        {
            return Some(finding);
        }
        // What a `..` takes away depends on the reader: of `/webhooks//../stripe`, `/webhooks/a%2fb/../stripe`
        // or `/webhooks/a;/../stripe` some are left with the webhook and others not, and who resolves nothing
        // sees `/webhooks/stripe/../x` beneath it. So there it is enough that its segments stand in order.
        let traverses = whole_segments(text).any(|segment| segment == b"..");
        if !traverses && doubt != Doubt::Form {
            return None;
        }
        let form = self.forms.iter().find(|form| form.threads(text))?;
        Some((if traverses { Reason::Traversal } else { Reason::Spelling }, form.webhook))
    }

    /// Rule: what equals a form, lies beneath it or carries an extension of it is that webhook.
    fn relation(&self, path: &[u8]) -> Option<Finding> {
        self.forms.iter().find_map(|form| match path.strip_prefix(&form.path[..])? {
            [] => Some((Reason::Spelling, form.webhook)),
            [b'/', ..] => Some((Reason::Beneath, form.webhook)),
            [b'.', ..] => Some((Reason::Extension, form.webhook)),
            _ => None,
        })
    }
}

impl Form {
    fn new(path: &[u8], webhook: usize) -> Form {
        let tail = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        Form { path: path.to_vec(), tail, webhook }
    }

    fn tail(&self) -> &[u8] {
        &self.path[self.tail..]
    }

    /// Whether its segments stand in the text in order, whatever stands between them.
    fn threads(&self, text: &[u8]) -> bool {
        let mut wanted = self.path[..self.tail].split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        let mut next = wanted.next();
        whole_segments(text).any(|segment| match next {
            Some(name) => {
                if name == segment {
                    next = wanted.next();
                }
                false
            }
            None => opens_with_segment(normalize::trim(segment), self.tail()),
        })
    }
}

/// The segments of all decoded text: a reader who resolves before decoding, or does not cut at all, sees beyond a `?` or
/// `#` that decoding brings out.
fn whole_segments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'?' | b'#')).flat_map(normalize::segments)
}

/// What `find` finds in a decoded text; its label names what that took, first of all a broken reader.
fn decode(text: &[u8], find: impl Fn(&Decoded) -> Option<Finding>) -> Option<Finding> {
    let decoded = Decoded::of(text);
    let (reason, webhook) = find(&decoded).or_else(|| {
        // Who knows overlong UTF-8 for what it is may drop it.
        let valid = decoded.overlong.then(|| Decoded::of_valid(text))?;
        find(&valid)
    })?;
    let reason = if reason == Reason::Nul {
        Reason::Nul
    } else if decoded.overlong {
        Reason::OverlongUtf8
    } else if decoded.rounds > normalize::ROUNDS {
        Reason::TooDeep
    } else {
        reason
    };
    Some((reason, webhook))
}

/// What is doubtful about a target before its path is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Doubt {
    None,
    /// It begins with two slashes, so its first segment may be taken for a host.
    Host,
    /// Neither origin form nor absolute form, so where its path begins is anyone's guess.
    Form,
}

/// The path in a request target (RFC 9112, section 3.2). A first `?` ends it for every reader.
fn path_of(target: &[u8]) -> (&[u8], Doubt) {
    let path = memchr(b'?', target).map_or(target, |query| &target[..query]);
    match path {
        [b'/' | b'\\', b'/' | b'\\', ..] => return (path, Doubt::Host),
        [b'/', ..] => return (path, Doubt::None),
        _ => {}
    }
    let scheme = path.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
    let Some(b':') = path.get(scheme) else { return (path, Doubt::Form) };
    let rest = &path[scheme + 1..];
    let Some(address) = rest.strip_prefix(b"//") else { return (rest, Doubt::Form) };
    let host =
        address.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(byte)).count();
    match &address[host..] {
        [] => (&[], Doubt::None),
        [b'/', b'/' | b'\\', ..] => (&address[host..], Doubt::Host),
        [b'/', ..] if host > 0 => (&address[host..], Doubt::None),
        _ => (address, Doubt::Form),
    }
}

/// Whether a target is in a form that says where its path begins: origin form, absolute form, or the `*` of OPTIONS
/// (RFC 9112, section 3.2). Of any other a router may make what it likes: to some, `*webhooks/stripe` is
/// `/webhooks/stripe`.
pub fn is_target(method: &[u8], target: &[u8]) -> bool {
    if target == b"*" {
        return method == b"OPTIONS";
    }
    let whole = target.first() == Some(&b'/') || !target.is_empty() && path_of(target).1 != Doubt::Form;
    // A fragment is never sent; one that is, is cut off by some and not by others.
    whole && !target.contains(&b'#')
}

/// `/host/path` of an absolute form `scheme://host/path`.
fn with_host(target: &[u8]) -> Option<&[u8]> {
    let path = memchr(b'?', target).map_or(target, |query| &target[..query]);
    let scheme = memchr(b':', path).filter(|_| path.first() != Some(&b'/'))?;
    path[scheme + 1..].strip_prefix(b"/").filter(|rest| rest.starts_with(b"/"))
}

/// What is left of `//host/path` for a reader to whom only a slash ends the host.
fn behind_host(path: &[u8]) -> &[u8] {
    let host = path.iter().position(|byte| !matches!(byte, b'/' | b'\\')).unwrap_or(path.len());
    memchr(b'/', &path[host..]).map_or(&[], |end| &path[host + end..])
}

/// Whether the first segment of `rest` is `name` in any case, or an extension of it.
fn opens_with_segment(rest: &[u8], name: &[u8]) -> bool {
    match rest.split_at_checked(name.len()) {
        Some((head, after)) => {
            matches!(after.first(), None | Some(b'/' | b'.')) && head.eq_ignore_ascii_case(name)
        }
        None => false,
    }
}

/// Bytes that no rule touches, but for case, slashes and dots.
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
    use super::Judgement::{Other, Webhook};
    use super::*;

    fn stripe() -> Guard {
        Guard::new(["/webhooks/stripe"])
    }

    /// Ambiguous with the first configured path.
    fn ambiguous(reason: Reason) -> Judgement {
        Judgement::Ambiguous { reason, webhook: 0 }
    }

    #[track_caller]
    fn holds(guard: &Guard, want: Judgement, targets: &[&str]) {
        for target in targets {
            assert_eq!(guard.judge(target.as_bytes()), want, "{target:?}");
        }
    }

    #[test]
    fn the_configured_spelling_is_the_webhook_whatever_its_query() {
        holds(
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
    fn other_paths_pass() {
        holds(
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
    fn every_rule_alone_gives_a_spelling_away() {
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
                "what some do not understand and drop",
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
                "a `?` or `#` that decoding brings out",
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
                "what trails",
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
                    stripe().judge(target.as_bytes()),
                    ambiguous(Reason::Spelling),
                    "{rule}: {target:?}"
                );
            }
        }
    }

    #[test]
    fn what_lies_beneath_or_carries_an_extension_is_ambiguous() {
        holds(
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
        holds(
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
    fn where_readers_differ_on_what_dots_take_away_one_reader_is_enough() {
        holds(
            &stripe(),
            ambiguous(Reason::Traversal),
            &[
                // A URL parser pops the empty segment; one that merges slashes first pops `webhooks`.
                "/webhooks//../stripe",
                // Popped before decoding, `a%2fb` is one segment.
                "/webhooks/a%2fb/../stripe",
                "/webhooks/a%5cb/../stripe",
                "/webhooks/a\\b/../stripe",
                "/webhooks/a%3f/../stripe",
                "/webhooks//../stripe%3fx",
                "/webhooks/..;/../stripe",
                "/webhooks/a;/b/../stripe.json",
                // Left as they are, these lie beneath the webhook.
                "/webhooks/stripe/..",
                "/webhooks/stripe/../github",
                "/webhooks/stripe;/../../x",
                "/webhooks/stripe/..%3fx",
                "/webhooks/stripe/..#",
            ],
        );
        holds(&stripe(), Other, &["/stripe/../webhooks", "/webhooks/../posts", "/webhooks/../stripes"]);
    }

    #[test]
    fn a_host_where_no_host_belongs_hides_nothing() {
        holds(
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
        holds(&stripe(), Other, &["//evil.example/posts", "//webhooks/x/stripe"]);
    }

    #[test]
    fn a_target_says_where_its_path_begins_or_is_none() {
        for target in ["/", "/a?b", "//a/b", "http://a", "http://a/b", "HTTPS://a:1?b", "http://[::1]/b"] {
            assert!(is_target(b"POST", target.as_bytes()), "{target}");
        }
        let others = [
            "",
            "*webhooks/stripe",
            "*",
            "a",
            "a:80",
            "webhooks/stripe",
            "http:/a",
            "http:///a",
            "/a#b",
            "/#",
            "/a#b",
            "/#",
            "\\a",
            "?a",
            "http://a@b/",
        ];
        for target in others {
            assert!(!is_target(b"POST", target.as_bytes()), "{target}");
        }
        assert!(is_target(b"OPTIONS", b"*"));
    }

    #[test]
    fn what_takes_a_broken_decoder_is_ambiguous_too() {
        holds(
            &stripe(),
            ambiguous(Reason::TooDeep),
            &["/webhooks/%2525252573tripe", "/webhooks/%252525252573tripe", "/webhooks%252525252fstripe"],
        );
        holds(
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
                // Who drops what is no UTF-8 does so with these.
                "/webhooks/st%c0%afripe",
                "/webhooks/%c1%b3stripe",
                "/webhooks/stripe%c1%81",
                "/webhooks/st%e0%80%afripe",
                "/webhooks%c0%ae/stripe",
            ],
        );
        holds(
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
            assert_eq!(stripe().judge(target), ambiguous(Reason::OverlongUtf8), "{target:?}");
        }
        assert_eq!(stripe().judge(b"/webhooks/\xFFstripe"), ambiguous(Reason::Spelling));
        assert_eq!(stripe().judge(b"/webhooks/\xFFstripes"), Other);
    }

    #[test]
    fn several_paths_keep_their_positions_and_nested_ones_are_webhooks_of_their_own() {
        let guard = Guard::new(["/hooks", "/hooks/stripe", "/Billing/Stripe.Events"]);
        holds(&guard, Webhook(0), &["/hooks", "/hooks?x"]);
        holds(&guard, Webhook(1), &["/hooks/stripe"]);
        holds(&guard, Webhook(2), &["/Billing/Stripe.Events"]);
        let ambiguous = |reason, webhook| Judgement::Ambiguous { reason, webhook };
        holds(&guard, ambiguous(Reason::Spelling, 0), &["/hooks/", "/%68ooks"]);
        holds(&guard, ambiguous(Reason::Beneath, 0), &["/hooks/github", "/Hooks/stripes"]);
        holds(&guard, ambiguous(Reason::Extension, 0), &["/hooks.json"]);
        holds(&guard, ambiguous(Reason::Spelling, 1), &["/hooks/Stripe", "/HOOKS/stripe"]);
        holds(&guard, ambiguous(Reason::Beneath, 1), &["/hooks/stripe/x"]);
        holds(&guard, ambiguous(Reason::Nul, 1), &["/hooks/stripe%00x"]);
        holds(&guard, ambiguous(Reason::Traversal, 1), &["/hooks//../stripe"]);
        holds(&guard, ambiguous(Reason::Spelling, 2), &["/billing/stripe.events", "/BILLING/stripe.events/"]);
        holds(&guard, ambiguous(Reason::Extension, 2), &["/billing/stripe.events.json"]);
        holds(&guard, Other, &["/hook", "/billing/stripe", "/stripe.events", "/billing"]);
    }

    #[test]
    fn a_configured_script_is_guarded_as_a_path_and_not_as_the_root() {
        let guard = Guard::new(["/shop/stripe.php", "/index.php/hooks"]);
        holds(&guard, Webhook(0), &["/shop/stripe.php"]);
        holds(&guard, Webhook(1), &["/index.php/hooks"]);
        holds(&guard, ambiguous(Reason::Spelling), &["/shop/Stripe.php", "/x/../shop/stripe.php"]);
        let hooks = Judgement::Ambiguous { reason: Reason::Spelling, webhook: 1 };
        holds(&guard, hooks, &["/hooks", "/app.php/hooks", "/Index.php/hooks"]);
        holds(&guard, ambiguous(Reason::Beneath), &["/shop/stripe.php/x"]);
        holds(
            &guard,
            Other,
            &["/", "/shop", "/shop/stripe", "/shop/other.php", "/shop/other.php/x", "/index.php"],
        );
    }

    #[test]
    fn paths_with_odd_letters_of_their_own_are_webhooks_when_spelled_so() {
        let guard = Guard::new(["/Zahlungen/K\u{f6}ln/", "/a;v=1/b"]);
        holds(&guard, Webhook(0), &["/Zahlungen/K\u{f6}ln/"]);
        holds(&guard, Webhook(1), &["/a;v=1/b"]);
        holds(&guard, ambiguous(Reason::Spelling), &["/zahlungen/k\u{f6}ln", "/Zahlungen/K%C3%B6ln/"]);
        holds(&guard, Judgement::Ambiguous { reason: Reason::Spelling, webhook: 1 }, &["/a/b", "/a;v=2/b"]);
        holds(&guard, Other, &["/Zahlungen/Koln/", "/a"]);
    }

    #[test]
    fn a_guard_of_nothing_or_of_the_root_refuses_nothing() {
        holds(&Guard::new([]), Other, &["/", "/x", "/%2e%2e"]);
        let root = Guard::new(["/"]);
        holds(&root, Webhook(0), &["/"]);
        holds(&root, Other, &["/x", "//", "/%2e"]);
    }

    #[test]
    fn a_tower_of_encoding_costs_no_more_than_its_length() {
        let mut tower = b"/webhooks/%".to_vec();
        tower.extend(b"25".repeat(200_000));
        tower.extend(b"73tripe");
        assert_eq!(stripe().judge(&tower), ambiguous(Reason::TooDeep));
        // Each digit completes the one before it: no recursion may follow that down.
        let mut chain = b"/webhooks/%7".to_vec();
        chain.extend(b"%3".repeat(200_000));
        chain.extend(b"3tripe");
        assert_eq!(stripe().judge(&chain), ambiguous(Reason::TooDeep));
    }

    #[test]
    fn reasons_have_codes_of_their_own() {
        let codes: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
