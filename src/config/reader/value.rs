//! One value with its place in the file: replaces its placeholders, hands the text to a parser, and reports errors under
//! the value's key and line. A secret is only ever read through a placeholder, and no error shows it.

use super::diagnostics::{Diagnostic, display_value};
use super::parse::InvalidValue;
use super::placeholder::{Expanded, NamesInBraces, PlaceholderError, STRIPE_PLACEHOLDER, expand_with};
use super::reading::Reading;
use super::shell_variable::{is_shell_variable, shell_variable, shell_variable_help};

/// The expectation of a key that holds a secret.
pub(crate) const PLACEHOLDER: &str = "a placeholder: {$NAME} or {file./path}";

/// The help for a secret that the file spells out.
pub(crate) const SECRETS_STAY_OUTSIDE: &str =
    "secrets must not be in this file: use an environment variable or a separate file";

/// The placeholders that exist, as an error lists them.
const FORMS: &str = "{$NAME}, {$NAME:default} or {file./path}";

/// One value's place in the file.
#[derive(Clone)]
pub(crate) struct ValueReader<'r, 'a> {
    reading: &'r Reading<'a>,
    /// The key as an error shows it: `section.key`.
    key: String,
    line: Option<usize>,
}

impl<'r, 'a> ValueReader<'r, 'a> {
    pub(crate) fn new(reading: &'r Reading<'a>, key: String, line: Option<usize>) -> Self {
        ValueReader { reading, key, line }
    }

    /// Returns the place of entry `number` of this list, counted from 1. `None` if the list has only one.
    pub(crate) fn entry(&self, number: Option<usize>, line: usize) -> Self {
        let key = match number {
            Some(number) => format!("{}, entry {number}", self.key),
            None => self.key.clone(),
        };
        ValueReader { reading: self.reading, key, line: Some(line) }
    }

    /// Returns the place of a key inside this table. It reports under the table's line.
    pub(crate) fn nested(&self, name: &str) -> Self {
        ValueReader { reading: self.reading, key: format!("{}.{name}", self.key), line: self.line }
    }

    /// Reports an error at this place, and returns the `None` of a value that cannot be used.
    pub(crate) fn report<T>(
        &self,
        found: impl Into<String>,
        expected: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.reading.report(Diagnostic {
            line: self.line,
            key: self.key.clone(),
            found: found.into(),
            expected: expected.into(),
            help: help.into(),
        });
        None
    }

    /// Replaces the placeholders of `text` and parses the result.
    pub(crate) fn parse<T>(&self, text: &str, parse: &impl Fn(&str) -> Result<T, InvalidValue>) -> Option<T> {
        self.parse_expanded(self.expand(text, false, NamesInBraces::Reject)?, parse)
    }

    /// Replaces the placeholders of `text` and parses the result, in which a name in braces stays as it is.
    pub(crate) fn parse_pattern<T>(
        &self,
        text: &str,
        parse: &impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        self.parse_expanded(self.expand(text, false, NamesInBraces::Keep)?, parse)
    }

    fn parse_expanded<T>(
        &self,
        expanded: Expanded,
        parse: &impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        match parse(&expanded.text) {
            Ok(value) => Some(value),
            Err(InvalidValue { found, expected, mut help }) => {
                let literal = Some(&*expanded.text).filter(|_| expanded.placeholders.is_empty());
                if let Some(name) = literal.and_then(shell_variable) {
                    help = shell_variable_help(name);
                }
                let found = match found {
                    // A file's content may be a secret, even under a key that should hold none.
                    _ if expanded.file => format!("the content of {}", expanded.placeholders.join(", ")),
                    Some(found) => found + &source_of(&expanded),
                    None => display_value(&expanded.text) + &source_of(&expanded),
                };
                self.report(found, expected, help)
            }
        }
    }

