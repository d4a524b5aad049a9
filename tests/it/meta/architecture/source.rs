//! One source file as the checks need it: plain lists that [`Reader`] fills in one walk. Comments and strings never count
//! as code.

use super::reader::Reader;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use syn::visit::Visit;

/// A module path: `["edge", "proxy"]`; the crate itself is empty.
pub type Module = Vec<String>;

/// A source file.
#[derive(Debug, Default)]
pub struct Source {
    /// The path below `src`, such as `edge/proxy.rs`.
    pub name: String,
    pub module: Module,
    /// The text of the leading `//!` lines.
    pub header: String,
    /// How many lines there are outside test code.
    pub lines: usize,
    /// The files that this one declares by `mod name;`, without those for tests.
    pub children: Vec<String>,
    pub test_children: Vec<String>,
    /// Every path that is named: `use` trees (also those of `imports`) and paths of two segments or more.
    pub paths: Vec<UsedPath>,
    /// What `use` brings into scope.
    pub imports: Vec<Import>,
    /// The items that are defined here, as module path and name.
    pub items: BTreeSet<Module>,
    /// The names of methods, variants and macros, which a path cannot import.
    pub members: BTreeSet<String>,
    /// The types that are defined outside test code.
    pub types: Vec<String>,
    /// The types that implement `std::error::Error`.
    pub errors: Vec<String>,
    pub functions: Vec<Function>,
    /// The doc comments outside test code.
    pub docs: Vec<Doc>,
    /// Every identifier of the file.
    pub words: BTreeSet<String>,
}

#[derive(Debug)]
pub struct UsedPath {
    /// The module where it stands, which may be an inline one.
    pub module: Module,
    pub segments: Vec<String>,
    pub in_test: bool,
    pub line: usize,
}

/// `use path as name`; for a glob the name is `*` and the path is that of the module.
#[derive(Debug, Clone)]
pub struct Import {
    pub module: Module,
    pub name: String,
    pub path: Vec<String>,
}

#[derive(Debug)]
pub struct Function {
    pub name: String,
    /// How many lines there are from the signature to the closing brace.
    pub lines: usize,
}

#[derive(Debug)]
pub struct Doc {
    pub line: usize,
    pub text: String,
}

impl Source {
    pub fn parse(name: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let module = module_of(name);
        let source = Self { name: name.to_owned(), module: module.clone(), ..Self::default() };
        let mut reader = Reader::new(source, module);
        reader.visit_file(&syntax);
        let (mut source, tests) = reader.finish();
        source.header = header(text);
        source.lines = text.lines().count() - tests.iter().map(|range| range.clone().count()).sum::<usize>();
        source.docs = docs(text, &tests);
        words(text.parse().expect("it was parsed above"), &mut source.words);
        source
    }

    /// Whether the file defines an item, method, variant or macro of this name.
    pub fn names(&self, item: &str) -> bool {
        let is_item = |path: &Module| path.last().is_some_and(|name| name == item);
        self.items.iter().any(is_item) || self.members.contains(item)
    }

    /// Counts all of it as test code: its parent declares it under `#[cfg(test)]`.
    pub fn mark_as_test(&mut self) {
        self.lines = 0;
        self.paths.iter_mut().for_each(|path| path.in_test = true);
        self.types.clear();
        self.errors.clear();
        self.functions.clear();
        self.docs.clear();
    }
}

/// `edge/mod.rs` is `edge`, `edge/proxy.rs` is `edge::proxy`, `lib.rs` is the crate.
fn module_of(name: &str) -> Module {
    let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { vec![] } else { path.split('/').map(str::to_owned).collect() }
}

fn header(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The `///` comments, each as one text.
fn docs(text: &str, tests: &[RangeInclusive<usize>]) -> Vec<Doc> {
    let mut docs: Vec<Doc> = vec![];
    let mut inside = false;
    for (line, comment) in (1..).zip(text.lines().map(|line| line.trim().strip_prefix("///"))) {
        match comment {
            Some(comment) if inside => {
                let doc = docs.last_mut().expect("a comment that goes on");
                doc.text = format!("{} {}", doc.text, comment.trim());
            }
            Some(comment) => docs.push(Doc { line, text: comment.trim().to_owned() }),
            None => {}
        }
        inside = comment.is_some();
    }
    docs.retain(|doc| !tests.iter().any(|range| range.contains(&doc.line)));
    docs
}

/// Collects every identifier of a token stream.
pub fn words(tokens: TokenStream, found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => drop(found.insert(ident.to_string())),
            TokenTree::Group(group) => words(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}
