//! How long files and functions may be. Test code does not count.

use super::source::Source;

/// The most lines of a file, unless its header says why it is longer.
const MAX_FILE: usize = 300;

/// The most lines of a function, from its signature to its closing brace.
const MAX_FUNCTION: usize = 60;

/// How the header of a longer file begins to say why: "This file is long because …".
const REASON: &str = "file is long";

pub fn long_files(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.lines > MAX_FILE && !source.header.contains(REASON));
    long.map(|source| format!("{}: {} lines", source.name, source.lines)).collect()
}

pub fn long_functions(sources: &[Source]) -> Vec<String> {
    let all = sources.iter().flat_map(|s| s.functions.iter().map(move |function| (s, function)));
    let long = all.filter(|(_, function)| function.lines > MAX_FUNCTION);
    long.map(|(source, f)| format!("{}: {} has {} lines", source.name, f.name, f.lines)).collect()
}

#[test]
fn a_file_is_long_without_its_tests_and_without_a_reason_in_its_header() {
    let long = "fn f() {}\n".repeat(MAX_FILE + 1);
    let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn t() {}\n".repeat(MAX_FILE));
    let argued = format!("//! Reads. This file is long because of tables.\n{long}");
    let sources = [("long.rs", &long), ("tested.rs", &tested), ("argued.rs", &argued)]
        .map(|(name, text)| Source::parse(name, text));
    assert_eq!(long_files(&sources), ["long.rs: 301 lines"]);
    assert_eq!(sources[1].lines, 1);
}

#[test]
fn a_function_is_measured_from_its_signature_to_its_closing_brace() {
    let body = "    f();\n".repeat(MAX_FUNCTION - 1);
    let text = format!(
        "/// Doc.\nfn fits() {{\n{}}}\nstruct S;\nimpl S {{\nfn method(&self) {{\n{body}}}\n}}\n#[cfg(test)]\nmod tests {{\n#[test]\nfn test() {{\n{body}\n}}\n}}",
        "    f();\n".repeat(MAX_FUNCTION - 2)
    );
    assert_eq!(long_functions(&[Source::parse("a.rs", &text)]), ["a.rs: method has 61 lines"]);
}
