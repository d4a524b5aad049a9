//! Two checks of the guard by other means. `reference_verdict` applies the rules one by one to strings, slowly, and must
//! agree on every spelling. `Backend` models a backend that normalizes paths in its own way. A path that any backend
//! routes to the webhook must not be `Other`. Neither shares code with the guard.
//!
//! Every character of a string here is one byte (Latin-1), so that a string can hold any bytes.

use super::{Classification, Guard};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::sync::LazyLock;

const GUARDED: &str = "/webhooks/stripe";

#[derive(Debug, PartialEq)]
enum Verdict {
    Webhook,
    Ambiguous,
    Other,
}

fn guard_verdict(path: &str) -> Verdict {
    match Guard::new([GUARDED]).classify(&bytes(path)) {
        Classification::Webhook(_) => Verdict::Webhook,
        Classification::Ambiguous { .. } => Verdict::Ambiguous,
        Classification::Other => Verdict::Other,
    }
}

/// Returns the bytes of a string of Latin-1 characters.
fn bytes(latin: &str) -> Vec<u8> {
    latin.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

/// Returns a string with one Latin-1 character for each byte of the UTF-8 text.
fn latin(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

// The rules, one by one.

fn reference_verdict(path: &str) -> Verdict {
    if path == GUARDED {
        return Verdict::Webhook;
    }
    let two_slashes = path.starts_with(['/', '\\']) && path[1..].starts_with(['/', '\\']);
    let address = path.trim_start_matches(['/', '\\']);
    let mut behind_host = [address.find('/'), address.find(['/', '\\'])].into_iter().flatten();
    if is_webhook(path, two_slashes)
        || (two_slashes && behind_host.any(|end| is_webhook(&address[end..], false)))
    {
        Verdict::Ambiguous
    } else {
        Verdict::Other
    }
}

fn is_webhook(path: &str, two_slashes: bool) -> bool {
    is_webhook_after(path, two_slashes, settled)
        || is_webhook_after(path, two_slashes, |text| stable(text, folded))
}

/// Returns whether some reader takes the path for the webhook. `settled` folds letters around each round of decoding.
fn is_webhook_after(path: &str, two_slashes: bool, settled: impl Fn(&str) -> String) -> bool {
    let decoded = |text: &str| stable(text, |text| decoded_once(&settled(text)));
    let mut texts = vec![decoded(path)];
    // Readers may also drop parameters first, or after any number of rounds, whether or not they fold letters.
    let (mut unfolded, mut early) = (path.to_owned(), settled(path));
    for _ in 0..6 {
        for text in [&unfolded, &early] {
            for text in [text, &text.replace('\\', "/")] {
                texts.push(decoded(&segments_without_parameters(text).join("/")));
            }
        }
        unfolded = decoded_once(&unfolded);
        early = settled(&decoded_once(&early));
    }
    let up_to_or_without_nul =
        texts.iter().flat_map(|text| [text.split('\0').next().unwrap().to_owned(), text.replace('\0', "")]);
    let leniently = texts.iter().any(|text| is_webhook_to_lenient(text, two_slashes));
    let queries = texts.iter().flat_map(|text| text.split('?').skip(1)).filter_map(|query| {
        let path = query.split('&').next().unwrap();
        path.starts_with(['/', '\\']).then(|| path.to_owned())
    });
    let by_query = queries.into_iter().any(|path| is_decoded_webhook(&path));
    let several = texts.iter().filter(|text| text.matches('\0').count() > 1).any(|text| {
        contains_in_order(
            &["webhooks", "stripe"],
            &segments_without_parameters(&text.replace(['\\', '?', '#', '\0'], "/")),
        )
    });
    leniently
        || by_query
        || several
        || up_to_or_without_nul.into_iter().any(|text| routes_to_webhook(&text, two_slashes))
}

/// Returns whether a decoded query that is a path leads to the webhook.
fn is_decoded_webhook(path: &str) -> bool {
    let up_to_or_without_nul = [path.split('\0').next().unwrap().to_owned(), path.replace('\0', "")];
    let several = path.matches('\0').count() > 1
        && contains_in_order(
            &["webhooks", "stripe"],
            &segments_without_parameters(&path.replace(['\\', '?', '#', '\0'], "/")),
        );
    several
        || up_to_or_without_nul.iter().any(|path| routes_to_webhook(path, false))
        || is_webhook_to_lenient(path, false)
}

/// Returns whether a reader that drops what it does not understand takes the text for the webhook.
fn is_webhook_to_lenient(text: &str, two_slashes: bool) -> bool {
    [text, text.split('\0').next().unwrap()]
        .iter()
        .any(|text| routes_to_webhook(&leniently_read(text), two_slashes))
}

/// Returns the text without what some readers do not understand, and without spaces around segments.
fn leniently_read(text: &str) -> String {
    let mut read = String::new();
    for piece in text.split_inclusive(['?', '#']) {
        let end = &piece[piece.trim_end_matches(['?', '#']).len()..];
        let all = bytes(piece.trim_end_matches(['?', '#']));
        let cut = match all.iter().rposition(|&byte| byte == b'%') {
            Some(at) if at + 2 >= all.len() => &all[..at],
            _ => &all[..],
        };
        let text = String::from_utf8_lossy(cut).replace('\u{fffd}', "").replace('+', " ");
        read.extend(text.chars().filter(|c| *c != '%' && !c.is_control()));
        read += end;
    }
    let segments: Vec<&str> = read.split(['/', '\\']).map(str::trim).collect();
    latin(&segments.join("/"))
}

/// Returns the segments without parameters.
fn segments_without_parameters(text: &str) -> Vec<String> {
    text.split('/').map(|segment| segment.split(';').next().unwrap().to_owned()).collect()
}

/// Returns whether a decoded text leads to the webhook, by its dot segments, script names or host.
fn routes_to_webhook(text: &str, two_slashes: bool) -> bool {
    let slashed = text.replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    let mut starts = vec![0];
    for whole in slashed.split(['?', '#']).next().unwrap().split('/') {
        let segment = whole.split(';').next().unwrap();
        if segment == ".." {
            segments.pop();
            starts.retain(|from| *from <= segments.len());
        } else if !segment.is_empty() && segment != "." {
            segments.push(segment);
        }
        if is_script(segment) || is_script(whole) {
            starts.push(segments.len());
        }
    }
    starts.extend(two_slashes.then_some(1.min(segments.len())));
    let direct = starts.into_iter().any(|from| {
        let path = trimmed(format!("/{}", segments[from..].join("/")));
        path == GUARDED || path.starts_with("/webhooks/stripe/") || path.starts_with("/webhooks/stripe.")
    });
    // A script name may begin with an encoded `?`.
    let behind_scripts = slashed.split(['?', '#']).skip(1).any(|piece| {
        let slashes = piece.match_indices('/').map(|(at, _)| at);
        slashes.into_iter().any(|at| {
            let name = piece[..at].rsplit('/').next().unwrap();
            let is_script = is_script(name) || is_script(name.split(';').next().unwrap());
            is_script && routes_to_webhook(&piece[at..], false)
        })
    });
    let all = segments_without_parameters(&slashed.replace(['?', '#'], "/"));
    let traverses = all.iter().any(|segment| segment == "..");
    direct || behind_scripts || (traverses && contains_in_order(&["webhooks", "stripe"], &all))
}

/// Returns whether the wanted segments occur in this order, with any others between them.
fn contains_in_order(wanted: &[&str], segments: &[String]) -> bool {
    match (wanted, segments) {
        ([], _) => true,
        (_, []) => false,
        ([last], [segment, rest @ ..]) => {
            let segment = trimmed(segment.clone());
            segment == *last || segment.starts_with(&format!("{last}.")) || contains_in_order(wanted, rest)
        }
        ([first, more @ ..], [segment, rest @ ..]) => {
            (segment == first && contains_in_order(more, rest)) || contains_in_order(wanted, rest)
        }
    }
}

fn is_script(segment: &str) -> bool {
    let extension = segment.rsplit_once('.').map_or("", |(_, extension)| extension);
    "php cgi fcgi pl py rb asp aspx jsp cfm".split(' ').any(|known| known == extension)
}

/// Returns a path without trailing slashes, dots, spaces and control characters.
fn trimmed(mut path: String) -> String {
    static TAILS: LazyLock<Vec<String>> = LazyLock::new(|| {
        ('\0'..='\u{3000}')
            .chain(['\u{feff}'])
            .filter(|c| c.is_whitespace() || c.is_control() || "./\u{feff}".contains(*c))
            .map(|c| latin(&c.to_string()))
            .collect()
    });
    while let Some(tail) = TAILS.iter().find(|tail| path.ends_with(tail.as_str())) {
        path.truncate(path.len() - tail.len());
    }
    path
}

/// Returns the text with all letters folded and overlong UTF-8 decoded.
fn settled(text: &str) -> String {
    stable(text, |text| overlong_decoded(&folded(text)))
}

/// Applies a step until it changes nothing.
fn stable(text: &str, step: impl Fn(&str) -> String) -> String {
    let next = step(text);
    if next == text { next } else { stable(&next, step) }
}

/// Percent-decodes a text once, `%u` included. A `%` without digits stands for itself.
fn decoded_once(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out += before;
        let hex = |digits: Option<&str>| {
            digits.filter(|hex| hex.chars().all(|c| c.is_ascii_hexdigit())).map(str::to_owned)
        };
        let wide = after.strip_prefix(['u', 'U']).and_then(|after| hex(after.get(..4)));
        let wide = wide.and_then(|hex| char::from_u32(u32::from_str_radix(&hex, 16).unwrap()));
        if let Some(character) = wide {
            out += &latin(&character.to_string());
            rest = &after[5..];
            continue;
        }
        match hex(after.get(..2)) {
            Some(hex) => {
                out.push(char::from(u8::from_str_radix(&hex, 16).unwrap()));
                rest = &after[2..];
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

/// Folds case, and the letters beyond ASCII that fold into ASCII.
fn folded(text: &str) -> String {
    let mut text = text.to_ascii_lowercase();
    for (letter, ascii) in [('ſ', "s"), ('K', "k"), ('İ', "i"), ('ı', "i")] {
        text = text.replace(&latin(&letter.to_string()), ascii);
    }
    for (wide, ascii) in ('！'..='～').zip('!'..='~') {
        text = text.replace(&latin(&wide.to_string()), &ascii.to_ascii_lowercase().to_string());
    }
    text
}

/// Returns the text with each overlong sequence of an ASCII character replaced by that character.
fn overlong_decoded(text: &str) -> String {
    let mut text = text.to_owned();
    if !text.contains(['\u{c0}', '\u{c1}', '\u{e0}', '\u{f0}', '\u{f8}', '\u{fc}']) {
        return text;
    }
    for ascii in 0..128u8 {
        for sequence in overlong_forms(ascii) {
            text = text.replace(&sequence, &char::from(ascii).to_string());
        }
    }
    text
}

/// Returns the overlong sequences of an ASCII character, of two to six bytes.
fn overlong_forms(ascii: u8) -> Vec<String> {
    let two = [0xC0 | ascii >> 6, 0x80 | ascii & 0x3F].map(char::from);
    let tail: String = [0x80 | ascii >> 6, 0x80 | ascii & 0x3F].map(char::from).iter().collect();
    vec![
        two.iter().collect(),
        format!("\u{e0}{tail}"),
        format!("\u{f0}\u{80}{tail}"),
        format!("\u{f8}\u{80}\u{80}{tail}"),
        format!("\u{fc}\u{80}\u{80}\u{80}{tail}"),
    ]
}

// Models of backends.

/// The steps by which a backend normalizes a path before it looks for a route, in this order.
#[derive(Debug, Clone)]
struct Backend {
    early_backslash: bool,
    strips_host: bool,
    early_parameters: bool,
    early_dots: Dots,
    rounds: usize,
    routes_on_query: bool,
    cuts_query: bool,
    late_backslash: bool,
    parameters: Parameters,
    merges_slashes: bool,
    dots: Dots,
    late_rounds: usize,
    runs_scripts: bool,
    folds_case: bool,
    trims_end: bool,
    route_match: RouteMatch,
}

/// What a backend does with dot segments.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dots {
    Ignored,
    Resolved,
    /// `%2e` counts as a dot, as in the URL standard.
    ResolvedEncoded,
}

/// What a backend does with parameters.
#[derive(Debug, Clone, Copy)]
enum Parameters {
    PartOfSegment,
    Dropped,
    EndThePath,
}

/// How a backend compares a path with its route.
#[derive(Debug, Clone, Copy)]
enum RouteMatch {
    Exactly,
    WithExtension,
    Prefix,
}

impl Backend {
    /// Returns whether the backend routes this path to the webhook.
    fn routes_to_webhook(&self, path: &str) -> bool {
        let mut path = path.to_owned();
        if self.early_backslash {
            path = path.replace('\\', "/");
        }
        if self.strips_host && path.starts_with("//") {
            let address = path.trim_start_matches('/');
            path = address.find('/').map_or(String::new(), |slash| address[slash..].to_owned());
        }
        if self.early_parameters {
            path = segments_without_parameters(&path).join("/");
        }
        path = resolved(&path, self.early_dots);
        for _ in 0..self.rounds {
            path = decoded_once(&path);
        }
        if self.routes_on_query
            && let Some(query) = path.split('?').skip(1).find(|query| query.starts_with('/'))
        {
            path = query.split('&').next().unwrap().to_owned();
        }
        if self.cuts_query {
            path = path.split(['?', '#']).next().unwrap().to_owned();
        }
        if self.late_backslash {
            path = path.replace('\\', "/");
        }
        path = match self.parameters {
            Parameters::PartOfSegment => path,
            Parameters::Dropped => path
                .split('/')
                .map(|segment| segment.split(';').next().unwrap())
                .collect::<Vec<_>>()
                .join("/"),
            Parameters::EndThePath => path.split(';').next().unwrap().to_owned(),
        };
        while self.merges_slashes && path.contains("//") {
            path = path.replace("//", "/");
        }
        path = resolved(&path, self.dots);
        for _ in 0..self.late_rounds {
            path = decoded_once(&path);
        }
        if self.runs_scripts
            && let Some(at) = path.to_ascii_lowercase().find(".php/")
        {
            path = path[at + 4..].to_owned();
        }
        if self.folds_case {
            path = folded(&path);
        }
        if self.trims_end {
            path = trimmed(path);
        }
        match self.route_match {
            RouteMatch::Exactly => path == GUARDED,
            RouteMatch::WithExtension => {
                path.strip_prefix(GUARDED).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            RouteMatch::Prefix => {
                path.strip_prefix(GUARDED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

/// Removes dot segments as in RFC 3986, section 5.2.4, where empty segments count.
fn resolved(path: &str, dots: Dots) -> String {
    let mut segments: Vec<&str> = Vec::new();
    if dots == Dots::Ignored {
        return path.to_owned();
    }
    for segment in path.split('/').skip(1) {
        let plain = match dots {
            Dots::ResolvedEncoded => segment.replace("%2e", ".").replace("%2E", "."),
            Dots::Ignored | Dots::Resolved => segment.to_owned(),
        };
        match plain.as_str() {
            "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Generates a backend with any combination of steps.
fn any_backend() -> impl Strategy<Value = Backend> {
    let dots = || prop::sample::select(vec![Dots::Ignored, Dots::Resolved, Dots::ResolvedEncoded]);
    let parameters =
        prop::sample::select(vec![Parameters::PartOfSegment, Parameters::Dropped, Parameters::EndThePath]);
    let route_match =
        prop::sample::select(vec![RouteMatch::Exactly, RouteMatch::WithExtension, RouteMatch::Prefix]);
    (any::<[bool; 10]>(), dots(), 0..3usize, parameters, dots(), 0..3usize, route_match).prop_map(
        |(switches, early_dots, rounds, parameters, dots, late_rounds, route_match)| {
            let [
                early_backslash,
                strips_host,
                early_parameters,
                routes_on_query,
                cuts_query,
                late_backslash,
                merges_slashes,
                runs_scripts,
                folds_case,
                trims_end,
            ] = switches;
            Backend {
                early_backslash,
                strips_host,
                early_parameters,
                early_dots,
                rounds,
                routes_on_query,
                cuts_query,
                late_backslash,
                parameters,
                merges_slashes,
                dots,
                late_rounds,
                runs_scripts,
                folds_case,
                trims_end,
                route_match,
            }
        },
    )
}

// Spellings.

/// One change to a path, made at a place where the path keeps its meaning, if there is such a place.
#[derive(Debug, Clone)]
enum Change {
    /// Percent-encodes a character with digits in lower case.
    Encode(usize),
    /// Percent-encodes a character with digits in upper case.
    EncodeUpper(usize),
    /// Changes the case of a letter.
    Case(usize),
    /// Replaces a character by one of its overlong UTF-8 forms.
    Overlong(usize, usize),
    /// Replaces a character by one that folds to it.
    Fold(usize),
    /// Replaces a slash by a text with the same meaning.
    AtSlash(usize, &'static str),
    /// Replaces a slash by a backslash.
    Backslash(usize),
    /// Puts a text before the path.
    Before(&'static str),
    /// Puts a text after the path.
    After(&'static str),
    /// Inserts a text after a character; the meaning may change.
    Insert(usize, &'static str),
    /// Removes a character; the meaning may change.
    Remove(usize),
}

impl Change {
    fn apply(&self, path: &mut String) {
        let chars: Vec<char> = path.chars().collect();
        let at = |place: usize| place % chars.len().max(1);
        let splice = |place: usize, with: &str| -> String {
            chars[..place].iter().collect::<String>() + with + &chars[place + 1..].iter().collect::<String>()
        };
        let slash = |place: usize| {
            let slashes: Vec<usize> = (0..chars.len()).filter(|&at| chars[at] == '/').collect();
            (!slashes.is_empty()).then(|| slashes[place % slashes.len()])
        };
        if chars.is_empty() {
            return;
        }
        *path = match *self {
            Self::Encode(place) => splice(at(place), &format!("%{:02x}", u32::from(chars[at(place)]))),
            Self::EncodeUpper(place) => splice(at(place), &format!("%{:02X}", u32::from(chars[at(place)]))),
            Self::Case(place) => {
                let c = chars[at(place)];
                let other =
                    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
                splice(at(place), &other.to_string())
            }
            Self::Overlong(place, form) => match chars[at(place)] {
                c if c.is_ascii() => splice(at(place), &overlong_forms(u8::try_from(c).unwrap())[form % 5]),
                _ => return,
            },
            Self::Fold(place) => {
                let wide = match chars[at(place)] {
                    's' => 'ſ',
                    'k' => 'K',
                    'i' if place % 2 == 0 => 'ı',
                    'i' => 'İ',
                    c @ '!'..='~' => char::from_u32(u32::from(c) + 0xFEE0).unwrap(),
                    _ => return,
                };
                splice(at(place), &latin(&wide.to_string()))
            }
            Self::AtSlash(place, with) => match slash(place) {
                Some(place) => splice(place, with),
                None => return,
            },
            Self::Backslash(place) => match slash(place) {
                Some(place) => splice(place, "\\"),
                None => return,
            },
            Self::Before(with) => format!("{with}{path}"),
            Self::After(with) => format!("{path}{with}"),
            Self::Insert(place, with) => {
                let before = chars[at(place)].to_string();
                splice(at(place), &(before + with))
            }
            Self::Remove(place) => splice(at(place), ""),
        };
    }
}

/// Generates a change after which lenient readers still see the same path.
fn same_meaning() -> impl Strategy<Value = Change> {
    let at_slash = ["//", "/./", "/x/../", "/x/%2e%2e/", ";a=b/", "/;/", "/%2e/", "/x/y/..;/../"];
    let before = ["/index.php", "/x/..", "/.", "/", "/a.PHP/b.cgi", "/..", "/../x/.."];
    let after = ["/", ".", " ", "%0a", ";a=b", "%3fx", "%00x", "#", "\u{c2}\u{a0}", "%23", "/."];
    prop_oneof![
        4 => any::<usize>().prop_map(Change::Encode),
        2 => any::<usize>().prop_map(Change::EncodeUpper),
        2 => any::<usize>().prop_map(Change::Case),
        1 => any::<(usize, usize)>().prop_map(|(place, form)| Change::Overlong(place, form)),
        1 => any::<usize>().prop_map(Change::Fold),
        4 => (any::<usize>(), prop::sample::select(at_slash.to_vec())).prop_map(|(p, s)| Change::AtSlash(p, s)),
        1 => any::<usize>().prop_map(Change::Backslash),
        2 => prop::sample::select(before.to_vec()).prop_map(Change::Before),
        2 => prop::sample::select(after.to_vec()).prop_map(Change::After),
    ]
}

/// Generates any change.
fn any_change() -> impl Strategy<Value = Change> {
    let inserted = [
        "/",
        "../",
        "/..",
        "a%2fb",
        "\\",
        "%5c",
        ";",
        "%3b",
        "?",
        "%3f",
        "#",
        "%23",
        "%00",
        "%",
        "25",
        ".",
        "%2e",
        " ",
        "x",
        "s",
        "\u{c0}",
        "\u{ff}",
        "%c0%af",
        ".php/",
        "//x/",
        "+",
        "%20",
        "%01",
        "%80",
        "%c3",
        "%u0073",
        "%u002f",
        "%3f/",
        "%3findex.php/",
        "%23x.php/",
        "%2523",
        "&",
        "webhooks",
        "stripe",
        "/webhooks/../",
    ];
    prop_oneof![
        3 => same_meaning(),
        1 => (any::<usize>(), prop::sample::select(inserted.to_vec())).prop_map(|(p, s)| Change::Insert(p, s)),
        1 => any::<usize>().prop_map(Change::Remove),
    ]
}

/// Generates a path from one of `bases` by up to `max_changes` changes.
fn spelling(
    change: impl Strategy<Value = Change>,
    max_changes: usize,
    bases: &'static [&'static str],
) -> impl Strategy<Value = String> {
    (prop::sample::select(bases), prop::collection::vec(change, 0..=max_changes)).prop_map(
        |(base, changes)| {
            let mut path = base.to_owned();
            for change in changes {
                change.apply(&mut path);
            }
            path
        },
    )
}

/// Returns a path that begins with a slash, without a query. The tables in `guard` check other forms of targets.
fn origin_form(path: &str) -> String {
    let path = path.split('?').next().unwrap();
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Returns a runner for `factor` times as many cases as `PROPTEST_CASES` says (default 256).
fn runner(factor: u32) -> TestRunner {
    let config = Config::default();
    TestRunner::new(Config {
        cases: config.cases.saturating_mul(factor),
        failure_persistence: None,
        ..config
    })
}

#[test]
fn the_guard_agrees_with_the_reference_on_every_spelling() {
    let bases =
        &[GUARDED, "/webhooks/stripes", "/webhooks/x/../stripe", "/posts/1", "/webhooks/a%2fb/stripe"];
    let (ambiguous, other) = (Cell::new(0), Cell::new(0));
    runner(4)
        .run(&spelling(any_change(), 6, bases), |path| {
            let path = origin_form(&path);
            let verdict = reference_verdict(&path);
            let count = if verdict == Verdict::Other { &other } else { &ambiguous };
            count.set(count.get() + 1);
            prop_assert_eq!(guard_verdict(&path), verdict, "{}", path);
            Ok(())
        })
        .unwrap();
    assert!(
        ambiguous.get() > other.get() / 8 && other.get() > ambiguous.get() / 8,
        "{ambiguous:?} {other:?}"
    );
}

#[test]
fn a_change_that_keeps_the_meaning_never_makes_another_path() {
    runner(4)
        .run(
            &spelling(same_meaning(), 8, &[GUARDED, "/webhooks/stripe.json", "/webhooks/stripe/x"]),
            |path| {
                prop_assert_ne!(guard_verdict(&path), Verdict::Other, "{}", path);
                prop_assert_ne!(guard_verdict(&format!("{path}?a=b/../..")), Verdict::Other, "{}", path);
                prop_assert_ne!(
                    guard_verdict(&format!("http://shop.example:80/{path}")),
                    Verdict::Other,
                    "{}",
                    path
                );
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn a_path_that_passes_is_the_webhook_to_no_backend() {
    let bases = &[
        GUARDED,
        "/webhooks//../stripe",
        "/webhooks/a%2fb/../stripe",
        "/webhooks/a;/../stripe",
        "/%3findex.php/webhooks/stripe",
        "/x%3f/webhooks/stripe",
        "/webhooks/;%2f%23/stripe",
    ];
    let routed = Cell::new(0);
    runner(4)
        .run(
            &(spelling(any_change(), 4, bases), prop::collection::vec(any_backend(), 32)),
            |(path, backends)| {
                let path = origin_form(&path);
                for backend in backends {
                    if backend.routes_to_webhook(&path) {
                        routed.set(routed.get() + 1);
                        prop_assert_ne!(
                            guard_verdict(&path),
                            Verdict::Other,
                            "{} is the webhook to {:?}",
                            path,
                            backend
                        );
                    }
                }
                Ok(())
            },
        )
        .unwrap();
    assert!(routed.get() > 100, "{routed:?}");
}
