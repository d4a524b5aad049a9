//! Keys that no section asked for: each becomes an error that names the key that was probably meant. They are checked
//! after the whole file is read, because a key may only be in the wrong section.

use super::diagnostics::{Diagnostic, display_value, looks_secret};

/// The longest key that an error quotes as it is, in bytes.
const MAX_PLAIN_KEY: usize = 40;

/// A key that no section asked for.
pub(crate) struct UnknownKey {
    /// The section that holds the key. Empty for the top of the file.
    pub section: &'static str,
    /// The key as the file spells it.
    pub key: String,
    /// The key's line, counted from 1.
    pub line: usize,
}

impl UnknownKey {
    /// Makes the error, given the keys of every section that was read.
    pub(crate) fn diagnose(self, known: &[(&'static str, Vec<&'static str>)]) -> Diagnostic {
        let Self { section, key, line } = self;
        let own = known.iter().find(|(name, _)| *name == section);
        let mut keys = own.map(|(_, keys)| keys.clone()).unwrap_or_default();
        keys.sort_unstable();
        let elsewhere = known.iter().find(|(name, keys)| !name.is_empty() && keys.contains(&key.as_str()));
        let help = match (nearest(&keys, &key), elsewhere) {
            (Some(known), _) => format!("did you mean {known:?}?"),
            (None, Some((name, _))) => format!("this key belongs in [{name}]"),
            (None, None) => String::new(),
        };
        Diagnostic {
            line: Some(line),
            key: if section.is_empty() { shown_key(&key) } else { format!("{section}.{}", shown_key(&key)) },
            found: "an unknown key".to_owned(),
            expected: format!("one of {}", keys.join(", ")),
            help,
        }
    }
}

/// Returns the known key that differs least from `key`, if it is close enough to be meant.
fn nearest(keys: &[&'static str], key: &str) -> Option<&'static str> {
    let distances = keys.iter().map(|known| (strsim::levenshtein(known, key), *known));
    // A third of the letters may differ: enough for typing errors, too little for other words.
    let close = |distance: usize, known: &str| distance <= known.len().max(key.len()).div_ceil(3);
    distances.min().filter(|(distance, known)| close(*distance, known)).map(|(_, known)| known)
}

/// Returns a key as an error shows it: quoted and cut short if it is not a plain word, hidden if it looks like a secret.
fn shown_key(key: &str) -> String {
    let plain = key.len() <= MAX_PLAIN_KEY
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match looks_secret(key) {
        true => "…".to_owned(),
        false if plain => key.to_owned(),
        false => display_value(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_key_gets_the_nearest_known_one_and_another_word_none() {
        let keys = ["listen", "secrets", "url", "idle_timeout"];
        for (key, expected) in [
            ("listen", Some("listen")),
            ("lisen", Some("listen")),
            ("secret", Some("secrets")),
            ("uri", Some("url")),
            ("idel_timeout", Some("idle_timeout")),
            ("", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(&keys, key), expected, "{key}");
        }
        assert_eq!(nearest(&[], "listen"), None);
    }
}
