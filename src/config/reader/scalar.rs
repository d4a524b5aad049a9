//! Numbers and booleans of a section. A string may stand for one only if it holds a placeholder, because the
//! environment has nothing but strings.

use super::diagnostics::describe;
use super::parse::{InvalidValue, bytes};
use super::section::Section;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// A number or boolean as the file or a placeholder spells it.
enum Scalar<'v> {
    Integer(&'v str),
    Float(&'v str),
    Boolean(bool),
    Text(&'v str),
}

impl Section<'_, '_, '_> {
    /// Reads a whole number within `range`.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.scalar(key, default, &expected, |value| match value {
            Scalar::Integer(text) | Scalar::Text(text) => {
                text.parse().ok().filter(|number| range.contains(number))
            }
            Scalar::Float(_) | Scalar::Boolean(_) => None,
        })
    }

    /// Reads a size in bytes within `range`: a number, or a string such as `"1MiB"`.
    pub(crate) fn size(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let example = (1 << 20).min(*range.end());
        let (least, most) = (size_text(*range.start()), size_text(*range.end()));
        let expected =
            format!("a size from {least} to {most}, such as \"{}\" or {example}", size_text(example));
        let expected = expected.as_str();
        let Some((reader, value)) = self.value(key) else { return Some(default) };
        match value {
            DeValue::String(text) => reader.parse(text, &|text: &str| {
                bytes(text)
                    .filter(|size| range.contains(size))
                    .ok_or_else(|| InvalidValue::expected(expected))
            }),
            DeValue::Integer(number) => match number.to_string().parse() {
                Ok(size) if range.contains(&size) => Some(size),
                Ok(_) | Err(_) => reader.report(describe(value), expected, ""),
            },
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => reader.report(describe(value), expected, ""),
        }
    }

    /// Reads a number from 0 to 1.
    pub(crate) fn ratio(&mut self, key: &'static str, default: f64) -> Option<f64> {
        let parse = |text: &str| text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        self.scalar(key, default, "a number from 0 to 1", |value| match value {
            Scalar::Integer(text) | Scalar::Float(text) | Scalar::Text(text) => parse(text),
            Scalar::Boolean(_) => None,
        })
    }

    /// Reads `true` or `false`.
    pub(crate) fn bool(&mut self, key: &'static str, default: bool) -> Option<bool> {
        self.scalar(key, default, "true or false", |value| match value {
            Scalar::Boolean(boolean) => Some(boolean),
            Scalar::Text("true") => Some(true),
            Scalar::Text("false") => Some(false),
            Scalar::Text(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
        })
    }

    fn scalar<T>(
        &mut self,
        key: &'static str,
        default: T,
        expected: &str,
        convert: impl Fn(Scalar) -> Option<T>,
    ) -> Option<T> {
        let Some((reader, value)) = self.value(key) else { return Some(default) };
        let converted = match value {
            DeValue::Integer(number) => convert(Scalar::Integer(&number.to_string())),
            DeValue::Float(number) => convert(Scalar::Float(&number.to_string())),
            DeValue::Boolean(boolean) => convert(Scalar::Boolean(*boolean)),
            DeValue::String(text) if text.contains("{$") || text.contains("{file.") => {
                return reader.parse(text, &|text: &str| {
                    convert(Scalar::Text(text)).ok_or_else(|| InvalidValue::expected(expected))
                });
            }
            DeValue::String(text) if convert(Scalar::Text(text)).is_some() => {
                return reader.report(describe(value), expected, "write it without quotes");
            }
            DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        converted.or_else(|| reader.report(describe(value), expected, ""))
    }
}

/// Writes a size with the largest unit that divides it.
fn size_text(size: u64) -> String {
    match size {
        1 => "1 byte".to_owned(),
        _ if size.is_multiple_of(1 << 30) => format!("{}GiB", size >> 30),
        _ if size.is_multiple_of(1 << 20) => format!("{}MiB", size >> 20),
        _ if size.is_multiple_of(1 << 10) => format!("{}KiB", size >> 10),
        _ => format!("{size} bytes"),
    }
}
