//! Feeds any bytes to the envelope parser. It must not panic, and must accept and read the same as the slow reference
//! reader.

#![no_main]

#[path = "../../src/stripe/reference_envelope.rs"]
mod reference_envelope;

use countersign::stripe::event::parse;
use libfuzzer_sys::fuzz_target;
use std::borrow::Cow;

fuzz_target!(|body: &[u8]| {
    let parsed = parse(body).ok().map(|event| {
        let account = event.account.map(Cow::into_owned);
        (event.id.into_owned(), event.event_type.into_owned(), event.created, event.livemode, account)
    });
    assert_eq!(parsed, reference_envelope::parse(body), "{}", String::from_utf8_lossy(body));
});
