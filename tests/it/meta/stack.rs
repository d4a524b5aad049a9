//! The files of the container stack agree with the program and its built-in configuration. `scripts/test-stack` shows
//! that the stack works.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

const COMPOSE: &str = include_str!("../../../podman-compose.yml");
const CONTAINERFILE: &str = include_str!("../../../Containerfile");

#[test]
fn image_label_names_the_programs_version() {
    let label = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(CONTAINERFILE.contains(&label), "{label}");
}

#[test]
fn stack_waits_longer_than_the_program_drains() {
    let built_in: toml::Table = include_str!("../../../config/countersign.toml").parse().unwrap();
    let drain = humantime::parse_duration(built_in["server"]["shutdown_grace"].as_str().unwrap()).unwrap();
    let (_, countersign) = COMPOSE.split_once("\n  countersign:\n").unwrap();
    let grace = countersign.split("stop_grace_period: ").nth(1).unwrap().lines().next().unwrap();
    let grace = humantime::parse_duration(grace).unwrap();
    assert!(grace >= drain + Duration::from_secs(5), "{grace:?} for a drain of {drain:?}");
}

#[test]
fn stack_configuration_reads_the_secret_from_the_variable_or_else_the_file() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/stack/countersign.toml");
    let check = |secret: Option<&str>| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_countersign"));
        check.args(["check", "--config"]).arg(&file).env_clear();
        check.envs(secret.map(|secret| ("STRIPE_WEBHOOK_SECRET", secret))).output().unwrap()
    };
    let with = check(Some("whsec_test"));
    assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
    let without = String::from_utf8_lossy(&check(None).stderr).into_owned();
    assert!(without.contains("/run/secrets/stripe_webhook"), "{without}");
}

#[test]
fn only_countersign_is_on_the_backends_network() {
    let services = COMPOSE.split("\nservices:\n").nth(1).unwrap().split("\nnetworks:\n").next().unwrap();
    let mut on_it = vec![];
    let mut service = "";
    for line in services.lines() {
        if let Some(name) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':'))
            && !name.starts_with([' ', '#'])
        {
            service = name;
        }
        if let Some(networks) = line.trim().strip_prefix("networks: ")
            && networks.trim_matches(['[', ']']).split(", ").any(|network| network == "app")
        {
            on_it.push(service);
        }
    }
    assert_eq!(on_it, ["countersign", "backend"]);
}
