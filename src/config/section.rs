//! Reads one table of the file key by key: looks a key up, expands its placeholders, hands the text to a parser
//! and notes what is wrong. A key that is absent is read from its default as if that stood in the file, so one
//! rule covers both. What is left over are unknown keys. It does not know which keys there are.

use super::admin::Token;
use super::entry::{Entry, PLACEHOLDER};
use super::faults::{ConfigError, shown};
use super::placeholder::Env;
use super::units::{self, Wrong};
use super::unknown::Unknown;
use secrecy::SecretString;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One reading of one file: what every section shares.
pub(super) struct Reading<'a> {
    text: &'a str,
    env: &'a Env,
    faults: RefCell<Vec<ConfigError>>,
    unknown: RefCell<Vec<Unknown>>,
    known: RefCell<Vec<(&'static str, Vec<&'static str>)>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str, env: &'a Env) -> Reading<'a> {
        Reading {
            text,
            env,
            faults: RefCell::default(),
            unknown: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// The line, from 1, in which a byte of the file stands.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn env(&self) -> &'a Env {
        self.env
    }

    pub(super) fn fault(&self, fault: ConfigError) {
        self.faults.borrow_mut().push(fault);
    }

    /// Everything that was wrong, unknown keys included.
    pub(super) fn finish(self) -> Vec<ConfigError> {
        let known = self.known.into_inner();
        let mut faults = self.faults.into_inner();
        faults.extend(self.unknown.into_inner().into_iter().map(|unknown| unknown.judge(&known)));
        faults
    }
}

/// One table of the file, or its absence.
pub(super) struct Section<'r, 'a, 'i> {
    reading: &'r Reading<'a>,
    name: &'static str,
    /// Where the table begins.
    line: Option<usize>,
    table: Option<&'r DeTable<'i>>,
    known: Vec<&'static str>,
}

