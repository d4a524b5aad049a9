//! Reads one table of the file key by key: looks a key up, and hands its text to a parser. A key that is absent is read
//! from its default as if the default were in the file, so one rule covers both. Keys that nobody asked for are
//! reported as unknown. A section does not know which keys there are.

use super::diagnostics::{Diagnostic, describe, type_name};
use super::parse::InvalidValue;
use super::reading::Reading;
use super::unknown_keys::UnknownKey;
use super::value::ValueReader;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of the file, or its absence.
pub(crate) struct Section<'r, 'a, 'i> {
    reading: &'r Reading<'a>,
    /// The whole name of the table, such as `checkout.identity`. Empty for the top of the file.
    name: &'static str,
    /// The line on which the table begins. `None` if the file leaves it out.
    line: Option<usize>,
    table: Option<&'r DeTable<'i>>,
    /// The keys that were asked for so far.
    known_keys: Vec<&'static str>,
}

impl<'r, 'a, 'i> Section<'r, 'a, 'i> {
    /// Creates the section `name` from its value. `None` stands for a section that the file leaves out.
    pub(crate) fn new(
        reading: &'r Reading<'a>,
        name: &'static str,
        value: Option<&'r Spanned<DeValue<'i>>>,
    ) -> Self {
        let line = value.map(|value| reading.line_at(value.span().start));
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            let help = match value.get_ref() {
                DeValue::Array(_) => format!("only one is allowed: write [{name}]"),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Table(_) => String::new(),
            };
            reading.report(Diagnostic {
                line,
                key: name.to_owned(),
                found: type_name(value.get_ref()).to_owned(),
                expected: "a table".to_owned(),
                help,
            });
        }
        Section { reading, name, line, table, known_keys: Vec::new() }
    }

    /// Creates the top of the file, whose keys are the sections.
    pub(crate) fn root(reading: &'r Reading<'a>, table: &'r DeTable<'i>) -> Self {
        Section { reading, name: "", line: None, table: Some(table), known_keys: Vec::new() }
    }

    /// Reads a string with `parse`.
    pub(crate) fn text<T>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        match self.value(key) {
            None => self.value_reader(key).parse(default, &parse),
            Some((reader, DeValue::String(text))) => reader.parse(text, &parse),
            Some((reader, other)) => {
                let quoted = || InvalidValue::expected("a string").help("put it in quotes");
                let InvalidValue { expected, help, .. } = if let DeValue::Integer(number) = other {
                    // The parser's own error says more than that the quotes are missing.
                    parse(&number.to_string()).err().unwrap_or_else(quoted)
                } else {
                    InvalidValue::expected("a string")
                };
                reader.report(describe(other), expected, help)
            }
        }
    }

    /// Reads a string that has no default with `parse`. `expected` describes it if it is missing.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        if self.has_key(key) {
            return self.text(key, "", parse);
        }
        self.allow_key(key);
        // A section that is not a table has its error already.
        self.table?;
        self.value_reader(key).report("no value", expected, "")
    }

    /// Reads a list of strings, each with `parse`.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        self.read_list(key, default, |reader, text| reader.parse(text, &parse))
    }

    /// Reads a string or a list of strings, each with `parse`.
    pub(crate) fn one_or_more<T>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        let value = self.table.and_then(|table| table.get(key));
        if value.is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_))) {
            return self.list(key, &[], parse);
        }
        Some(vec![self.text(key, default, parse)?])
    }

    /// Reads a string or a list of strings, each with `parse`. A name in braces stays as it is.
    pub(crate) fn patterns<T>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        match self.value(key) {
            Some((reader, DeValue::String(text))) => Some(vec![reader.parse_pattern(text, &parse)?]),
            None => Some(vec![self.value_reader(key).parse_pattern(default, &parse)?]),
            Some((_, DeValue::Array(_))) => {
                self.read_list(key, &[], |reader, text| reader.parse_pattern(text, &parse))
            }
            Some((reader, other)) => reader.report(describe(other), "a string or a list of strings", ""),
        }
    }

    /// Returns whether the file has the key.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Returns the string under a key as the file spells it, with its placeholders.
    pub(crate) fn raw_str(&self, key: &str) -> Option<&'r str> {
        self.table?.get(key)?.get_ref().as_str()
    }

    /// Returns the table under a key, to be read as a section of its own. `name` is its whole name.
    pub(crate) fn table(&mut self, key: &'static str, name: &'static str) -> Self {
        self.allow_key(key);
        Section::new(self.reading, name, self.table.and_then(|table| table.get(key)))
    }

    /// Returns the tables of the list under a key, each to be read as a section of its own. There is none without the
    /// key.
    pub(crate) fn tables(&mut self, key: &'static str, name: &'static str) -> Option<Vec<Self>> {
        match self.value(key) {
            None => Some(Vec::new()),
            Some((_, DeValue::Array(list))) => {
                Some(list.iter().map(|value| Section::new(self.reading, name, Some(value))).collect())
            }
            Some((reader, other)) => reader.report(
                type_name(other),
                "a list of tables",
                format!("write [[{name}]] for each of them"),
            ),
        }
    }

    /// Returns every key of the table, with its place and value. All keys count as known.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = (&'r str, ValueReader<'r, 'a>, &'r DeValue<'i>)> + use<'r, 'a, 'i> {
        let (reading, name) = (self.reading, self.name);
        self.table.into_iter().flatten().map(move |(key, value)| {
            let line = Some(reading.line_at(key.span().start));
            let reader = ValueReader::new(reading, format!("{name}.{}", key.get_ref()), line);
            (&**key.get_ref(), reader, value.get_ref())
        })
    }

    /// Reports an error of a key that was parsed, but does not fit the other keys.
    pub(crate) fn report(
        &self,
        key: &'static str,
        found: impl Into<String>,
        expected: impl Into<String>,
        help: impl Into<String>,
    ) {
        let _: Option<()> = self.value_reader(key).report(found, expected, help);
    }

    /// Returns a list that has entries. Reports an empty one.
    pub(crate) fn non_empty<T>(
        &self,
        key: &'static str,
        list: Vec<T>,
        expected: &str,
        help: &str,
    ) -> Option<Vec<T>> {
        if list.is_empty() {
            return self.value_reader(key).report("an empty list", expected, help);
        }
        Some(list)
    }

    /// Returns the line on which the section begins, if the file has it.
    pub(crate) fn line(&self) -> Option<usize> {
        self.line
    }

    /// Makes a key known that other code reads.
    pub(crate) fn allow_key(&mut self, key: &'static str) {
        self.known_keys.push(key);
    }

    /// Reports every key that was not asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            if !self.known_keys.contains(&&**key.get_ref()) {
                self.reading.report_unknown(UnknownKey {
                    section: self.name,
                    key: key.get_ref().to_string(),
                    line: self.reading.line_at(key.span().start),
                });
            }
        }
        self.reading.add_known_keys(self.name, self.known_keys);
    }

    /// Returns the value of a key and its place, if the file has the key. The key counts as known from then on.
    pub(super) fn value(&mut self, key: &'static str) -> Option<(ValueReader<'r, 'a>, &'r DeValue<'i>)> {
        self.allow_key(key);
        let value = self.table?.get(key)?;
        let line = Some(self.reading.line_at(value.span().start));
        Some((ValueReader::new(self.reading, format!("{}.{key}", self.name), line), value.get_ref()))
    }

    /// Returns the place of a key: its own line, or the section's if the file does not have it.
    pub(super) fn value_reader(&self, key: &'static str) -> ValueReader<'r, 'a> {
        let own = self.table.and_then(|table| table.get_key_value(key));
        let line = own.map(|(key, _)| self.reading.line_at(key.span().start)).or(self.line);
        ValueReader::new(self.reading, format!("{}.{key}", self.name), line)
    }

    /// Reads a list of strings, each with `read`.
    pub(super) fn read_list<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        read: impl Fn(&ValueReader<'r, 'a>, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        match self.value(key) {
            None => {
                let reader = self.value_reader(key);
                default.iter().map(|text| read(&reader, text)).collect()
            }
            Some((reader, DeValue::Array(list))) => {
                let entries = list.iter().enumerate().map(|(position, value)| {
                    let number = (list.len() > 1).then_some(position + 1);
                    let reader = reader.entry(number, self.reading.line_at(value.span().start));
                    if let DeValue::String(text) = value.get_ref() {
                        read(&reader, text)
                    } else {
                        reader.report(type_name(value.get_ref()), "a string", "")
                    }
                });
                // Every entry is read before the first error returns, so that all errors are reported at once.
                let entries: Vec<_> = entries.collect();
                entries.into_iter().collect()
            }
            Some((reader, DeValue::String(_))) => {
                reader.report("a string", "a list of strings", "put it in brackets: [\"…\"]")
            }
            Some((reader, other)) => reader.report(type_name(other), "a list of strings", ""),
        }
    }
}
