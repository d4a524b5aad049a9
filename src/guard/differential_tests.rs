//! Two witnesses against the guard. `slow` reads the rules one by one over strings and must agree on every
//! spelling. `Reader` is a backend with habits of its own; what any of them takes for the webhook must not pass.
//! Neither shares code with the guard. Bytes are Latin-1 characters here, so that strings hold any of them.

use super::{Guard, Judgement};
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

fn guard(path: &str) -> Verdict {
    match Guard::new([GUARDED]).judge(&bytes(path)) {
        Judgement::Webhook(_) => Verdict::Webhook,
        Judgement::Ambiguous { .. } => Verdict::Ambiguous,
        Judgement::Other => Verdict::Other,
    }
}

fn bytes(latin: &str) -> Vec<u8> {
    latin.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

fn latin(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

// ---- the rules, one by one ----

fn slow(path: &str) -> Verdict {
    if path == GUARDED {
        return Verdict::Webhook;
    }
    let two_slashes = path.starts_with(['/', '\\']) && path[1..].starts_with(['/', '\\']);
    let behind_host = || {
        let address = path.trim_start_matches(['/', '\\']);
        address.find('/').map_or("", |end| &address[end..])
    };
    if means(path, two_slashes) || (two_slashes && means(behind_host(), false)) {
        Verdict::Ambiguous
    } else {
        Verdict::Other
    }
}

fn means(path: &str, two_slashes: bool) -> bool {
    means_to(path, two_slashes, settled) || means_to(path, two_slashes, |text| stable(text, folded))
}

/// `settled` says what of letters is the same, before and after each round of decoding.
fn means_to(path: &str, two_slashes: bool, settled: impl Fn(&str) -> String) -> bool {
    let decoded = |text: &str| stable(text, |text| decoded_once(&settled(text)));
    let mut texts = vec![decoded(path)];
    // Parameters may also go first, or after any number of rounds.
    let mut early = settled(path);
    for _ in 0..6 {
        texts.push(decoded(&bare(&early).join("/")));
        early = settled(&decoded_once(&early));
    }
    let nul =
        texts.iter().flat_map(|text| [text.split('\0').next().unwrap().to_owned(), text.replace('\0', "")]);
    let dropped = texts.iter().any(|text| drops(text, two_slashes));
    let questions = texts.iter().filter_map(|text| {
        let query = text.split_once('?')?.1.trim_start_matches('?');
        let path = query.split(['?', '&']).next().unwrap();
        path.starts_with(['/', '\\']).then(|| path.to_owned())
    });
    let asked = questions.into_iter().any(|path| means_decoded(&path));
    let several = texts
        .iter()
        .filter(|text| text.matches('\0').count() > 1)
        .any(|text| in_order(&["webhooks", "stripe"], &bare(&text.replace(['\\', '?', '#', '\0'], "/"))));
    dropped || asked || several || nul.into_iter().any(|text| reaches(&text, two_slashes))
}

/// The same of a query that is a path, and decoded.
fn means_decoded(path: &str) -> bool {
    let nul = [path.split('\0').next().unwrap().to_owned(), path.replace('\0', "")];
    let several = path.matches('\0').count() > 1
        && in_order(&["webhooks", "stripe"], &bare(&path.replace(['\\', '?', '#', '\0'], "/")));
    several || nul.iter().any(|path| reaches(path, false)) || drops(path, false)
}

fn drops(text: &str, two_slashes: bool) -> bool {
    [text, text.split('\0').next().unwrap()].iter().any(|text| reaches(&dropped(text), two_slashes))
}

/// Without what some do not understand, and without spaces around names.
fn dropped(text: &str) -> String {
    let all = bytes(text.split(['?', '#']).next().unwrap());
    let cut = match all.iter().rposition(|&byte| byte == b'%') {
        Some(at) if at + 2 >= all.len() => &all[..at],
        _ => &all[..],
    };
    let text = String::from_utf8_lossy(cut).replace('\u{fffd}', "").replace('+', " ");
    let text: String = text.chars().filter(|c| *c != '%' && !c.is_control()).collect();
    let names: Vec<&str> = text.split(['/', '\\']).map(str::trim).collect();
    latin(&names.join("/"))
}

/// Segments without parameters.
fn bare(text: &str) -> Vec<String> {
    text.split('/').map(|segment| segment.split(';').next().unwrap().to_owned()).collect()
}

fn reaches(text: &str, two_slashes: bool) -> bool {
    let slashed = text.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    let mut candidates = vec![0];
    for whole in slashed.split(['?', '#']).next().unwrap().split('/') {
        let segment = whole.split(';').next().unwrap();
        if segment == ".." {
            kept.pop();
            candidates.retain(|from| *from <= kept.len());
        } else if !segment.is_empty() && segment != "." {
            kept.push(segment);
        }
        if is_script(segment) || is_script(whole) {
            candidates.push(kept.len());
        }
    }
    candidates.extend(two_slashes.then_some(1.min(kept.len())));
    let direct = candidates.into_iter().any(|from| {
        let path = trimmed(format!("/{}", kept[from..].join("/")));
        path == GUARDED || path.starts_with("/webhooks/stripe/") || path.starts_with("/webhooks/stripe.")
    });
    let all = bare(&slashed.replace(['?', '#'], "/"));
    let dotted = all.iter().any(|segment| segment == "..");
    direct || (dotted && in_order(&["webhooks", "stripe"], &all))
}

fn in_order(wanted: &[&str], segments: &[String]) -> bool {
    match (wanted, segments) {
        ([], _) => true,
        (_, []) => false,
        ([last], [segment, rest @ ..]) => {
            let segment = trimmed(segment.clone());
            segment == *last || segment.starts_with(&format!("{last}.")) || in_order(wanted, rest)
        }
        ([first, more @ ..], [segment, rest @ ..]) => {
            (segment == first && in_order(more, rest)) || in_order(wanted, rest)
        }
    }
}

fn is_script(segment: &str) -> bool {
    let extension = segment.rsplit_once('.').map_or("", |(_, extension)| extension);
    "php cgi fcgi pl py rb asp aspx jsp cfm".split(' ').any(|known| known == extension)
}

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

/// With all letters folded and no overlong ones left.
fn settled(text: &str) -> String {
    stable(text, |text| overlong(&folded(text)))
}

fn stable(text: &str, step: impl Fn(&str) -> String) -> String {
    let next = step(text);
    if next == text { next } else { stable(&next, step) }
}

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

fn overlong(text: &str) -> String {
    let mut text = text.to_owned();
    if !text.contains(['\u{c0}', '\u{c1}', '\u{e0}', '\u{f0}', '\u{f8}', '\u{fc}']) {
        return text;
    }
    for ascii in 0..128u8 {
        for sequence in stretched(ascii) {
            text = text.replace(&sequence, &char::from(ascii).to_string());
        }
    }
    text
}

/// The overlong ways to write an ASCII byte.
fn stretched(ascii: u8) -> Vec<String> {
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

// ---- backends with habits ----

/// What a backend does to a path before it looks for a route, in this order.
#[derive(Debug, Clone)]
struct Reader {
    backslash_early: bool,
    host: bool,
    parameters_early: bool,
    dots_early: Dots,
    rounds: usize,
    cuts: bool,
    backslash: bool,
    parameters: Parameters,
    merges: bool,
    dots: Dots,
    late_rounds: usize,
    scripts: bool,
    folds: bool,
    trims: bool,
    matches: Match,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dots {
    Left,
    Resolved,
    /// `%2e` counts as a dot, as in the URL standard.
    ResolvedEncoded,
}

#[derive(Debug, Clone, Copy)]
enum Parameters {
    Kept,
    Dropped,
    EndThePath,
}

#[derive(Debug, Clone, Copy)]
enum Match {
    Exactly,
    WithExtension,
    Prefix,
}

impl Reader {
    fn takes(&self, path: &str) -> bool {
        let mut path = path.to_owned();
        if self.backslash_early {
            path = path.replace('\\', "/");
        }
        if self.host && path.starts_with("//") {
            let address = path.trim_start_matches('/');
            path = address.find('/').map_or(String::new(), |slash| address[slash..].to_owned());
        }
        if self.parameters_early {
            path = bare(&path).join("/");
        }
        path = resolved(&path, self.dots_early);
        for _ in 0..self.rounds {
            path = decoded_once(&path);
        }
        if self.cuts {
            path = path.split(['?', '#']).next().unwrap().to_owned();
        }
        if self.backslash {
            path = path.replace('\\', "/");
        }
        path = match self.parameters {
            Parameters::Kept => path,
            Parameters::Dropped => path
                .split('/')
                .map(|segment| segment.split(';').next().unwrap())
                .collect::<Vec<_>>()
                .join("/"),
            Parameters::EndThePath => path.split(';').next().unwrap().to_owned(),
        };
        while self.merges && path.contains("//") {
            path = path.replace("//", "/");
        }
        path = resolved(&path, self.dots);
        for _ in 0..self.late_rounds {
            path = decoded_once(&path);
        }
        if self.scripts
            && let Some(at) = path.to_ascii_lowercase().find(".php/")
        {
            path = path[at + 4..].to_owned();
        }
        if self.folds {
            path = folded(&path);
        }
        if self.trims {
            path = trimmed(path);
        }
        match self.matches {
            Match::Exactly => path == GUARDED,
            Match::WithExtension => {
                path.strip_prefix(GUARDED).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            Match::Prefix => {
                path.strip_prefix(GUARDED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

/// Dot segments as RFC 3986 removes them: empty segments count.
fn resolved(path: &str, dots: Dots) -> String {
    let mut kept: Vec<&str> = Vec::new();
    if dots == Dots::Left {
        return path.to_owned();
    }
    for segment in path.split('/').skip(1) {
        let plain = match dots {
            Dots::ResolvedEncoded => segment.replace("%2e", ".").replace("%2E", "."),
            Dots::Left | Dots::Resolved => segment.to_owned(),
        };
        match plain.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn any_reader() -> impl Strategy<Value = Reader> {
    let dots = || prop::sample::select(vec![Dots::Left, Dots::Resolved, Dots::ResolvedEncoded]);
    let parameters =
        prop::sample::select(vec![Parameters::Kept, Parameters::Dropped, Parameters::EndThePath]);
    let matches = prop::sample::select(vec![Match::Exactly, Match::WithExtension, Match::Prefix]);
    (any::<[bool; 9]>(), dots(), 0..3usize, parameters, dots(), 0..3usize, matches).prop_map(
        |(habits, dots_early, rounds, parameters, dots, late_rounds, matches)| {
            let [backslash_early, host, parameters_early, cuts, backslash, merges, scripts, folds, trims] =
                habits;
            Reader {
                backslash_early,
                host,
                parameters_early,
                dots_early,
                rounds,
                cuts,
                backslash,
                parameters,
                merges,
                dots,
                late_rounds,
                scripts,
                folds,
                trims,
                matches,
            }
        },
    )
}

// ---- spellings ----

/// One change to a path. Applied at a place where it keeps the meaning, if the path has one.
#[derive(Debug, Clone)]
enum Change {
    Encode(usize),
    EncodeUpper(usize),
    Case(usize),
    Overlong(usize, usize),
    Fold(usize),
    AtSlash(usize, &'static str),
    Backslash(usize),
    Before(&'static str),
    After(&'static str),
    /// These keep no meaning.
    Put(usize, &'static str),
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
            Change::Encode(place) => splice(at(place), &format!("%{:02x}", u32::from(chars[at(place)]))),
            Change::EncodeUpper(place) => splice(at(place), &format!("%{:02X}", u32::from(chars[at(place)]))),
            Change::Case(place) => {
                let c = chars[at(place)];
                let other =
                    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
                splice(at(place), &other.to_string())
            }
            Change::Overlong(place, form) => match chars[at(place)] {
                c if c.is_ascii() => splice(at(place), &stretched(u8::try_from(c).unwrap())[form % 5]),
                _ => return,
            },
            Change::Fold(place) => {
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
            Change::AtSlash(place, with) => match slash(place) {
                Some(place) => splice(place, with),
                None => return,
            },
            Change::Backslash(place) => match slash(place) {
                Some(place) => splice(place, "\\"),
                None => return,
            },
            Change::Before(with) => format!("{with}{path}"),
            Change::After(with) => format!("{path}{with}"),
            Change::Put(place, with) => {
                let kept = chars[at(place)].to_string();
                splice(at(place), &(kept + with))
            }
            Change::Remove(place) => splice(at(place), ""),
        };
    }
}

fn meaning_kept() -> impl Strategy<Value = Change> {
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

fn any_change() -> impl Strategy<Value = Change> {
    let put = [
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
        "&",
        "webhooks",
        "stripe",
        "/webhooks/../",
    ];
    prop_oneof![
        3 => meaning_kept(),
        1 => (any::<usize>(), prop::sample::select(put.to_vec())).prop_map(|(p, s)| Change::Put(p, s)),
        1 => any::<usize>().prop_map(Change::Remove),
    ]
}

fn spelling(
    change: impl Strategy<Value = Change>,
    most: usize,
    bases: &'static [&'static str],
) -> impl Strategy<Value = String> {
    (prop::sample::select(bases), prop::collection::vec(change, 0..=most)).prop_map(|(base, changes)| {
        let mut path = base.to_owned();
        for change in changes {
            change.apply(&mut path);
        }
        path
    })
}

/// A path without a query that begins with a slash. Where the path of any other target begins is a question of
/// its own: see the tables.
fn origin_form(path: &str) -> String {
    let path = path.split('?').next().unwrap();
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Runs a property over as many paths as `PROPTEST_CASES` says (default 256), times `more`.
fn runner(more: u32) -> TestRunner {
    let config = Config::default();
    TestRunner::new(Config { cases: config.cases.saturating_mul(more), failure_persistence: None, ..config })
}

#[test]
fn the_guard_agrees_with_a_slow_reading_of_the_rules() {
    let bases =
        &[GUARDED, "/webhooks/stripes", "/webhooks/x/../stripe", "/posts/1", "/webhooks/a%2fb/stripe"];
    let (ambiguous, other) = (Cell::new(0), Cell::new(0));
    runner(4)
        .run(&spelling(any_change(), 6, bases), |path| {
            let path = origin_form(&path);
            let verdict = slow(&path);
            let count = if verdict == Verdict::Other { &other } else { &ambiguous };
            count.set(count.get() + 1);
            prop_assert_eq!(guard(&path), verdict, "{}", path);
            Ok(())
        })
        .unwrap();
    assert!(
        ambiguous.get() > other.get() / 8 && other.get() > ambiguous.get() / 8,
        "{ambiguous:?} {other:?}"
    );
}

#[test]
fn no_change_that_keeps_the_meaning_makes_it_another_path() {
    runner(4)
        .run(
            &spelling(meaning_kept(), 8, &[GUARDED, "/webhooks/stripe.json", "/webhooks/stripe/x"]),
            |path| {
                prop_assert_ne!(guard(&path), Verdict::Other, "{}", path);
                prop_assert_ne!(guard(&format!("{path}?a=b/../..")), Verdict::Other, "{}", path);
                prop_assert_ne!(guard(&format!("http://shop.example:80/{path}")), Verdict::Other, "{}", path);
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn what_passes_is_the_webhook_to_no_reader() {
    let bases = &[GUARDED, "/webhooks//../stripe", "/webhooks/a%2fb/../stripe", "/webhooks/a;/../stripe"];
    let taken = Cell::new(0);
    runner(4)
        .run(
            &(spelling(any_change(), 4, bases), prop::collection::vec(any_reader(), 32)),
            |(path, readers)| {
                let path = origin_form(&path);
                for reader in readers {
                    if reader.takes(&path) {
                        taken.set(taken.get() + 1);
                        prop_assert_ne!(guard(&path), Verdict::Other, "{} taken by {:?}", path, reader);
                    }
                }
                Ok(())
            },
        )
        .unwrap();
    assert!(taken.get() > 100, "{taken:?}");
}
