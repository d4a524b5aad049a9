//! What tells a webhook from other requests: a path, and for a front controller some pairs of the query. It compares
//! spellings byte for byte only; other spellings are the concern of `guarded_path` and `query`.

use super::preset::Preset;

/// One way to tell the webhooks of an endpoint from other requests. The configuration has checked its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The path. A segment `{name}` is variable.
    pub path: String,
    /// The pairs that a query has to hold. Empty if the path alone tells the webhook.
    pub query: Vec<QueryPair>,
    /// The product that reads more spellings as its webhook, if it is a known one.
    pub preset: Option<Preset>,
}

/// A pair of a query, as requests spell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPair {
    /// The text before `=`.
    pub key: String,
    /// The text after `=`.
    pub value: String,
}

impl From<&str> for Location {
    /// Creates a location that its path alone tells.
    fn from(path: &str) -> Self {
        Self { path: path.to_owned(), query: Vec::new(), preset: None }
    }
}

impl Location {
    /// Returns the path, and the query after `?` if there is one.
    pub fn as_written(&self) -> String {
        if self.query.is_empty() {
            return self.path.clone();
        }
        format!("{}?{}", self.path, self.query_text())
    }

    /// Returns the pairs joined by `&`, as a request may spell them. Empty without pairs.
    pub fn query_text(&self) -> String {
        let pairs: Vec<String> =
            self.query.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
        pairs.join("&")
    }

    /// Returns whether the path has a variable segment.
    pub fn is_variable(&self) -> bool {
        self.path.split('/').any(|segment| variable_name(segment).is_some())
    }

    /// Returns the path with these values in place of its variable segments, separated by `/`. Returns `None` if their
    /// number differs, or one is not the value of a variable segment.
    pub fn path_with(&self, segments: &str) -> Option<String> {
        // The text is part of an event's key, so one path has one text: no empty values.
        let mut values = segments.split('/').skip(usize::from(segments.is_empty()));
        let mut path = Vec::new();
        for segment in self.path.split('/') {
            match variable_name(segment) {
                Some(_) => path.push(values.next().filter(|value| is_variable_value(value.as_bytes()))?),
                None => path.push(segment),
            }
        }
        values.next().is_none().then(|| path.join("/"))
    }

    /// Returns whether a raw query has every pair that tells the webhook, spelled as here.
    pub fn is_told_by(&self, query: &str) -> bool {
        let has = |pair: &QueryPair| {
            query.split('&').any(|piece| piece.split_once('=') == Some((&pair.key, &pair.value)))
        };
        self.query.iter().all(has)
    }

    /// Returns whether a request's path is spelled as this one. A variable segment takes any value.
    pub fn is_path(&self, path: &[u8]) -> bool {
        if !self.is_variable() {
            return self.path.as_bytes() == path;
        }
        let mut segments = path.split(|&byte| byte == b'/');
        let all = self.path.split('/').all(|wanted| match (variable_name(wanted), segments.next()) {
            (Some(_), Some(segment)) => is_variable_value(segment),
            (None, Some(segment)) => wanted.as_bytes() == segment,
            (Some(_) | None, None) => false,
        });
        all && segments.next().is_none()
    }

    /// Returns the values of the variable segments in a path that [`is_path`](Self::is_path), separated by `/`.
    pub fn segments(&self, path: &[u8]) -> String {
        let segments = path.split(|&byte| byte == b'/');
        let both = self.path.split('/').zip(segments);
        let values = both.filter_map(|(wanted, segment)| variable_name(wanted).map(|_| segment));
        let values: Vec<&str> = values.filter_map(|value| str::from_utf8(value).ok()).collect();
        values.join("/")
    }
}

/// Returns the name of a variable segment `{name}`, or `None` for any other segment.
pub fn variable_name(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Returns whether a segment can be the value of a variable one: `[A-Za-z0-9._~-]+`, but no dot segment, which servers
/// resolve (RFC 3986, section 5.2.4).
pub fn is_variable_value(segment: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~-".contains(byte);
    !matches!(segment, b"" | b"." | b"..") && segment.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_segment_takes_one_unreserved_segment() {
        let location = Location::from("/tenants/{tenant}/stripe/{mode}");
        for (path, segments) in [
            ("/tenants/acme/stripe/live", "acme/live"),
            ("/tenants/A.c~m-e_1/stripe/x.json", "A.c~m-e_1/x.json"),
            ("/tenants/.../stripe/.a", ".../.a"),
        ] {
            assert!(location.is_path(path.as_bytes()), "{path}");
            assert_eq!(location.segments(path.as_bytes()), segments);
            assert_eq!(location.path_with(segments).as_deref(), Some(path));
        }
        for path in [
            "/tenants/acme/stripe",
            "/tenants/acme/stripe/live/",
            "/tenants/acme/stripe/live/x",
            "/tenants//stripe/live",
            "/tenants/./stripe/live",
            "/tenants/../stripe/live",
            "/tenants/a%20b/stripe/live",
            "/tenants/a+b/stripe/live",
            "/tenants/a;b/stripe/live",
            "/tenants/acme/Stripe/live",
        ] {
            assert!(!location.is_path(path.as_bytes()), "{path}");
        }
        for segments in ["", "a", "a/b/c", "a/..", "a/b c", "a/b/", "/a/b", "a//b"] {
            assert_eq!(location.path_with(segments), None, "{segments}");
        }
        assert_eq!(Location::from("/w").path_with("").as_deref(), Some("/w"));
        assert_eq!(Location::from("/w").path_with("/"), None, "one path has one text");
    }
}
