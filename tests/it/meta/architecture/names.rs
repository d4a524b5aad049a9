//! Names of types, module maps in headers, and doc comments that can be read alone.

use super::source::Source;
use std::collections::BTreeMap;

/// The names that every module may use for a type of its own.
const SHARED_NAMES: [&str; 2] = ["Args", "Error"];

/// A doc comment of so few words that begins with one of [`OPENINGS`] needs the line above it.
const MAX_FRAGMENT: usize = 4;

/// How a fragment begins: "In bytes.", "The same.", "His e-mail address."
const OPENINGS: [&str; 38] = [
    "it", "its", "they", "their", "he", "his", "she", "her", "him", "this", "that", "these", "those", "so",
    "as", "in", "on", "for", "to", "of", "from", "with", "without", "over", "between", "until", "before",
    "when", "where", "which", "who", "whose", "what", "whatever", "why", "how", "the same", "nothing",
];

/// The type names that two files or more define.
pub fn shared_types(sources: &[Source]) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources {
        for name in source.types.iter().filter(|name| !SHARED_NAMES.contains(&name.as_str())) {
            found.entry(name).or_default().push(&source.name);
        }
    }
    let shared = found.into_iter().filter(|(_, files)| files.len() > 1);
    shared.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect()
}

/// The error types named neither `…Error` nor, for a verdict on a request, `…Rejection`.
pub fn misnamed_errors(sources: &[Source]) -> Vec<String> {
    let errors = sources.iter().flat_map(|source| source.errors.iter().map(move |name| (source, name)));
    let misnamed = errors.filter(|(_, name)| !name.ends_with("Error") && !name.ends_with("Rejection"));
    misnamed.map(|(source, name)| format!("{}: {name}", source.name)).collect()
}

/// The files that a parent's header does not name between backticks.
pub fn missing_from_headers(sources: &[Source]) -> Vec<String> {
    let mut missing = vec![];
    for source in sources {
        let code: Vec<&str> = source.header.split('`').skip(1).step_by(2).collect();
        let named = |child: &str| code.iter().any(|span| is_word_of(child, span));
        let absent = source.children.iter().filter(|child| !named(child));
        missing.extend(absent.map(|child| format!("{} does not name {child}", source.name)));
    }
    missing
}

fn is_word_of(word: &str, text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

/// The files outside `folder` in which an identifier begins with `word`.
pub fn naming_outside(sources: &[Source], word: &str, folder: &str) -> Vec<String> {
    let outside = sources.iter().filter(|source| source.module.join("/") != folder);
    let outside = outside.filter(|source| !source.name.starts_with(&format!("{folder}/")));
    let naming = outside.filter(|source| source.words.iter().any(|found| found.starts_with(word)));
    naming.map(|source| source.name.clone()).collect()
}

/// The doc comments that cannot be read without the line above them.
pub fn fragments(sources: &[Source]) -> Vec<String> {
    let docs = sources.iter().flat_map(|source| source.docs.iter().map(move |doc| (source, doc)));
    let short = docs.filter(|(_, doc)| is_fragment(&doc.text));
    short.map(|(source, doc)| format!("{}:{}: {}", source.name, doc.line, doc.text)).collect()
}

fn is_fragment(doc: &str) -> bool {
    let text = doc.to_lowercase();
    let begins = |opening: &&str| {
        let rest = text.strip_prefix(*opening);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-'))
    };
    doc.split_whitespace().count() <= MAX_FRAGMENT && OPENINGS.iter().any(begins)
}

fn sources(texts: &[(&str, &str)]) -> Vec<Source> {
    texts.iter().map(|(name, text)| Source::parse(name, text)).collect()
}

#[test]
fn a_type_is_shared_if_two_files_define_its_name_outside_tests() {
    let found = shared_types(&sources(&[
        ("a.rs", "struct Kept; pub struct Args; mod inner { type Way = u8; }"),
        ("b.rs", "enum Kept {} pub struct Args; trait Way {} #[cfg(test)] mod tests { struct Once; }"),
        ("c.rs", "struct Once; impl Iterator for Once { type Item = u8; }"),
        ("d.rs", "trait Item { type Once; }"),
    ]));
    assert_eq!(found, ["Kept: a.rs, b.rs", "Way: a.rs, b.rs"]);
}

#[test]
fn an_error_type_implements_or_derives_error() {
    let text =
        "#[derive(Debug, thiserror::Error)] enum Fault {} struct Wrong; impl std::error::Error for Wrong {}
        #[derive(Error)] struct FineError; #[derive(Error)] enum HeadRejection {} struct Late; impl serde::de::Error for Late {}
        #[cfg(test)] mod tests { struct Broken; impl std::error::Error for Broken {} }";
    assert_eq!(misnamed_errors(&sources(&[("a.rs", text)])), ["a.rs: Fault", "a.rs: Wrong"]);
}

#[test]
fn a_header_names_each_file_between_backticks() {
    let text = "//! Reads: `head` finds the end,\n//! [`body`] and `chunked.rs` the rest; headers aside.
        mod head; mod body; mod chunked; mod headers; #[cfg(test)] mod tests; mod inline {}";
    assert_eq!(
        missing_from_headers(&sources(&[("http1/mod.rs", text)])),
        ["http1/mod.rs does not name headers"]
    );
}

#[test]
fn a_crate_is_named_by_code_and_not_by_a_comment_or_a_string() {
    let code = "use pingora_core::Thing;";
    let found = naming_outside(
        &sources(&[
            ("edge/proxy/mod.rs", code),
            ("edge/proxy/tunnel.rs", code),
            ("edge/proxy_line.rs", code),
            ("app.rs", "// pingora\n/// `pingora`\nfn f() { log(\"pingora\") }"),
            ("main.rs", "fn f() { run!(pingora::start()) }"),
        ]),
        "pingora",
        "edge/proxy",
    );
    assert_eq!(found, ["edge/proxy_line.rs", "main.rs"]);
}

#[test]
fn a_fragment_is_short_and_begins_with_a_word_that_leans_on_the_line_above() {
    let text = "struct S {\n/// In bytes.\na: u8,\n/// The same.\nb: u8,\n/// Its\n/// body.\nc: u8,\n/// Inbound bytes.\nd: u8,
        /// In bytes, as the peer counts them.\ne: u8,\n/// Unix seconds.\nf: u8 }
        #[cfg(test)]\nmod tests {\n/// In bytes.\nstruct T; }";
    assert_eq!(
        fragments(&sources(&[("a.rs", text)])),
        ["a.rs:2: In bytes.", "a.rs:4: The same.", "a.rs:6: Its body."]
    );
}
