//! An order as the client wrote it: JSON and forms become the same fields. It checks names, types and repetition; `order`
//! checks the values. A blank value or `null` counts as absent, because HTML forms send every input.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

use super::error::{OrderError, OrderErrorKind};

/// The fields that hold a text.
const TEXT_FIELDS: [&str; 3] = ["client_reference_id", "customer_email", "locale"];

/// The fields of an order, not validated yet.
#[derive(Default)]
pub(super) struct RawOrder {
    /// The item written as `price` and `quantity` at the top level.
    pub single: Option<RawItem>,
    /// The items of `items`, by their index.
    pub items: BTreeMap<usize, RawItem>,
    /// The text fields by name. None of them is blank.
    pub texts: BTreeMap<&'static str, String>,
    /// The entries of `metadata`. Each key occurs once.
    pub metadata: Vec<(String, String)>,
}

/// One item of an order.
#[derive(Default)]
pub(super) struct RawItem {
    /// The name or id of a price.
    pub price: Option<String>,
    /// The number of units.
    pub quantity: Option<u64>,
}

impl RawOrder {
    /// Parses a JSON object.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, OrderError> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Err(OrderError { kind: OrderErrorKind::Malformed, param: None });
        };
        let mut order = Self::default();
        for (name, value) in fields {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("items", Value::Array(items)) => order.add_json_items(items)?,
                ("metadata", Value::Object(entries)) => order.add_json_metadata(entries)?,
                ("price" | "quantity", value) => {
                    order.single.get_or_insert_default().set_json(&name, value, name.clone())?;
                }
                (field, Value::String(text)) if TEXT_FIELDS.contains(&field) => {
                    order.set_text(field, text, &name)?;
                }
                (field, _) if TEXT_FIELDS.contains(&field) || matches!(field, "items" | "metadata") => {
                    return Err(OrderError::new(OrderErrorKind::FieldInvalid, name));
                }
                _ => return Err(OrderError::new(OrderErrorKind::FieldUnknown, name)),
            }
        }
        Ok(order)
    }

    fn add_json_items(&mut self, items: Vec<Value>) -> Result<(), OrderError> {
        for (index, item) in items.into_iter().enumerate() {
            let param = format!("items[{index}]");
            let Value::Object(fields) = item else {
                return Err(OrderError::new(OrderErrorKind::FieldInvalid, param));
            };
            let item = self.items.entry(index).or_default();
            for (name, value) in fields {
                item.set_json(&name, value, format!("{param}[{name}]"))?;
            }
        }
        Ok(())
    }

    fn add_json_metadata(&mut self, entries: Map<String, Value>) -> Result<(), OrderError> {
        for (key, value) in entries {
            match value {
                Value::String(text) => self.add_metadata(key, text),
                Value::Null => {}
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(OrderError::new(OrderErrorKind::FieldInvalid, format!("metadata[{key}]")));
                }
            }
        }
        Ok(())
    }

    /// Parses the body of an HTML form.
    pub(super) fn from_form(body: &[u8]) -> Result<Self, OrderError> {
        let mut order = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            if value.is_empty() {
                check_known(&name)?;
                continue;
            }
            let (field, rest) = name.split_once('[').unwrap_or((&name, ""));
            let value = value.into_owned();
            let unknown = || OrderError::new(OrderErrorKind::FieldUnknown, &*name);
            match (field, rest) {
                ("price" | "quantity", "") => {
                    order.single.get_or_insert_default().set_form(field, value, &name)?;
                }
                ("items", rest) => {
                    let (index, field) = parse_item_name(rest).ok_or_else(unknown)?;
                    order.items.entry(index).or_default().set_form(field, value, &name)?;
                }
                ("metadata", rest) => {
                    let key = rest.strip_suffix(']').filter(|key| !key.is_empty()).ok_or_else(unknown)?;
                    if order.metadata.iter().any(|(other, _)| other == key) {
                        return Err(OrderError::new(OrderErrorKind::FieldInvalid, &*name));
                    }
                    order.add_metadata(key.to_owned(), value);
                }
                (field, "") if TEXT_FIELDS.contains(&field) => order.set_text(field, value, &name)?,
                _ => return Err(unknown()),
            }
        }
        Ok(order)
    }

    /// Stores a text field, unless it is blank. `param` names the field in an error.
    fn set_text(&mut self, field: &str, text: String, param: &str) -> Result<(), OrderError> {
        let field = TEXT_FIELDS.into_iter().find(|known| *known == field);
        match field {
            Some(field) if !text.is_empty() => match self.texts.insert(field, text) {
                None => Ok(()),
                Some(_) => Err(OrderError::new(OrderErrorKind::FieldInvalid, param)),
            },
            Some(_) | None => Ok(()),
        }
    }

    fn add_metadata(&mut self, key: String, value: String) {
        if !value.is_empty() {
            self.metadata.push((key, value));
        }
    }
}

