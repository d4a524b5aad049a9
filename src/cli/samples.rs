//! The sample events of `send`: one template per type, with the layout that Stripe sends (two spaces, no final newline).
//! Their shop is invented. This module fills in the values that differ from event to event, and sends nothing.

/// A sample event of one type.
#[derive(Debug)]
pub(super) struct SampleEvent {
    /// The value of `type`.
    pub(super) event_type: &'static str,
    /// A sentence fragment for `send --list`: what happened in the shop.
    pub(super) summary: &'static str,
    /// The payload, with placeholders in double braces.
    template: &'static str,
}

/// All sample events; the first is the default of `send`.
pub(super) const SAMPLES: [SampleEvent; 7] = [
    SampleEvent {
        event_type: "checkout.session.completed",
        summary: "a customer has paid at the checkout",
        template: include_str!("samples/checkout.session.completed.json"),
    },
    SampleEvent {
        event_type: "customer.subscription.updated",
        summary: "a subscription will end with its period",
        template: include_str!("samples/customer.subscription.updated.json"),
    },
    SampleEvent {
        event_type: "customer.subscription.deleted",
        summary: "a subscription has ended",
        template: include_str!("samples/customer.subscription.deleted.json"),
    },
    SampleEvent {
        event_type: "invoice.paid",
        summary: "a subscription was paid for another month",
        template: include_str!("samples/invoice.paid.json"),
    },
    SampleEvent {
        event_type: "invoice.payment_failed",
        summary: "a card was declined for a subscription",
        template: include_str!("samples/invoice.payment_failed.json"),
    },
    SampleEvent {
        event_type: "payment_intent.succeeded",
        summary: "a payment went through",
        template: include_str!("samples/payment_intent.succeeded.json"),
    },
    SampleEvent {
        event_type: "charge.refunded",
        summary: "a payment was returned in full",
        template: include_str!("samples/charge.refunded.json"),
    },
];

/// The values that differ from event to event.
pub(super) struct TemplateValues<'v> {
    /// The event's id, `evt_…`.
    pub(super) id: &'v str,
    /// The event's `created`, in Unix seconds; the template's other times are relative to it.
    pub(super) now: i64,
    /// The event's `livemode`.
    pub(super) livemode: bool,
    /// 24 letters and digits, for the ids of the objects in the event.
    pub(super) reference: &'v str,
}

/// A day in seconds.
const DAY: i64 = 24 * 60 * 60;

impl SampleEvent {
    /// Builds the payload.
    pub(super) fn payload(&self, values: &TemplateValues) -> Vec<u8> {
        let TemplateValues { id, now, livemode, reference } = values;
        // In the templates numbers and booleans are quoted, so that a template is valid JSON too.
        self.template
            .trim_end()
            .replace("\"{{now}}\"", &now.to_string())
            .replace("\"{{tomorrow}}\"", &(now + DAY).to_string())
            .replace("\"{{next_month}}\"", &(now + 30 * DAY).to_string())
            .replace("\"{{livemode}}\"", &livemode.to_string())
            .replace("{{mode}}", if *livemode { "live" } else { "test" })
            .replace("{{event}}", id)
            .replace("{{ref}}", reference)
            .replace("{{short}}", reference.get(..14).unwrap_or(reference))
            .into_bytes()
    }
}

/// Turns each random byte into a letter or digit, the alphabet of Stripe's ids.
pub(super) fn id_characters(random: &[u8]) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_sample_is_an_event_of_its_type_without_placeholders() {
        for sample in &SAMPLES {
            for livemode in [true, false] {
                let values = TemplateValues {
                    id: "evt_1x",
                    now: 1_800_000_000,
                    livemode,
                    reference: &id_characters(&[7; 24]),
                };
                let payload = sample.payload(&values);
                assert!(
                    payload.starts_with(b"{\n  \"id\": \"evt_1x\",\n  \"object\": \"event\"")
                        && payload.ends_with(b"\n}")
                );
                let text = String::from_utf8(payload).unwrap();
                assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
                let event: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(event["type"], sample.event_type);
                assert_eq!(event["created"], 1_800_000_000);
                assert_eq!(event["livemode"], livemode);
                assert_eq!(event["data"]["object"]["livemode"], livemode);
                assert_eq!(event["data"]["object"]["customer"], "cus_T4bQ9wAdaLinden");
            }
        }
    }

    #[test]
    fn an_id_has_one_character_per_random_byte() {
        assert_eq!(id_characters(&[0, 61, 62, 255]), "0z07");
    }
}
