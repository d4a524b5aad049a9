//! A second, slow reader of the envelope, based on serde_json. Tests and fuzzing compare `envelope` with it.
//!
//! It replaces nested values by `null` first, one byte at a time, because `envelope` does not validate them. The fuzz
//! targets compile this file too, so it never uses anything of this crate.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// The members `id`, `type`, `created` and `livemode`, and the event's account, in this order.
pub(super) type EnvelopeTuple = (String, String, Option<i64>, Option<bool>, Option<String>);

/// Parses the envelope of `body`. Returns `None` if it is not an event.
pub(super) fn parse(body: &[u8]) -> Option<EnvelopeTuple> {
    let Members(members) = serde_json::from_slice(&flatten(body)?).ok()?;
    let all = |name: &str| members.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
    let last = |name: &str| -> Option<&Value> { Vec::pop(&mut all(name)) };
    let id = match all("id")[..] {
        [id] => id.as_str()?,
        _ => return None,
    };
    let event_type = last("type")?.as_str()?;
    let is_name = |text: &str, punctuation: &str| {
        (1..=255).contains(&text.chars().count())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c))
    };
    let object = last("object")?.as_str()?;
    if !is_name(id, "_") || !is_name(event_type, ".-_[]") || !["event", "v2.core.event"].contains(&object) {
        return None;
    }
    let created = match last("created") {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => humantime::parse_rfc3339(text)
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map(|since| since.as_secs() as i64),
        _ => None,
    };
    let text = |name: &str| last(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let accounts = |context: &str| -> Vec<String> {
        let is_account = |segment: &&str| segment.len() > 5 && segment.starts_with("acct_");
        context.split('/').filter(is_account).map(str::to_owned).collect()
    };
    let account = match (text("account"), text("user_id"), text("context")) {
        (Some(account), _, _) | (None, Some(account), _) => Some(account.to_owned()),
        (None, None, context) => context.and_then(|context| accounts(context).pop()),
    };
    Some((id.into(), event_type.into(), created, last("livemode").and_then(Value::as_bool), account))
}

/// Returns the body with `null` in place of each nested object and array. Returns `None` where `json::skip` rejects it.
fn flatten(body: &[u8]) -> Option<Vec<u8>> {
    let start = body.iter().position(|byte| !b" \t\r\n".contains(byte)).filter(|at| body[*at] == b'{')?;
    let mut flat = vec![b'{'];
    let mut open = Vec::new();
    let (mut in_string, mut escaped) = (false, false);
    for byte in &body[start + 1..] {
        let nested = !open.is_empty();
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'\\' if nested => return None,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                // The closing bracket follows two code points after the opening one.
                open.push(*byte + 2);
                if open.len() > 127 {
                    return None;
                }
                continue;
            }
            b'}' | b']' if !in_string && nested => {
                if open.pop() != Some(*byte) {
                    return None;
                }
                if open.is_empty() {
                    flat.extend(b" null ");
                }
                continue;
            }
            _ => {}
        }
        if !nested {
            flat.push(*byte);
        }
    }
    open.is_empty().then_some(flat)
}

/// The members of an object in their order, repeated keys included.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
