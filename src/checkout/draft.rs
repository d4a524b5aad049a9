//! An order as the client wrote it, JSON or form, brought to one shape: which fields there are, of which kind. What they
//! may say is `order`'s to judge. Blank fields and `null` say nothing: HTML forms send every input.

use serde_json::Value;
use std::collections::BTreeMap;

use super::order::{OrderError, OrderErrorKind};

/// Headers that hold a text.
const TEXTS: [&str; 3] = ["client_reference_id", "customer_email", "locale"];

/// A written order.
#[derive(Default)]
pub(super) struct Draft {
    /// `price` and `quantity`.
    pub single: Option<Line>,
    /// `items`, by their place.
    pub lines: BTreeMap<usize, Line>,
    /// The others, none of them blank.
    pub texts: BTreeMap<&'static str, String>,
    /// `metadata`, each key once.
    pub metadata: Vec<(String, String)>,
}

/// One line of it.
#[derive(Default)]
pub(super) struct Line {
    pub price: Option<String>,
    pub quantity: Option<u64>,
}

impl Draft {
    /// From a JSON object.
    pub(super) fn from_json(body: &[u8]) -> Result<Draft, OrderError> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Err(OrderError { fault: OrderErrorKind::Malformed, param: None });
        };
        let mut draft = Draft::default();
        for (name, value) in fields {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("items", Value::Array(items)) => {
                    for (at, item) in items.into_iter().enumerate() {
                        let field = format!("items[{at}]");
                        let Value::Object(item) = item else {
                            return Err(OrderError::of(OrderErrorKind::FieldInvalid, field));
                        };
                        let line = draft.lines.entry(at).or_default();
                        for (name, value) in item {
                            line.take_json(&name, value, format!("{field}[{name}]"))?;
                        }
                    }
                }
                ("metadata", Value::Object(entries)) => {
                    for (key, value) in entries {
                        match value {
                            Value::String(text) => draft.say(key, text),
                            Value::Null => {}
                            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                                return Err(OrderError::of(
                                    OrderErrorKind::FieldInvalid,
                                    format!("metadata[{key}]"),
                                ));
                            }
                        }
                    }
                }
                ("price" | "quantity", value) => {
                    draft.single.get_or_insert_default().take_json(&name, value, name.clone())?;
                }
                (word, Value::String(text)) if TEXTS.contains(&word) => draft.set(word, text, &name)?,
                (word, _) if TEXTS.contains(&word) || matches!(word, "items" | "metadata") => {
                    return Err(OrderError::of(OrderErrorKind::FieldInvalid, name));
                }
                _ => return Err(OrderError::of(OrderErrorKind::FieldUnknown, name)),
            }
        }
        Ok(draft)
    }

    /// From a form.
    pub(super) fn from_form(body: &[u8]) -> Result<Draft, OrderError> {
        let mut draft = Draft::default();
        for (name, value) in form_urlencoded::parse(body) {
            if value.is_empty() {
                draft.is_known(&name)?;
                continue;
            }
            let (word, rest) = name.split_once('[').unwrap_or((&name, ""));
            let value = value.into_owned();
            let repeated = || OrderError::of(OrderErrorKind::FieldInvalid, &*name);
            match (word, rest) {
                ("price" | "quantity", "") => {
                    draft.single.get_or_insert_default().take_form(word, value, &name)?;
                }
                ("items", rest) => {
                    let (at, field) =
                        item(rest).ok_or_else(|| OrderError::of(OrderErrorKind::FieldUnknown, &*name))?;
                    draft.lines.entry(at).or_default().take_form(field, value, &name)?;
                }
                ("metadata", rest) => {
                    let key = rest.strip_suffix(']').filter(|key| !key.is_empty());
                    let key = key.ok_or_else(|| OrderError::of(OrderErrorKind::FieldUnknown, &*name))?;
                    if draft.metadata.iter().any(|(other, _)| other == key) {
                        return Err(repeated());
                    }
                    draft.say(key.to_owned(), value);
                }
                (word, "") if TEXTS.contains(&word) => draft.set(word, value, &name)?,
                _ => return Err(OrderError::of(OrderErrorKind::FieldUnknown, &*name)),
            }
        }
        Ok(draft)
    }

    /// A field is unknown even if it is blank; else a typing error in a form would show only once somebody fills it in.
    fn is_known(&self, name: &str) -> Result<(), OrderError> {
        let (word, rest) = name.split_once('[').unwrap_or((name, ""));
        let known = match word {
            "price" | "quantity" => rest.is_empty(),
            "items" => item(rest).is_some_and(|(_, field)| matches!(field, "price" | "quantity")),
            "metadata" => true,
            word => TEXTS.contains(&word) && rest.is_empty(),
        };
        if known { Ok(()) } else { Err(OrderError::of(OrderErrorKind::FieldUnknown, name)) }
    }

    fn set(&mut self, word: &str, text: String, name: &str) -> Result<(), OrderError> {
        let word = TEXTS.into_iter().find(|known| *known == word);
        match word {
            Some(word) if !text.is_empty() => match self.texts.insert(word, text) {
                None => Ok(()),
                Some(_) => Err(OrderError::of(OrderErrorKind::FieldInvalid, name)),
            },
            Some(_) | None => Ok(()),
        }
    }

    fn say(&mut self, key: String, value: String) {
        if !value.is_empty() {
            self.metadata.push((key, value));
        }
    }
}

impl Line {
    fn take_json(&mut self, name: &str, value: Value, field: String) -> Result<(), OrderError> {
        match (name, value) {
            ("price" | "quantity", Value::Null) => Ok(()),
            ("price", Value::String(text)) => {
                self.price = Some(text).filter(|text| !text.is_empty());
                Ok(())
            }
            ("quantity", Value::Number(number)) if !number.is_f64() => {
                // A negative one is a whole number all the same.
                let quantity = number
                    .as_u64()
                    .ok_or_else(|| OrderError::of(OrderErrorKind::QuantityOutOfRange, field))?;
                self.quantity = Some(quantity);
                Ok(())
            }
            ("price" | "quantity", _) => Err(OrderError::of(OrderErrorKind::FieldInvalid, field)),
            _ => Err(OrderError::of(OrderErrorKind::FieldUnknown, field)),
        }
    }

    fn take_form(&mut self, name: &str, value: String, field: &str) -> Result<(), OrderError> {
        let before = match name {
            "price" => self.price.replace(value).is_some(),
            "quantity" => {
                let digits = value.strip_prefix('-').unwrap_or(&value);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(OrderError::of(OrderErrorKind::FieldInvalid, field));
                }
                let quantity =
                    value.parse().map_err(|_| OrderError::of(OrderErrorKind::QuantityOutOfRange, field))?;
                self.quantity.replace(quantity).is_some()
            }
            _ => return Err(OrderError::of(OrderErrorKind::FieldUnknown, field)),
        };
        // Which of two is meant is not to be guessed.
        if before { Err(OrderError::of(OrderErrorKind::FieldInvalid, field)) } else { Ok(()) }
    }
}

/// `0][price]` → 0, `price`.
fn item(rest: &str) -> Option<(usize, &str)> {
    let (at, field) = rest.split_once("][")?;
    let digits = !at.is_empty() && at.len() <= 4 && at.bytes().all(|b| b.is_ascii_digit());
    Some((digits.then(|| at.parse().ok())??, field.strip_suffix(']')?))
}
