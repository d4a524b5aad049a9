//! The fields of a form body, judged while they stream: a form must not add the pairs that tell a webhook. It holds back
//! nothing; whoever forwards the body asks before each part leaves.
//!
//! - `fields` has what is read of one form
//! - `urlencoded` reads `application/x-www-form-urlencoded`
//! - `multipart` reads `multipart/form-data`

mod fields;
mod multipart;
mod urlencoded;

use super::parameter::letters;
use super::query::{PairsRead, QueryGuard};
use fields::FormFields;
use multipart::Multipart;
use std::sync::Arc;
use urlencoded::Urlencoded;

/// What the head of a request says about its form. It makes an inspector for each attempt to forward the body.
#[derive(Debug, Clone)]
pub struct FormGuard {
    queries: Arc<QueryGuard>,
    /// The pairs that some parser reads in the target.
    read: PairsRead,
    kind: FormKind,
}

/// The encoding of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormKind {
    /// `application/x-www-form-urlencoded`, or no type: Rack reads a body without a type so.
    Urlencoded,
    /// `multipart/form-data`, or another multipart type, which some parsers read alike.
    Multipart,
}

/// The reason why a form cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableForm;

impl FormKind {
    /// Returns the encoding of the form that some parser reads in a body with these headers, or `None` if none does.
    ///
    /// # Errors
    /// The form has a content coding, or a character encoding in which ASCII letters are other bytes.
    pub fn of<'h>(
        content_types: impl Iterator<Item = &'h [u8]>,
        mut content_codings: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, UnreadableForm> {
        let (mut kind, mut any, mut is_readable) = (None, false, true);
        for content_type in content_types {
            any = true;
            let plain: Vec<u8> = letters(content_type).collect();
            let has = |part: &[u8]| memchr::memmem::find(&plain, part).is_some();
            if has(b"multipart") || has(b"formdata") {
                kind = Some(Self::Multipart);
            } else if has(b"urlencoded") && kind.is_none() {
                kind = Some(Self::Urlencoded);
            }
            is_readable &= !UNLIKE_ASCII.iter().any(|charset| has(&[b"charset", *charset].concat()));
        }
        if !any {
            kind = Some(Self::Urlencoded);
        }
        // Express' parser of forms inflates bodies.
        is_readable &= content_codings.all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
        match kind {
            Some(_) if !is_readable && any => Err(UnreadableForm),
            kind => Ok(kind),
        }
    }
}

/// The beginnings of character encodings in which ASCII letters are other bytes, or other bytes are ASCII letters.
const UNLIKE_ASCII: [&[u8]; 9] =
    [b"utf16", b"utf32", b"utf7", b"ucs", b"ibm", b"cp037", b"cp500", b"ebcdic", b"iso2022"];

impl FormGuard {
    /// Creates the guard of a form in a request whose target holds these pairs.
    pub(super) fn new(queries: Arc<QueryGuard>, read: PairsRead, kind: FormKind) -> Self {
        Self { queries, read, kind }
    }

    /// Returns an inspector for the body from its beginning.
    pub fn inspector(&self) -> FormInspector {
        let parser = match self.kind {
            FormKind::Urlencoded => Parser::Urlencoded(Urlencoded::default()),
            FormKind::Multipart => Parser::Multipart(Multipart::default()),
        };
        let fields = FormFields::new(self.queries.clone(), self.read.clone());
        FormInspector { parser, fields }
    }
}

/// Judges one form body while it streams.
#[derive(Debug)]
pub struct FormInspector {
    parser: Parser,
    fields: FormFields,
}

#[derive(Debug)]
enum Parser {
    Urlencoded(Urlencoded),
    Multipart(Multipart),
}

impl FormInspector {
    /// Reads the next bytes of the body. Returns the position of the location whose pairs the form completes: these bytes
    /// must not leave then.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        match &mut self.parser {
            Parser::Urlencoded(parser) => parser.feed(bytes, &mut self.fields),
            Parser::Multipart(parser) => parser.feed(bytes, &mut self.fields),
        }
        self.fields.complete()
    }

    /// Reads the end of the body. Its last byte must not leave if a location is returned.
    pub fn finish(&mut self) -> Option<usize> {
        match &mut self.parser {
            Parser::Urlencoded(parser) => parser.finish(&mut self.fields),
            Parser::Multipart(parser) => parser.finish(&mut self.fields),
        }
        self.fields.complete()
    }
}
