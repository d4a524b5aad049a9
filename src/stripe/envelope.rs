//! The envelope of an event: the top-level members that Stripe's snapshot and thin events share. It never reads `data`
//! and never checks a signature.

use super::json::error::JsonError;
use super::json::{self, MemberValue};
use std::borrow::Cow;
use std::time::UNIX_EPOCH;

/// The maximum length of `id` and `type`, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The envelope as parsed. It proves nothing about the sender: only a
/// [`VerifiedEvent`](super::event::VerifiedEvent) does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The event's `id`: 1 to 255 characters of `[A-Za-z0-9_]`.
    pub id: Cow<'a, str>,
    /// The event's `type`: 1 to 255 characters of `[A-Za-z0-9._\[\]-]`.
    pub event_type: Cow<'a, str>,
    /// The time of creation, in Unix seconds. Snapshot events hold an integer, thin events an RFC 3339 string in UTC.
    /// `None` if `created` is neither.
    pub created: Option<i64>,
    /// The value of `livemode`. `None` if it is not a boolean.
    pub livemode: Option<bool>,
    /// The connected account that the event belongs to: `account`, else `user_id`, else the last `acct_…` segment of
    /// `context`. `None` if the event names none in any of these forms.
    pub account: Option<Cow<'a, str>>,
}

/// The reason why a payload is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The payload is not a valid JSON object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The payload has no `id`. Some test events have none; they cannot be deduplicated.
    #[error("the event has no id")]
    IdMissing,
    /// The top level has more than one `id`, in any spelling. Parsers disagree on which of them counts.
    #[error("the event has more than one id")]
    IdRepeated,
    /// The `id` is not a string.
    #[error("the event's id is not a string")]
    IdNotString,
    /// The `id` is not 1 to 255 characters of `[A-Za-z0-9_]`.
    #[error("the event's id is not 1 to 255 letters, digits and underscores")]
    IdInvalid,
    /// The payload has no `type`.
    #[error("the event has no type")]
    TypeMissing,
    /// The `type` is not a string.
    #[error("the event's type is not a string")]
    TypeNotString,
    /// The `type` is not 1 to 255 characters of `[A-Za-z0-9._\[\]-]`.
    #[error("the event's type is not 1 to 255 letters, digits and any of . _ - [ ]")]
    TypeInvalid,
    /// The `object` is missing, or is neither `event` nor `v2.core.event`.
    #[error("the payload's object is neither event nor v2.core.event")]
    NotAnEvent,
}

/// Parses the envelope of `body`. If a key is repeated the last value counts, as in every SDK's parser; a repeated `id`
/// is rejected. The `json::skip` module lists what is not validated in nested values.
///
/// # Errors
/// Returns a [`PayloadError`] if `body` is not a JSON object, or its `id`, `type` or `object` is not an event's.
pub fn parse(body: &[u8]) -> Result<Envelope<'_>, PayloadError> {
    let (mut id_count, mut id, mut event_type, mut object) = (0, None, None, None);
    let (mut created, mut livemode) = (None, None);
    let (mut account, mut user_id, mut context) = (None, None, None);
    json::parse_object(body, |key, value| match &*key {
        "id" => (id_count, id) = (id_count + 1, Some(value)),
        "type" => event_type = Some(value),
        "object" => object = Some(value),
        "created" => created = to_unix_seconds(&value),
        "livemode" => livemode = to_bool(&value),
        "account" => account = into_string(value),
        "user_id" => user_id = into_string(value),
        "context" => context = into_string(value),
        _ => {}
    })?;
    let account = account_of(account, user_id, context);
    if id_count > 1 {
        return Err(PayloadError::IdRepeated);
    }
    let id = into_string(id.ok_or(PayloadError::IdMissing)?).ok_or(PayloadError::IdNotString)?;
    if !is_name(&id, b"_") {
        return Err(PayloadError::IdInvalid);
    }
    let event_type =
        into_string(event_type.ok_or(PayloadError::TypeMissing)?).ok_or(PayloadError::TypeNotString)?;
    if !is_name(&event_type, b"._[]-") {
        return Err(PayloadError::TypeInvalid);
    }
    match object.and_then(into_string).as_deref() {
        Some("event" | "v2.core.event") => Ok(Envelope { id, event_type, created, livemode, account }),
        _ => Err(PayloadError::NotAnEvent),
    }
}

