//! Keys that nobody asked for: which known key may have been meant. They are judged when the whole file is
//! read, since a key may only have strayed from its section.

use super::faults::{ConfigError, looks_secret, shown};

/// A key that nobody asked for.
pub(super) struct Unknown {
    /// The section it stands in; blank for the top of the file.
    pub section: &'static str,
    /// The key.
    pub key: String,
    /// Where.
    pub line: usize,
}

impl Unknown {
    /// The fault it is, given each section's keys.
    pub(super) fn judge(self, known: &[(&'static str, Vec<&'static str>)]) -> ConfigError {
        let Unknown { section, key, line } = self;
        let of =
            |name: &str| known.iter().find(|(section, _)| *section == name).map(|(_, keys)| keys.as_slice());
        let keys = of(section).unwrap_or_default();
        let elsewhere = known.iter().find(|(name, keys)| !name.is_empty() && keys.contains(&key.as_str()));
        let close = keys.iter().map(|known| (distance(known, &key), known)).min().filter(|(far, known)| {
            // A third of the letters may differ: enough for slips, too little for other words.
            *far <= known.len().max(key.len()).div_ceil(3)
        });
        let help = match (close, elsewhere) {
            (Some((_, known)), _) => format!("did you mean {known:?}?"),
            (None, Some((name, _))) => format!("it belongs to [{name}]"),
            (None, None) => String::new(),
        };
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        ConfigError {
            line: Some(line),
            key: if section.is_empty() { shown_key(&key) } else { format!("{section}.{}", shown_key(&key)) },
            found: "an unknown key".to_owned(),
            expected: format!("one of {}", keys.join(", ")),
            help,
        }
    }
}

/// A key as it stands in a fault: quoted and cut short if it is no plain word, left out if it is a secret.
fn shown_key(key: &str) -> String {
    let plain = key.len() <= 40 && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match looks_secret(key) {
        true => "…".to_owned(),
        false if plain => key.to_owned(),
        false => shown(key),
    }
}

/// How many letters to insert, delete or exchange to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_words_counts_slips() {
        for (one, other, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("secret", "secrets", 1),
            ("url", "uri", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