impl<'r, 'a, 'i> Section<'r, 'a, 'i> {
    /// The section `name` as `value` gives it; `None` for one that the file leaves out.
    pub(super) fn new(
        reading: &'r Reading<'a>,
        name: &'static str,
        value: Option<&'r Spanned<DeValue<'i>>>,
    ) -> Section<'r, 'a, 'i> {
        let line = value.map(|value| reading.line(value.span().start));
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            let help = match value.get_ref() {
                DeValue::Array(_) => format!("there is one only: write [{name}]"),
                _ => String::new(),
            };
            reading.fault(ConfigError {
                line,
                key: name.to_owned(),
                found: kind(value.get_ref()).to_owned(),
                expected: "a table".to_owned(),
                help,
            });
        }
        Section { reading, name, line, table, known: Vec::new() }
    }

    /// The top of the file, whose keys are the sections.
    pub(super) fn top(reading: &'r Reading<'a>, table: &'r DeTable<'i>) -> Section<'r, 'a, 'i> {
        Section { reading, name: "", line: None, table: Some(table), known: Vec::new() }
    }

    /// A string that `parse` understands.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        match self.value(key) {
            None => self.entry(key).parse(default, &parse),
            Some((entry, DeValue::String(text))) => entry.parse(text, &parse),
            Some((entry, other)) => {
                // What would be wrong with it in quotes says more than that the quotes are missing.
                let quoted = || Wrong::expected("a string").help("put it in quotes");
                let Wrong { expected, help, .. } = match other {
                    DeValue::Integer(number) => parse(&number.to_string()).err().unwrap_or_else(quoted),
                    _ => Wrong::expected("a string"),
                };
                entry.wrong(described(other), expected, help)
            }
        }
    }

    /// A whole number within `range`; a string may stand for it if it holds a placeholder.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.scalar(key, default, &expected, |value| match value {
            Scalar::Integer(number) => number.parse().ok().filter(|number| range.contains(number)),
            Scalar::Text(text) => text.parse().ok().filter(|number| range.contains(number)),
            Scalar::Float(_) | Scalar::Flag(_) => None,
        })
    }

    /// A size in bytes within `range`: a number, or a string such as `"1MiB"`.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let expected = "a size from 1 byte to 1GiB, such as \"1MiB\" or 1048576";
        let Some((entry, value)) = self.value(key) else { return Some(default) };
        match value {
            DeValue::String(text) => entry.parse(text, &|text: &str| {
                units::bytes(text)
                    .filter(|size| range.contains(size))
                    .ok_or_else(|| Wrong::expected(expected))
            }),
            DeValue::Integer(number) => match number.to_string().parse() {
                Ok(size) if range.contains(&size) => Some(size),
                _ => entry.wrong(described(value), expected.to_owned(), String::new()),
            },
            other => entry.wrong(described(other), expected.to_owned(), String::new()),
        }
    }

    /// A share of something: a number from 0 to 1; a string may stand for it if it holds a placeholder.
    pub(super) fn share(&mut self, key: &'static str, default: f64) -> Option<f64> {
        let whole = |text: &str| text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        self.scalar(key, default, "a number from 0 to 1", |value| match value {
            Scalar::Integer(text) | Scalar::Float(text) | Scalar::Text(text) => whole(text),
            Scalar::Flag(_) => None,
        })
    }

    /// `true` or `false`; a string may stand for it if it holds a placeholder.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> Option<bool> {
        self.scalar(key, default, "true or false", |value| match value {
            Scalar::Flag(flag) => Some(flag),
            Scalar::Text("true") => Some(true),
            Scalar::Text("false") => Some(false),
            Scalar::Text(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
        })
    }

    /// A list of strings, each of which `parse` understands.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        self.entries(key, default, |entry, text| entry.parse(text, &parse))
    }

    /// A list of secrets, one at least. Each entry is a placeholder, and may hold several between commas.
    pub(super) fn secrets(&mut self, key: &'static str, default: &[&str]) -> Option<Vec<SecretString>> {
        let secrets = self.entries(key, default, |entry, text| entry.secrets(text))?;
        let secrets: Vec<_> = secrets.into_iter().flatten().collect();
        if secrets.is_empty() {
            let help = "a webhook without a secret cannot be verified; leave the key out for {$STRIPE_WEBHOOK_SECRET}";
            return self.entry(key).wrong(
                "an empty list".to_owned(),
                "one secret at least".to_owned(),
                help.to_owned(),
            );
        }
        Some(secrets)
    }

    /// One secret, or a blank string for none.
    pub(super) fn secret_or_blank(&mut self, key: &'static str) -> Option<Option<SecretString>> {
        self.hidden(key, "", Entry::secret_or_blank)
    }

    /// The text of a key as it stands in the file, placeholders and all.
    pub(super) fn raw(&self, key: &str) -> Option<&'r str> {
        self.table?.get(key)?.get_ref().as_str()
    }

    /// A string that `parse` understands and that has no default.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.table.is_some_and(|table| table.contains_key(key)) {
            return self.text(key, "", parse);
        }
        self.known.push(key);
        // A section that is no table has its fault already.
        self.table?;
        self.entry(key).wrong("nothing".to_owned(), expected.to_owned(), String::new())
    }

    /// The key to Stripe's API, or a blank string for none; given by a placeholder, `default` if the file has no such key.
    pub(super) fn api_key_or_blank(
        &mut self,
        key: &'static str,
        default: &str,
    ) -> Option<Option<SecretString>> {
        self.hidden(key, default, Entry::api_key_or_blank)
    }

    /// The events API's token, or a blank string for none.
    pub(super) fn token_or_blank(&mut self, key: &'static str, default: &str) -> Option<Option<Token>> {
        self.hidden(key, default, Entry::token_or_blank)
    }

    /// What a placeholder stands for and no fault shows.
    fn hidden<T>(
        &mut self,
        key: &'static str,
        default: &str,
        read: impl Fn(&Entry<'r, 'a>, &str) -> Option<T>,
    ) -> Option<T> {
        match self.value(key) {
            None => read(&self.entry(key), default),
            Some((entry, DeValue::String(text))) => read(&entry, text),
            Some((entry, other)) => {
                entry.wrong(kind(other).to_owned(), PLACEHOLDER.to_owned(), String::new())
            }
        }
    }

    /// The table under a key, to be read as a section of its own. `name` is its whole name: `checkout.identity`.
    pub(super) fn table(&mut self, key: &'static str, name: &'static str) -> Section<'r, 'a, 'i> {
        self.known.push(key);
        Section::new(self.reading, name, self.table.and_then(|table| table.get(key)))
    }

    /// The tables of a list under a key, each to be read as a section of its own. None if the file has no such key.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        name: &'static str,
    ) -> Option<Vec<Section<'r, 'a, 'i>>> {
        match self.value(key) {
            None => Some(Vec::new()),
            Some((_, DeValue::Array(list))) => {
                Some(list.iter().map(|value| Section::new(self.reading, name, Some(value))).collect())
            }
            Some((entry, other)) => {
                let help = format!("there may be several: write [[{name}]]");
                entry.wrong(kind(other).to_owned(), "a list of tables".to_owned(), help)
            }
        }
    }

    /// Whatever stands in the table, key by key, with where each stands. All of its keys are known.
    pub(super) fn contents(
        &self,
    ) -> impl Iterator<Item = (&'r str, Entry<'r, 'a>, &'r DeValue<'i>)> + use<'r, 'a, 'i> {
        let (reading, name) = (self.reading, self.name);
        self.table.into_iter().flatten().map(move |(key, value)| {
            let line = Some(reading.line(key.span().start));
            let entry = Entry { reading, key: format!("{name}.{}", key.get_ref()), line };
            (&**key.get_ref(), entry, value.get_ref())
        })
    }

    /// Notes a fault of a key that was read and understood, and is wrong all the same.
    pub(super) fn fault(&self, key: &'static str, found: String, expected: &str, help: &str) {
        let line = self.line_of(key).or(self.line);
        let key = format!("{}.{key}", self.name);
        self.reading.fault(ConfigError {
            line,
            key,
            found,
            expected: expected.to_owned(),
            help: help.to_owned(),
        });
    }

    /// The line of a key, if the file has it.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let (key, _) = self.table?.get_key_value(key)?;
        Some(self.reading.line(key.span().start))
    }

    /// Where the section begins, if the file has it.
    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }

    /// Makes a key known that is read elsewhere.
    pub(super) fn know(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Whatever was not asked for is an unknown key.
    pub(super) fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            if !self.known.contains(&&**key.get_ref()) {
                self.reading.unknown.borrow_mut().push(Unknown {
                    section: self.name,
                    key: key.get_ref().to_string(),
                    line: self.reading.line(key.span().start),
                });
            }
        }
        let mut known = self.reading.known.borrow_mut();
        if known.iter().all(|(section, _)| *section != self.name) {
            known.push((self.name, self.known));
        }
    }

    /// The value of a key, with where it stands.
    fn value(&mut self, key: &'static str) -> Option<(Entry<'r, 'a>, &'r DeValue<'i>)> {
        self.known.push(key);
        let value = self.table?.get(key)?;
        let entry = Entry { line: Some(self.reading.line(value.span().start)), ..self.entry(key) };
        Some((entry, value.get_ref()))
    }

    /// Where a key stands, or would.
    fn entry(&self, key: &'static str) -> Entry<'r, 'a> {
        let line = self.line_of(key).or(self.line);
        Entry { reading: self.reading, key: format!("{}.{key}", self.name), line }
    }

    fn scalar<T>(
        &mut self,
        key: &'static str,
        default: T,
        expected: &str,
        take: impl Fn(Scalar) -> Option<T>,
    ) -> Option<T> {
        let Some((entry, value)) = self.value(key) else { return Some(default) };
        let taken = match value {
            DeValue::Integer(number) => take(Scalar::Integer(&number.to_string())),
            DeValue::Float(number) => take(Scalar::Float(&number.to_string())),
            DeValue::Boolean(flag) => take(Scalar::Flag(*flag)),
            DeValue::String(text) if text.contains("{$") || text.contains("{file.") => {
                return entry.parse(text, &|text: &str| {
                    take(Scalar::Text(text)).ok_or_else(|| Wrong::expected(expected))
                });
            }
            DeValue::String(text) if take(Scalar::Text(text)).is_some() => {
                return entry.wrong(
                    described(value),
                    expected.to_owned(),
                    "write it without quotes".to_owned(),
                );
            }
            _ => None,
        };
        taken.or_else(|| entry.wrong(described(value), expected.to_owned(), String::new()))
    }

    fn entries<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        read: impl Fn(&Entry<'r, 'a>, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let expected = || "a list of strings".to_owned();
        match self.value(key) {
            None => {
                let entry = self.entry(key);
                default.iter().map(|text| read(&entry, text)).collect()
            }
            Some((entry, DeValue::Array(list))) => {
                let mut read_all = Some(Vec::new());
                for (position, value) in list.iter().enumerate() {
                    let mut entry =
                        Entry { line: Some(self.reading.line(value.span().start)), ..entry.clone() };
                    if list.len() > 1 {
                        entry.key = format!("{}, entry {}", entry.key, position + 1);
                    }
                    let read = match value.get_ref() {
                        DeValue::String(text) => read(&entry, text),
                        other => entry.wrong(kind(other).to_owned(), "a string".to_owned(), String::new()),
                    };
                    // Reading goes on after a fault: every entry is to be judged.
                    read_all = read_all.zip(read).map(|(mut all, one)| {
                        all.push(one);
                        all
                    });
                }
                read_all
            }
            Some((entry, DeValue::String(_))) => {
                entry.wrong("a string".to_owned(), expected(), "put it in brackets: [\"…\"]".to_owned())
            }
            Some((entry, other)) => entry.wrong(kind(other).to_owned(), expected(), String::new()),
        }
    }
}

/// What a number or flag may be written as.
enum Scalar<'v> {
    Integer(&'v str),
    Float(&'v str),
    Flag(bool),
    Text(&'v str),
}

/// What a value is, in words, without its content.
fn kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What a value is, with its content if that is short.
fn described(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", shown(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => kind(value).to_owned(),
    }
}
