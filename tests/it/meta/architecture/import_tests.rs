//! Unit tests of `imports`, on crates of a few lines.

use super::imports::{Crate, layers};

const TABLE: &str = "//! | layer | modules | what |\n//! |---|---|---|\n//! | 2 | `main.rs`, [`app`] | runs |
//! | 1 | [`ledger`] | keeps |\n//! | 0 | [`clock`], [`http1`] | reads |\n";

fn up(texts: &[(&'static str, &'static str)]) -> Vec<String> {
    Crate::new(texts.iter().copied()).upward_imports(&layers(TABLE))
}

fn cycles(texts: &[(&'static str, &'static str)]) -> Vec<String> {
    Crate::new(texts.iter().copied()).file_cycles()
}

#[test]
fn the_table_gives_each_module_a_layer_and_a_row() {
    let table = layers(TABLE);
    assert_eq!(table.keys().collect::<Vec<_>>(), ["app", "clock", "http1", "ledger", "main"]);
    assert_eq!((table["app"].layer, table["clock"].layer), (2, 0));
    assert_eq!(table["clock"], table["http1"]);
    assert_ne!(table["clock"].row, table["ledger"].row);
}

#[test]
fn an_import_goes_upwards_however_it_is_written() {
    for text in [
        "use crate::app::App;",
        "use crate::{clock, app::{self, App}};",
        "fn f() { crate::app::run() }",
        "fn f() { info!(n = 1, \"{}\", crate::app::run()) }",
        "use super::app;",
        "mod inner { use super::super::app::App; }",
        "#[cfg(test)] mod tests { use crate::app::App; }",
    ] {
        let found = up(&[("lib.rs", "mod app; mod ledger;"), ("app.rs", "struct App;"), ("ledger.rs", text)]);
        assert!(found.len() == 1 && found[0].contains("(layer 1) uses app (layer 2)"), "{text}: {found:?}");
    }
}

#[test]
fn imports_within_a_row_or_downwards_and_words_are_fine() {
    let found = up(&[
        ("main.rs", "use countersign::app;"),
        ("app.rs", "use crate::ledger::Ledger; use crate::clock;"),
        ("ledger.rs", "// crate::app\n/// [`crate::app`]\nfn f() { log(\"crate::app\"); app::run() }"),
        ("clock.rs", "use crate::http1; pub(in crate::app) fn f() {}"),
        ("http1.rs", "use crate::clock;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn modules_of_one_row_in_a_circle_are_found_and_tests_may_close_one() {
    let circle = [("clock.rs", "use crate::http1;"), ("http1.rs", "fn f() { crate::clock::unix() }")];
    assert_eq!(Crate::new(circle).module_cycles(), ["clock ↔ http1"]);
    let tested =
        [("clock.rs", "use crate::http1;"), ("http1.rs", "#[cfg(test)] mod tests { use crate::clock; }")];
    assert!(Crate::new(tested).module_cycles().is_empty());
}

#[test]
fn files_that_import_each_other_are_found_with_the_lines_that_do() {
    let found = cycles(&[
        ("edge/mod.rs", "mod a; mod b; mod c;"),
        ("edge/a.rs", "use super::b::B;\npub struct A;"),
        ("edge/b.rs", "pub struct B;\nuse super::c::C;"),
        ("edge/c.rs", "pub struct C; fn f() { crate::edge::a::A; }"),
        ("edge/d.rs", "use super::a::A;"),
    ]);
    assert_eq!(
        found,
        ["edge/a.rs:1 uses super::b::B of edge/b.rs\nedge/b.rs:2 uses super::c::C of edge/c.rs\n\
          edge/c.rs:1 uses crate::edge::a::A of edge/a.rs"]
    );
}

#[test]
fn a_child_that_uses_an_item_of_the_parent_that_uses_it_is_a_cycle() {
    let parent = "mod child; use child::Child; pub struct Shared;";
    for child in [
        "use super::Shared; pub struct Child;",
        "use crate::parent::Shared; pub struct Child;",
        "use super::*; pub struct Child;",
        "pub struct Child(super::Shared);",
        "mod inner { use super::super::Shared; } pub struct Child;",
    ] {
        assert_eq!(cycles(&[("parent.rs", parent), ("parent/child.rs", child)]).len(), 1, "{child}");
    }
    let tested = "pub struct Child; #[cfg(test)] mod tests { use super::super::Shared; }";
    assert!(cycles(&[("parent.rs", parent), ("parent/child.rs", tested)]).is_empty());
}

#[test]
fn a_reexport_leads_to_the_file_that_defines_the_item() {
    let found = cycles(&[
        ("lib.rs", "mod ledger;"),
        ("ledger/mod.rs", "mod types; mod sqlite; pub use types::Lease; pub use self::sqlite::*;"),
        ("ledger/types.rs", "pub struct Lease;"),
        (
            "ledger/sqlite.rs",
            "use super::Lease; use crate::ledger::types; fn f() { types::Lease; } pub fn open() {}",
        ),
    ]);
    assert!(found.is_empty(), "{found:?}");
    let found = cycles(&[
        ("ledger/mod.rs", "mod types; mod sqlite; pub use types::*; pub use sqlite::Store;"),
        ("ledger/types.rs", "use crate::ledger::Store; pub struct Lease;"),
        ("ledger/sqlite.rs", "use super::{Lease as L}; pub struct Store;"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_name_of_another_crate_is_no_file() {
    let found = cycles(&[
        ("ledger/mod.rs", "mod redis; use redis::Link; pub struct Ledger;"),
        ("ledger/redis.rs", "use redis::Client; use ::redis::Ledger; pub struct Link;"),
        ("tests.rs", "use redis::redis; use self::tests; fn f() { redis::redis::redis() }"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
