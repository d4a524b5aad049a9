//! Measures the verification of a webhook by payload size: the whole, its two parts, and the HMAC alone as the lower bound,
//! by the `sha2` crate and by ring. It also shows the allocations: accepting an event makes none.
//!
//! Run it with `cargo bench --bench verify`.

use bytes::Bytes;
use countersign::stripe::{event, signature};
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use hmac::{KeyInit, Mac};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const SIZES: [usize; 5] = [256, 2 << 10, 8 << 10, 64 << 10, 1 << 20];
const SECRET: &str = "whsec_5b1f0c0ffee5b1f0c0ffee5b1f0c0ffe";
const NOW: i64 = 1_790_000_000;

fn main() {
    divan::main();
}

const HEAD: &str = r#"{
  "id": "evt_1Qk2Lighthouse",
  "object": "event",
  "created": 1790000000,
  "data": {
    "object": {
      "lines": ["#;
const LINE: &str = r#"
        {
          "id": "il_1Beam~",
          "object": "line_item",
          "amount": 49~,
          "currency": "eur",
          "description": "1 × Pro (at €49.00 / month)",
          "discountable": true,
          "discounts": [],
          "metadata": {
            "seat": "~"
          },
          "period": {
            "end": 1792592000,
            "start": 1790000000
          },
          "pricing": {
            "price_details": {
              "price": "price_ProMonthly",
              "product": "prod_Pro"
            },
            "unit_amount_decimal": "4900"
          },
          "quantity": 1,
          "subscription": null
        }"#;
const TAIL: &str = r#"
      ]
    }
  },
  "livemode": true,
  "type": "invoice.paid"
}"#;

/// Returns an `invoice.paid` event in Stripe's layout, padded to exactly `size` bytes.
fn invoice(size: usize) -> Bytes {
    let mut body = HEAD.to_owned();
    for n in 0.. {
        let comma = if n == 0 { "" } else { "," };
        let line = format!("{comma}{}", LINE.replace('~', &n.to_string()));
        if body.len() + line.len() + TAIL.len() > size {
            break;
        }
        body += &line;
    }
    body += &" ".repeat(size - body.len() - TAIL.len());
    body += TAIL;
    body.into()
}

struct SignedPayload {
    secrets: [signature::Secret; 1],
    body: Bytes,
    header: String,
}

impl SignedPayload {
    fn new(size: usize) -> Self {
        let (secrets, body) = ([signature::Secret::new(SECRET)], invoice(size));
        let header = signature::sign(&secrets, NOW, &body);
        Self { secrets, body, header }
    }
}

/// Verifies the signature and parses the envelope, as for every webhook.
#[divan::bench(args = SIZES)]
fn whole(bencher: Bencher, size: usize) {
    let payload = SignedPayload::new(size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let body = black_box(&payload.body).clone();
        event::verify(&payload.secrets, [payload.header.as_bytes()], body, NOW, 300)
            .map(|event| event.secret())
    });
}

/// Verifies the signature alone.
#[divan::bench(args = SIZES)]
fn signature_alone(bencher: Bencher, size: usize) {
    let payload = SignedPayload::new(size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        signature::verify(&payload.secrets, [payload.header.as_bytes()], black_box(&payload.body), NOW, 300)
    });
}

/// Parses the envelope alone.
#[divan::bench(args = SIZES)]
fn envelope_alone(bencher: Bencher, size: usize) {
    let body = invoice(size);
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| event::parse(black_box(&body)).map(|event| event.livemode));
}

/// Parses the same five members with serde_json, which also validates nested values.
#[divan::bench(args = SIZES)]
fn envelope_by_serde_json(bencher: Bencher, size: usize) {
    #[derive(serde::Deserialize)]
    struct EnvelopeMembers<'a> {
        id: &'a str,
        object: &'a str,
        created: i64,
        livemode: bool,
        r#type: &'a str,
    }
    let body = invoice(size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        serde_json::from_slice::<EnvelopeMembers>(black_box(&body))
            .map(|event| {
                (event.id.len(), event.object.len(), event.created, event.livemode, event.r#type.len())
            })
            .ok()
    });
}

/// Computes the HMAC-SHA256 of the body with the crates that `signature` uses.
#[divan::bench(args = SIZES)]
fn hmac_by_sha2(bencher: Bencher, size: usize) {
    let body = invoice(size);
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let keyed = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| keyed.clone().chain_update(black_box(&body)).finalize().into_bytes());
}

/// Computes the HMAC-SHA256 of the body with ring.
#[divan::bench(args = SIZES)]
fn hmac_by_ring(bencher: Bencher, size: usize) {
    let body = invoice(size);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    bencher.counter(BytesCount::new(size)).bench_local(|| ring::hmac::sign(&key, black_box(&body)));
}
