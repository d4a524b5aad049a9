//! How a record is written, and back: what stands in `claim.lua`. The scripts write all of it but the description, which
//! they take as it is.

use crate::delivery_mode::DeliveryMode;
use crate::ledger::{Arrival, EventKey, Record, State};

/// What a record says of its event: `type created livemode account`. The account is last, since it may be anything.
pub(super) fn description(arrival: &Arrival) -> String {
    let created = arrival.created.map_or_else(|| "-".to_owned(), |created| created.to_string());
    let livemode = match arrival.livemode {
        Some(true) => "live",
        Some(false) => "test",
        None => "-",
    };
    [&arrival.event_type, " ", &created, " ", livemode, " ", arrival.account.as_deref().unwrap_or("-")]
        .concat()
}

/// The arrival that a description is of.
pub(super) fn arrival(key: EventKey, description: &str) -> Option<Arrival> {
    let mut words = description.splitn(4, ' ');
    let mut word = || words.next();
    Some(Arrival {
        key,
        event_type: word()?.into(),
        created: word()?.parse().ok(),
        livemode: match word()? {
            "live" => Some(true),
            "test" => Some(false),
            _ => None,
        },
        account: word().filter(|account| *account != "-").map(Into::into),
    })
}

/// A record, and the mode of its stored request if it has one.
pub(super) fn parse(key: EventKey, text: &str) -> Option<(Record, Option<DeliveryMode>)> {
    let mut words = text.splitn(9, ' ');
    let mut word = || words.next();
    let state = match word()? {
        "R" => State::Running,
        "F" => State::Failed,
        "D" => State::Delivered,
        "P" => State::Pending,
        "X" => State::Dead,
        _ => return None,
    };
    let _token = word()?;
    let due: i64 = word()?.parse().ok()?;
    let settled: i64 = word()?.parse().ok()?;
    let status: u16 = word()?.parse().ok()?;
    let seen = word()?.parse().ok()?;
    let mode = mode(word()?);
    let attempts = word()?.parse().ok()?;
    let Arrival { key, event_type, created, livemode, account } = arrival(key, word()?)?;
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

/// The letter that stands for a mode in a record; `-` for an event that is not stored.
pub(super) fn letter(mode: DeliveryMode) -> &'static str {
    match mode {
        DeliveryMode::Inline => "-",
        DeliveryMode::Queued => "q",
        DeliveryMode::Hybrid => "h",
        DeliveryMode::Redelivery => "r",
    }
}

/// Returns the mode of a stored event from its letter; `None` for `-`, which marks an event without a payload.
pub(super) fn mode(letter: &str) -> Option<DeliveryMode> {
    DeliveryMode::ALL.into_iter().find(|mode| mode.is_stored() && self::letter(*mode) == letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EventKey {
        EventKey { endpoint: "a".into(), query: "".into(), id: "evt_1".into() }
    }

    #[test]
    fn a_description_leads_back_to_its_arrival() {
        for (created, livemode, account) in [
            (Some(1_760_000_000), Some(true), Some("acct_1")),
            (None, Some(false), Some("acct with spaces")),
            (None, None, None),
        ] {
            let account = account.map(Into::into);
            let arrival =
                Arrival { key: key(), event_type: "charge.succeeded".into(), created, livemode, account };
            assert_eq!(super::arrival(key(), &description(&arrival)), Some(arrival));
        }
    }

    #[test]
    fn a_record_is_read_as_the_scripts_write_it() {
        let (record, way) = parse(key(), "X 00ff 0000000000000 2000 503 1000 h 7 a.b 5 live acct_1").unwrap();
        assert_eq!((record.state, record.attempts, record.status), (State::Dead, 7, Some(503)));
        assert_eq!(
            (record.seen, record.due, record.settled, way),
            (1000, None, Some(2000), Some(DeliveryMode::Hybrid))
        );
        assert_eq!((&*record.event_type, record.account.as_deref()), ("a.b", Some("acct_1")));
        let (record, way) = parse(key(), "R 00ff 9000 0000000000000 000 1000 - 1 a.b - - -").unwrap();
        assert_eq!((record.state, record.status, record.due, way), (State::Running, None, Some(9000), None));
        for torn in ["", "R", "R 00ff 9000 0 000 1000 -", "Q 00ff 0 0 000 0 - 1 a - - -"] {
            assert_eq!(parse(key(), torn), None, "{torn}");
        }
    }
}
