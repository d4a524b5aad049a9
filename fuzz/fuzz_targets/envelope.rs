//! Any bytes as a payload: no panic, and the same envelope, or refusal, as the slow reading by serde_json gives.

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
