//! The units in packaging/systemd, as systemd reads them.

use super::project;
use crate::tools::have;
use std::process::Command;

/// The highest exposure that a service may have, in tenths: 2.0 of 10.
const MAX_EXPOSURE: &str = "--threshold=20";

#[test]
fn services_are_confined_to_an_exposure_below_two() {
    if !have("systemd-analyze") {
        return;
    }
    for unit in ["countersign.service", "countersign@.service"] {
        let path = project("packaging/systemd").join(unit);
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", MAX_EXPOSURE])
            .arg(path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{unit}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    if !have("systemd-analyze") {
        return;
    }
    // The program has to be where the units expect it.
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("units");
    std::fs::create_dir(&folder).unwrap();
    let mut units = vec![];
    for entry in std::fs::read_dir(project("packaging/systemd")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let copy = folder.join(path.file_name().unwrap().to_str().unwrap().replace("@.", "@shop."));
        std::fs::write(&copy, text.replace("/usr/bin/countersign", env!("CARGO_BIN_EXE_countersign")))
            .unwrap();
        units.push(copy);
    }
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output().unwrap();
    let ours = |line: &&str| {
        line.contains("countersign")
            // What systemd before 253 says of a type that it does not know; the line before it is for these.
            && !line.contains("Failed to parse service type, ignoring: notify-reload")
    };
    let errors = String::from_utf8_lossy(&output.stderr).lines().filter(ours).collect::<Vec<_>>().join("\n");
    assert_eq!(errors, "");
    assert!(units.len() >= 4, "{units:?}");
}
