//! Where `sign` and `send` take their secrets from: a file, else `STRIPE_WEBHOOK_SECRET`. Never from an argument,
//! which every user of the machine can read.

use super::{Env, Failure};
use crate::stripe::signature::Secret;
use std::fs;
use std::path::Path;

const VARIABLE: &str = "STRIPE_WEBHOOK_SECRET";

/// The secrets, one at least; several stand between commas, as in the configuration.
pub(super) fn signing(file: Option<&Path>, env: &Env) -> Result<Vec<Secret>, Failure> {
    let (text, source) = match (file, env.get(VARIABLE)) {
        (Some(file), _) => {
            let text = fs::read_to_string(file)
                .map_err(|error| Failure::config(format!("{} cannot be read: {error}", file.display())))?;
            (text, file.display().to_string())
        }
        (None, Some(text)) => (text.clone(), VARIABLE.to_owned()),
        (None, None) => {
            let message =
                format!("no secret to sign with: set {VARIABLE}, or name a file with --secret-file");
            return Err(Failure::config(message));
        }
    };
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Failure::config(format!("{source} holds a blank secret")));
    }
    Ok(parts.into_iter().map(Secret::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::signature::sign;

    fn env(value: &str) -> Env {
        [(VARIABLE.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn secrets_come_from_the_file_else_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "whsec_file\n").unwrap();
        let signed = |secrets: Vec<Secret>| sign(&secrets, 1, b"x");
        let with = |texts: &[&str]| signed(texts.iter().map(|text| Secret::new(text)).collect());
        assert_eq!(signed(signing(Some(&file), &env("whsec_env")).unwrap()), with(&["whsec_file"]));
        assert_eq!(signed(signing(None, &env("whsec_env")).unwrap()), with(&["whsec_env"]));
        assert_eq!(signed(signing(None, &env("a, b")).unwrap()), with(&["a", "b"]));
    }

    #[test]
    fn a_missing_or_blank_secret_is_a_fault_of_the_configuration() {
        for failure in [
            signing(None, &Env::new()).unwrap_err(),
            signing(None, &env("")).unwrap_err(),
            signing(None, &env("a,")).unwrap_err(),
            signing(Some(Path::new("/nonexistent")), &env("a")).unwrap_err(),
        ] {
            assert_eq!(failure.code, 78, "{}", failure.message);
        }
    }
}
