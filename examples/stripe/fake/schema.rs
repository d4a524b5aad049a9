//! Stripe's own description of its API (OpenAPI 3), where a copy of it is at hand: parameters are held to it beside the
//! fake's own rules. The project has no copy, and needs none.

use super::errors::Error;
use super::form::{Node, Tree};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A description that was read.
#[derive(Debug)]
pub struct Schema(Value);

/// A copy beside the project, or beside a folder it lies in: `shared/stripe/openapi_checkout_subset.json`.
pub fn nearby() -> Option<PathBuf> {
    let name = "shared/stripe/openapi_checkout_subset.json";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(1)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

impl Schema {
    /// Reads a description.
    pub fn read(path: &Path) -> std::io::Result<Schema> {
        Ok(Schema(serde_json::from_slice(&std::fs::read(path)?)?))
    }

    /// Holds the parameters of a POST to this path to the description.
    pub fn check(&self, path: &str, params: &Tree) -> Result<(), Error> {
        let operation = &self.0["paths"][path]["post"]["requestBody"]["content"];
        let schema = &operation["application/x-www-form-urlencoded"]["schema"];
        if schema.is_null() {
            return Ok(());
        }
        self.node("", &Node::Tree(params.clone()), schema)
    }

    fn node(&self, name: &str, node: &Node, schema: &Value) -> Result<(), Error> {
        if let Some(reference) = schema["$ref"].as_str() {
            let known = self.0.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
            return self.node(name, node, known);
        }
        if let Some(all) = schema["allOf"].as_array() {
            all.iter().try_for_each(|schema| self.node(name, node, schema))?;
        }
        for any in [&schema["anyOf"], &schema["oneOf"]].into_iter().filter_map(Value::as_array) {
            let mut tried = any.iter().map(|schema| self.node(name, node, schema));
            let first = tried.next().unwrap_or(Ok(()));
            if first.is_err() && !tried.any(|one| one.is_ok()) {
                return first;
            }
        }
        match (schema["type"].as_str(), node) {
            (Some("object"), Node::Tree(tree)) => self.object(name, tree, schema),
            (Some("array"), Node::Tree(tree)) => tree
                .0
                .iter()
                .try_for_each(|(index, node)| self.node(&format!("{name}[{index}]"), node, &schema["items"])),
            // An empty text unsets what may be unset.
            (Some("object" | "array"), Node::Text(text)) if text.is_empty() => Ok(()),
            (Some(kind @ ("object" | "array")), Node::Text(_)) => {
                Err(Error::invalid(name, &format!("Invalid {kind}")))
            }
            (Some(_), Node::Tree(_)) => Err(Error::invalid(name, "Invalid string")),
            (Some(kind), Node::Text(text)) => scalar(name, text, kind, schema),
            (None, _) => Ok(()),
        }
    }

    fn object(&self, name: &str, tree: &Tree, schema: &Value) -> Result<(), Error> {
        let inner =
            |member: &str| if name.is_empty() { member.to_owned() } else { format!("{name}[{member}]") };
        for (member, node) in &tree.0 {
            let further = &schema["additionalProperties"];
            match schema["properties"].get(member) {
                Some(known) => self.node(&inner(member), node, known)?,
                None if further.is_object() => self.node(&inner(member), node, further)?,
                None if further == true => {}
                None => return Err(Error::unknown(&inner(member))),
            }
        }
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        match required.iter().filter_map(Value::as_str).find(|member| tree.node(member).is_none()) {
            Some(member) => Err(Error::missing(&inner(member))),
            None => Ok(()),
        }
    }
}

fn scalar(name: &str, text: &str, kind: &str, schema: &Value) -> Result<(), Error> {
    let fits = match kind {
        "integer" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok(),
        "boolean" => matches!(text, "true" | "false"),
        _ => true,
    };
    if !fits {
        let code = if kind == "integer" { "parameter_invalid_integer" } else { "" };
        return Err(Error::coded(name, code, &format!("Invalid {kind}: {text}")));
    }
    let longest = schema["maxLength"].as_u64().and_then(|longest| usize::try_from(longest).ok());
    if longest.is_some_and(|longest| text.chars().count() > longest) {
        return Err(Error::invalid(name, "Invalid string: too long"));
    }
    match schema["enum"].as_array() {
        Some(words) if !words.iter().any(|word| word == text) => {
            Err(Error::invalid(name, &format!("Invalid {name}: not one of the values it may have")))
        }
        _ => Ok(()),
    }
}
