//! Manual pages and completions: what `man` and `completions` print is read by the tools that they are for.

use crate::tools::have;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn countersign(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).env_clear().output().unwrap()
}

/// Runs a shell's script from standard input.
fn run(shell: &str, script: &str) -> Output {
    let mut child = Command::new(shell)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_command_has_a_manual_page_that_mandoc_reads_without_an_error() {
    if !have("mandoc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let output = countersign(&["man", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let mut pages = BTreeSet::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let page = entry.unwrap().path();
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&page).output().unwrap();
        assert!(lint.status.success(), "{}: {lint:?}", page.display());
        pages.insert(page.file_name().unwrap().to_str().unwrap().to_owned());
    }
    // Each page names those of the commands below it.
    let mut expected = BTreeSet::from(["countersign.1".to_owned()]);
    for page in &pages {
        let text =
            Command::new("mandoc").args(["-T", "utf8"]).arg(folder.path().join(page)).output().unwrap();
        let text = stdout(&text).replace('\u{8}', "");
        let names = text.split_whitespace().filter_map(|word| word.strip_suffix("(1)"));
        let below = names.filter(|name| name.starts_with("countersign-"));
        expected.extend(below.map(|name| format!("{name}.1")));
    }
    assert_eq!(pages, expected);
    assert!(pages.len() > 10, "{pages:?}");
}

#[test]
fn manual_page_that_is_printed_keeps_the_lines_of_its_examples() {
    if !have("mandoc") {
        return;
    }
    let page = stdout(&countersign(&["man"]));
    let mut mandoc = Command::new("mandoc")
        .args(["-T", "ascii"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    mandoc.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let text = stdout(&mandoc.wait_with_output().unwrap());
    let help = stdout(&countersign(&["--help"]));
    let examples = help.lines().filter(|line| line.starts_with("  countersign ")).collect::<Vec<_>>();
    assert!(examples.len() > 3, "{help}");
    for example in examples {
        assert!(text.lines().any(|line| line.trim() == example.trim()), "{example:?} is not in:\n{text}");
    }
}

#[test]
fn manual_pages_are_not_written_into_a_folder_that_is_missing() {
    let output = countersign(&["man", "/no/such/folder"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("cannot write manual pages to /no/such/folder: No such file"), "{error}");
}

#[test]
fn bash_zsh_and_fish_complete_a_command() {
    let script = |shell| stdout(&countersign(&["completions", shell]));
    let completed = [
        (
            "bash",
            "COMP_WORDS=(countersign recon) COMP_CWORD=1\n\
             _countersign countersign recon countersign\necho \"${COMPREPLY[*]}\"\n",
        ),
        // zsh completes in a terminal only. It reads the whole function here.
        ("zsh", "whence -w _countersign | sed 's/_countersign: function/reconcile/'\n"),
        ("fish", "complete --do-complete 'countersign recon' | string match -r '^\\S+'\n"),
    ];
    for (shell, test) in completed {
        if have(shell) {
            let prelude = if shell == "zsh" { "autoload -U compinit; compinit -D\n" } else { "" };
            let output = run(shell, &format!("{prelude}{}\n{test}", script(shell)));
            assert_eq!(stdout(&output).trim(), "reconcile", "{shell}: {output:?}");
        }
    }
}