    /// Parses the secret that the placeholders of `text` give. Returns `Some(None)` if it is blank.
    pub(crate) fn secret_or_blank<T>(
        &self,
        text: &str,
        parse: &impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Option<T>> {
        let expanded = self.expand_secret(text)?;
        match expanded.text.trim() {
            "" => Some(None),
            secret => self.parse_secret(secret, &expanded, parse).map(Some),
        }
    }

    /// Parses the secrets, separated by commas, that the placeholders of `text` give. None of them may be blank.
    pub(crate) fn secrets<T>(
        &self,
        text: &str,
        expected: &str,
        parse: &impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        self.split_secrets(&self.expand_secret(text)?, expected, parse)
    }

    /// Parses the secrets, separated by commas, that the placeholders of `text` give. Returns none if all of it is blank.
    pub(crate) fn secrets_or_blank<T>(
        &self,
        text: &str,
        expected: &str,
        parse: &impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        let expanded = self.expand_secret(text)?;
        match expanded.text.trim() {
            "" => Some(Vec::new()),
            _ => self.split_secrets(&expanded, expected, parse),
        }
    }

    fn split_secrets<T>(
        &self,
        expanded: &Expanded,
        expected: &str,
        parse: &impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        let parts: Vec<_> = expanded.text.split(',').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            let help = match parts.len() {
                1 => "",
                _ => "separate secrets by single commas, with no comma at the start or the end",
            };
            return self.report(format!("a blank secret{}", source_of(expanded)), expected, help);
        }
        // Every secret is parsed before the first error returns, so that all errors are reported at once.
        let secrets: Vec<_> =
            parts.into_iter().map(|part| self.parse_secret(part, expanded, parse)).collect();
        secrets.into_iter().collect()
    }

    fn parse_secret<T>(
        &self,
        secret: &str,
        expanded: &Expanded,
        parse: &impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        match parse(secret) {
            Ok(value) => Some(value),
            Err(InvalidValue { found, expected, help }) => {
                // The parser describes a secret without quoting it. There is no fallback to the value itself.
                let found = found.unwrap_or_else(|| "another value".to_owned());
                self.report(found + &source_of(expanded), expected, help)
            }
        }
    }

    /// Replaces the placeholders of a secret, and rejects one that the file spells out.
    fn expand_secret(&self, text: &str) -> Option<Expanded> {
        let expanded = self.expand(text, true, NamesInBraces::Reject)?;
        if expanded.literal {
            return self.report("a secret in plain text", PLACEHOLDER, SECRETS_STAY_OUTSIDE);
        }
        Some(expanded)
    }

    /// Replaces the placeholders of `text` and reports those that cannot be replaced. If `secret`, no report quotes the
    /// text.
    fn expand(&self, text: &str, secret: bool, names: NamesInBraces) -> Option<Expanded> {
        // A shell's spelling is no placeholder here. As a value it would be taken literally.
        if let Some(name) = shell_variable(text).filter(|_| is_shell_variable(text)) {
            // What stands where a secret belongs may be one.
            let (found, name) = match secret {
                true => ("a variable as a shell spells it".to_owned(), "NAME"),
                false => (display_value(text), name),
            };
            return self.report(found, FORMS, shell_variable_help(name));
        }
        let expanded = expand_with(text, self.reading.environment(), names);
        if expanded.errors.is_empty() {
            return Some(expanded);
        }
        for error in expanded.errors {
            let (found, expected, mut help) = explained(error, secret);
            if let (true, false, Some(name)) = (help.is_empty(), secret, shell_variable(text)) {
                help = shell_variable_help(name);
            }
            if help.is_empty() && !secret && text.to_ascii_uppercase().contains("SESSION_ID") {
                help = format!("Stripe's own placeholder is {{{STRIPE_PLACEHOLDER}}}, in these letters");
            }
            let _: Option<()> = self.report(found, expected, help);
        }
        None
    }
}

/// Returns what was found, what was expected and what to do about a placeholder that cannot be replaced.
fn explained(error: PlaceholderError, secret: bool) -> (String, &'static str, String) {
    match error {
        PlaceholderError::Unclosed => ("a { without its }".to_owned(), FORMS, String::new()),
        PlaceholderError::Unknown(_) if secret => {
            ("braces that are not a placeholder".to_owned(), FORMS, String::new())
        }
        PlaceholderError::Unknown(text) => {
            (format!("{}, which is not a placeholder", display_value(&text)), FORMS, String::new())
        }
        PlaceholderError::Unset(name) => {
            let otherwise = match secret {
                true => "keep it in a file: {file./path}".to_owned(),
                false => format!("give a default: {{${name}:default}}"),
            };
            let help = format!("set {name} in the environment, or {otherwise}");
            (format!("{{${name}}}, which is not set"), "a value", help)
        }
        PlaceholderError::File(path, reason) => {
            let found = format!("the file {}, which cannot be read: {reason}", display_value(&path));
            (found, "a text file", String::new())
        }
    }
}

/// Returns a note on the placeholders that a value came from, or nothing if there are none.
fn source_of(expanded: &Expanded) -> String {
    match expanded.placeholders.as_slice() {
        [] => String::new(),
        placeholders => format!(" (from {})", placeholders.join(", ")),
    }
}
