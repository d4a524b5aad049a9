//! The architecture of `src`, read from the sources.
//!
//! - `source`: what the checks need of one file
//! - `reader`: the walk over a file's syntax tree that gathers it
//! - `imports`: layers and import cycles, with its unit tests in `import_tests`
//! - `sizes`: the length of files and functions
//! - `names`: type names, module maps in headers, doc comments
//!
//! Each check has unit tests on small inputs; the tests here apply it to `src`.

mod import_tests;
mod imports;
mod names;
mod reader;
mod sizes;
pub mod source;

use imports::{Crate, layers, top};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn every_module_is_in_the_table_of_lib_rs_and_every_entry_is_a_module() {
    let (sources, table) = (crate_sources(), layers(&lib()));
    let modules: BTreeSet<&str> = sources.sources.iter().map(|s| top(&s.module)).collect();
    let modules: Vec<&str> = modules.into_iter().filter(|module| *module != "lib").collect();
    assert_eq!(modules, table.keys().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn modules_import_from_lower_layers_only() {
    assert_none(crate_sources().upward_imports(&layers(&lib())));
}

#[test]
fn modules_of_one_row_do_not_import_each_other_in_a_circle() {
    assert_none(crate_sources().module_cycles());
}

#[test]
fn no_files_import_each_other() {
    assert_none(crate_sources().file_cycles());
}

#[test]
fn every_parent_names_each_of_its_files_in_its_header() {
    assert_none(names::missing_from_headers(&crate_sources().sources));
}

#[test]
fn only_the_proxy_names_pingora() {
    assert_none(names::naming_outside(&crate_sources().sources, "pingora", "edge/proxy"));
}

#[test]
fn no_two_types_share_a_name() {
    assert_none(names::shared_types(&crate_sources().sources));
}

#[test]
fn every_error_type_is_named_error_or_rejection() {
    assert_none(names::misnamed_errors(&crate_sources().sources));
}

#[test]
fn no_file_is_longer_than_300_lines_without_its_tests_and_without_a_reason() {
    assert_none(sizes::long_files(&crate_sources().sources));
}

#[test]
fn no_function_is_longer_than_60_lines() {
    assert_none(sizes::long_functions(&crate_sources().sources));
}

#[test]
fn every_doc_comment_can_be_read_without_the_line_above_it() {
    assert_none(names::fragments(&crate_sources().sources));
}

#[track_caller]
fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "{} found:\n\n{}\n", found.len(), found.join("\n"));
}

fn lib() -> String {
    std::fs::read_to_string(src().join("lib.rs")).expect("lib.rs")
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Reads every source of the crate.
fn crate_sources() -> Crate {
    let (mut texts, mut folders) = (vec![], vec![src()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src()).expect("a source").to_string_lossy().into_owned();
                texts.push((name, std::fs::read_to_string(&path).expect("a source")));
            }
        }
    }
    assert!(texts.len() > 100, "only {} sources were found", texts.len());
    texts.sort_unstable();
    Crate::new(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())))
}
