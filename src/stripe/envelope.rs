//! The envelope of an event: what Stripe's snapshot and thin events have in common at their top level. It never looks
//! into `data`, and it knows nothing of signatures.

use super::json::{self, JsonError, Value};
use std::borrow::Cow;
use std::time::UNIX_EPOCH;

/// The longest `id` and `type`, in bytes.
const NAME_LIMIT: usize = 255;

/// What is known of an event before anyone has parse_trusted for it: `parse` gives no proof, a
/// [`VerifiedEvent`](super::event::VerifiedEvent) does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `id`, 1 to 255 of `[A-Za-z0-9_]`.
    pub id: Cow<'a, str>,
    /// `type`, 1 to 255 of `[A-Za-z0-9._\[\]-]`.
    pub kind: Cow<'a, str>,
    /// `created` in unix seconds: an integer in a snapshot event, an RFC 3339 string in UTC in a thin one. `None` if
    /// it is neither.
    pub created: Option<i64>,
    /// `livemode`, if it is a boolean.
    pub livemode: Option<bool>,
    /// `account`, if it is a string: the connected account that the event belongs to.
    pub account: Option<Cow<'a, str>>,
}

/// Why a payload is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It is no JSON object, or a faulty one.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// No `id`. Test events without one exist; they cannot be told apart, so they cannot be taken once.
    #[error("the event has no id")]
    IdMissing,
    /// Two or more `id`s at the top level, in whatever spelling: readers differ on which of them counts.
    #[error("the event has more than one id")]
    IdRepeated,
    /// An `id` that is not a string.
    #[error("the event's id is not a string")]
    IdNotText,
    /// An `id` that is not 1 to 255 of `[A-Za-z0-9_]`.
    #[error("the event's id is not 1 to 255 letters, digits and underscores")]
    IdInvalid,
    /// No `type`.
    #[error("the event has no type")]
    TypeMissing,
    /// A `type` that is not a string.
    #[error("the event's type is not a string")]
    TypeNotText,
    /// A `type` that is not 1 to 255 of `[A-Za-z0-9._\[\]-]`.
    #[error("the event's type is not 1 to 255 letters, digits and any of . _ - [ ]")]
    TypeInvalid,
    /// An `object` that is neither `event` nor `v2.core.event`, or none.
    #[error("the payload's object is neither event nor v2.core.event")]
    NotAnEvent,
}

/// Reads the envelope of `body`. Of a key that is repeated the last counts, as in every SDK's parser, but for `id`,
/// which may not be. What is not validated inside `data` and other nested values is said in `stripe::skip`.
pub fn parse(body: &[u8]) -> Result<Envelope<'_>, PayloadError> {
    let (mut ids, mut id, mut kind, mut object) = (0, None, None, None);
    let (mut created, mut livemode, mut account) = (None, None, None);
    json::object(body, |key, value| match &*key {
        "id" => (ids, id) = (ids + 1, Some(value)),
        "type" => kind = Some(value),
        "object" => object = Some(value),
        "created" => created = time(&value),
        "livemode" => livemode = flag(&value),
        "account" => account = text(value),
        _ => {}
    })?;
    if ids > 1 {
        return Err(PayloadError::IdRepeated);
    }
    let id = text(id.ok_or(PayloadError::IdMissing)?).ok_or(PayloadError::IdNotText)?;
    if !is_name(&id, b"_") {
        return Err(PayloadError::IdInvalid);
    }
    let kind = text(kind.ok_or(PayloadError::TypeMissing)?).ok_or(PayloadError::TypeNotText)?;
    if !is_name(&kind, b"._[]-") {
        return Err(PayloadError::TypeInvalid);
    }
    match object.and_then(text).as_deref() {
        Some("event" | "v2.core.event") => Ok(Envelope { id, kind, created, livemode, account }),
        _ => Err(PayloadError::NotAnEvent),
    }
}

fn is_name(name: &str, marks: &[u8]) -> bool {
    (1..=NAME_LIMIT).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(text),
        Value::Number(_) | Value::Bool(_) | Value::Null | Value::Nested => None,
    }
}

fn flag(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Text(_) | Value::Number(_) | Value::Null | Value::Nested => None,
    }
}

