//! Reads the secrets of a section. A secret is only ever read through a placeholder, and no error shows it.

use super::diagnostics::type_name;
use super::parse::InvalidValue;
use super::section::Section;
use super::value::{PLACEHOLDER, ValueReader};
use toml::de::DeValue;

impl<'r, 'a> Section<'r, 'a, '_> {
    /// Reads a list of secrets, each with `parse`. An entry is a placeholder, and may hold several, separated by commas.
    pub(crate) fn secret_list<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        expected: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        let secrets = self.read_list(key, default, |reader, text| reader.secrets(text, expected, &parse))?;
        Some(secrets.into_iter().flatten().collect())
    }

    /// Reads one secret with `parse`. Returns `Some(None)` for a blank string.
    pub(crate) fn secret_or_blank<T>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Option<T>> {
        self.read_secret(key, default, |reader, text| reader.secret_or_blank(text, &parse))
    }

    /// Reads secrets that one placeholder holds, separated by commas, each with `parse`. A blank string holds none.
    pub(crate) fn secrets_or_blank<T>(
        &mut self,
        key: &'static str,
        default: &str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        self.read_secret(key, default, |reader, text| reader.secrets_or_blank(text, expected, &parse))
    }

    fn read_secret<T>(
        &mut self,
        key: &'static str,
        default: &str,
        read: impl Fn(&ValueReader<'r, 'a>, &str) -> Option<T>,
    ) -> Option<T> {
        match self.value(key) {
            None => read(&self.value_reader(key), default),
            Some((reader, DeValue::String(text))) => read(&reader, text),
            Some((reader, other)) => reader.report(type_name(other), PLACEHOLDER, ""),
        }
    }
}
