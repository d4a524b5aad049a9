//! The copy of events out of this ledger and into it. Reading scans all keys of the ledger, and changes none. Each event is
//! written by one script.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Pipeline};
use tokio::task::JoinSet;

use super::RedisLedger;
use super::command::{evalsha, format_status, format_token, millis};
use super::expiry::time_to_live;
use super::record::{self, PAYLOAD_FIELDS, PayloadFields};
use super::reply::parse_reply;
use crate::clock;
use crate::ledger::transfer::{EventSink, EventSource, TransferPage, TransferredEvent};
use crate::ledger::{Arrival, LedgerError, Record, State};

/// The number of keys that one page examines. Each may have a payload.
const PAGE_KEYS: usize = 200;

/// The number of events that are written in one pipeline. The last reply must come within the time of one command.
const EVENTS_AT_ONCE: usize = 200;

/// The latest time that a record's columns can hold, in Unix milliseconds.
const MAX_TIME: i64 = 9_999_999_999_999;

#[async_trait]
impl EventSource for RedisLedger {
    async fn export(&self, after: Option<&str>) -> Result<TransferPage, LedgerError> {
        let cursor: u64 = after.unwrap_or("0").parse().map_err(|_| LedgerError::new("invalid cursor"))?;
        let mut scan = Cmd::new();
        scan.arg("SCAN").arg(cursor).arg("MATCH").arg(format!("{}*", self.keys.key_prefix));
        scan.arg("COUNT").arg(PAGE_KEYS).arg("TYPE").arg("string");
        let (next, keys) = parse_reply::<(u64, Vec<String>)>(self.connection.send(&scan).await?)?;
        let keys = keys.into_iter().filter(|key| self.keys.event(key).is_some()).collect();
        Ok(TransferPage {
            events: self.read_events(keys).await?,
            next: (next != 0).then(|| next.to_string()),
        })
    }

    async fn last_arrivals(&self) -> Result<Vec<(String, String)>, LedgerError> {
        parse_reply(self.connection.send(&Cmd::hgetall(&self.keys.last_arrivals)).await?)
    }
}

#[async_trait]
impl EventSink for RedisLedger {
    async fn import(&self, events: Vec<TransferredEvent>) -> Result<u64, LedgerError> {
        self.connection.check_capacity()?;
        let mut written = 0;
        for events in events.chunks(EVENTS_AT_ONCE) {
            // The shared connection sends what these tasks send at once as one pipeline.
            let mut sending = JoinSet::new();
            for command in events.iter().filter_map(|event| self.import_command(event)) {
                let connection = Arc::clone(&self.connection);
                sending.spawn(async move { parse_reply::<u64>(connection.send(&command).await?) });
            }
            while let Some(sent) = sending.join_next().await {
                written += sent.unwrap_or_else(|_| Err(LedgerError::new("the sending task has stopped")))?;
            }
        }
        Ok(written)
    }
}

impl RedisLedger {
    /// Returns the time since any process last asked for due events; `None` if none ever did.
    ///
    /// # Errors
    /// The ledger is unavailable.
    pub async fn last_polled_ago(&self) -> Result<Option<Duration>, LedgerError> {
        let mut last = Cmd::new();
        last.arg("ZRANGE").arg(&self.keys.polled).arg(-1).arg(-1).arg("WITHSCORES");
        let last = parse_reply::<Vec<String>>(self.connection.send(&last).await?)?;
        let Some(polled) = last.get(1).and_then(|score| score.parse::<f64>().ok()) else { return Ok(None) };
        let mut time = Cmd::new();
        time.arg("TIME");
        let (seconds, micros) = parse_reply::<(f64, f64)>(self.connection.send(&time).await?)?;
        let ago = (seconds * 1000.0 + micros / 1000.0 - polled).max(0.0);
        Ok(Some(Duration::from_secs_f64(ago / 1000.0)))
    }

