//! Form bodies and queries as Stripe reads them: `a[b][0]=c` is a tree. This module does not know what the names mean.

use super::errors::Error;
use serde_json::{Value, json};

/// The parameters of a call, in the order in which they were sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree(pub Vec<(String, Node)>);

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A scalar value.
    Text(String),
    /// An object, or a list: its names are then the indices from 0.
    Tree(Tree),
}

/// Returns the decoded names and values of a form, in the order in which they were sent.
pub fn pairs(form: &str) -> Vec<(String, String)> {
    form.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

impl Tree {
    /// Parses a form.
    ///
    /// # Errors
    ///
    /// Fails if a name is malformed, is given twice, or is a scalar in one place and an object in another.
    pub fn parse(form: &str) -> Result<Self, Error> {
        let mut tree = Self::default();
        for (name, value) in pairs(form) {
            let path =
                parse_name(&name).ok_or_else(|| Error::invalid(&name, &format!("Invalid name: {name}")))?;
            tree.insert(&path, value)
                .ok_or_else(|| Error::invalid(&name, &format!("Invalid object: {name}")))?;
        }
        Ok(tree)
    }

    /// Returns the parameter with this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, node)| node)
    }

    /// Returns the scalar at the end of a path of names.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        let (last, before) = path.split_last()?;
        match before.iter().try_fold(self, |tree, name| tree.tree(name))?.node(last)? {
            Node::Text(text) => Some(text),
            Node::Tree(_) => None,
        }
    }

    /// Returns the object or list with this name.
    pub fn tree(&self, name: &str) -> Option<&Self> {
        match self.node(name)? {
            Node::Text(_) => None,
            Node::Tree(tree) => Some(tree),
        }
    }

    /// Returns the tree as a JSON object, or as a list if its names are the indices from 0.
    pub fn to_json(&self) -> Value {
        let list =
            !self.0.is_empty() && self.0.iter().enumerate().all(|(at, (name, _))| name.parse() == Ok(at));
        if list {
            return self.0.iter().map(|(_, node)| node.to_json()).collect();
        }
        Value::Object(self.0.iter().map(|(name, node)| (name.clone(), node.to_json())).collect())
    }

    /// Inserts a scalar at the end of a path. Returns `None` if a scalar stands in the way, or if the path has a value.
    fn insert(&mut self, path: &[String], value: String) -> Option<()> {
        let (first, rest) = path.split_first()?;
        // `a[]` appends to a list.
        let name = if first.is_empty() { self.0.len().to_string() } else { first.clone() };
        let at = match self.0.iter().position(|(own, _)| *own == name) {
            Some(_) if rest.is_empty() => return None,
            Some(at) => at,
            None => {
                let node =
                    if rest.is_empty() { Node::Text(value.clone()) } else { Node::Tree(Self::default()) };
                self.0.push((name, node));
                self.0.len() - 1
            }
        };
        if rest.is_empty() {
            return Some(());
        }
        match &mut self.0[at].1 {
            Node::Text(_) => None,
            Node::Tree(tree) => tree.insert(rest, value),
        }
    }
}

impl Node {
    /// Returns the parameter as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Tree(tree) => tree.to_json(),
        }
    }
}

/// Splits a name into its path: `a[b][0]` is `a`, `b`, `0`.
fn parse_name(name: &str) -> Option<Vec<String>> {
    let Some((first, rest)) = name.split_once('[') else { return Some(vec![name.to_owned()]) };
    let inner = rest.strip_suffix(']')?;
    let mut path = vec![first.to_owned()];
    path.extend(inner.split("][").map(str::to_owned));
    path.iter().skip(1).all(|part| !part.contains(['[', ']'])).then_some(path).filter(|_| !first.is_empty())
}

/// Decodes `%20` and `+`. A `%` without two hexadecimal digits stands for itself.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
