//! Caddy's placeholders in strings: `{$NAME}`, `{$NAME:default}` and `{file./path}`. They can be nested:
//! `{file.{$CREDENTIALS_DIRECTORY}/stripe}`. As in Caddy, the default applies to a variable that is not set, not to a
//! blank one. `{CHECKOUT_SESSION_ID}` is Stripe's own and stays. This file never decides what a value means.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

/// The environment by name, read once when the program starts.
pub(crate) type Environment = BTreeMap<String, String>;

/// The largest file that `{file.…}` reads, in bytes. Caddy has the same limit.
const MAX_FILE: u64 = 1 << 20;

/// The placeholder that Stripe replaces in the URLs of a Checkout Session
/// (<https://docs.stripe.com/payments/checkout/custom-success-page>).
pub(super) const STRIPE_PLACEHOLDER: &str = "CHECKOUT_SESSION_ID";

/// A string with its placeholders replaced.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Expanded {
    /// The string after replacement. It has no meaning while there are `errors`.
    pub text: String,
    /// The outermost placeholders as the file spells them, without their defaults: `{$NAME}`, `{file./path}`.
    pub placeholders: Vec<String>,
    /// Whether the string holds literal text, other than white space and commas. Defaults count, used or not.
    pub literal: bool,
    /// Whether any of the text comes from a file. Such text is never shown.
    pub file: bool,
    /// The placeholders that could not be replaced.
    pub errors: Vec<PlaceholderError>,
}

/// A placeholder that cannot be replaced.
#[derive(Debug, PartialEq)]
pub(crate) enum PlaceholderError {
    /// A `{` has no matching `}`.
    Unclosed,
    /// The braces hold none of the three forms. Carries the text with its braces.
    Unknown(String),
    /// The variable is not set and has no default. Carries the variable's name.
    Unset(String),
    /// The file cannot be read. Carries the path and the reason.
    File(String, String),
}

/// What becomes of a text in braces that is no placeholder, such as `{tenant}`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NamesInBraces {
    /// The name is an error.
    Reject,
    /// The name stays as it is, for the parser of the value to judge: a variable segment of a path.
    Keep,
}

/// Replaces every placeholder of `text`.
pub(crate) fn expand(text: &str, environment: &Environment) -> Expanded {
    expand_with(text, environment, NamesInBraces::Reject)
}

/// Replaces every placeholder of `text`. `names` says what becomes of other names in braces outside of placeholders.
pub(crate) fn expand_with(text: &str, environment: &Environment, names: NamesInBraces) -> Expanded {
    let mut all = Expanded::default();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        all.push_literal(&rest[..start]);
        let inside = &rest[start + 1..];
        let Some(end) = closing_brace(inside) else {
            all.errors.push(PlaceholderError::Unclosed);
            return all;
        };
        let inside = &inside[..end];
        if names == NamesInBraces::Keep && !inside.starts_with('$') && !inside.starts_with("file.") {
            all.push_literal(&rest[start..start + end + 2]);
        } else {
            all.push_placeholder(inside, environment);
        }
        rest = &rest[start + end + 2..];
    }
    all.push_literal(rest);
    all
}

impl Expanded {
    fn push_literal(&mut self, text: &str) {
        self.literal |= text.chars().any(|c| c != ',' && !c.is_whitespace());
        self.text.push_str(text);
    }

    fn push_placeholder(&mut self, inside: &str, environment: &Environment) {
        if let Some(variable) = inside.strip_prefix('$') {
            self.push_variable(inside, variable, environment);
        } else if let Some(path) = inside.strip_prefix("file.") {
            let path = expand(path, environment);
            self.placeholders.push(format!("{{{inside}}}"));
            self.file = true;
            if !path.errors.is_empty() {
                self.errors.extend(path.errors);
                return;
            }
            match read_file(&path.text) {
                Ok(text) => self.text.push_str(&text),
                Err(error) => self.errors.push(PlaceholderError::File(path.text, error.to_string())),
            }
        } else if inside == STRIPE_PLACEHOLDER {
            self.push_literal(&format!("{{{inside}}}"));
        } else {
            self.errors.push(PlaceholderError::Unknown(format!("{{{inside}}}")));
        }
    }

