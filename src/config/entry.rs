//! One value's place in the file: replaces the placeholders of its text, parses what comes of it, and notes what
//! is wrong under its key and line. Here stands what a secret may look like; no secret's value reaches a fault.

use super::admin::Token;
use super::faults::{ConfigError, shown};
use super::placeholder::{Expanded, PlaceholderError, expand};
use super::section::Reading;
use super::units::Wrong;
use secrecy::SecretString;

/// How a secret is expected to be written.
pub(super) const PLACEHOLDER: &str = "a placeholder: {$NAME} or {file./path}";

/// What a secret is expected to hold.
const SECRET: &str = "a webhook's signing secret (whsec_…)";

/// What the key to Stripe's API is expected to hold.
const API_KEY: &str = "a secret or restricted API key (sk_… or rk_…)";

/// What the events API's token is expected to be.
const TOKEN: &str = "a token of 16 characters or more, none of them a space";

/// A shorter token can be guessed.
const LEAST_TOKEN: usize = 16;

/// One value's place in the file.
#[derive(Clone)]
pub(super) struct Entry<'r, 'a> {
    pub reading: &'r Reading<'a>,
    pub key: String,
    pub line: Option<usize>,
}

impl Entry<'_, '_> {
    /// Notes a fault; `None` for the value that cannot be had.
    pub(super) fn wrong<T>(&self, found: String, expected: String, help: String) -> Option<T> {
        self.reading.fault(ConfigError { line: self.line, key: self.key.clone(), found, expected, help });
        None
    }

    /// Replaces the placeholders of `text` and parses what comes of it.
    pub(super) fn parse<T>(&self, text: &str, parse: &impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        let expanded = self.expand(text, false)?;
        match parse(&expanded.text) {
            Ok(value) => Some(value),
            Err(Wrong { found, expected, help }) => {
                let source = expanded.placeholders.join(", ");
                let found = match found {
                    _ if expanded.file => format!("the content of {source}"),
                    Some(found) => found,
                    None => shown(&expanded.text),
                };
                let from = if expanded.file { String::new() } else { from(&source) };
                self.wrong(found + &from, expected, help)
            }
        }
    }

