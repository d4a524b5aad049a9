//! Caddy's placeholders in strings: `{$NAME}`, `{$NAME:default}` and `{file./path}`. They may stand inside one
//! another (`{file.{$CREDENTIALS_DIRECTORY}/stripe}`). As with Caddy, the default counts when the variable is
//! not set, not when it is blank. `{CHECKOUT_SESSION_ID}` is Stripe's own and stays. It never decides what a value means.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

/// The environment, read once by `main.rs`.
pub(super) type Env = BTreeMap<String, String>;

/// The largest file that `{file.…}` takes in, in bytes: Caddy's own limit.
const FILE_LIMIT: u64 = 1 << 20;

/// What Stripe itself replaces, in the URLs of a CheckoutConfig Session
/// (<https://docs.stripe.com/payments/checkout/custom-success-page>).
const STRIPES_OWN: &str = "CHECKOUT_SESSION_ID";

/// A string with its placeholders replaced.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expanded {
    /// The result.
    pub text: String,
    /// The outermost placeholders as they were written, defaults left out: `{$NAME}`, `{file./path}`.
    pub placeholders: Vec<String>,
    /// Whether anything but white space and commas was written out, in a default as well.
    pub literal: bool,
    /// Whether any of it came from a file, whose content is not to be shown.
    pub file: bool,
    /// Why some of it could not be replaced. While there are any, `text` has no meaning.
    pub faults: Vec<PlaceholderError>,
}

/// Why a placeholder could not be replaced.
#[derive(Debug, PartialEq)]
pub(super) enum PlaceholderError {
    /// A `{` without its `}`.
    Unclosed,
    /// Braces around something that is none of the three.
    Unknown(String),
    /// A variable that is not set, without a default.
    Unset(String),
    /// A file that cannot be read; why.
    File(String, String),
}

/// Replaces every placeholder of `text`.
pub(super) fn expand(text: &str, env: &Env) -> Expanded {
    let mut all = Expanded::default();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        all.push_literal(&rest[..start]);
        let inside = &rest[start + 1..];
        let Some(end) = closing(inside) else {
            all.faults.push(PlaceholderError::Unclosed);
            return all;
        };
        all.push_placeholder(&inside[..end], env);
        rest = &inside[end + 1..];
    }
    all.push_literal(rest);
    all
}

impl Expanded {
    fn push_literal(&mut self, text: &str) {
        self.literal |= text.chars().any(|c| c != ',' && !c.is_whitespace());
        self.text.push_str(text);
    }

    fn push_placeholder(&mut self, inside: &str, env: &Env) {
        if let Some(variable) = inside.strip_prefix('$') {
            let (name, default) = match variable.split_once(':') {
                Some((name, default)) => (name, Some(expand(default, env))),
                None => (variable, None),
            };
            if !is_name(name) {
                self.faults.push(PlaceholderError::Unknown(format!("{{{inside}}}")));
                return;
            }
            self.placeholders.push(format!("{{${name}}}"));
            // A literal default is judged whether or not it is used.
            self.literal |= default.as_ref().is_some_and(|default| default.literal);
            match (env.get(name), default) {
                (Some(value), _) => self.text.push_str(value),
                (None, Some(default)) => self.append(default),
                (None, None) => self.faults.push(PlaceholderError::Unset(name.to_owned())),
            }
        } else if let Some(path) = inside.strip_prefix("file.") {
            let path = expand(path, env);
            self.placeholders.push(format!("{{{inside}}}"));
            self.file = true;
            if !path.faults.is_empty() {
                self.faults.extend(path.faults);
                return;
            }
            match content(&path.text) {
                Ok(text) => self.text.push_str(&text),
                Err(error) => self.faults.push(PlaceholderError::File(path.text, error.to_string())),
            }
        } else if inside == STRIPES_OWN {
            self.push_literal(&format!("{{{inside}}}"));
        } else {
            self.faults.push(PlaceholderError::Unknown(format!("{{{inside}}}")));
        }
    }

    fn append(&mut self, inner: Expanded) {
        self.text.push_str(&inner.text);
        self.file |= inner.file;
        self.faults.extend(inner.faults);
    }
}

/// Where the brace closes that was opened just before `text`.
pub(super) fn closing(text: &str) -> Option<usize> {
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

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A file's text without one trailing line end, which editors and `echo` leave.
fn content(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_LIMIT {
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

    fn env() -> Env {
        [("A", "1"), ("BLANK", ""), ("PORT", "80")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn variables_and_defaults_are_replaced_as_caddy_does() {
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
            let got = expand(text, &env());
            assert_eq!((got.text.as_str(), got.literal), (expected, literal), "{text}");
            assert_eq!(got.faults, [], "{text}");
        }
    }

    #[test]
    fn what_is_no_placeholder_is_a_fault() {
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
            assert_eq!(expand(text, &env()).faults, [expected], "{text}");
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
            let got = expand(&format!("{{file.{}}}", path.display()), &env());
            assert_eq!((got.text.as_str(), got.literal, got.file), (expected, false, true), "{stored:?}");
        }
    }

    #[test]
    fn a_variable_may_stand_in_a_files_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1"), "s").unwrap();
        let got = expand(&format!("{{file.{}/{{$A}}}}", folder.path().display()), &env());
        assert_eq!((got.text.as_str(), got.literal), ("s", false));
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let big = folder.path().join("big");
        std::fs::write(&big, "x".repeat(FILE_LIMIT as usize + 1)).unwrap();
        let binary = folder.path().join("binary");
        std::fs::write(&binary, [0xff]).unwrap();
        for (path, reason) in [
            (folder.path().join("none"), "No such file or directory (os error 2)"),
            (big, "larger than 1 MiB"),
            (binary, "stream did not contain valid UTF-8"),
        ] {
            let path = path.display().to_string();
            let got = expand(&format!("{{file.{path}}}"), &env());
            assert_eq!(got.faults, [PlaceholderError::File(path, reason.to_owned())]);
        }
    }
}