/// Returns the account that an event names. API versions before 2017 call it `user_id`, and thin events put it into
/// `context`, alone or behind an organisation. An empty string names none.
fn account_of<'a>(
    account: Option<Cow<'a, str>>,
    user_id: Option<Cow<'a, str>>,
    context: Option<Cow<'a, str>>,
) -> Option<Cow<'a, str>> {
    let named = |text: &Cow<'_, str>| !text.is_empty();
    account.filter(named).or_else(|| user_id.filter(named)).or_else(|| last_account(context?))
}

/// Returns the last segment of `context` that is an account's id.
fn last_account(context: Cow<'_, str>) -> Option<Cow<'_, str>> {
    fn last(context: &str) -> Option<&str> {
        context.rsplit('/').find(|segment| segment.strip_prefix("acct_").is_some_and(|id| !id.is_empty()))
    }
    match context {
        Cow::Borrowed(text) => last(text).map(Cow::Borrowed),
        Cow::Owned(text) => last(&text).map(|id| Cow::Owned(id.to_owned())),
    }
}

/// Returns whether `name` is 1 to [`MAX_NAME_BYTES`] letters, digits and `punctuation`, so safe in headers, logs and keys.
fn is_name(name: &str, punctuation: &[u8]) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || punctuation.contains(&byte))
}

