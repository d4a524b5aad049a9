//! `application/x-www-form-urlencoded` as it streams. It holds one key, and the value of a key that tells a webhook; other
//! values pass unheld.

use super::fields::{FormFields, MAX_FIELD};
use crate::guard::decode::Decoded;
use crate::guard::query::split_pair;

/// How much of the end of a long key stays as it is, in bytes: an escape there may be incomplete.
const UNFINISHED: usize = 64;
/// A key with more letters than this tells no webhook: the configuration allows 100.
const MAX_KEY_LETTERS: usize = 4096;

/// The state of a form that streams.
#[derive(Debug, Default, Clone)]
pub(super) struct Urlencoded {
    state: FieldState,
    /// The key as far as it has come, without what cannot matter of a long one.
    key: Vec<u8>,
    /// The value as far as it has come, if its key tells a webhook.
    value: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum FieldState {
    /// Within a key.
    #[default]
    Key,
    /// Within the rest of a long key that tells a webhook whatever follows, such as `callback[…`.
    KnownKey,
    /// Within the value of a key that tells a webhook.
    Value,
    /// Within the value of another key, or a key that is too long.
    Skip,
}

impl Urlencoded {
    pub(super) fn feed(&mut self, bytes: &[u8], fields: &mut FormFields) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = match self.state {
                FieldState::Key | FieldState::KnownKey => memchr::memchr3(b'&', b';', b'=', rest),
                // Most parsers read `;` as any other byte of a value; `end_value` reads it as the others do.
                FieldState::Value => memchr::memchr(b'&', rest),
                FieldState::Skip => memchr::memchr2(b'&', b';', rest),
            };
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            for chunk in part.chunks(MAX_FIELD) {
                self.hold(chunk, fields);
            }
            let Some((end, after)) = after.split_first() else { return };
            rest = after;
            self.end(*end, fields);
        }
    }

    pub(super) fn finish(&mut self, fields: &mut FormFields) {
        self.end(b'&', fields);
    }

    /// Takes the next bytes of the current key or value.
    fn hold(&mut self, chunk: &[u8], fields: &mut FormFields) {
        match self.state {
            FieldState::Skip | FieldState::KnownKey => {}
            FieldState::Key => {
                self.key.extend_from_slice(chunk);
                if self.key.len() > MAX_FIELD {
                    self.shorten_key(fields);
                }
            }
            FieldState::Value => {
                self.value.extend_from_slice(chunk);
                if self.value.len() > MAX_FIELD {
                    // No page has so long a value under such a key.
                    fields.add_any_value(&self.key);
                    self.end_value(fields);
                    self.state = FieldState::Skip;
                }
            }
        }
    }

    /// Decodes a long key, and drops what no parser takes for a letter.
    fn shorten_key(&mut self, fields: &FormFields) {
        let end = self.key.split_off(self.key.len() - UNFINISHED);
        let decoded = Decoded::new(&self.key).text;
        let unfinished = decoded.len().saturating_sub(6);
        self.key.clear();
        for (at, &byte) in decoded.iter().enumerate() {
            // The first of each byte that ends a name is enough.
            let ends = b"[.\0".contains(&byte) && !self.key.contains(&byte);
            if byte.is_ascii_alphanumeric() || ends || at >= unfinished {
                self.key.push(byte);
            }
            if self.key.len() > MAX_KEY_LETTERS {
                self.state =
                    if fields.knows_key(&self.key) { FieldState::KnownKey } else { FieldState::Skip };
                return;
            }
        }
        self.key.extend_from_slice(&end);
    }

    /// Handles the byte that ends a key or a value.
    fn end(&mut self, byte: u8, fields: &mut FormFields) {
        match (self.state, byte) {
            (FieldState::Key | FieldState::KnownKey, b'=') => {
                self.value.clear();
                self.state = if fields.knows_key(&self.key) { FieldState::Value } else { FieldState::Skip };
                return;
            }
            (FieldState::Value, _) => self.end_value(fields),
            (FieldState::Key | FieldState::KnownKey | FieldState::Skip, _) => {}
        }
        self.key.clear();
        self.state = FieldState::Key;
    }

    /// Adds the field whose value is complete, and the fields that a parser reads in it which takes `;` for `&`.
    fn end_value(&mut self, fields: &mut FormFields) {
        fields.add(&self.key, &self.value);
        let mut pieces = self.value.split(|&byte| byte == b';');
        fields.add(&self.key, pieces.next().unwrap_or_default());
        for piece in pieces {
            let (key, value) = split_pair(piece);
            fields.add(key, value);
        }
    }
}