    fn push_variable(&mut self, inside: &str, variable: &str, environment: &Environment) {
        let (name, default) = match variable.split_once(':') {
            Some((name, default)) => (name, Some(expand(default, environment))),
            None => (variable, None),
        };
        if !is_variable_name(name) {
            self.errors.push(PlaceholderError::Unknown(format!("{{{inside}}}")));
            return;
        }
        self.placeholders.push(format!("{{${name}}}"));
        // A literal default counts even if it is not used: a secret must not be in the file at all.
        self.literal |= default.as_ref().is_some_and(|default| default.literal);
        match (environment.get(name), default) {
            (Some(value), _) => self.text.push_str(value),
            (None, Some(default)) => self.append(default),
            (None, None) => self.errors.push(PlaceholderError::Unset(name.to_owned())),
        }
    }

    fn append(&mut self, inner: Self) {
        self.text.push_str(&inner.text);
        self.file |= inner.file;
        self.errors.extend(inner.errors);
    }
}

/// Returns the position of the brace that closes the one just before `text`.
pub(crate) fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(position),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads a file without one line end at its end, which editors and `echo` add.
fn read_file(path: &str) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed tells a file of exactly the limit from a larger one.
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        [("A", "1"), ("BLANK", ""), ("PORT", "80")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn variables_and_defaults_are_replaced_as_in_caddy() {
        for (text, expected, literal) in [
            ("plain", "plain", true),
            ("", "", false),
            ("{$A}", "1", false),
            ("x{$A}y", "x1y", true),
            ("{$A},{$A} ", "1,1 ", false),
            ("{$A:2}", "1", true),
            ("{$NONE:2}", "2", true),
            ("{$NONE:}", "", false),
            ("{$BLANK:2}", "", true),
            ("{$NONE:http://b:{$PORT}}", "http://b:80", true),
            ("{$NONE:{$A}}", "1", false),
        ] {
            let got = expand(text, &environment());
            assert_eq!((got.text.as_str(), got.literal), (expected, literal), "{text}");
            assert_eq!(got.errors, [], "{text}");
        }
    }

    #[test]
    fn a_malformed_or_unset_placeholder_is_an_error() {
        use PlaceholderError::*;
        for (text, expected) in [
            ("{$A", Unclosed),
            ("{$A:{", Unclosed),
            ("{}", Unknown("{}".to_owned())),
            ("{$}", Unknown("{$}".to_owned())),
            ("{$1}", Unknown("{$1}".to_owned())),
            ("{env.A}", Unknown("{env.A}".to_owned())),
            ("${A}", Unknown("{A}".to_owned())),
            ("{$NONE}", Unset("NONE".to_owned())),
            ("{file.{$NONE}/x}", Unset("NONE".to_owned())),
            ("{$OTHER:{$NONE}}", Unset("NONE".to_owned())),
        ] {
            assert_eq!(expand(text, &environment()).errors, [expected], "{text}");
        }
    }

    #[test]
    fn a_file_loses_one_line_end_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for (stored, expected) in
            [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n"), (" s ", " s "), ("", "")]
        {
            let path = folder.path().join("secret");
            std::fs::write(&path, stored).unwrap();
            let got = expand(&format!("{{file.{}}}", path.display()), &environment());
            assert_eq!((got.text.as_str(), got.literal, got.file), (expected, false, true), "{stored:?}");
        }
    }

    #[test]
    fn a_files_path_may_hold_a_variable() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1"), "s").unwrap();
        let got = expand(&format!("{{file.{}/{{$A}}}}", folder.path().display()), &environment());
        assert_eq!((got.text.as_str(), got.literal), ("s", false));
    }

    #[test]
    fn an_unreadable_file_is_an_error_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let big = folder.path().join("big");
        std::fs::write(&big, "x".repeat(MAX_FILE as usize + 1)).unwrap();
        let binary = folder.path().join("binary");
        std::fs::write(&binary, [0xff]).unwrap();
        for (path, reason) in [
            (folder.path().join("none"), "No such file or directory (os error 2)"),
            (big, "larger than 1 MiB"),
            (binary, "stream did not contain valid UTF-8"),
        ] {
            let path = path.display().to_string();
            let got = expand(&format!("{{file.{path}}}"), &environment());
            assert_eq!(got.errors, [PlaceholderError::File(path, reason.to_owned())]);
        }
    }
}
