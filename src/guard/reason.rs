//! Why the guard calls a spelling ambiguous. It holds names only; the rules stand in `guard` and its other files.

/// The rule by which a target is ambiguous: the label `reason` of `guard_rejections_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Another spelling of the path: case, encoding, slashes, dots, parameters or a script name before it.
    Spelling,
    /// A path beneath a webhook path: `/webhooks/stripe/x`.
    Beneath,
    /// A webhook path with an extension: `/webhooks/stripe.json`.
    Extension,
    /// A path with `..` that leads to a webhook path if `..` removes the right segments.
    Traversal,
    /// A path that leads to a webhook path only after a fifth round of percent-decoding.
    TooDeep,
    /// A path that leads to a webhook path if the decoder accepts overlong UTF-8.
    OverlongUtf8,
    /// A path that leads to a webhook path if the reader stops at a NUL, or skips it.
    Nul,
    /// A query that some parser reads as the pairs that tell a webhook, spelled otherwise or on another path.
    Query,
    /// A form whose fields, with the query, some parser reads as these pairs.
    Form,
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::Spelling,
        Self::Beneath,
        Self::Extension,
        Self::Traversal,
        Self::TooDeep,
        Self::OverlongUtf8,
        Self::Nul,
        Self::Query,
        Self::Form,
    ];

    /// Returns the value of the metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spelling => "spelling",
            Self::Beneath => "beneath",
            Self::Extension => "extension",
            Self::Traversal => "traversal",
            Self::TooDeep => "too_deep",
            Self::OverlongUtf8 => "overlong_utf8",
            Self::Nul => "nul",
            Self::Query => "query",
            Self::Form => "form",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn each_reason_has_a_label_of_its_own() {
        let labels: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