fn time(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Number(number) => serde_json::from_str(number).ok(),
        Value::Text(text) => {
            let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_secs()).ok()
        }
        Value::Bool(_) | Value::Null | Value::Nested => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::oracle;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    /// An event with these members in place of its own of that name; an empty value takes one out.
    fn event(changes: &[(&str, &str)]) -> String {
        let mut members = vec![
            ("id", r#""evt_1""#),
            ("object", r#""event""#),
            ("created", "1787000005"),
            ("data", r#"{"object": {"id": "in_1", "object": "invoice", "type": "x"}}"#),
            ("livemode", "true"),
            ("type", r#""invoice.paid""#),
        ];
        for (key, value) in changes {
            members.retain(|(name, _)| name != key);
            members.push((key, value));
        }
        let members: Vec<_> =
            members.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("\"{k}\": {v}")).collect();
        format!("{{{}}}", members.join(", "))
    }

    #[test]
    fn each_rule_of_the_envelope_has_its_fault() {
        let long = |name: &str, length: usize| format!("\"{name}{}\"", "x".repeat(length - name.len()));
        let (fits, too_long) = (long("evt_", 255), long("evt_", 256));
        let table: &[(&str, &str, Option<PayloadError>)] = &[
            ("id", "", Some(PayloadError::IdMissing)),
            ("id", "null", Some(PayloadError::IdNotText)),
            ("id", "1", Some(PayloadError::IdNotText)),
            ("id", r#"["evt_1"]"#, Some(PayloadError::IdNotText)),
            ("id", r#"{"id": "evt_1"}"#, Some(PayloadError::IdNotText)),
            ("id", r#""""#, Some(PayloadError::IdInvalid)),
            ("id", r#""evt-1""#, Some(PayloadError::IdInvalid)),
            ("id", r#""evt.1""#, Some(PayloadError::IdInvalid)),
            ("id", r#""evt_1 ""#, Some(PayloadError::IdInvalid)),
            ("id", r#""evt_é""#, Some(PayloadError::IdInvalid)),
            ("id", r#""evt_1\n""#, Some(PayloadError::IdInvalid)),
            ("id", r#""evt_1\u0000""#, Some(PayloadError::IdInvalid)),
            ("id", &too_long, Some(PayloadError::IdInvalid)),
            ("id", &fits, None),
            ("id", r#""_""#, None),
            ("id", r#""evt_1", "id": "evt_1""#, Some(PayloadError::IdRepeated)),
            ("id", r#""evt_1", "id": null"#, Some(PayloadError::IdRepeated)),
            ("id", r#""evt_1", "\u0069d": "evt_2""#, Some(PayloadError::IdRepeated)),
            ("id", r#""evt_1", "i\u0064": "evt_2""#, Some(PayloadError::IdRepeated)),
            ("id", r#""evt_1", "ID": "evt_2", "id ": 3"#, None),
            ("type", "", Some(PayloadError::TypeMissing)),
            ("type", "null", Some(PayloadError::TypeNotText)),
            ("type", "{}", Some(PayloadError::TypeNotText)),
            ("type", r#""""#, Some(PayloadError::TypeInvalid)),
            ("type", r#""invoice paid""#, Some(PayloadError::TypeInvalid)),
            ("type", r#""invoice/paid""#, Some(PayloadError::TypeInvalid)),
            ("type", r#""invoice.paid\r\nX: y""#, Some(PayloadError::TypeInvalid)),
            ("type", &too_long, Some(PayloadError::TypeInvalid)),
            ("type", &fits, None),
            ("type", r#""v2.core.account[requirements].up-dated_X9""#, None),
            ("object", "", Some(PayloadError::NotAnEvent)),
            ("object", "null", Some(PayloadError::NotAnEvent)),
            ("object", r#"["event"]"#, Some(PayloadError::NotAnEvent)),
            ("object", r#""Event""#, Some(PayloadError::NotAnEvent)),
            ("object", r#""charge""#, Some(PayloadError::NotAnEvent)),
            ("object", r#""v2.core.event""#, None),
            ("data", "", None),
            ("data", "{]", Some(PayloadError::Json(JsonError::Syntax))),
            ("data", "01", Some(PayloadError::Json(JsonError::Syntax))),
        ];
        for (key, value, fault) in table {
            let body = event(&[(key, value)]);
            assert_eq!(parse(body.as_bytes()).err(), *fault, "{body}");
        }
    }

    #[test]
    fn an_event_cut_short_anywhere_is_refused() {
        let body = event(&[("account", r#""acct_1""#)]);
        assert!(parse(body.as_bytes()).is_ok());
        assert_eq!(parse(b""), Err(PayloadError::Json(JsonError::NotAnObject)));
        for length in 1..body.len() {
            let found = parse(&body.as_bytes()[..length]);
            assert_eq!(found, Err(PayloadError::Json(JsonError::Truncated)), "{}", &body[..length]);
        }
        assert_eq!(parse(format!("{body}x").as_bytes()), Err(PayloadError::Json(JsonError::Trailing)));
    }

    #[test]
    fn created_is_read_from_both_of_its_forms() {
        let table = [
            ("1787000005", Some(1_787_000_005)),
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1787000005.5", None),
            ("1.7e9", None),
            (r#""2026-08-17T14:13:25.000Z""#, Some(1_786_976_005)),
            (r#""2024-02-29T23:59:59Z""#, Some(1_709_251_199)),
            (r#""2026-08-17T14:13:25.999999999Z""#, Some(1_786_976_005)),
            (r#""2026-08-17""#, None),
            (r#""2026-13-17T14:13:25Z""#, None),
            (r#""1787000005""#, None),
            ("null", None),
            ("[1787000005]", None),
            ("true", None),
            ("", None),
        ];
        for (value, expected) in table {
            let body = event(&[("created", value)]);
            assert_eq!(parse(body.as_bytes()).unwrap().created, expected, "{body}");
        }
    }

    #[test]
    fn livemode_and_account_are_read_where_they_have_their_type() {
        let table = [
            ("true", r#""acct_1""#, Some(true), Some("acct_1")),
            ("false", r#""acct_\u0031""#, Some(false), Some("acct_1")),
            ("null", "null", None, None),
            (r#""true""#, "1", None, None),
            ("1", "{}", None, None),
            ("", "", None, None),
        ];
        for (livemode, account, expected_livemode, expected_account) in table {
            let body = event(&[("livemode", livemode), ("account", account)]);
            let found = parse(body.as_bytes()).unwrap();
            assert_eq!(
                (found.livemode, found.account.as_deref()),
                (expected_livemode, expected_account),
                "{body}"
            );
        }
    }

    #[test]
    fn of_a_repeated_key_the_last_counts_and_nested_keys_never_do() {
        let body = r#"{"id": "evt_1", "type": 1, "object": "event", "livemode": false, "created": 1,
            "data": {"id": "evt_2", "type": "z", "livemode": false, "account": "acct_2"},
            "type": "a", "ty\u0070e": "b", "livemode": true, "created": "nonsense"}"#;
        let found = parse(body.as_bytes()).unwrap();
        let expected = Envelope {
            id: "evt_1".into(),
            kind: "b".into(),
            created: None,
            livemode: Some(true),
            account: None,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn depth_is_limited_and_costs_no_stack() {
        let of = |depth: usize| event(&[("data", &("[".repeat(depth) + &"]".repeat(depth)))]);
        assert!(parse(of(127).as_bytes()).is_ok());
        assert_eq!(parse(of(128).as_bytes()), Err(PayloadError::Json(JsonError::TooDeep)));
        assert_eq!(parse(of(1_000_000).as_bytes()), Err(PayloadError::Json(JsonError::TooDeep)));
    }

    fn facts(body: &[u8]) -> Option<oracle::Facts> {
        let found = parse(body).ok()?;
        let account = found.account.map(Cow::into_owned);
        Some((found.id.into_owned(), found.kind.into_owned(), found.created, found.livemode, account))
    }

    /// A string as JSON, with every character or none spelled as an escape.
    fn quoted(text: &str, escaped: bool) -> String {
        if !escaped {
            return serde_json::to_string(text).unwrap();
        }
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{units}\"")
    }

    fn scalar() -> impl Strategy<Value = String> {
        prop_oneof![
            select(vec![
                "null",
                "true",
                "false",
                "0",
                "-1.5e3",
                "1787000005",
                "18446744073709551616",
                "\"\""
            ])
            .prop_map(str::to_owned),
            select(vec!["event", "v2.core.event", "evt_1", "invoice.paid", "acct_1", "2026-08-17T14:13:25Z"])
                .prop_map(|text| quoted(text, false)),
            (any::<String>(), any::<bool>()).prop_map(|(text, escaped)| quoted(&text, escaped)),
            r#"[\[\]{}"\\:,a]{0,9}"#.prop_map(|text| quoted(&text, false)),
        ]
    }

    fn space() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[ \t\r\n]{1,3}", Just(format!("\n{}", " ".repeat(70)))]
    }

    fn value() -> impl Strategy<Value = String> {
        scalar().prop_recursive(6, 40, 5, |inner| {
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..5), space())
                    .prop_map(|(items, space)| format!("[{space}{}]", items.join(&format!(",{space}")))),
                (prop::collection::vec((scalar(), inner), 0..5), space()).prop_map(|(members, space)| {
                    let members: Vec<_> = members
                        .into_iter()
                        .map(|(k, v)| format!("{}:{space}{v}", quoted(&k, false)))
                        .collect();
                    format!("{{{space}{}}}", members.join(","))
                }),
            ]
        })
    }

    /// Valid JSON objects, most of them events.
    fn object() -> impl Strategy<Value = String> {
        let named = |name: &'static str, usual: &'static str| {
            prop_oneof![
                8 => Just(vec![(quoted(name, false), usual.to_owned())]),
                1 => Just(vec![(quoted(name, true), usual.to_owned())]),
                1 => value().prop_map(move |value| vec![(quoted(name, false), value)]),
                1 => prop::collection::vec((any::<bool>(), value()), 0..3).prop_map(move |values| {
                    values.into_iter().map(|(escaped, value)| (quoted(name, escaped), value)).collect()
                }),
            ]
        };
        let others = prop::collection::vec((scalar().prop_map(|text| quoted(&text, false)), value()), 0..4);
        let all = (
            named("id", r#""evt_1""#),
            named("object", r#""event""#),
            named("type", r#""invoice.paid""#),
            named("created", "1787000005"),
            named("livemode", "true"),
            named("account", r#""acct_1""#),
            others,
        );
        (
            all.prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].concat()).prop_shuffle(),
            space(),
            space(),
        )
            .prop_map(|(members, s, t)| {
                let members: Vec<_> =
                    members.into_iter().map(|(k, v)| format!("{s}{k}{t}:{s}{v}{t}")).collect();
                format!("{s}{{{}{t}}}{s}", members.join(","))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn of_valid_json_it_reads_what_serde_json_reads(body in object()) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
            prop_assert_eq!(facts(body.as_bytes()), oracle::read(body.as_bytes()));
        }

        #[test]
        fn of_spoilt_json_it_accepts_what_serde_json_accepts_at_the_top(
            body in object(),
            edits in prop::collection::vec((any::<Index>(), 0..4_u8, select(b"\"\\{}[]:,01e-.tn \xff\x00".to_vec())), 1..4),
        ) {
            let mut body = body.into_bytes();
            for (at, how, byte) in edits {
                let at = at.index(body.len() + 1);
                match how {
                    0 => body.insert(at, byte),
                    1 => body.truncate(at),
                    2 => drop(body.splice(at..body.len().min(at + 1), [])),
                    _ => drop(body.splice(at..body.len().min(at + 1), [byte])),
                }
            }
            prop_assert_eq!(facts(&body), oracle::read(&body));
        }

        #[test]
        fn of_noise_it_reads_what_the_slow_reading_does(
            first in select(b"[{\"0".to_vec()),
            noise in prop::collection::vec(select(b"\"\"\"\\\\{}[] a,\xff".to_vec()), 0..300),
            end in select(vec!["", "]}", "}}", "\"]}"]),
        ) {
            let start = br#"{"id": "evt_1", "type": "a", "object": "event", "data": "#;
            let body = [&start[..], &[first], &noise, end.as_bytes()].concat();
            prop_assert_eq!(facts(&body), oracle::read(&body));
        }
    }
}
