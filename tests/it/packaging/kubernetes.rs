//! The manifests in packaging/kubernetes: the configuration in them is valid. scripts/test-manifests validates the rest.

use super::{assert_valid_with_secrets, project};

#[test]
fn configuration_in_the_manifests_is_valid_and_reads_the_secrets_that_they_name() {
    for manifest in ["sqlite.yaml", "redis.yaml"] {
        let text = std::fs::read_to_string(project("packaging/kubernetes").join(manifest)).unwrap();
        let (_, rest) = text.split_once("countersign.toml: |\n").unwrap();
        let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        let configuration = lines.map(|line| line.trim_start().to_owned() + "\n").collect::<String>();
        let mounted = "/run/secrets/countersign";
        assert!(text.contains(&format!("mountPath: {mounted}")), "{manifest}");
        // The names in the comment that creates the secret.
        let secrets = text.split("--from-literal=").skip(1).map(|rest| rest.split('=').next().unwrap());
        assert_valid_with_secrets(&configuration, mounted, secrets);
    }
}
