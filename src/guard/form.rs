//! The fields of a form body, judged while they stream: a form must not add the pairs that tell a webhook. It holds no
//! bytes back; whoever forwards the body asks before each part leaves.
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
    /// `application/x-www-form-urlencoded`, or no type: Rack reads a body without a type, or with an empty one, so.
    Urlencoded,
    /// `multipart/form-data`, or another multipart type, which some parsers read alike.
    Multipart,
    /// Either: the lines of the type differ, and each parser reads another line.
    Either,
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
        let (mut urlencoded, mut multipart, mut any, mut is_readable) = (false, false, false, true);
        for content_type in content_types {
            if content_type.trim_ascii().is_empty() {
                urlencoded = true;
                continue;
            }
            any = true;
            let plain: Vec<u8> = letters(content_type).collect();
            let has = |part: &[u8]| memchr::memmem::find(&plain, part).is_some();
            if has(b"multipart") || has(b"formdata") {
                multipart = true;
            } else if has(b"urlencoded") || has_no_media_type(content_type) {
                urlencoded = true;
            }
            is_readable &= !UNLIKE_ASCII.iter().any(|charset| has(&[b"charset", *charset].concat()));
        }
        let kind = match (urlencoded || !any, multipart) {
            (true, true) => Some(Self::Either),
            (true, false) => Some(Self::Urlencoded),
            (false, true) => Some(Self::Multipart),
            (false, false) => None,
        };
        // Express' parser of forms inflates bodies.
        is_readable &= content_codings.all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
        match kind {
            Some(_) if !is_readable && any => Err(UnreadableForm),
            kind => Ok(kind),
        }
    }
}

/// Returns whether a type has parameters at most, which some parsers take for no type.
fn has_no_media_type(content_type: &[u8]) -> bool {
    content_type.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b';' | b','))
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
        FormInspector {
            urlencoded: (self.kind != FormKind::Multipart).then(Urlencoded::default),
            multipart: (self.kind != FormKind::Urlencoded).then(Multipart::default),
            fields: FormFields::new(self.queries.clone(), self.read.clone()),
        }
    }
}

/// Judges one form body while it streams.
#[derive(Debug, Clone)]
pub struct FormInspector {
    urlencoded: Option<Urlencoded>,
    multipart: Option<Multipart>,
    fields: FormFields,
}

