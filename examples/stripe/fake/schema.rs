//! Stripe's own description of its API (OpenAPI 3). Where a copy is at hand, parameters are checked against it too. The
//! project has no copy and needs none.

use super::errors::Error;
use super::form::{Node, Tree};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// An OpenAPI description.
#[derive(Debug)]
pub struct Schema(Value);

/// Finds a copy beside the project, or beside a folder that contains it:
/// `shared/stripe/openapi_checkout_subset.json`.
pub fn find() -> Option<PathBuf> {
    let name = "shared/stripe/openapi_checkout_subset.json";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(1)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

impl Schema {
    /// Reads a description from a file.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self(serde_json::from_slice(&std::fs::read(path)?)?))
    }

    /// Checks the parameters of a POST to this path. A path without a description has no rules.
    pub fn check(&self, path: &str, params: &Tree) -> Result<(), Error> {
        let operation = &self.0["paths"][path]["post"]["requestBody"]["content"];
        let schema = &operation["application/x-www-form-urlencoded"]["schema"];
        if schema.is_null() {
            return Ok(());
        }
        self.check_node("", &Node::Tree(params.clone()), schema)
    }

    fn check_node(&self, name: &str, node: &Node, schema: &Value) -> Result<(), Error> {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.0.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
            return self.check_node(name, node, target);
        }
        if let Some(all) = schema["allOf"].as_array() {
            all.iter().try_for_each(|schema| self.check_node(name, node, schema))?;
        }
        for any in [&schema["anyOf"], &schema["oneOf"]].into_iter().filter_map(Value::as_array) {
            let mut results = any.iter().map(|schema| self.check_node(name, node, schema));
            let first = results.next().unwrap_or(Ok(()));
            if first.is_err() && !results.any(|result| result.is_ok()) {
                return first;
            }
        }
        match (schema["type"].as_str(), node) {
            (Some("object"), Node::Tree(tree)) => self.check_object(name, tree, schema),
            (Some("array"), Node::Tree(tree)) => tree.0.iter().try_for_each(|(index, node)| {
                self.check_node(&format!("{name}[{index}]"), node, &schema["items"])
            }),
            // An empty text unsets an object or a list that can be unset.
            (Some("object" | "array"), Node::Text(text)) if text.is_empty() => Ok(()),
            (Some(expected @ ("object" | "array")), Node::Text(_)) => {
                Err(Error::invalid(name, &format!("Invalid {expected}")))
            }
            (Some(_), Node::Tree(_)) => Err(Error::invalid(name, "Invalid string")),
            (Some(scalar_type), Node::Text(text)) => check_scalar(name, text, scalar_type, schema),
            (None, _) => Ok(()),
        }
    }

    fn check_object(&self, name: &str, tree: &Tree, schema: &Value) -> Result<(), Error> {
        let full_name =
            |member: &str| if name.is_empty() { member.to_owned() } else { format!("{name}[{member}]") };
        for (member, node) in &tree.0 {
            let additional = &schema["additionalProperties"];
            match schema["properties"].get(member) {
                Some(property) => self.check_node(&full_name(member), node, property)?,
                None if additional.is_object() => self.check_node(&full_name(member), node, additional)?,
                None if additional == true => {}
                None => return Err(Error::unknown(&full_name(member))),
            }
        }
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        match required.iter().filter_map(Value::as_str).find(|member| tree.node(member).is_none()) {
            Some(member) => Err(Error::missing(&full_name(member))),
            None => Ok(()),
        }
    }
}

fn check_scalar(name: &str, text: &str, scalar_type: &str, schema: &Value) -> Result<(), Error> {
    let valid = match scalar_type {
        "integer" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok(),
        "boolean" => matches!(text, "true" | "false"),
        _ => true,
    };
    if !valid {
        return Err(Error::invalid_scalar(name, scalar_type, text));
    }
    let max_length = schema["maxLength"].as_u64().and_then(|length| usize::try_from(length).ok());
    if max_length.is_some_and(|max_length| text.chars().count() > max_length) {
        return Err(Error::invalid(name, "Invalid string: too long"));
    }
    match schema["enum"].as_array() {
        Some(values) if !values.iter().any(|value| value == text) => {
            Err(Error::invalid(name, &format!("Invalid {name}: not one of the values it may have")))
        }
        _ => Ok(()),
    }
}
