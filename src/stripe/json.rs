//! A strict reader of the members of one JSON object (RFC 8259): it rejects what serde_json would reject at this level.
//! It steps over nested objects and arrays without validating them, and knows nothing of events.
//!
//! - `error`: why a body is not a JSON object
//! - `skip`: finds the end of a nested object or array

pub(super) mod error;
mod skip;

use self::error::JsonError;
use std::borrow::Cow;

/// The value of a top-level member.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum MemberValue<'a> {
    /// A string with its escapes decoded.
    String(Cow<'a, str>),
    /// A number as it is written in the body.
    Number(&'a str),
    /// The literal `true` or `false`.
    Bool(bool),
    /// The literal `null`.
    Null,
    /// An object or an array. Its content is not read.
    Nested,
}

/// Parses `body` as one JSON object and calls `on_member` for each member in order, repeated keys included.
///
/// # Errors
/// Returns the first violation. Members before it have already been passed to `on_member`.
pub(super) fn parse_object<'a>(
    body: &'a [u8],
    mut on_member: impl FnMut(Cow<'a, str>, MemberValue<'a>),
) -> Result<(), JsonError> {
    let mut reader = ObjectReader { body, position: 0 };
    if reader.peek_after_space() != Some(b'{') {
        return Err(JsonError::NotAnObject);
    }
    reader.position += 1;
    if reader.peek_after_space() == Some(b'}') {
        reader.position += 1;
    } else {
        loop {
            reader.peek_after_space();
            let key = reader.string()?;
            reader.peek_after_space();
            reader.expect(b':')?;
            on_member(key, reader.value()?);
            if reader.peek_after_space() == Some(b'}') {
                reader.position += 1;
                break;
            }
            // The next iteration requires a key, so a trailing comma is an error.
            reader.expect(b',')?;
        }
    }
    match reader.peek_after_space() {
        Some(_) => Err(JsonError::Trailing),
        None => Ok(()),
    }
}

/// The body and the position of the next byte to read.
struct ObjectReader<'a> {
    body: &'a [u8],
    position: usize,
}

impl<'a> ObjectReader<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.body[self.position..]
    }

    /// Skips white space and returns the next byte without consuming it.
    fn peek_after_space(&mut self) -> Option<u8> {
        loop {
            let next = self.body.get(self.position).copied();
            if !matches!(next, Some(b' ' | b'\t' | b'\n' | b'\r')) {
                return next;
            }
            self.position += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        match self.body.get(self.position) {
            Some(found) if *found == byte => {
                self.position += 1;
                Ok(())
            }
            Some(_) => Err(JsonError::Syntax),
            None => Err(JsonError::Truncated),
        }
    }

    fn value(&mut self) -> Result<MemberValue<'a>, JsonError> {
        match self.peek_after_space().ok_or(JsonError::Truncated)? {
            b'"' => self.string().map(MemberValue::String),
            b'{' | b'[' => {
                self.position += skip::nested_len(self.rest())?;
                Ok(MemberValue::Nested)
            }
            b'-' | b'0'..=b'9' => self.number().map(MemberValue::Number),
            b't' => self.literal("true", MemberValue::Bool(true)),
            b'f' => self.literal("false", MemberValue::Bool(false)),
            b'n' => self.literal("null", MemberValue::Null),
            _ => Err(JsonError::Syntax),
        }
    }

    fn literal(&mut self, literal: &str, value: MemberValue<'a>) -> Result<MemberValue<'a>, JsonError> {
        let rest = self.rest();
        if rest.starts_with(literal.as_bytes()) {
            self.position += literal.len();
            Ok(value)
        } else if literal.as_bytes().starts_with(rest) {
            // The body ends inside the literal.
            Err(JsonError::Truncated)
        } else {
            Err(JsonError::Syntax)
        }
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let is_number_byte = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !is_number_byte(byte)).unwrap_or(rest.len());
        let text = str::from_utf8(&rest[..length]).map_err(|_| JsonError::Syntax)?;
        self.position += length;
        // Fast path: events contain only plain integers here. serde_json judges every other spelling.
        let is_plain_integer =
            length < 19 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain_integer || serde_json::from_str::<f64>(text).is_ok() {
            Ok(text)
        } else {
            Err(JsonError::Syntax)
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let opening_quote = self.position;
        self.expect(b'"')?;
        let mut has_escapes = false;
        loop {
            let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            self.position += self.rest().iter().position(is_special).ok_or(JsonError::Truncated)?;
            match self.body[self.position] {
                b'"' => break,
                b'\\' if self.position + 1 < self.body.len() => {
                    // Skip the escaped byte, so that `\"` does not end the string.
                    has_escapes = true;
                    self.position += 2;
                }
                b'\\' => return Err(JsonError::Truncated),
                // RFC 8259 forbids raw control characters in strings.
                _ => return Err(JsonError::Syntax),
            }
        }
        self.position += 1;
        let quoted = &self.body[opening_quote..self.position];
        if has_escapes {
            // Escapes are rare at this level and easy to get wrong (surrogate pairs), so serde_json decodes them.
            return serde_json::from_slice(quoted).map(Cow::Owned).map_err(|_| JsonError::Syntax);
        }
        str::from_utf8(&quoted[1..quoted.len() - 1]).map(Cow::Borrowed).map_err(|_| JsonError::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Vec<(String, MemberValue<'_>)>, JsonError> {
        let mut members = Vec::new();
        parse_object(body.as_bytes(), |key, value| members.push((key.into_owned(), value)))?;
        Ok(members)
    }

    #[test]
    fn members_of_every_type_are_read_in_order() {
        let body = "\r\n{\t\"a\" : \"b\",\"c\":-1.5e+3 ,\"d\": true, \"e\":false,\"f\":null,\n\"g\":[1,[\"]\"]],\
            \"h\":{\"a\":{}} , \"\\u0061\":\"\\ud83d\\ude00\\n\", \"é\": 0, \"\": 18446744073709551616} \n";
        let expected = [
            ("a", MemberValue::String("b".into())),
            ("c", MemberValue::Number("-1.5e+3")),
            ("d", MemberValue::Bool(true)),
            ("e", MemberValue::Bool(false)),
            ("f", MemberValue::Null),
            ("g", MemberValue::Nested),
            ("h", MemberValue::Nested),
            ("a", MemberValue::String("😀\n".into())),
            ("é", MemberValue::Number("0")),
            ("", MemberValue::Number("18446744073709551616")),
        ];
        assert_eq!(parse(body), Ok(expected.map(|(key, value)| (key.to_owned(), value)).to_vec()));
        assert_eq!(parse("{}"), Ok(vec![]));
        assert_eq!(parse(" { } "), Ok(vec![]));
    }

    #[test]
    fn each_violation_of_the_grammar_has_its_error() {
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
        for (body, error) in table {
            assert_eq!(parse(body), Err(*error), "{body}");
        }
        assert_eq!(parse_object(b"{\"\xff\":1}", |_, _| {}), Err(JsonError::Syntax));
        assert_eq!(parse_object(b"{\"a\":\"\xed\xa0\x80\"}", |_, _| {}), Err(JsonError::Syntax));
    }
}