impl FormInspector {
    /// Reads the next bytes of the body. Returns the position of a location whose pairs the form completes: these bytes must
    /// not leave then.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        if let Some(parser) = &mut self.urlencoded {
            parser.feed(bytes, &mut self.fields);
        }
        if let Some(parser) = &mut self.multipart {
            parser.feed(bytes, &mut self.fields);
        }
        self.fields.complete().next()
    }

    /// Reads the end of the body. Its last byte must not leave if a location is returned.
    pub fn finish(&mut self) -> Option<usize> {
        if let Some(parser) = &mut self.urlencoded {
            parser.finish(&mut self.fields);
        }
        if let Some(parser) = &mut self.multipart {
            parser.finish(&mut self.fields);
        }
        self.fields.complete().next()
    }

    /// Returns whether a form that ended here would complete the pairs of a location at one of these positions: its last field
    /// is open, and reads as the webhook's so far. The bytes must not leave before it is clear how the field goes on.
    pub fn tells_if_cut(&self, is_meant: impl Fn(usize) -> bool) -> bool {
        let mut cut = self.clone();
        cut.finish();
        cut.tells(is_meant)
    }

    /// Returns whether the form completes the pairs of a location at one of these positions.
    pub fn tells(&self, is_meant: impl Fn(usize) -> bool) -> bool {
        self.fields.complete().any(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::{FormKind, UnreadableForm};
    use crate::guard::{Guard, Location, QueryPair};
    use proptest::prelude::*;

    fn tells(kind: FormKind, body: &[u8], size: usize) -> bool {
        let query = vec![QueryPair { key: "wc-api".to_owned(), value: "wc_stripe".to_owned() }];
        let guard = Guard::new([Location { query, ..Location::from("/") }]);
        let mut form = guard.form(b"/", kind).unwrap().inspector();
        body.chunks(size).any(|piece| form.feed(piece).is_some()) || form.finish().is_some()
    }

    #[test]
    fn a_form_is_recognized_by_any_of_its_types() {
        let kind = |types: &[&str], codings: &[&str]| {
            let bytes = |text: &&str| text.as_bytes().to_vec();
            let (types, codings): (Vec<_>, Vec<_>) =
                (types.iter().map(bytes).collect(), codings.iter().map(bytes).collect());
            FormKind::of(types.iter().map(|text| &text[..]), codings.iter().map(|text| &text[..]))
        };
        let urlencoded = "application/x-www-form-urlencoded";
        for (types, codings, expected) in [
            (&[urlencoded][..], &[][..], Ok(Some(FormKind::Urlencoded))),
            (
                &["Application/X-WWW-Form-URLEncoded ; charset=UTF-8"],
                &[" Identity"],
                Ok(Some(FormKind::Urlencoded)),
            ),
            (&["multipart/form-data; boundary=x"], &[], Ok(Some(FormKind::Multipart))),
            (&["multipart/mixed"], &[], Ok(Some(FormKind::Multipart))),
            (&["application/json", "multipart/form-data"], &[], Ok(Some(FormKind::Multipart))),
            (&[], &[], Ok(Some(FormKind::Urlencoded))),
            (&[""], &[], Ok(Some(FormKind::Urlencoded))),
            (&[" \t "], &["gzip"], Ok(Some(FormKind::Urlencoded))),
            (&[" ; charset=utf-8"], &[], Ok(Some(FormKind::Urlencoded))),
            (&["application/json", ""], &[], Ok(Some(FormKind::Urlencoded))),
            (&[" ", "application/json"], &["gzip"], Err(UnreadableForm)),
            (&["", "multipart/form-data"], &[], Ok(Some(FormKind::Either))),
            (&["multipart/form-data", urlencoded], &[], Ok(Some(FormKind::Either))),
            (&["application/json"], &["gzip"], Ok(None)),
            (&["text/plain; charset=utf-16"], &[], Ok(None)),
            (&[urlencoded], &["gzip"], Err(UnreadableForm)),
            (&["multipart/form-data; charset=\"UTF-16LE\""], &[], Err(UnreadableForm)),
            (&["application/x-www-form-urlencoded; charset=ibm500"], &[], Err(UnreadableForm)),
        ] {
            assert_eq!(kind(types, codings), expected, "{types:?} {codings:?}");
        }
    }

    #[test]
    fn a_field_is_judged_wherever_the_body_is_cut() {
        let text = "--B\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nwc-api\nwc_stripe\r\n";
        let field = "--B\r\nContent-Disposition: form-data; name=\"wc-api\"\r\n\r\nwc_stripe\r\n";
        let other = "--B\r\nContent-Disposition: form-data; name=\"wc-api\"\r\n\r\nwc_paypal\r\n";
        let long = "x".repeat(100_000);
        let cases = [
            (FormKind::Urlencoded, "a=b&wc-api=wc_stripe".to_owned(), true),
            (FormKind::Urlencoded, "wc-api=wc_stripe;c=d".to_owned(), true),
            (FormKind::Urlencoded, "wc-api=x;wc_api=wc_stripe&c=d".to_owned(), true),
            (FormKind::Urlencoded, format!("wc-api={long}"), true),
            (FormKind::Urlencoded, format!("{long}wc-api=wc_stripe"), false),
            (FormKind::Urlencoded, format!("a={long}&b"), false),
            (FormKind::Urlencoded, "wc-api=x&wc_stripe=wc-api&wc-api".to_owned(), false),
            (FormKind::Multipart, format!("{text}{field}--B--\r\n"), true),
            (FormKind::Multipart, format!("{field}{text}--B--\r\n"), true),
            (FormKind::Multipart, format!("{text}{other}--B--\r\n"), false),
            (FormKind::Multipart, format!("{other}{text}{long}\r\n{field}--B--"), true),
            (FormKind::Multipart, field.trim_end().to_owned(), true),
            // The next field begins without a boundary.
            (FormKind::Multipart, format!("{field}{}", text.replace("--B\r\n", "")), true),
            (FormKind::Multipart, field.replace("\r\n\r\n", &format!("\r\nX-Long: {long}\r\n\r\n")), true),
            (FormKind::Multipart, field.replace("wc_stripe", &"--\r\n".repeat(20)), true),
            (FormKind::Multipart, format!("{}{long}", text.replace("text", "file")), false),
            (FormKind::Multipart, "a=b&wc-api=wc_stripe".to_owned(), false),
            (FormKind::Either, "a=b&wc-api=wc_stripe".to_owned(), true),
            (FormKind::Either, format!("{text}{field}--B--\r\n"), true),
            (FormKind::Either, format!("{text}{other}--B--\r\n"), false),
        ];
        for (kind, body, expected) in cases {
            let shown = &body[..body.len().min(90)];
            for size in [1, 2, 63, 64, 65, 4096, body.len()] {
                assert_eq!(tells(kind, body.as_bytes(), size), expected, "{kind:?} {size} {shown}");
            }
        }
    }

    proptest! {
        /// Joins parts of forms at random.
        #[test]
        fn a_form_has_one_verdict_however_it_is_cut(
            parts in prop::collection::vec(prop::sample::select(vec![
                "wc-api", "wc_stripe", "=", "&", ";", "%2D", "%00", "[", "[]", "--B", "--", "\r\n", "\n", "\r", "\r\n\r\n",
                "Content-Disposition: form-data; name=", "Content-Transfer-Encoding: base64", "\"", ";", "x", ": ",
            ]), 0..24),
            size in 1_usize..40,
        ) {
            let body = parts.concat();
            for kind in [FormKind::Urlencoded, FormKind::Multipart, FormKind::Either] {
                let whole = tells(kind, body.as_bytes(), body.len().max(1));
                prop_assert_eq!(tells(kind, body.as_bytes(), size), whole, "{:?} {:?}", kind, &body);
            }
        }
    }
}
