//! The signing secrets of `sign` and `send`: from a file, else from `STRIPE_WEBHOOK_SECRET`. They are never an argument,
//! because every user of the machine can read those.

use super::config_arg::EnvVars;
use super::error::CliError;
use crate::stripe::signature::Secret;
use std::fs;
use std::path::Path;

const VARIABLE: &str = "STRIPE_WEBHOOK_SECRET";

/// Reads the signing secrets, at least one. Commas separate several, as in the configuration.
///
/// # Errors
/// No secret is set, the file cannot be read, or one of the secrets is blank.
pub(super) fn read(file: Option<&Path>, env: &EnvVars) -> Result<Vec<Secret>, CliError> {
    let (text, source) = match (file, env.get(VARIABLE)) {
        (Some(file), _) => {
            let text = fs::read_to_string(file)
                .map_err(|error| CliError::config(format!("cannot read {}: {error}", file.display())))?;
            (text, file.display().to_string())
        }
        (None, Some(text)) => (text.clone(), VARIABLE.to_owned()),
        (None, None) => {
            return Err(CliError::config(format!(
                "no signing secret: set {VARIABLE}, or name a file with --secret-file"
            )));
        }
    };
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(CliError::config(format!(
            "{source} holds a blank secret; expected one secret, or several separated by commas"
        )));
    }
    Ok(parts.into_iter().map(Secret::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::signature::sign;

    fn env(value: &str) -> EnvVars {
        [(VARIABLE.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn secrets_come_from_the_file_before_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "whsec_file\n").unwrap();
        let signed = |secrets: Vec<Secret>| sign(&secrets, 1, b"x");
        let expected = |texts: &[&str]| signed(texts.iter().map(|text| Secret::new(text)).collect());
        assert_eq!(signed(read(Some(&file), &env("whsec_env")).unwrap()), expected(&["whsec_file"]));
        assert_eq!(signed(read(None, &env("whsec_env")).unwrap()), expected(&["whsec_env"]));
        assert_eq!(signed(read(None, &env("a, b")).unwrap()), expected(&["a", "b"]));
    }

    #[test]
    fn a_missing_or_blank_secret_is_a_configuration_error() {
        for error in [
            read(None, &EnvVars::new()).unwrap_err(),
            read(None, &env("")).unwrap_err(),
            read(None, &env("a,")).unwrap_err(),
            read(Some(Path::new("/nonexistent")), &env("a")).unwrap_err(),
        ] {
            assert_eq!(error.exit_code, 78, "{}", error.message);
        }
    }
}
