//! `multipart/form-data` as it streams. Parsers differ on the boundary, so it is not read: every line that begins with
//! `Content-Disposition:` begins a field, wherever it stands. It holds the head and the value of one field.

use super::fields::{FormFields, MAX_FIELD};
use crate::guard::parameter::letters;

/// The names of the headers that may begin a part.
const PART_HEADERS: [&[u8]; 2] = [b"contentdisposition", b"contenttransferencoding"];
/// The maximum of a line's beginning that is held to recognize such a name, in bytes.
const MAX_NAME: usize = 64;
/// The maximum of places where a value or a name may end. A field with more lines that may end it counts as any value.
const MAX_ENDS: usize = 16;

/// The state of a form that streams.
#[derive(Debug, Default, Clone)]
pub(super) struct Multipart {
    /// The beginning of the current line, until it is clear whether it begins a field.
    line: Vec<u8>,
    /// Whether the rest of the current line cannot begin a field.
    skips_line: bool,
    /// Whether the last byte was a carriage return.
    after_return: bool,
    /// The head and the value of the current field, as far as they have come. `None` outside of a field, or in a long one.
    field: Option<Vec<u8>>,
    /// Whether the head of the current field is over.
    in_value: bool,
    /// The number of lines so far that may end the current field.
    ends: usize,
}

impl Multipart {
    pub(super) fn feed(&mut self, bytes: &[u8], fields: &mut FormFields) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\r', b'\n', rest);
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            for chunk in part.chunks(MAX_FIELD) {
                self.hold(chunk, fields);
            }
            let Some((end, after)) = after.split_first() else { return };
            rest = after;
            self.end_line(*end, fields);
        }
    }

    pub(super) fn finish(&mut self, fields: &mut FormFields) {
        self.end_field(fields);
    }

    /// Takes the next bytes of the current line.
    fn hold(&mut self, chunk: &[u8], fields: &mut FormFields) {
        if !chunk.is_empty() {
            self.after_return = false;
        }
        if !self.skips_line {
            let (from, room) = (self.line.len(), MAX_NAME - self.line.len());
            self.line.extend_from_slice(&chunk[..chunk.len().min(room)]);
            let colon = self.line.iter().position(|&byte| byte == b':');
            let name = &self.line[..colon.unwrap_or(self.line.len())];
            let is_name = PART_HEADERS.iter().any(|header| letters(name).eq(header.iter().copied()));
            let may_be =
                PART_HEADERS.iter().any(|header| header.starts_with(&letters(name).collect::<Vec<_>>()));
            if colon.is_some() && is_name && (self.field.is_none() || self.in_value) {
                // The beginning of this line may have come before, as a part of the value.
                if let Some(field) = &mut self.field {
                    field.truncate(field.len().saturating_sub(from));
                }
                self.end_field(fields);
                self.field = Some(self.line[..from].to_vec());
                (self.in_value, self.ends) = (false, 0);
            }
            self.skips_line = colon.is_some() || !may_be || self.line.len() == MAX_NAME;
        }
        self.push(chunk, fields);
    }

    /// Handles the end of a line. A line feed after a carriage return ends the same line.
    fn end_line(&mut self, byte: u8, fields: &mut FormFields) {
        self.push(&[byte], fields);
        if byte == b'\n' && std::mem::take(&mut self.after_return) {
            return;
        }
        self.after_return = byte == b'\r';
        if self.line.is_empty() {
            self.in_value = true;
        } else if self.line.starts_with(b"--") && self.in_value {
            // A parser that streams has the field now.
            self.add_field(fields);
            self.ends += 1;
            if self.ends > MAX_ENDS {
                self.field = None;
            }
        }
        self.line.clear();
        self.skips_line = false;
    }

    /// Adds bytes to the current field. A long one is judged as far as it has come.
    fn push(&mut self, bytes: &[u8], fields: &mut FormFields) {
        let Some(field) = &mut self.field else { return };
        field.extend_from_slice(bytes);
        if field.len() <= MAX_FIELD {
            return;
        }
        // A long head tells nothing certain, and no page has so long a value under a key that tells a webhook.
        if head_ends(field).next().is_none() {
            fields.add_all();
        }
        for head in head_ends(field).map(|end| &field[..end]) {
            names(head).iter().for_each(|name| fields.add_any_value(name));
        }
        self.field = None;
    }

    fn end_field(&mut self, fields: &mut FormFields) {
        self.add_field(fields);
        self.field = None;
    }

    /// Adds what some parser reads in the current field.
    fn add_field(&self, fields: &mut FormFields) {
        let Some(field) = &self.field else { return };
        for end in head_ends(field) {
            let (head, value) = field.split_at(end);
            let known: Vec<Vec<u8>> = names(head).into_iter().filter(|name| fields.knows_key(name)).collect();
            for name in known {
                let mut ends = value_ends(value);
                if is_encoded(head) || ends.by_ref().nth(MAX_ENDS).is_some() {
                    fields.add_any_value(&name);
                }
                value_ends(value).take(MAX_ENDS).for_each(|end| fields.add(&name, &value[..end]));
            }
        }
    }
}

