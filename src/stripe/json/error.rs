//! The error of the strict JSON reader. It says why bytes are not one JSON object, never what they contain.

/// The reason why bytes are not a valid JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The first byte after white space is not `{`: another JSON value, no JSON, or an empty body.
    #[error("the payload is not a JSON object")]
    NotAnObject,
    /// The body ends before the object is closed.
    #[error("the payload ends inside its JSON object")]
    Truncated,
    /// A byte violates the JSON grammar (RFC 8259).
    #[error("the payload is not valid JSON")]
    Syntax,
    /// Brackets are nested more than 128 levels deep, including the top-level object.
    #[error("the payload is nested more than 128 levels deep")]
    TooDeep,
    /// Bytes other than white space follow the object.
    #[error("the payload continues after its JSON object")]
    Trailing,
}
