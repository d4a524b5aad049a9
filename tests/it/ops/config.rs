//! Golden files: each `tests/config/*.toml` stands beside a `.txt` with the exact result, which is the configuration
//! or all of its errors. Lines `#env NAME=value` set the environment. `UPDATE_GOLDEN=1` rewrites the `.txt` files;
//! read the differences before committing them.

use countersign::config::{BUILT_IN, Source};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the files, each with its expected result.
fn cases() -> Vec<(PathBuf, Result<String, String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), outcome(&file))).collect()
}

fn outcome(file: &Path) -> Result<String, String> {
    // The file is named without its folder, so that messages do not depend on the machine.
    let whole = file.display().to_string();
    let name = file.file_name().unwrap().to_str().unwrap();
    let text = fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&text);
    let env: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#env "))
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.replace("\\n", "\n")))
        .collect();
    match Source::new(Some(file.to_owned()), env).load() {
        Ok(config) => Ok(format!("{config:#?}\n")),
        Err(errors) => Err(format!("{errors}\n").replace(&whole, name)),
    }
}

#[test]
fn every_file_gives_the_text_beside_it() {
    let update = std::env::vars_os().any(|(name, _)| name == "UPDATE_GOLDEN");
    let mut differing = Vec::new();
    for (file, outcome) in cases() {
        let got = outcome.unwrap_or_else(|errors| errors);
        let beside = file.with_extension("txt");
        if update {
            fs::write(&beside, &got).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != got {
            differing.push(format!("{}:\n{got}", file.display()));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 takes these up:\n{}", differing.join("\n"));
}

#[test]
fn files_named_good_are_valid_and_all_others_are_not() {
    let (good, bad): (Vec<_>, Vec<_>) = cases()
        .into_iter()
        .partition(|(file, _)| file.file_name().unwrap().to_str().unwrap().starts_with("good_"));
    assert!(good.len() >= 5, "{} good ones", good.len());
    assert!(bad.len() >= 25, "{} bad ones", bad.len());
    for (file, outcome) in good {
        assert!(outcome.is_ok(), "{}: {outcome:?}", file.display());
    }
    for (file, outcome) in bad {
        assert!(outcome.is_err(), "{} is taken", file.display());
    }
}

/// The word that every secret in these files contains.
const MARK: &str = "Hush";

#[test]
fn no_message_contains_a_secret() {
    let mut secrets = 0;
    for (file, outcome) in cases() {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        secrets += text.matches(MARK).count();
        let (Ok(shown) | Err(shown)) = outcome;
        assert!(!shown.contains(MARK), "{}: {shown}", file.display());
    }
    assert!(secrets > 20, "only {secrets} secrets were looked for");
}

#[test]
fn documentation_lists_every_key_with_its_default() {
    let documentation = fs::read_to_string("docs/configuration.md").unwrap();
    let (mut section, mut keys) = ("", 0);
    // A key without a default is there as an example, behind a `#` without a space.
    let plain = |line: &'static str| match line.strip_prefix('#') {
        Some(example) => Some(example).filter(|example| !example.is_empty() && !example.starts_with(' ')),
        None => Some(line).filter(|line| !line.is_empty()),
    };
    for line in BUILT_IN.lines().filter_map(plain) {
        match line.split_once(" = ") {
            None => section = line,
            Some((key, default)) => {
                let mut parts = documentation.split("\n## ").flat_map(|part| part.split("\n### "));
                let part = parts.find(|part| part.starts_with(&format!("`{section}`")));
                let part = part.unwrap_or_else(|| panic!("{section} is not documented"));
                let row = format!("\n| `{key}` | `{default}` |");
                assert!(part.contains(&row), "{section} {key} is not documented with {default}");
                keys += 1;
            }
        }
    }
    let rows = documentation
        .split("\n## `[")
        .skip(1)
        .flat_map(|part| part.lines())
        .filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), keys, "as many keys are documented as there are");
}

#[test]
fn documentation_examples_are_valid() {
    let documentation = fs::read_to_string("docs/configuration.md").unwrap();
    let examples: Vec<_> =
        documentation.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 3);
    let folder = tempfile::tempdir().unwrap();
    for example in examples {
        // The secrets' files are missing here, so only errors about their content are ignored.
        let secrets = folder.path().display().to_string();
        let text = example.replace("/run/secrets", &secrets);
        for name in text.split(&secrets).skip(1).map(|rest| rest.split('}').next().unwrap()) {
            let secret = if name.ends_with("_key") { "sk_test_example" } else { "whsec_example" };
            fs::write(folder.path().join(name.trim_start_matches('/')), secret).unwrap();
        }
        let file = folder.path().join("c.toml");
        fs::write(&file, text).unwrap();
        let env = [("STRIPE_WEBHOOK_SECRET".to_owned(), "whsec_example".to_owned())];
        Source::new(Some(file), env).load().unwrap_or_else(|errors| panic!("{example}\n{errors}"));
    }
}
