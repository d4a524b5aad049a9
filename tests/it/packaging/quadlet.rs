//! The units in packaging/quadlet: podman turns them into services. Where podman has no Quadlet, their keys are compared with
//! a list.

use super::{assert_valid_with_secrets, project};
use std::path::Path;
use std::process::Command;

const GENERATOR: &str = "/usr/libexec/podman/quadlet";

/// The keys that podman 5 knows and the units use (podman-systemd.unit(5)).
const KEYS: [(&str, &[&str]); 3] = [
    (
        "Container",
        &[
            "AddCapability",
            "AutoUpdate",
            "ContainerName",
            "DropCapability",
            "Environment",
            "Exec",
            "HealthCmd",
            "HealthInterval",
            "HealthRetries",
            "HealthStartPeriod",
            "HealthTimeout",
            "Image",
            "Network",
            "NoNewPrivileges",
            "Notify",
            "PublishPort",
            "ReadOnly",
            "Secret",
            "StopTimeout",
            "Volume",
        ],
    ),
    ("Network", &["Internal", "NetworkName", "Options"]),
    ("Volume", &["VolumeName"]),
];

/// The units, as pairs of file name and text.
fn units() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(project("packaging/quadlet")).unwrap().map(|entry| entry.unwrap().path());
    let units = entries.filter(|path| path.extension().is_some_and(|extension| extension != "toml"));
    units
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn podman_knows_every_key_of_the_units() {
    if Path::new(GENERATOR).exists() {
        let output = Command::new(GENERATOR)
            .arg("-dryrun")
            .env("QUADLET_UNIT_DIRS", project("packaging/quadlet"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for (name, _) in units() {
            assert!(text.contains(&format!("/packaging/quadlet/{name}\n")), "{name} is missing in:\n{text}");
        }
        return;
    }
    eprintln!("SKIPPED: podman has no Quadlet here; the units' keys are compared with a list");
    for (name, text) in units() {
        let mut section = "";
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']');
            } else if let Some((key, _)) = line.split_once('=')
                && let Some((_, known)) = KEYS.iter().find(|(known, _)| *known == section)
            {
                assert!(known.contains(&key), "{name}: unknown key {key} in [{section}]");
            }
        }
    }
}

#[test]
fn units_refer_to_units_that_exist_and_only_countersign_shares_the_networks_of_the_others() {
    let units = units();
    let exists = |wanted: &str| units.iter().any(|(name, _)| name == wanted);
    let mut networks = vec![];
    for (name, text) in &units {
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let referred = value.split(':').next().unwrap();
            if (key == "Network" || key == "Volume") && !referred.starts_with('%') {
                assert!(exists(referred), "{name} refers to {referred}");
            }
            if key == "Network" {
                networks.push((name.as_str(), value));
            }
        }
    }
    networks.sort_unstable();
    assert_eq!(
        networks,
        [
            ("countersign-caddy.container", "countersign-front.network"),
            ("countersign-redis.container", "countersign-ledger.network"),
            ("countersign.container", "countersign-app.network"),
            ("countersign.container", "countersign-front.network"),
        ]
    );
}

#[test]
fn configuration_beside_the_units_is_valid_and_reads_the_secrets_that_the_unit_mounts() {
    let text = std::fs::read_to_string(project("packaging/quadlet/countersign.toml")).unwrap();
    let unit = std::fs::read_to_string(project("packaging/quadlet/countersign.container")).unwrap();
    let mounted = unit.lines().filter_map(|line| line.strip_prefix("Secret=")?.split("target=").nth(1));
    let secrets = mounted.map(|rest| rest.split(',').next().unwrap());
    assert_valid_with_secrets(&text, "/run/secrets", secrets);
}
