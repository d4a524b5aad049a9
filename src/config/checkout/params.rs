//! `[checkout.params]`: parameters under Stripe's own names, passed as they are. It owns which names are not to be had
//! here, because the program says them itself; what Stripe makes of the others is Stripe's business.

use crate::config::entry::Entry;
use crate::config::section::Section;
use crate::config::units::Wrong;
use crate::stripe::form::{Param, Params};
use toml::de::DeValue;

/// What the program says itself, and where it is configured.
const OURS: [(&str, &str); 9] = [
    ("mode", "mode under [checkout] says it"),
    ("ui_mode", "ui_mode under [checkout] says it"),
    ("success_url", "success_url under [checkout] says it"),
    ("cancel_url", "cancel_url under [checkout] says it"),
    ("return_url", "return_url under [checkout] says it"),
    ("line_items", "[[checkout.price]] says what is sold"),
    ("customer", "[checkout.identity] says who buys"),
    ("customer_email", "[checkout.identity] says who buys"),
    ("client_reference_id", "[checkout.identity] says who buys"),
];

/// Deeper trees than this are none of Stripe's.
const DEPTH: usize = 8;

/// The parameters, in the order in which they are sent.
pub(super) fn read(section: &Section) -> Option<Params> {
    let mut params = Some(Params::new());
    for (key, entry, value) in section.contents() {
        let param = match OURS.iter().find(|(ours, _)| *ours == key) {
            Some((_, help)) => entry.wrong(
                "a parameter that is set elsewhere".to_owned(),
                "other parameters".to_owned(),
                (*help).to_owned(),
            ),
            None => param(&entry, key, value, 0),
        };
        // Reading goes on after a fault: every parameter is to be judged.
        params = params.zip(param).map(|(mut params, param)| {
            params.push((key.to_owned(), param));
            params
        });
    }
    params
}

fn param(entry: &Entry, key: &str, value: &DeValue, depth: usize) -> Option<Param> {
    let wrong =
        |found: &str, expected: &str| entry.wrong(found.to_owned(), expected.to_owned(), String::new());
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic() && !b"[]=&".contains(&b)) {
        return wrong("a name that Stripe has not", "a parameter's name");
    }
    if depth > DEPTH {
        return wrong("a deeply nested value", "a parameter of Stripe's");
    }
    match value {
        DeValue::String(text) => entry.parse(text, &|text: &str| Ok::<_, Wrong>(Param::from(text))),
        // Written in another base it means the same number.
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(Param::Text(number.to_string())),
            Err(_) => wrong("a number beyond 64 bits", "a parameter's value"),
        },
        DeValue::Float(number) => Some(Param::Text(number.as_str().to_owned())),
        DeValue::Boolean(flag) => Some(Param::Text(flag.to_string())),
        DeValue::Datetime(_) => entry.wrong(
            "a date".to_owned(),
            "a Unix time in seconds".to_owned(),
            "Stripe's times are numbers".to_owned(),
        ),
        DeValue::Array(list) => {
            let items: Vec<_> =
                list.iter().map(|item| param(entry, key, item.get_ref(), depth + 1)).collect();
            items.into_iter().collect::<Option<_>>().map(Param::List)
        }
        DeValue::Table(table) => {
            let entries: Vec<_> = table
                .iter()
                .map(|(name, value)| {
                    let entry = Entry { key: format!("{}.{}", entry.key, name.get_ref()), ..entry.clone() };
                    param(&entry, name.get_ref(), value.get_ref(), depth + 1)
                        .map(|param| (name.get_ref().to_string(), param))
                })
                .collect();
            entries.into_iter().collect::<Option<_>>().map(Param::Table)
        }
    }
}