/// Returns where the head of a field may end: after its first empty line. Werkzeug also ends a line at a carriage return.
fn head_ends(field: &[u8]) -> impl Iterator<Item = usize> {
    let first = |is_empty_line: fn(&[u8]) -> bool| (0..field.len()).find(|&at| is_empty_line(&field[at..]));
    let by_line_feed = first(|rest| matches!(rest, [b'\n', b'\n', ..] | [b'\n', b'\r', b'\n', ..]));
    let by_return = first(|rest| matches!(rest, [b'\r' | b'\n', b'\r', ..]));
    by_line_feed.into_iter().chain(by_return.filter(|_| by_return != by_line_feed)).map(|at| at + 1)
}

/// Returns where a value may end: before each line that begins with two hyphens, and at its end.
fn value_ends(value: &[u8]) -> impl Iterator<Item = usize> {
    let dashes = memchr::memmem::find_iter(value, b"--");
    let ends = dashes.filter(|&at| at > 0 && matches!(value[at - 1], b'\r' | b'\n'));
    ends.chain(std::iter::once(value.len()))
}

/// Returns whether the value of a field is encoded. Django decodes Base64 in a form.
fn is_encoded(head: &[u8]) -> bool {
    let head: Vec<u8> = letters(head).collect();
    [&b"base64"[..], b"quotedprintable"].iter().any(|coding| memchr::memmem::find(&head, coding).is_some())
}

/// Returns the texts that some parser takes for the name of a field with this head.
fn names(head: &[u8]) -> Vec<Vec<u8>> {
    let lower = head.to_ascii_lowercase();
    let (mut all, mut continued) = (Vec::new(), Vec::new());
    for at in memchr::memmem::find_iter(&lower, b"name").take(MAX_ENDS) {
        let is_whole = at == 0 || !lower[at - 1].is_ascii_alphanumeric();
        // RFC 2231 has `name*=utf-8''x`, and `name*0=x; name*1=y` for one name in pieces.
        let after = &lower[at + 4..];
        let star = after.iter().position(|byte| !byte.is_ascii_digit() && !b"* \t\r\n".contains(byte));
        let Some((star, b'=')) = star.map(|end| (end, after[end])).filter(|_| is_whole) else { continue };
        let value = after[star + 1..].trim_ascii_start();
        all.extend(readings(value));
        if after[..star].contains(&b'*') {
            continued.extend_from_slice(unquoted(value));
        }
    }
    all.push(continued);
    all
}

/// Returns the texts that some parser takes for a parameter's value at the beginning of this text.
fn readings(value: &[u8]) -> Vec<Vec<u8>> {
    let line = value.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    // Parsers differ on an escaped quote, so a value may end at any of them.
    let quotes = line.iter().enumerate().skip(1).filter(|(_, byte)| matches!(byte, b'"' | b'\''));
    let ends = quotes.map(|(at, _)| at).take(MAX_ENDS);
    let mut all: Vec<Vec<u8>> = ends.map(|end| line[..end].to_vec()).collect();
    all.extend([unquoted(value).to_vec(), line.to_vec()]);
    let language = |text: &Vec<u8>| memchr::memmem::rfind(text, b"''").map(|at| text[at + 2..].to_vec());
    let without_language: Vec<Vec<u8>> = all.iter().filter_map(language).collect();
    all.extend(without_language);
    all
}

/// Returns a parameter's value up to `;` or the end of its line.
fn unquoted(value: &[u8]) -> &[u8] {
    value.split(|byte| matches!(byte, b';' | b'\r' | b'\n')).next().unwrap_or_default()
}
