//! The text form of a record, and of the payload's hash. The layout stands in `claim.lua`. The scripts write every field
//! but the metadata, which they take from here unchanged.

use crate::delivery_mode::DeliveryMode;
use crate::ledger::{Arrival, EventKey, Record, State, StoredRequest};

/// Formats what a record says about its event: `type created livemode account`. The account comes last, because it is
/// the only part that may contain spaces.
pub(super) fn metadata(arrival: &Arrival) -> String {
    let created = arrival.created.map_or_else(|| "-".to_owned(), |created| created.to_string());
    let livemode = match arrival.livemode {
        Some(true) => "live",
        Some(false) => "test",
        None => "-",
    };
    [&arrival.event_type, " ", &created, " ", livemode, " ", arrival.account.as_deref().unwrap_or("-")]
        .concat()
}

/// Parses a record's metadata.
pub(super) fn arrival(key: EventKey, metadata: &str) -> Option<Arrival> {
    let mut fields = metadata.splitn(4, ' ');
    let mut field = || fields.next();
    Some(Arrival {
        key,
        event_type: field()?.into(),
        created: field()?.parse().ok(),
        livemode: match field()? {
            "live" => Some(true),
            "test" => Some(false),
            _ => None,
        },
        account: field().filter(|account| *account != "-").map(Into::into),
    })
}

/// Parses a record. Returns the mode, too, if the event has a payload.
pub(super) fn parse(key: EventKey, text: &str) -> Option<(Record, Option<DeliveryMode>)> {
    let mut fields = text.splitn(9, ' ');
    let mut field = || fields.next();
    let state = match field()? {
        "R" => State::Running,
        "F" => State::Failed,
        "D" => State::Delivered,
        "P" => State::Pending,
        "X" => State::Dead,
        _ => return None,
    };
    let _token = field()?;
    let due: i64 = field()?.parse().ok()?;
    let settled: i64 = field()?.parse().ok()?;
    let status: u16 = field()?.parse().ok()?;
    let seen = field()?.parse().ok()?;
    let mode = parse_mode(field()?);
    let attempts = field()?.parse().ok()?;
    let Arrival { key, event_type, created, livemode, account } = arrival(key, field()?)?;
    let record = Record {
        key,
        event_type,
        created,
        livemode,
        account,
        state,
        attempts,
        status: (status != 0).then_some(status),
        seen,
        due: (due != 0).then_some(due),
        settled: (settled != 0).then_some(settled),
    };
    Some((record, mode))
}

/// Returns the letter that stands for a mode in a record; `-` marks an event without a payload.
pub(super) fn mode_letter(mode: DeliveryMode) -> &'static str {
    match mode {
        DeliveryMode::Inline => "-",
        DeliveryMode::Queued => "q",
        DeliveryMode::Hybrid => "h",
        DeliveryMode::Redelivery => "r",
    }
}

/// Returns the mode of a stored event from its letter; `None` for `-`, which marks an event without a payload.
pub(super) fn parse_mode(letter: &str) -> Option<DeliveryMode> {
    DeliveryMode::ALL.into_iter().find(|mode| mode.is_stored() && mode_letter(*mode) == letter)
}

/// The fields of a payload's hash, in the order of [`PayloadFields`].
pub(super) const PAYLOAD_FIELDS: [&str; 3] = ["head", "signature", "body"];

/// The values of a payload's hash. All are `None` if the payload was deleted.
pub(super) type PayloadFields = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Returns the stored request of these fields; `None` if one is missing.
pub(super) fn stored_request(mode: DeliveryMode, fields: PayloadFields) -> Option<StoredRequest> {
    let (Some(head), Some(signature), Some(body)) = fields else { return None };
    Some(StoredRequest { mode, head: head.into(), signature: signature.into(), body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EventKey {
        EventKey { endpoint: "a".into(), segments: "".into(), query: "".into(), id: "evt_1".into() }
    }

    #[test]
    fn metadata_parses_back_to_its_arrival() {
        for (created, livemode, account) in [
            (Some(1_760_000_000), Some(true), Some("acct_1")),
            (None, Some(false), Some("acct with spaces")),
            (None, None, None),
        ] {
            let account = account.map(Into::into);
            let arrival =
                Arrival { key: key(), event_type: "charge.succeeded".into(), created, livemode, account };
            assert_eq!(super::arrival(key(), &metadata(&arrival)), Some(arrival));
        }
    }

    #[test]
    fn a_record_parses_as_the_scripts_write_it() {
        let (record, mode) =
            parse(key(), "X 00ff 0000000000000 2000 503 1000 h 7 a.b 5 live acct_1").unwrap();
        assert_eq!((record.state, record.attempts, record.status), (State::Dead, 7, Some(503)));
        assert_eq!(
            (record.seen, record.due, record.settled, mode),
            (1000, None, Some(2000), Some(DeliveryMode::Hybrid))
        );
        assert_eq!((&*record.event_type, record.account.as_deref()), ("a.b", Some("acct_1")));
        let (record, mode) = parse(key(), "R 00ff 9000 0000000000000 000 1000 - 1 a.b - - -").unwrap();
        assert_eq!((record.state, record.status, record.due, mode), (State::Running, None, Some(9000), None));
        for torn in ["", "R", "R 00ff 9000 0 000 1000 -", "Q 00ff 0 0 000 0 - 1 a - - -"] {
            assert_eq!(parse(key(), torn), None, "{torn}");
        }
    }
}
