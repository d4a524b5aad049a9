//! What is wrong with a configuration, all of it at once: each [`Diagnostic`] names line, key, what was found, what was
//! expected and what to do. No diagnostic holds the value of a secret: [`display_value`] decides what may be quoted, and keys
//! that hold secrets quote nothing.

use std::fmt;
use toml::de::DeValue;

/// The longest part of a value that a diagnostic quotes, in characters.
const MAX_SHOWN: usize = 60;

/// A configuration that cannot be used: every diagnostic, in the order of the file. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    diagnostics: Vec<Diagnostic>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line, counted from 1. `None` for a default that cannot be used and for a file that cannot be read.
    pub line: Option<usize>,
    /// The key as `section.key`, with `, entry N` for one entry of a list. Empty for the file itself.
    pub key: String,
    /// What was found at the key, never the value of a secret.
    pub found: String,
    /// What was expected instead. Empty if `found` says enough.
    pub expected: String,
    /// The operator's next step. May be empty.
    pub help: String,
}

impl ConfigError {
    pub(crate) fn new(file: String, mut diagnostics: Vec<Diagnostic>) -> Self {
        // A diagnostic without a line is about a key that the file leaves out, so it comes last. The sort is stable.
        diagnostics.sort_by_key(|diagnostic| diagnostic.line.unwrap_or(usize::MAX));
        Self { file, diagnostics }
    }

    /// Creates the error of a file that cannot be read at all.
    pub(crate) fn from_file(file: String, found: String, help: &str) -> Self {
        let diagnostic = Diagnostic {
            line: None,
            key: String::new(),
            found,
            expected: String::new(),
            help: help.to_owned(),
        };
        Self { file, diagnostics: vec![diagnostic] }
    }

    /// Returns the number of diagnostics, at least 1.
    pub fn count(&self) -> usize {
        self.diagnostics.len()
    }

    /// Returns the diagnostics in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter()
    }
}

/// Writes one paragraph for each diagnostic: `file:line: key: found …, expected …`, then the help, indented.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, diagnostic) in self.diagnostics.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = diagnostic.line {
                write!(f, ":{line}")?;
            }
            if !diagnostic.key.is_empty() {
                write!(f, ": {}", diagnostic.key)?;
            }
            write!(f, ": found {}", diagnostic.found)?;
            if !diagnostic.expected.is_empty() {
                write!(f, ", expected {}", diagnostic.expected)?;
            }
            if !diagnostic.help.is_empty() {
                write!(f, "\n    {}", diagnostic.help)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Returns a value as a diagnostic may show it: quoted, escaped and cut short. A value that looks like a credential is
/// left out, because it was probably put under the wrong key.
pub(crate) fn display_value(text: &str) -> String {
    if looks_secret(text) {
        return "a value that looks like a secret".to_owned();
    }
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Whether a text contains one of Stripe's prefixes for secrets (<https://docs.stripe.com/keys>), or the `@` that ends
/// the user part of a URL.
pub(crate) fn looks_secret(text: &str) -> bool {
    ["whsec_", "sk_live", "sk_test", "rk_live", "rk_test"].iter().any(|prefix| text.contains(prefix))
        || text.contains('@')
}

/// Names the type of a TOML value, without its content.
pub(crate) fn type_name(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Describes a TOML value: its type, and its content if that is one short text.
pub(crate) fn describe(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", display_value(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => type_name(value).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displayed_value_is_quoted_cut_short_and_never_a_secret() {
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
            assert_eq!(display_value(text), expected, "{text}");
        }
    }

    #[test]
    fn diagnostics_are_in_the_order_of_the_file_and_those_without_a_line_are_last() {
        let diagnostic = |line, key: &str| Diagnostic {
            line,
            key: key.to_owned(),
            found: "1".to_owned(),
            expected: "2".to_owned(),
            help: String::new(),
        };
        let error = ConfigError::new(
            "f".to_owned(),
            vec![diagnostic(None, "c"), diagnostic(Some(9), "b"), diagnostic(Some(2), "a")],
        );
        assert_eq!(
            error.to_string(),
            "f:2: a: found 1, expected 2\nf:9: b: found 1, expected 2\nf: c: found 1, expected 2"
        );
    }
}
