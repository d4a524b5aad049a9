//! Fuzzes the envelope parser with any bytes as a payload. It must not panic, and must agree with the reference parser, which
//! uses serde_json, on the envelope or on its rejection.

#![no_main]

#[path = "../../src/stripe/oracle.rs"]
mod oracle;

use countersign::stripe::event::parse;
use libfuzzer_sys::fuzz_target;
use std::borrow::Cow;

fuzz_target!(|body: &[u8]| {
    let found = parse(body).ok().map(|event| {
        let account = event.account.map(Cow::into_owned);
        (event.id.into_owned(), event.kind.into_owned(), event.created, event.livemode, account)
    });
    assert_eq!(found, oracle::read(body), "{}", String::from_utf8_lossy(body));
});
