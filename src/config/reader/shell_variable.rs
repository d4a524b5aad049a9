//! A shell's spelling of an environment variable, `$NAME` or `${NAME}`, in a value that takes `{$NAME}`. It replaces nothing.

use super::placeholder::STRIPE_PLACEHOLDER;

/// Returns the first environment variable that a text names as a shell does. Names are of capital letters, as in
/// `$BACKEND_URL`: other text with a `$` may be meant.
pub(crate) fn shell_variable(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let (before, rest) = (&text[..at], &text[at + 1..]);
        let name = match rest.strip_prefix('{') {
            Some(inside) => inside.split_once('}').map(|(name, _)| name)?,
            None => &rest[..rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len())],
        };
        let is_name = name.len() > 1 && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        // `{$NAME}` is the right spelling. Stripe's own placeholder is not a variable.
        let is_other = before.ends_with('{') || name == STRIPE_PLACEHOLDER;
        (is_name && name.chars().all(is_name_char) && !is_other).then_some(name)
    })
}

/// Returns whether a text is nothing but such a variable.
pub(crate) fn is_shell_variable(text: &str) -> bool {
    let text = text.trim();
    shell_variable(text).is_some_and(|name| text.len() == name.len() + 1 || text.len() == name.len() + 3)
        && text.starts_with('$')
        && (text.ends_with('}') == text.starts_with("${"))
}

/// Returns what to write for a variable.
pub(crate) fn shell_variable_help(name: &str) -> String {
    format!("to read the environment variable, write {{${name}}}")
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_in_a_shells_spelling_only() {
        for (text, name, alone) in [
            ("$BACKEND_URL", Some("BACKEND_URL"), true),
            ("${BACKEND_URL}", Some("BACKEND_URL"), true),
            (" $BACKEND_URL ", Some("BACKEND_URL"), true),
            ("http://$HOST:8081", Some("HOST"), false),
            ("${URL}/thanks", Some("URL"), false),
            ("$A1$B2", Some("A1"), false),
            ("{$BACKEND_URL}", None, false),
            ("{$BACKEND_URL:http://backend}", None, false),
            ("{$URL}/$PATH_OF_IT", Some("PATH_OF_IT"), false),
            ("$5", None, false),
            ("$", None, false),
            ("US$ 5", None, false),
            ("$name", None, false),
            ("${tenant}", None, false),
            ("${CHECKOUT_SESSION_ID}", None, false),
            ("${BACKEND_URL", None, false),
            ("", None, false),
        ] {
            assert_eq!(shell_variable(text), name, "{text}");
            assert_eq!(is_shell_variable(text), alone, "{text}");
        }
    }
}
