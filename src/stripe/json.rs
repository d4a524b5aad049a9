//! The members of one JSON object (RFC 8259), read strictly: what serde_json would refuse at this level is refused.
//! Objects and arrays within are stepped over by `skip`, which says what that leaves unread. It knows nothing of
//! events.

use super::skip;
use std::borrow::Cow;

/// Why bytes are not the JSON object they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The first thing in the body is not `{`: another JSON value, no JSON, or nothing.
    #[error("the payload is not a JSON object")]
    NotAnObject,
    /// The body ends before the object does.
    #[error("the payload breaks off inside its JSON object")]
    Truncated,
    /// Something stands where the grammar has no room for it.
    #[error("the payload is not valid JSON")]
    Syntax,
    /// Brackets nested more than 128 deep, the object's own counted.
    #[error("the payload is nested more than 128 deep")]
    TooDeep,
    /// Something other than white space follows the object.
    #[error("the payload goes on after its JSON object")]
    Trailing,
}

/// A member's value, as far as it is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// A string, its escapes resolved.
    Text(Cow<'a, str>),
    /// A number as it is spelled.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// An object or an array, stepped over.
    Nested,
}

/// Reads the object that `body` is, and hands on each of its members in order, repeated keys included.
pub(super) fn object<'a>(
    body: &'a [u8],
    mut member: impl FnMut(Cow<'a, str>, Value<'a>),
) -> Result<(), JsonError> {
    let mut reader = Reader { body, at: 0 };
    if reader.after_space() != Some(b'{') {
        return Err(JsonError::NotAnObject);
    }
    reader.at += 1;
    if reader.after_space() == Some(b'}') {
        reader.at += 1;
    } else {
        loop {
            reader.after_space();
            let key = reader.text()?;
            reader.after_space();
            reader.take(b':')?;
            member(key, reader.value()?);
            if reader.after_space() == Some(b'}') {
                reader.at += 1;
                break;
            }
            reader.take(b',')?;
        }
    }
    match reader.after_space() {
        Some(_) => Err(JsonError::Trailing),
        None => Ok(()),
    }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.body[self.at..]
    }

    /// Steps over white space; the byte that comes next.
    fn after_space(&mut self) -> Option<u8> {
        loop {
            let next = self.body.get(self.at).copied();
            if !matches!(next, Some(b' ' | b'\t' | b'\n' | b'\r')) {
                return next;
            }
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), JsonError> {
        match self.body.get(self.at) {
            Some(found) if *found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(JsonError::Syntax),
            None => Err(JsonError::Truncated),
        }
    }

    fn value(&mut self) -> Result<Value<'a>, JsonError> {
        match self.after_space().ok_or(JsonError::Truncated)? {
            b'"' => self.text().map(Value::Text),
            b'{' | b'[' => {
                self.at += skip::nested(self.rest())?;
                Ok(Value::Nested)
            }
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b't' => self.literal("true", Value::Bool(true)),
            b'f' => self.literal("false", Value::Bool(false)),
            b'n' => self.literal("null", Value::Null),
            _ => Err(JsonError::Syntax),
        }
    }

    fn literal(&mut self, spelled: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        let rest = self.rest();
        if rest.starts_with(spelled.as_bytes()) {
            self.at += spelled.len();
            Ok(value)
        } else if spelled.as_bytes().starts_with(rest) {
            Err(JsonError::Truncated)
        } else {
            Err(JsonError::Syntax)
        }
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
        let text = str::from_utf8(&rest[..length]).map_err(|_| JsonError::Syntax)?;
        self.at += length;
        // Whole numbers are all that events have here; whatever else JSON allows is left to serde_json.
        let whole = length < 19 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        if whole || serde_json::from_str::<f64>(text).is_ok() { Ok(text) } else { Err(JsonError::Syntax) }
    }

    fn text(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let opening = self.at;
        self.take(b'"')?;
        let mut escapes = false;
        loop {
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            self.at += self.rest().iter().position(special).ok_or(JsonError::Truncated)?;
            match self.body[self.at] {
                b'"' => break,
                b'\\' if self.at + 1 < self.body.len() => {
                    escapes = true;
                    self.at += 2;
                }
                b'\\' => return Err(JsonError::Truncated),
                _ => return Err(JsonError::Syntax),
            }
        }
        self.at += 1;
        let quoted = &self.body[opening..self.at];
        if escapes {
            // Rare at this level, and easy to get wrong: serde_json resolves them.
            return serde_json::from_slice(quoted).map(Cow::Owned).map_err(|_| JsonError::Syntax);
        }
        str::from_utf8(&quoted[1..quoted.len() - 1]).map(Cow::Borrowed).map_err(|_| JsonError::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<(String, Value<'_>)>, JsonError> {
        let mut members = Vec::new();
        object(body.as_bytes(), |key, value| members.push((key.into_owned(), value)))?;
        Ok(members)
    }

    #[test]
    fn every_kind_of_member_is_read_in_order() {
        let body = "\r\n{\t\"a\" : \"b\",\"c\":-1.5e+3 ,\"d\": true, \"e\":false,\"f\":null,\n\"g\":[1,[\"]\"]],\
            \"h\":{\"a\":{}} , \"\\u0061\":\"\\ud83d\\ude00\\n\", \"é\": 0, \"\": 18446744073709551616} \n";
        let expected = [
            ("a", Value::Text("b".into())),
            ("c", Value::Number("-1.5e+3")),
            ("d", Value::Bool(true)),
            ("e", Value::Bool(false)),
            ("f", Value::Null),
            ("g", Value::Nested),
            ("h", Value::Nested),
            ("a", Value::Text("😀\n".into())),
            ("é", Value::Number("0")),
            ("", Value::Number("18446744073709551616")),
        ];
        assert_eq!(read(body), Ok(expected.map(|(key, value)| (key.to_owned(), value)).to_vec()));
        assert_eq!(read("{}"), Ok(vec![]));
        assert_eq!(read(" { } "), Ok(vec![]));
    }

    #[test]
    fn each_departure_from_the_grammar_has_its_fault() {
        let table: &[(&str, JsonError)] = &[
            ("", JsonError::NotAnObject),
            ("  ", JsonError::NotAnObject),
            ("[]", JsonError::NotAnObject),
            ("null", JsonError::NotAnObject),
            ("\u{feff}{}", JsonError::NotAnObject),
            ("\u{c}{}", JsonError::NotAnObject),
            ("{", JsonError::Truncated),
            ("{\"a", JsonError::Truncated),
            ("{\"a\\", JsonError::Truncated),
            ("{\"a\\\"", JsonError::Truncated),
            ("{\"a\"", JsonError::Truncated),
            ("{\"a\":", JsonError::Truncated),
            ("{\"a\":tr", JsonError::Truncated),
            ("{\"a\":1", JsonError::Truncated),
            ("{\"a\":[1", JsonError::Truncated),
            ("{\"a\":1,", JsonError::Truncated),
            ("{\"a\":1,}", JsonError::Syntax),
            ("{,\"a\":1}", JsonError::Syntax),
            ("{\"a\" 1}", JsonError::Syntax),
            ("{\"a\":}", JsonError::Syntax),
            ("{\"a\":1 \"b\":2}", JsonError::Syntax),
            ("{\"a\":1]", JsonError::Syntax),
            ("{a:1}", JsonError::Syntax),
            ("{'a':1}", JsonError::Syntax),
            ("{1:1}", JsonError::Syntax),
            ("{\"a\":tru}", JsonError::Syntax),
            ("{\"a\":trueish}", JsonError::Syntax),
            ("{\"a\":True}", JsonError::Syntax),
            ("{\"a\":NaN}", JsonError::Syntax),
            ("{\"a\":01}", JsonError::Syntax),
            ("{\"a\":+1}", JsonError::Syntax),
            ("{\"a\":1.}", JsonError::Syntax),
            ("{\"a\":.5}", JsonError::Syntax),
            ("{\"a\":-}", JsonError::Syntax),
            ("{\"a\":1e}", JsonError::Syntax),
            ("{\"a\":1e999}", JsonError::Syntax),
            ("{\"a\":0x1}", JsonError::Syntax),
            ("{\"a\":1-1}", JsonError::Syntax),
            ("{\"a\":\"\n\"}", JsonError::Syntax),
            ("{\"a\":\"\\x\"}", JsonError::Syntax),
            ("{\"a\":\"\\ud83d\"}", JsonError::Syntax),
            ("{\"a\":\"\\u00\"}", JsonError::Syntax),
            ("{\"a\":1/**/}", JsonError::Syntax),
            ("{\"a\":{]}}", JsonError::Syntax),
            ("{\"a\":[]1}", JsonError::Syntax),
            ("{}}", JsonError::Trailing),
            ("{} x", JsonError::Trailing),
            ("{}{}", JsonError::Trailing),
            ("{}\0", JsonError::Trailing),
        ];
        for (body, fault) in table {
            assert_eq!(read(body), Err(*fault), "{body}");
        }
        assert_eq!(object(b"{\"\xff\":1}", |_, _| {}), Err(JsonError::Syntax));
        assert_eq!(object(b"{\"a\":\"\xed\xa0\x80\"}", |_, _| {}), Err(JsonError::Syntax));
    }
}
