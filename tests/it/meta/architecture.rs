//! The house keeps to its floors: reads the sources and holds what each room imports to the table in `src/lib.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a room stands in the table. Rooms of one row may use each other; otherwise imports go to lower floors only.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    floor: u32,
    row: usize,
}

#[test]
fn every_room_stands_in_the_table_of_lib_rs_and_every_entry_is_a_room() {
    let table = table();
    let mut rooms: Vec<String> = sources().iter().map(|path| room(path)).filter(|r| r != "lib").collect();
    rooms.sort();
    rooms.dedup();
    assert_eq!(rooms, table.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn imports_go_to_lower_floors_only() {
    let table = table();
    let mut wrong = vec![];
    for path in sources() {
        let own = room(&path);
        let Some(place) = table.get(&own) else { continue };
        for import in imports(&code(&path)) {
            let Some(other) = table.get(&import) else { continue };
            if other.row != place.row && other.floor >= place.floor {
                wrong.push(format!(
                    "{} (floor {}) uses {import} ({})",
                    path.display(),
                    place.floor,
                    other.floor
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_edge_names_pingora() {
    let names = |path: &PathBuf| words(&code(path)).any(|word| word.starts_with("pingora"));
    let wrong: Vec<_> = sources().into_iter().filter(|path| room(path) != "edge" && names(path)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_reader_of_imports_sees_every_way_to_write_one() {
    let text = "use crate::config::Config; use crate::{app, ledger::{Claim, Lease}, outcome as o};\nfn f() { crate::clock::unix() }";
    assert_eq!(imports(text), ["config", "app", "ledger", "outcome", "clock"]);
    assert_eq!(imports("use countersign::cli;"), ["cli"]);
    let spoken =
        "// crate::app\n/// [`crate::edge`]\nlet a = \"crate::cli\"; use crate::clock; /* crate::app */";
    assert_eq!(imports(&without_words(spoken)), ["clock"]);
}

fn sources() -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 10, "the sources are not where they were");
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `src/edge/path.rs` belongs to `edge`, `src/app.rs` to `app`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(src()).expect("a source");
    let first = inside.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The rows `//! | 4 | [`edge`] | … |`: floor and rooms.
fn table() -> BTreeMap<String, Place> {
    let map = std::fs::read_to_string(src().join("lib.rs")).expect("lib.rs");
    let mut table = BTreeMap::new();
    for (row, line) in map.lines().enumerate() {
        let Some(cells) = line.strip_prefix("//! |") else { continue };
        let mut cells = cells.split('|').map(str::trim);
        let (Some(Ok(floor)), Some(rooms)) = (cells.next().map(str::parse), cells.next()) else { continue };
        for name in rooms.split('`').skip(1).step_by(2) {
            table.insert(name.trim_end_matches(".rs").to_owned(), Place { floor, row });
        }
    }
    assert!(table.len() > 8, "the table in lib.rs is not where it was: {table:?}");
    table
}

fn code(path: &Path) -> String {
    without_words(&std::fs::read_to_string(path).expect("a source"))
}

/// The code without comments and string literals.
fn without_words(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(inner) = rest.strip_prefix("r#\"") {
            inner.find("\"#").map_or(rest.len(), |at| at + 5)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else if c == '"' {
            string_end(rest)
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        rest = &rest[skip.min(rest.len())..];
    }
    code
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The rooms a source names: what follows `crate::`, or the crate's own name.
fn imports(code: &str) -> Vec<String> {
    let mut found = vec![];
    let starts = code.match_indices("crate::").chain(code.match_indices("countersign::"));
    for (at, prefix) in starts {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(members(group)),
            None => found.extend(words(rest).next().map(str::to_owned)),
        }
    }
    found
}

/// The first word of each member of a `{…}` group.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut first, mut found) = (0, true, vec![]);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => first = true,
            c if first && c.is_alphabetic() => {
                found.extend(words(&group[at..]).next().map(str::to_owned));
                first = false;
            }
            _ => {}
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}