fn into_string(value: MemberValue<'_>) -> Option<Cow<'_, str>> {
    match value {
        MemberValue::String(text) => Some(text),
        MemberValue::Number(_) | MemberValue::Bool(_) | MemberValue::Null | MemberValue::Nested => None,
    }
}

fn to_bool(value: &MemberValue<'_>) -> Option<bool> {
    match value {
        MemberValue::Bool(flag) => Some(*flag),
        MemberValue::String(_) | MemberValue::Number(_) | MemberValue::Null | MemberValue::Nested => None,
    }
}

fn to_unix_seconds(value: &MemberValue<'_>) -> Option<i64> {
    match value {
        MemberValue::Number(number) => serde_json::from_str(number).ok(),
        MemberValue::String(text) => {
            let since_epoch = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since_epoch.as_secs()).ok()
        }
        MemberValue::Bool(_) | MemberValue::Null | MemberValue::Nested => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::reference_envelope;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    /// Returns an event in which each member of `changes` replaces the member of that name. An empty value removes it.
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
    fn each_rule_of_the_envelope_has_its_error() {
        let long = |name: &str, length: usize| format!("\"{name}{}\"", "x".repeat(length - name.len()));
        let (fits, too_long) = (long("evt_", 255), long("evt_", 256));
        let table: &[(&str, &str, Option<PayloadError>)] = &[
            ("id", "", Some(PayloadError::IdMissing)),
            ("id", "null", Some(PayloadError::IdNotString)),
            ("id", "1", Some(PayloadError::IdNotString)),
            ("id", r#"["evt_1"]"#, Some(PayloadError::IdNotString)),
            ("id", r#"{"id": "evt_1"}"#, Some(PayloadError::IdNotString)),
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
            ("type", "null", Some(PayloadError::TypeNotString)),
            ("type", "{}", Some(PayloadError::TypeNotString)),
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
        for (key, value, error) in table {
            let body = event(&[(key, value)]);
            assert_eq!(parse(body.as_bytes()).err(), *error, "{body}");
        }
    }

    #[test]
    fn an_event_truncated_anywhere_is_rejected() {
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
    fn created_is_read_as_an_integer_and_as_rfc_3339() {
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
    fn livemode_and_account_are_none_if_they_have_another_type() {
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
    fn the_account_is_account_else_user_id_else_the_last_account_of_context() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let table: [Case<'_>; 14] = [
            (
                &[("account", r#""acct_1""#), ("user_id", r#""acct_2""#), ("context", r#""acct_3""#)],
                Some("acct_1"),
            ),
            (&[("user_id", r#""acct_2""#), ("context", r#""acct_3""#)], Some("acct_2")),
            (&[("account", "null"), ("user_id", r#""acct_2""#)], Some("acct_2")),
            (&[("account", r#""""#), ("user_id", r#""acct_2""#)], Some("acct_2")),
            (&[("user_id", "7"), ("context", r#""acct_3""#)], Some("acct_3")),
            (&[("context", r#""acct_3""#)], Some("acct_3")),
            (&[("context", r#""\u0061cct_3""#)], Some("acct_3")),
            (&[("context", r#""org_1\/acct_3""#)], Some("acct_3")),
            (&[("context", r#""org_1/acct_3/acct_4""#)], Some("acct_4")),
            (&[("context", r#""acct_3/ws_1/""#)], Some("acct_3")),
            (&[("context", r#""org_1""#)], None),
            (&[("context", r#""acct_/xacct_1""#)], None),
            (&[("context", "null"), ("account", "{}"), ("user_id", "[]")], None),
            (&[("related_object", r#"{"id": "acct_3"}"#)], None),
        ];
        for (members, expected) in table {
            let body = event(members);
            assert_eq!(parse(body.as_bytes()).unwrap().account.as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn the_last_of_repeated_keys_counts_and_nested_keys_are_ignored() {
        let body = r#"{"id": "evt_1", "type": 1, "object": "event", "livemode": false, "created": 1,
            "data": {"id": "evt_2", "type": "z", "livemode": false, "account": "acct_2"},
            "type": "a", "ty\u0070e": "b", "livemode": true, "created": "nonsense"}"#;
        let found = parse(body.as_bytes()).unwrap();
        let expected = Envelope {
            id: "evt_1".into(),
            event_type: "b".into(),
            created: None,
            livemode: Some(true),
            account: None,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn depth_is_limited_and_needs_no_stack() {
        let nested = |depth: usize| event(&[("data", &("[".repeat(depth) + &"]".repeat(depth)))]);
        assert!(parse(nested(127).as_bytes()).is_ok());
        assert_eq!(parse(nested(128).as_bytes()), Err(PayloadError::Json(JsonError::TooDeep)));
        assert_eq!(parse(nested(1_000_000).as_bytes()), Err(PayloadError::Json(JsonError::TooDeep)));
    }

    fn parsed(body: &[u8]) -> Option<reference_envelope::EnvelopeTuple> {
        let found = parse(body).ok()?;
        let account = found.account.map(Cow::into_owned);
        Some((found.id.into_owned(), found.event_type.into_owned(), found.created, found.livemode, account))
    }

    /// Returns `text` as a JSON string, with every character or none written as an escape.
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
            select(vec![
                "event",
                "v2.core.event",
                "evt_1",
                "invoice.paid",
                "acct_1",
                "org_1/acct_2/x",
                "2026-08-17T14:13:25Z"
            ])
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

    /// Generates valid JSON objects, most of them events.
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
            (named("user_id", "null"), named("context", r#""org_1/acct_3""#)),
            others,
        );
        (
            all.prop_map(|(a, b, c, d, e, f, (g, h), i)| [a, b, c, d, e, f, g, h, i].concat()).prop_shuffle(),
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
        fn valid_json_is_read_as_serde_json_reads_it(body in object()) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
            prop_assert_eq!(parsed(body.as_bytes()), reference_envelope::parse(body.as_bytes()));
        }

        #[test]
        fn corrupted_json_is_accepted_only_if_serde_json_accepts_its_top_level(
            body in object(),
            edits in prop::collection::vec((any::<Index>(), 0..4_u8, select(b"\"\\{}[]:,01e-.tn \xff\x00".to_vec())), 1..4),
        ) {
            let mut body = body.into_bytes();
            for (position, edit, byte) in edits {
                let position = position.index(body.len() + 1);
                match edit {
                    0 => body.insert(position, byte),
                    1 => body.truncate(position),
                    2 => drop(body.splice(position..body.len().min(position + 1), [])),
                    _ => drop(body.splice(position..body.len().min(position + 1), [byte])),
                }
            }
            prop_assert_eq!(parsed(&body), reference_envelope::parse(&body));
        }

        #[test]
        fn noise_is_read_as_the_reference_reads_it(
            first in select(b"[{\"0".to_vec()),
            noise in prop::collection::vec(select(b"\"\"\"\\\\{}[] a,\xff".to_vec()), 0..300),
            end in select(vec!["", "]}", "}}", "\"]}"]),
        ) {
            let start = br#"{"id": "evt_1", "type": "a", "object": "event", "data": "#;
            let body = [&start[..], &[first], &noise, end.as_bytes()].concat();
            prop_assert_eq!(parsed(&body), reference_envelope::parse(&body));
        }
    }
}