impl RawItem {
    /// Stores `price` or `quantity` from JSON. `param` names the field in an error.
    fn set_json(&mut self, name: &str, value: Value, param: String) -> Result<(), OrderError> {
        match (name, value) {
            ("price" | "quantity", Value::Null) => Ok(()),
            ("quantity", Value::String(text)) if text.is_empty() => Ok(()),
            ("price", Value::String(text)) => {
                self.price = Some(text).filter(|text| !text.is_empty());
                Ok(())
            }
            ("quantity", Value::Number(number)) if !number.is_f64() => {
                // A negative number is an integer, so its type is right and its value is out of range.
                let quantity = number
                    .as_u64()
                    .ok_or_else(|| OrderError::new(OrderErrorKind::QuantityOutOfRange, param))?;
                self.quantity = Some(quantity);
                Ok(())
            }
            ("price" | "quantity", _) => Err(OrderError::new(OrderErrorKind::FieldInvalid, param)),
            _ => Err(OrderError::new(OrderErrorKind::FieldUnknown, param)),
        }
    }

    /// Stores `price` or `quantity` from a form. `param` names the field in an error.
    fn set_form(&mut self, name: &str, value: String, param: &str) -> Result<(), OrderError> {
        let is_repeated = match name {
            "price" => self.price.replace(value).is_some(),
            "quantity" => {
                let digits = value.strip_prefix('-').unwrap_or(&value);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(OrderError::new(OrderErrorKind::FieldInvalid, param));
                }
                // What still fails to parse is negative or too large for a `u64`.
                let quantity =
                    value.parse().map_err(|_| OrderError::new(OrderErrorKind::QuantityOutOfRange, param))?;
                self.quantity.replace(quantity).is_some()
            }
            _ => return Err(OrderError::new(OrderErrorKind::FieldUnknown, param)),
        };
        // Choosing one of two values would be a guess.
        if is_repeated { Err(OrderError::new(OrderErrorKind::FieldInvalid, param)) } else { Ok(()) }
    }
}

/// Rejects an unknown field of a form even if it is blank: otherwise a typing error in a form stays hidden until a buyer
/// fills the field in.
fn check_known(name: &str) -> Result<(), OrderError> {
    let (field, rest) = name.split_once('[').unwrap_or((name, ""));
    let is_known = match field {
        "price" | "quantity" => rest.is_empty(),
        "items" => parse_item_name(rest).is_some_and(|(_, field)| matches!(field, "price" | "quantity")),
        "metadata" => true,
        field => TEXT_FIELDS.contains(&field) && rest.is_empty(),
    };
    if is_known { Ok(()) } else { Err(OrderError::new(OrderErrorKind::FieldUnknown, name)) }
}

/// Parses what follows `items[`: `0][price]` is index 0, field `price`.
fn parse_item_name(rest: &str) -> Option<(usize, &str)> {
    let (index, field) = rest.split_once("][")?;
    let is_index = !index.is_empty() && index.len() <= 4 && index.bytes().all(|b| b.is_ascii_digit());
    Some((is_index.then(|| index.parse().ok())??, field.strip_suffix(']')?))
}
