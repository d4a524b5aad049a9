//! What the documents say of the project's own files: links lead to files, links to code name an item of that file, and the
//! README names the variables that the built-in configuration reads.

use super::architecture::source::Source;
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = "docs/architecture.md";

#[test]
fn every_link_in_the_documents_to_a_project_file_exists() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["", "docs", "docs/decisions", "docs/guides"].map(|folder| pages(&home.join(folder)));
    let (mut seen, mut dead) = (0, vec![]);
    for page in folders.concat() {
        let text = std::fs::read_to_string(&page).unwrap();
        for Link { target, .. } in links(&text).into_iter().filter(Link::is_file) {
            let file = page.parent().unwrap().join(target.split('#').next().unwrap());
            if !file.exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
            seen += 1;
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(seen > 10, "only {seen} links were found");
}

#[test]
fn every_link_in_the_architecture_document_names_an_item_of_its_file() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(ARCHITECTURE);
    let text = std::fs::read_to_string(&page).unwrap();
    let wrong = misnamed_items(&text, |target| std::fs::read_to_string(page.parent()?.join(target)).ok());
    assert!(wrong.is_empty(), "links that name no item of their file:\n{}", wrong.join("\n"));
}

#[test]
fn readme_and_built_in_configuration_name_the_same_variables() {
    let readme = include_str!("../../../README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<&str> = rows.filter(|name| *name != "COUNTERSIGN_CONFIG").collect();
    let built_in = include_str!("../../../config/countersign.toml");
    let values = built_in.lines().filter(|line| !line.starts_with('#'));
    let mut read: Vec<&str> = values
        .filter_map(|line| line.split_once("{$").map(|(_, rest)| rest.split([':', '}']).next().unwrap()))
        .collect();
    documented.sort_unstable();
    read.sort_unstable();
    assert_eq!(documented, read);
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// A link of a Markdown text, `[text](target)`.
#[derive(Debug, PartialEq)]
struct Link<'a> {
    text: &'a str,
    target: &'a str,
}

impl<'a> Link<'a> {
    /// Whether the target is a file of the project, not an address or a heading of the same page.
    fn is_file(&self) -> bool {
        !self.target.contains("://") && !self.target.starts_with(['#', '<']) && !self.target.is_empty()
    }

    /// The last segment of a text such as `` `ledger::Ledger::claim()` ``, if the whole text is such a path.
    fn item(&self) -> Option<&'a str> {
        let path = self.text.strip_prefix('`')?.strip_suffix('`')?.trim_end_matches("()");
        let segments = path.split("::").map(|segment| segment.split('<').next().unwrap_or_default());
        let is_name = |name: &str| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            !name.is_empty() && name.chars().all(word)
        };
        segments.clone().all(is_name).then(|| segments.last())?
    }
}

fn links(text: &str) -> Vec<Link<'_>> {
    let ends = text.match_indices("](");
    let link = |(end, _): (usize, &str)| {
        let start = text[..end].rfind('[')? + 1;
        let target = text[end + 2..].split(')').next()?;
        Some(Link { text: &text[start..end], target })
    };
    ends.filter_map(link).collect()
}

/// The links to a Rust file whose text is an item that the file does not define. A module may be named by its own file.
fn misnamed_items(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let wrong = |link: &Link| {
        let file = link.target.split('#').next()?;
        let item = link.item().filter(|_| link.is_file() && file.ends_with(".rs"))?;
        let found = read(file).is_some_and(|text| {
            let source = Source::parse(file.rsplit("src/").next().unwrap_or(file), &text);
            source.module.last().is_some_and(|module| module == item) || source.names(item)
        });
        (!found).then(|| format!("[{}]({})", link.text, link.target))
    };
    links(page).iter().filter_map(wrong).collect()
}

#[test]
fn links_are_read_with_their_text_and_target() {
    let text = "See [the page](a.md#top), [`intake::receive`](../src/intake.rs) and [here](https://a.b).";
    let found = links(text);
    assert_eq!(found.iter().map(Link::is_file).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(found[0], Link { text: "the page", target: "a.md#top" });
    let items: Vec<_> = found.iter().map(Link::item).collect();
    assert_eq!(items, [None, Some("receive"), None]);
    let item = |text| Link { text, target: "" }.item();
    assert_eq!(item("`Ledger::claim()`"), Some("claim"));
    assert_eq!(item("`Arc<Ledger>`"), Some("Arc"));
    assert_eq!((item("`a b`"), item("`/readyz`"), item("`503`x")), (None, None, None));
}

#[test]
fn an_item_is_a_type_a_function_a_method_a_variant_or_the_module_itself() {
    let source = "pub struct Server; impl Server { pub fn run(&self) {} } enum State { Ready } trait Ledger { fn claim(&self); } \
        fn serve() { gone() } const MAX: u8 = 1; // hidden\nmacro_rules! hit { () => {} }";
    let read = |target: &str| (target == "../src/edge/server.rs").then(|| source.to_owned());
    let check = |text: &str| misnamed_items(&format!("[`{text}`](../src/edge/server.rs#L3)"), read);
    for text in [
        "Server",
        "Server::run",
        "Server::run()",
        "State::Ready",
        "Ledger::claim",
        "serve",
        "MAX",
        "hit",
        "edge::server",
    ] {
        assert_eq!(check(text), Vec::<String>::new(), "{text}");
    }
    for text in ["Gone", "Server::gone", "hidden"] {
        assert_eq!(check(text).len(), 1, "{text}");
    }
    assert_eq!(misnamed_items("[`serve`](../src/other.rs)", read), ["[`serve`](../src/other.rs)"]);
    assert!(misnamed_items("[`serve`](other.md) [serving](../src/other.rs)", read).is_empty());
}
