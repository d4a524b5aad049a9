//! `[checkout.params]` and `[checkout.price.params]`: parameters under Stripe's own names, sent as they are. Parameters
//! that another key sets are rejected here; every other name and value is for Stripe to check.

use crate::config::reader::{InvalidValue, Section, ValueReader};
use crate::stripe::form::{Param, Params};
use toml::de::DeValue;

/// The parameters of a session that the program sends itself, and the key to use instead.
pub(super) const SESSION_PARAMS: &[(&str, &str)] = &[
    ("mode", "use mode in [checkout]"),
    ("ui_mode", "use ui_mode in [checkout]"),
    ("success_url", "use success_url in [checkout]"),
    ("cancel_url", "use cancel_url in [checkout]"),
    ("return_url", "use return_url in [checkout]"),
    ("line_items", "use [[checkout.price]]"),
    ("customer", "use [checkout.identity]"),
    ("customer_email", "use [checkout.identity]"),
    ("client_reference_id", "use [checkout.identity]"),
    ("expires_at", "use expires_after in [checkout], which counts from each order"),
];

/// The parameters of a line item that the program sends itself, and the key to use instead.
pub(super) const LINE_ITEM_PARAMS: &[(&str, &str)] = &[
    ("price", "use id or lookup_key in [[checkout.price]]"),
    ("price_data", "use id or lookup_key in [[checkout.price]]"),
    ("quantity", "the order says the quantity, within min and max"),
];

/// The deepest nesting of a value. No parameter of Stripe's comes near it.
const MAX_DEPTH: usize = 8;

/// Reads the parameters, in the order in which they are sent. `own` are those that other keys set.
pub(super) fn read(section: &Section, own: &[(&str, &str)]) -> Option<Params> {
    let params = section.entries().map(|(key, reader, value)| {
        let param = match own.iter().find(|(name, _)| *name == key) {
            Some((_, help)) => reader.report("a parameter that another key sets", "other parameters", *help),
            None => param(&reader, key, value, 0),
        };
        param.map(|param| (key.to_owned(), param))
    });
    // Every parameter is read before the first error returns, so that all errors are reported at once.
    let params: Vec<_> = params.collect();
    params.into_iter().collect()
}

fn param(reader: &ValueReader, key: &str, value: &DeValue, depth: usize) -> Option<Param> {
    // Stripe's form encoding gives the excluded characters a meaning of their own.
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic() && !b"[]=&".contains(&b)) {
        return reader.report("a name that no parameter of Stripe's has", "a parameter's name", "");
    }
    if depth > MAX_DEPTH {
        return reader.report("a deeply nested value", "a parameter of Stripe's", "");
    }
    match value {
        DeValue::String(text) => reader.parse(text, &|text: &str| Ok::<_, InvalidValue>(Param::from(text))),
        // TOML also has hexadecimal, octal and binary numbers. Stripe expects decimal ones.
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(Param::Text(number.to_string())),
            Err(_) => reader.report("a number beyond 64 bits", "a parameter's value", ""),
        },
        DeValue::Float(number) => Some(Param::Text(number.as_str().to_owned())),
        DeValue::Boolean(boolean) => Some(Param::Text(boolean.to_string())),
        DeValue::Datetime(_) => {
            reader.report("a date", "a Unix time in seconds", "Stripe expects times as numbers")
        }
        DeValue::Array(list) => {
            let items: Vec<_> =
                list.iter().map(|item| param(reader, key, item.get_ref(), depth + 1)).collect();
            items.into_iter().collect::<Option<_>>().map(Param::List)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(name, value)| {
                let name = name.get_ref();
                let param = param(&reader.nested(name), name, value.get_ref(), depth + 1);
                param.map(|param| (name.to_string(), param))
            });
            let entries: Vec<_> = entries.collect();
            entries.into_iter().collect::<Option<_>>().map(Param::Table)
        }
    }
}