    /// The secrets that one string of a list gives. Their values never reach a fault.
    pub(super) fn secrets(&self, text: &str) -> Option<Vec<SecretString>> {
        let expanded = self.secret(text)?;
        let source = expanded.placeholders.join(", ");
        let parts: Vec<_> = expanded.text.split(',').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            let help = match parts.len() {
                1 => "",
                _ => "one comma stands between two secrets, none before the first or after the last",
            };
            return self.wrong(
                format!("a blank secret{}", from(&source)),
                SECRET.to_owned(),
                help.to_owned(),
            );
        }
        let secrets: Vec<_> = parts.into_iter().map(|part| self.checked(part, &source)).collect();
        secrets.into_iter().collect()
    }

    /// The secret that a string gives; `Some(None)` if it is blank.
    pub(super) fn secret_or_blank(&self, text: &str) -> Option<Option<SecretString>> {
        let expanded = self.secret(text)?;
        match expanded.text.trim() {
            "" => Some(None),
            secret => self.checked(secret, &expanded.placeholders.join(", ")).map(Some),
        }
    }

    /// The key to Stripe's API that a string gives; `Some(None)` if it is blank.
    pub(super) fn api_key_or_blank(&self, text: &str) -> Option<Option<SecretString>> {
        let expanded = self.secret(text)?;
        let (key, source) = (expanded.text.trim(), from(&expanded.placeholders.join(", ")));
        let wrong = |found: &str, help: &str| {
            self.wrong(format!("{found}{source}"), API_KEY.to_owned(), help.to_owned())
        };
        match key {
            "" => Some(None),
            _ if key.starts_with("whsec_") => wrong(
                "a webhook's signing secret",
                "it belongs to [[webhook]] secrets; API keys are under \"Developers\" in Stripe's dashboard",
            ),
            _ if key.starts_with("pk_") => {
                wrong("a publishable key", "that one is for browsers and can create nothing")
            }
            _ if !key.bytes().all(|b| b.is_ascii_graphic()) => {
                wrong("white space or other odd characters inside a key", "")
            }
            _ if key.starts_with("sk_") || key.starts_with("rk_") => Some(Some(SecretString::from(key))),
            _ => wrong("something else", "the value is taken as it is, without quotes around it"),
        }
    }

    /// The token that a string gives; `Some(None)` if it is blank.
    pub(super) fn token_or_blank(&self, text: &str) -> Option<Option<Token>> {
        let expanded = self.secret(text)?;
        let (token, source) = (expanded.text.trim(), from(&expanded.placeholders.join(", ")));
        let wrong = |found: &str, help: &str| {
            self.wrong(format!("{found}{source}"), TOKEN.to_owned(), help.to_owned())
        };
        match token {
            "" => Some(None),
            _ if !token.bytes().all(|b| b.is_ascii_graphic()) => {
                wrong("white space or other odd characters inside a token", "")
            }
            _ if token.len() < LEAST_TOKEN => {
                wrong("a token that is too short", "make one with: openssl rand -hex 32")
            }
            _ => Some(Some(Token::new(token))),
        }
    }

    /// Placeholders replaced, and nothing but placeholders there.
    fn secret(&self, text: &str) -> Option<Expanded> {
        let expanded = self.expand(text, true)?;
        if expanded.literal {
            let help = "a secret does not stand in this file: put it into an environment variable or a file of its own";
            return self.wrong("a secret written out".to_owned(), PLACEHOLDER.to_owned(), help.to_owned());
        }
        Some(expanded)
    }

    /// Refuses what no signing secret of Stripe's can be.
    fn checked(&self, secret: &str, source: &str) -> Option<SecretString> {
        let expected = SECRET.to_owned();
        if secret.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let help = "several secrets stand between commas".to_owned();
            return self.wrong(format!("white space inside a secret{}", from(source)), expected, help);
        }
        if !secret.is_ascii() || secret.ends_with("...") {
            let help = "copy it whole: an ellipsis stands where it was cut short, and some editors begin a file with an \
                        invisible mark";
            let found = format!("a secret with characters that are in none of Stripe's{}", from(source));
            return self.wrong(found, expected, help.to_owned());
        }
        if secret.starts_with(['"', '\'']) {
            let help = "the value is taken as it is: leave the quotes out".to_owned();
            return self.wrong(format!("a secret in quotes{}", from(source)), expected, help);
        }
        if ["sk_", "rk_", "pk_"].iter().any(|prefix| secret.starts_with(prefix)) {
            let help =
                "Stripe shows the signing secret beside the webhook endpoint in its dashboard".to_owned();
            return self.wrong(format!("an API key{}", from(source)), expected, help);
        }
        Some(SecretString::from(secret))
    }

    /// Replaces the placeholders of `text`, noting those that cannot be. `secret`: show nothing of the text.
    fn expand(&self, text: &str, secret: bool) -> Option<Expanded> {
        let expanded = expand(text, self.reading.env());
        if expanded.faults.is_empty() {
            return Some(expanded);
        }
        for fault in expanded.faults {
            let (found, expected, help) = explained(fault, secret);
            let _: Option<()> = self.wrong(found, expected.to_owned(), help);
        }
        None
    }
}

/// What was found, what was expected, what to do.
fn explained(fault: PlaceholderError, secret: bool) -> (String, &'static str, String) {
    const KNOWN: &str = "{$NAME}, {$NAME:default} or {file./path}";
    match fault {
        PlaceholderError::Unclosed => ("a { that is not closed".to_owned(), KNOWN, String::new()),
        PlaceholderError::Unknown(_) if secret => {
            ("braces that are no placeholder".to_owned(), KNOWN, String::new())
        }
        PlaceholderError::Unknown(text) => {
            (format!("{}, which is no placeholder", shown(&text)), KNOWN, String::new())
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
            let found = format!("the file {}, which cannot be read: {reason}", shown(&path));
            (found, "a text file", String::new())
        }
    }
}

/// Which placeholders a value came from.
fn from(source: &str) -> String {
    if source.is_empty() { String::new() } else { format!(" (from {source})") }
}
