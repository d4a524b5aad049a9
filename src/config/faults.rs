//! What is wrong with a configuration, all of it at once: each fault names file, line, key, what was found and
//! what was expected, and says what to do. A fault never holds the value of a secret: what is shown of a value
//! goes through [`shown`], and for keys that hold secrets nothing is.

use std::fmt;

/// Everything that is wrong with one configuration, in the order of the file. Never empty when returned by
/// [`super::Source::load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    faults: Vec<ConfigError>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, counted from 1; `None` for a default that cannot be used and for a file that cannot be read.
    pub line: Option<usize>,
    /// The key as `section.key`, with `, entry N` for one entry of a list; empty for the file itself.
    pub key: String,
    /// What was found there.
    pub found: String,
    /// What was expected instead; empty where `found` says it all.
    pub expected: String,
    /// What to do about it; may be empty.
    pub help: String,
}

impl ConfigErrors {
    pub(super) fn new(file: String, mut faults: Vec<ConfigError>) -> ConfigErrors {
        // ConfigErrors without a line are about what the file leaves out: they come last. The sort is stable.
        faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
        ConfigErrors { file, faults }
    }

    /// A fault of the file as a whole.
    pub(super) fn of_file(file: String, found: String, help: &str) -> ConfigErrors {
        let fault = ConfigError {
            line: None,
            key: String::new(),
            found,
            expected: String::new(),
            help: help.to_owned(),
        };
        ConfigErrors { file, faults: vec![fault] }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.faults.len()
    }

    /// Each of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.faults.iter()
    }
}

/// One fault a paragraph: `file:line: key: found …, expected …`, then what to do about it, indented.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.faults.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = fault.line {
                write!(f, ":{line}")?;
            }
            if !fault.key.is_empty() {
                write!(f, ": {}", fault.key)?;
            }
            write!(f, ": found {}", fault.found)?;
            if !fault.expected.is_empty() {
                write!(f, ", expected {}", fault.expected)?;
            }
            if !fault.help.is_empty() {
                write!(f, "\n    {}", fault.help)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// How many characters of a value are shown.
const SHOWN: usize = 60;

/// A value as a fault may show it: quoted, escaped, cut short, and left out where it looks like a credential
/// that was put under the wrong key.
pub(super) fn shown(text: &str) -> String {
    if looks_secret(text) {
        return "a value that looks like a secret".to_owned();
    }
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Stripe's prefixes for secrets (<https://docs.stripe.com/keys>), and the user part of a URL.
pub(super) fn looks_secret(text: &str) -> bool {
    ["whsec_", "sk_live", "sk_test", "rk_live", "rk_test"].iter().any(|prefix| text.contains(prefix))
        || text.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_value_is_quoted_cut_short_and_never_a_secret() {
        let long = "x".repeat(61);
        for (text, expected) in [
            ("", r#""""#),
            ("5 apples", r#""5 apples""#),
            ("a\nb\"", r#""a\nb\"""#),
            (&long[..60], &format!("{:?}", &long[..60])),
            (&long, &format!("{:?}…", &long[..60])),
            ("whsec_abc", "a value that looks like a secret"),
            ("x=sk_live_abc", "a value that looks like a secret"),
            ("http://user:pass@host", "a value that looks like a secret"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn faults_stand_in_the_order_of_the_file_and_those_without_a_line_last() {
        let fault = |line, key: &str| ConfigError {
            line,
            key: key.to_owned(),
            found: "1".to_owned(),
            expected: "2".to_owned(),
            help: String::new(),
        };
        let faults = ConfigErrors::new(
            "f".to_owned(),
            vec![fault(None, "c"), fault(Some(9), "b"), fault(Some(2), "a")],
        );
        assert_eq!(
            faults.to_string(),
            "f:2: a: found 1, expected 2\nf:9: b: found 1, expected 2\nf: c: found 1, expected 2"
        );
    }
}
