//! Content negotiation by `Accept`: whether a client prefers HTML or JSON (RFC 9110, section 12.5.1). Pure.

use super::headers::list_items;

/// Returns true if the values of a request's `Accept` prefer HTML to JSON. A client without a preference gets JSON.
pub fn prefers_html(accept: &[&[u8]]) -> bool {
    let html = MediaPreference::parse(accept, b"text", b"html");
    let json = MediaPreference::parse(accept, b"application", b"json");
    html.quality > 0 && html > json
}

/// How much a client wants a media type. At equal quality the more specific range wins, hence the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct MediaPreference {
    /// The weight in thousandths: 1000 for `q=1`.
    quality: u16,
    /// How exactly the range names the type: 1 for `*/*`, 2 for `text/*`, 3 for the type itself, 0 for no range at all.
    specificity: u8,
}

impl MediaPreference {
    /// Finds the most specific range that covers `kind/subtype`.
    fn parse(accept: &[&[u8]], kind: &[u8], subtype: &[u8]) -> Self {
        let mut preference = Self::default();
        for range in accept.iter().flat_map(|value| list_items(value)) {
            let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let mut names = parts.next().unwrap_or_default().splitn(2, |&byte| byte == b'/');
            let (Some(range_kind), Some(range_subtype)) = (names.next(), names.next()) else { continue };
            let same_kind = range_kind.eq_ignore_ascii_case(kind);
            let specificity = match (range_kind, range_subtype) {
                (b"*", b"*") => 1,
                (_, b"*") if same_kind => 2,
                (_, found) if same_kind && found.eq_ignore_ascii_case(subtype) => 3,
                (_, _) => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
            let quality = weight.map_or(1000, parse_weight);
            if specificity > preference.specificity {
                preference = Self { quality, specificity };
            }
        }
        preference
    }
}

/// Parses a weight such as `0.8` into thousandths. An invalid weight is 0: a client that cannot say it does not want it.
fn parse_weight(weight: &[u8]) -> u16 {
    let weight: Option<f32> = str::from_utf8(weight).ok().and_then(|weight| weight.parse().ok());
    weight.filter(|weight| (0.0..=1.0).contains(weight)).map_or(0, |weight| (weight * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_goes_to_clients_that_prefer_it() {
        let cases: [(&[&str], bool); 19] = [
            (&[], false),
            (&[""], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&["text/html"], true),
            (&["TEXT/HTML"], true),
            (&["text/*"], true),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"], true),
            (&["text/html, */*"], true),
            (&["text/html, application/json"], false),
            (&["application/json, text/html;q=0.9"], false),
            (&["application/json;q=0.5", "text/html;q=0.6"], true),
            (&["text/html;q=0"], false),
            (&["text/html;q=0, */*"], false),
            (&["text/html;q=0.001"], true),
            (&["text/html;level=1;Q=0.4, application/json;q=0.3"], true),
            (&["text/html;q=nonsense"], false),
            (&["text/html;q=2, application/json;q=0.1"], false),
            (&["application/json, */*;q=0.1"], false),
        ];
        for (accept, html) in cases {
            let values: Vec<_> = accept.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(prefers_html(&values), html, "{accept:?}");
        }
    }
}
