//! Form bodies and queries as Stripe reads them: `a[b][0]=c` is a tree. Knows nothing of what the names mean.

use super::errors::Error;

/// The parameters of a call, in the order they came in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree(pub Vec<(String, Node)>);

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A value.
    Text(String),
    /// An object, or a list, whose names are its indices.
    Tree(Tree),
}

/// Names and values, decoded, in their order.
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
    /// The tree that the pairs of a form describe.
    pub fn parse(form: &str) -> Result<Tree, Error> {
        let mut tree = Tree::default();
        for (name, value) in pairs(form) {
            let path = path(&name).ok_or_else(|| Error::invalid(&name, &format!("Invalid name: {name}")))?;
            tree.insert(&path, value)
                .ok_or_else(|| Error::invalid(&name, &format!("Invalid object: {name}")))?;
        }
        Ok(tree)
    }

    /// The parameter of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, node)| node)
    }

    /// The value at the end of these names.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        let (last, before) = path.split_last()?;
        match before.iter().try_fold(self, |tree, name| tree.tree(name))?.node(last)? {
            Node::Text(text) => Some(text),
            Node::Tree(_) => None,
        }
    }

    /// The object or list of this name.
    pub fn tree(&self, name: &str) -> Option<&Tree> {
        match self.node(name)? {
            Node::Text(_) => None,
            Node::Tree(tree) => Some(tree),
        }
    }

    /// Puts a value at the end of these names; `None` where a value stands in the way, or the same name came before.
    fn insert(&mut self, path: &[String], value: String) -> Option<()> {
        let (first, rest) = path.split_first()?;
        let name = if first.is_empty() { self.0.len().to_string() } else { first.clone() };
        let at = match self.0.iter().position(|(own, _)| *own == name) {
            Some(_) if rest.is_empty() => return None,
            Some(at) => at,
            None => {
                let node =
                    if rest.is_empty() { Node::Text(value.clone()) } else { Node::Tree(Tree::default()) };
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

/// `a[b][0]` is `a`, `b`, `0`.
fn path(name: &str) -> Option<Vec<String>> {
    let Some((first, rest)) = name.split_once('[') else { return Some(vec![name.to_owned()]) };
    let inner = rest.strip_suffix(']')?;
    let mut path = vec![first.to_owned()];
    path.extend(inner.split("][").map(str::to_owned));
    path.iter().skip(1).all(|part| !part.contains(['[', ']'])).then_some(path).filter(|_| !first.is_empty())
}

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