    /// Reads records and payloads under these keys of records.
    async fn read_events(&self, keys: Vec<String>) -> Result<Vec<TransferredEvent>, LedgerError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = Cmd::new();
        get.arg("MGET").arg(&keys);
        let texts = parse_reply::<Vec<Option<String>>>(self.connection.send(&get).await?)?;
        let parse = |(key, text): (&String, Option<String>)| record::parse(self.keys.event(key)?, &text?);
        let parsed: Vec<_> = keys.iter().zip(texts).filter_map(parse).collect();
        let mut read_payloads = Pipeline::new();
        for (record, _) in parsed.iter().filter(|(_, mode)| mode.is_some()) {
            read_payloads.hmget(self.keys.payload(&self.keys.record(&record.key)), &PAYLOAD_FIELDS);
        }
        let mut payloads = match read_payloads.is_empty() {
            true => Vec::new(),
            false => self.connection.read::<Vec<PayloadFields>>(&read_payloads).await?,
        }
        .into_iter();
        let with_payload = |(record, mode): (Record, Option<_>)| {
            let request = mode.and_then(|mode| record::stored_request(mode, payloads.next()?));
            TransferredEvent { record, request }
        };
        Ok(parsed.into_iter().map(with_payload).collect())
    }

    /// Returns the command that writes one event; `None` if the event's retention has passed.
    fn import_command(&self, event: &TransferredEvent) -> Option<Cmd> {
        let TransferredEvent { record, request } = event;
        let expires_in = match (record.state, record.settled) {
            (State::Delivered | State::Failed, Some(settled)) => {
                let retention = self.connection.options().retention;
                let retention_ms = i64::try_from(millis(retention)).unwrap_or(i64::MAX);
                if settled.saturating_add(retention_ms) <= clock::unix_millis() {
                    return None;
                }
                millis(time_to_live(retention))
            }
            (State::Delivered | State::Failed | State::Pending | State::Running | State::Dead, _) => 0,
        };
        let keys = self.keys.event_keys(&record.key);
        let keys: Vec<&str> = keys.iter().map(String::as_str).chain([&*self.keys.queued_endpoints]).collect();
        let mut command = evalsha(&self.scripts.import, &keys);
        command.arg(record_text(event)).arg(&*record.key.endpoint).arg(expires_in);
        if let Some(request) = request {
            command.arg(&request.head[..]).arg(&request.signature[..]).arg(&request.body[..]);
        }
        Some(command)
    }
}

/// Formats an event's record as `claim.lua` shows. No lease has its token.
fn record_text(event: &TransferredEvent) -> String {
    let TransferredEvent { record, request } = event;
    let Record { key, event_type, created, livemode, account, state, attempts, status, seen, due, settled } =
        record.clone();
    let letter = match state {
        State::Running => 'R',
        State::Failed => 'F',
        State::Delivered => 'D',
        State::Pending => 'P',
        State::Dead => 'X',
    };
    let time = |time: Option<i64>| format!("{:013}", time.unwrap_or_default().clamp(0, MAX_TIME));
    let mode = request.as_ref().map_or("-", |request| record::mode_letter(request.mode));
    let metadata = record::metadata(&Arrival { key, event_type, created, livemode, account });
    format!(
        "{letter} {} {} {} {} {} {mode} {attempts} {metadata}",
        format_token(0),
        time(due),
        time(settled),
        format_status(status),
        time(Some(seen)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery_mode::DeliveryMode;
    use crate::ledger::{EventKey, StoredRequest};
    use bytes::Bytes;

    #[test]
    fn a_written_record_parses_back_to_its_event() {
        let key =
            EventKey { endpoint: "a".into(), segments: "".into(), query: "".into(), id: "evt_1".into() };
        let record = Record {
            key: key.clone(),
            event_type: "invoice.paid".into(),
            created: Some(1_760_000_000),
            livemode: Some(true),
            account: None,
            state: State::Pending,
            attempts: 12,
            status: None,
            seen: 1_760_000_000_123,
            due: Some(1_760_000_009_000),
            settled: None,
        };
        let request = StoredRequest {
            mode: DeliveryMode::Hybrid,
            head: Bytes::new(),
            signature: Bytes::new(),
            body: Bytes::new(),
        };
        let event = TransferredEvent { record: record.clone(), request: Some(request) };
        let text = record_text(&event);
        assert_eq!(record::parse(key.clone(), &text), Some((record.clone(), Some(DeliveryMode::Hybrid))));
        // The scripts cut these columns.
        assert_eq!((&text[19..32], &text[51..64], &text[65..66]), ("1760000009000", "1760000000123", "h"));
        let settled =
            Record { state: State::Failed, due: None, settled: Some(5), status: Some(503), ..record };
        let text = record_text(&TransferredEvent { record: settled.clone(), request: None });
        assert_eq!(record::parse(key, &text), Some((settled, None)));
    }
}
