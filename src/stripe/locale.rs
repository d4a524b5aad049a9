//! The locales of Stripe's payment page, and the nearest of them to a language tag of a page. Pure.

/// The locales that Stripe has
/// (<https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-locale>).
const LOCALES: [&str; 42] = [
    "auto", "bg", "cs", "da", "de", "el", "en", "en-GB", "es", "es-419", "et", "fi", "fil", "fr", "fr-CA",
    "hi-IN", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "mt", "nb", "nl", "pl", "pt", "pt-BR",
    "ro", "ru", "sk", "sl", "sv", "th", "tr", "vi", "zh", "zh-HK", "zh-TW",
];

/// The locale that follows the buyer's browser.
const AUTO: &str = "auto";

/// Other codes of languages that Stripe has (<https://www.iana.org/assignments/language-subtag-registry>).
const LANGUAGE_ALIASES: [(&str, &str); 6] =
    [("no", "nb"), ("nn", "nb"), ("in", "id"), ("tl", "fil"), ("mo", "ro"), ("cmn", "zh")];

/// The regions whose Spanish is that of Latin America (CLDR, `parentLocales`).
const LATIN_AMERICA: [&str; 22] = [
    "ar", "bo", "br", "bz", "cl", "co", "cr", "cu", "do", "ec", "gt", "hn", "mx", "ni", "pa", "pe", "pr",
    "py", "sv", "us", "uy", "ve",
];

/// Returns the locale of Stripe's that is nearest to what a page calls its language, or `auto`: a language tag (BCP 47), the
/// name of a locale (`de_DE.UTF-8`), or a list by preference as in `Accept-Language`.
pub(crate) fn nearest_locale(text: &str) -> &'static str {
    text.split(',').find_map(nearest_to_tag).unwrap_or(AUTO)
}

/// Returns the locale of Stripe's that is nearest to a language tag. What follows it, such as a weight or a character set,
/// is ignored.
fn nearest_to_tag(text: &str) -> Option<&'static str> {
    let tag = text.trim().split([';', '.', '@', ' ']).next().unwrap_or_default();
    let tag = tag.to_ascii_lowercase().replace('_', "-");
    let has = |wanted: &str| LOCALES.into_iter().find(|locale| locale.eq_ignore_ascii_case(wanted));
    if let Some(exact) = has(&tag) {
        return Some(exact);
    }
    let mut subtags = tag.split('-');
    let language = subtags.next().unwrap_or_default();
    let language =
        LANGUAGE_ALIASES.iter().find(|(alias, _)| *alias == language).map_or(language, |(_, name)| name);
    // Scripts have four letters (Hant). Regions have two letters or three digits.
    let rest: Vec<&str> = subtags.collect();
    let script = rest.iter().find(|subtag| subtag.len() == 4).copied();
    let region = rest.iter().find(|subtag| matches!(subtag.len(), 2 | 3)).copied().unwrap_or_default();
    let regional = match (language, script, region) {
        ("zh", Some("hans"), _) => Some("zh"),
        ("zh", _, "hk" | "mo") => Some("zh-HK"),
        ("zh", Some("hant"), _) => Some("zh-TW"),
        ("es", _, region) if LATIN_AMERICA.contains(&region) => Some("es-419"),
        _ => has(&format!("{language}-{region}")),
    };
    let prefix = format!("{language}-");
    regional
        .or_else(|| has(language))
        .or_else(|| LOCALES.into_iter().find(|locale| locale.starts_with(&prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_becomes_the_nearest_locale_that_stripe_has() {
        for (tag, locale) in [
            ("auto", "auto"),
            ("en", "en"),
            ("en-US", "en"),
            ("en_US", "en"),
            ("en-gb", "en-GB"),
            ("en-Latn-GB", "en-GB"),
            ("fr-BE", "fr"),
            ("fr-CA", "fr-CA"),
            ("pt-BR", "pt-BR"),
            ("pt-PT", "pt"),
            ("es-MX", "es-419"),
            ("es-ES", "es"),
            ("es-419", "es-419"),
            ("de-AT", "de"),
            ("no", "nb"),
            ("nn-NO", "nb"),
            ("nb-NO", "nb"),
            ("hi", "hi-IN"),
            ("zh-CN", "zh"),
            ("zh-Hans-HK", "zh"),
            ("zh-Hant", "zh-TW"),
            ("zh-Hant-TW", "zh-TW"),
            ("zh-Hant-HK", "zh-HK"),
            ("zh-MO", "zh-HK"),
            ("zh-TW", "zh-TW"),
            ("tl-PH", "fil"),
            ("uk", "auto"),
            ("uk-UA", "auto"),
            ("tlh", "auto"),
            ("cmn-Hant-TW", "zh-TW"),
            ("de_DE.UTF-8", "de"),
            ("fr_CA@euro", "fr-CA"),
            ("C", "auto"),
            ("POSIX", "auto"),
            ("*", "auto"),
            (" de ", "de"),
            ("de-DE,de;q=0.9,en;q=0.8", "de"),
            ("en;q=0.8", "en"),
            ("uk-UA, uk, pt-BR;q=0.5", "pt-BR"),
            ("../x", "auto"),
            ("日本語", "auto"),
            ("-", "auto"),
            ("", "auto"),
        ] {
            assert_eq!(nearest_locale(tag), locale, "{tag}");
        }
    }
}
