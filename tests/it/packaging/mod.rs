//! What users install: manual pages, completions, units of systemd and of Quadlet. scripts/test-package installs the Debian
//! package for real.
//!
//! - `kubernetes`: the manifests in packaging/kubernetes
//! - `manual`: manual pages and completions, as man and the shells read them
//! - `quadlet`: the units in packaging/quadlet, as podman reads them
//! - `systemd`: the units in packaging/systemd, as systemd reads them

mod kubernetes;
mod manual;
mod quadlet;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns a file or folder of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Asserts that a configuration is valid if the folder `mounted` holds these secrets.
fn assert_valid_with_secrets<'a>(configuration: &str, mounted: &str, secrets: impl Iterator<Item = &'a str>) {
    let folder = tempfile::tempdir().unwrap();
    for name in secrets {
        std::fs::write(folder.path().join(name), "whsec_of_the_packaging_tests\n").unwrap();
    }
    let file = folder.path().join("countersign.toml");
    std::fs::write(&file, configuration.replace(mounted, folder.path().to_str().unwrap())).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["check", "--config"])
        .arg(file)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
