//! A second, slow reading of the envelope, by serde_json: what tests and fuzzing hold `envelope` to. Nested values are
//! taken out first, one byte at a time, since the fast reading does not judge what is in them. Also compiled into the
//! fuzz targets, so it names nothing of this crate.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// id, type, created, livemode, account.
pub type Facts = (String, String, Option<i64>, Option<bool>, Option<String>);

/// The envelope of `body` by the rules, or `None` if it is not an event.
pub fn read(body: &[u8]) -> Option<Facts> {
    let Members(members) = serde_json::from_slice(&flatten(body)?).ok()?;
    let all = |name: &str| members.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
    let last = |name: &str| -> Option<&Value> { Vec::pop(&mut all(name)) };
    let id = match all("id")[..] {
        [id] => id.as_str()?,
        _ => return None,
    };
    let kind = last("type")?.as_str()?;
    let fits = |text: &str, extra: &str| {
        (1..=255).contains(&text.chars().count())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let object = last("object")?.as_str()?;
    if !fits(id, "_") || !fits(kind, ".-_[]") || !["event", "v2.core.event"].contains(&object) {
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
    let account = last("account").and_then(Value::as_str).map(str::to_owned);
    Some((id.into(), kind.into(), created, last("livemode").and_then(Value::as_bool), account))
}

/// The body with `null` for each nested object and array.
pub fn flatten(body: &[u8]) -> Option<Vec<u8>> {
    let start = body.iter().position(|byte| !b" \t\r\n".contains(byte)).filter(|at| body[*at] == b'{')?;
    let mut flat = vec![b'{'];
    let mut open = Vec::new();
    let (mut inside, mut escaped) = (false, false);
    for byte in &body[start + 1..] {
        let nested = !open.is_empty();
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'\\' if nested => return None,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => {
                open.push(*byte + 2);
                if open.len() > 127 {
                    return None;
                }
                continue;
            }
            b'}' | b']' if !inside && nested => {
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

/// An object's members as they come, repeated ones too.
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
