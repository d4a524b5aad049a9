//! What the project's pages say of its own files holds.

use std::path::{Path, PathBuf};

#[test]
fn every_link_in_the_documents_to_a_project_file_exists() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for page in [
        pages(home),
        pages(&home.join("docs")),
        pages(&home.join("docs/decisions")),
        pages(&home.join("docs/guides")),
    ]
    .concat()
    {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or(link);
            let target = page.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} links were found");
}

#[test]
fn readme_and_built_in_configuration_name_the_same_variables() {
    let readme = include_str!("../../../README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut told: Vec<&str> = rows.filter(|name| *name != "COUNTERSIGN_CONFIG").collect();
    let built_in = include_str!("../../../config/countersign.toml");
    let values = built_in.lines().filter(|line| !line.starts_with('#'));
    let mut read: Vec<&str> = values
        .filter_map(|line| line.split_once("{$").map(|(_, rest)| rest.split([':', '}']).next().unwrap()))
        .collect();
    told.sort_unstable();
    read.sort_unstable();
    assert_eq!(told, read);
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Where the links of a Markdown text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}
